"""A paho-mqtt client for the tests: told what to do by lines of JSON on standard input, it says
what happens by lines of JSON on standard output. Its one argument is how it connects."""

import json
import os
import ssl
import sys

import paho.mqtt.client as mqtt

options = json.loads(sys.argv[1])
five = options.get("protocol") == 5


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def on_connect(client, userdata, flags, reason, properties):
    say("connected", code=reason.value, reason=str(reason), present=flags.session_present)


def on_disconnect(client, userdata, flags, reason, properties):
    say("disconnected", code=reason.value, reason=str(reason))


def on_subscribe(client, userdata, mid, reasons, properties):
    say("subscribed", codes=[reason.value for reason in reasons])


def on_publish(client, userdata, mid, reason, properties):
    say("published", mid=mid, code=reason.value)


def on_message(client, userdata, message):
    say(
        "message",
        topic=message.topic,
        payload=message.payload.decode(errors="replace"),
        retain=message.retain,
        qos=message.qos,
    )


arguments = {} if five else {"clean_session": options.get("clean", True)}
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=options.get("client_id", ""),
    protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
    reconnect_on_failure=False,
    **arguments,
)
client.on_connect, client.on_disconnect = on_connect, on_disconnect
client.on_subscribe, client.on_publish, client.on_message = on_subscribe, on_publish, on_message
if "username" in options:
    client.username_pw_set(options["username"], options.get("password"))
if "ca" in options:
    client.tls_set(ca_certs=options["ca"], cert_reqs=ssl.CERT_REQUIRED)
if "will" in options:
    client.will_set(**options["will"])
client.connect(options["host"], options["port"], options.get("keepalive", 60))
client.loop_start()

for line in sys.stdin:
    order = json.loads(line)
    do = order.pop("do")
    if do == "subscribe":
        client.subscribe(order["topic"], order.get("qos", 0))
    elif do == "publish":
        client.publish(**order)
    elif do == "disconnect":
        client.disconnect()
    elif do == "die":
        # The kernel closes the socket; nobody says goodbye.
        os._exit(0)
client.loop_stop()
