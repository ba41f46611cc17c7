#!/usr/bin/env bash
# What `make run` does once everything is built: a hub and one agent on this machine, joined with
# a token as a user would do it. Ctrl-C stops both. State is kept in .cache/run.
#
# HTTP_PORT, QUIC_PORT and MQTT_PORT choose other ports than 5000, 10000 and 1883.
set -euo pipefail
cd "$(dirname "$0")/.."

http_port=${HTTP_PORT:-5000}
quic_port=${QUIC_PORT:-10000}
mqtt_port=${MQTT_PORT:-1883}
bin=${CARGO_TARGET_DIR:-target}/quick
state=$PWD/.cache/run
hub_dir=$state/hub
agent_dir=$state/agent
node=edge-node-001
device=edge-device-001
# The contract's examples use this login. It is safe here only: the hub listens on loopback.
user=admin
password=admin123

hub_pid='' agent_pid=''

say() { printf 'run: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

# SIGTERM lets a program drain, and only its own pid is waited for.
stop() {
    local pid=$1
    [ -n "$pid" ] || return 0
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

finish() {
    trap '' INT TERM
    [ -z "$agent_pid$hub_pid" ] || say "stopping"
    stop "$agent_pid"
    stop "$hub_pid"
}
trap finish EXIT
trap 'exit 0' INT TERM

# The value of a text field of a compact JSON object, and nothing where there is none.
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p'; }

tail_of() { tail -n 20 "$1" >&2; }

start_hub() {
    if (exec 3<>"/dev/tcp/127.0.0.1/$http_port") 2>/dev/null; then
        die "port $http_port is in use: stop what listens there, or run 'HTTP_PORT=5001 make run'"
    fi
    : > "$state/hub.ready"
    CLOUDCORE_ADMIN_PASSWORD=$password "$bin/cloudcore-hub" serve \
        --data-dir "$hub_dir" \
        --http "127.0.0.1:$http_port" --quic "127.0.0.1:$quic_port" \
        --mqtt "127.0.0.1:$mqtt_port" \
        --public-monitoring \
        > "$state/hub.ready" 2> "$state/hub.log" &
    hub_pid=$!
    until grep -q '"event":"ready"' "$state/hub.ready"; do
        if ! kill -0 "$hub_pid" 2>/dev/null; then
            tail_of "$state/hub.log"
            hub_pid=''
            die "the hub did not start; its log is $state/hub.log"
        fi
        sleep 0.1
    done
    http=$(field http < "$state/hub.ready")
    quic=$(field quic < "$state/hub.ready")
    api=http://$http/api
}

# One request to the API, with the token once there is one; prints the answer's body.
request() {
    local method=$1 path=$2 body=${3:-}
    curl --silent --show-error --max-time 30 --request "$method" "$api$path" \
        --header 'Content-Type: application/json' \
        ${token:+--header "Authorization: Bearer $token"} \
        ${body:+--data "$body"}
}

log_in() {
    token=''
    local answer
    answer=$(request POST /auth/login "{\"username\":\"$user\",\"password\":\"$password\"}")
    token=$(field token <<< "$answer")
    [ -n "$token" ] || die "can't log in as $user: $answer
     The hub keeps the password of its first start; 'rm -r .cache/run' begins anew."
}

# Whether the hub knows the device, the agent is a member, and it was told this very address.
has_joined() {
    [ -f "$agent_dir/node.pem" ] &&
        grep -qF "\"$quic\"" "$agent_dir/agent.toml" 2>/dev/null &&
        request GET "/kubeedge/device/$device" | grep '"joined":true' > /dev/null
}

join() {
    if has_joined; then
        say "$device has joined before"
        return
    fi
    if [ -e "$agent_dir" ]; then
        say "the agent is no member of this hub at this address: it begins anew"
        "$bin/cloudcore-agent" reset --force --data-dir "$agent_dir" >&2
    fi
    local answer line
    answer=$(request POST /kubeedge/device/join \
        "{\"node_name\":\"$node\",\"device_id\":\"$device\",\"device_type\":\"camera\",\"location\":\"This machine\"}")
    if grep -q '"code":"API-005"' <<< "$answer"; then
        # The hub knows the device, and the agent lost its credentials: a new token is enough.
        answer=$(request POST /kubeedge/token/generate "{\"node_name\":\"$node\"}")
    fi
    line=$(field join_command <<< "$answer")
    [ -n "$line" ] || die "the hub gave no join command: $answer"
    # `keadm join …` as printed, for a node that has its own data directory and no service.
    # shellcheck disable=SC2086 # the line is split into its arguments on purpose
    set -- ${line#keadm }
    "$bin/cloudcore-agent" "$@" --data-dir "$agent_dir" \
        --camera "file://$PWD/.cache/photos?fps=1" --model "$PWD/.cache/models/nanodet.json" \
        --no-service > "$state/join.log"
    say "$device has joined"
}

start_agent() {
    "$bin/cloudcore-agent" run --data-dir "$agent_dir" > "$state/agent.log" 2>&1 &
    agent_pid=$!
    local tries=0
    until request GET /kubeedge/devices | grep '"status":"Ready"' > /dev/null; do
        if ! kill -0 "$agent_pid" 2>/dev/null; then
            tail_of "$state/agent.log"
            agent_pid=''
            die "the agent stopped; its log is $state/agent.log"
        fi
        tries=$((tries + 1))
        [ "$tries" -lt 150 ] || die "the device is not Ready after 30 seconds; see $state/agent.log"
        sleep 0.2
    done
}

show() {
    cat <<END

  The dashboard is at http://$http; log in as $user / $password. Agents reach the hub at $quic (UDP).
  $device is Ready; its camera shows the photographs of .cache/photos in a loop.
  Logs: .cache/run/hub.log, .cache/run/agent.log. Ctrl-C stops both.

  To try, in another terminal:

TOKEN=\$(curl -s $api/auth/login -H 'Content-Type: application/json' -d '{"username":"$user","password":"$password"}' | sed 's/.*"token":"\([^"]*\)".*/\1/')

# 1. list the devices
curl -s $api/kubeedge/devices -H "Authorization: Bearer \$TOKEN"

# 2. capture an image
ID=\$(curl -s $api/kubeedge/device/$device/command -H "Authorization: Bearer \$TOKEN" -H 'Content-Type: application/json' -d '{"command":"capture_image","parameters":{"format":"jpg","quality":90},"timeout":30}' | sed 's/.*"command_id":"\([^"]*\)".*/\1/'); echo "\$ID"

# 3. its result, and the picture in picture.jpg
sleep 1; curl -s $api/kubeedge/command/\$ID/status | tee /dev/stderr | sed -n 's/.*"image_url":"\([^"]*\)".*/\1/p' | xargs -r curl -s -o picture.jpg && ls -l picture.jpg

# 4. start detection
curl -s $api/kubeedge/device/$device/command -H "Authorization: Bearer \$TOKEN" -H 'Content-Type: application/json' -d '{"command":"start_detection","parameters":{"confidence":0.25,"interval":1}}'

# 5. watch heartbeats and detections as they come (Ctrl-C ends it)
curl -sN $api/kubeedge/monitor/stream

END
}

for program in cloudcore-hub cloudcore-agent; do
    [ -x "$bin/$program" ] || die "$bin/$program is missing: 'make run' builds it first"
done
mkdir -p "$state"
start_hub
log_in
join
start_agent
show
# Whichever ends first by itself: the other makes no sense alone.
wait -n "$hub_pid" "$agent_pid" || true
for end in "hub $hub_pid" "agent $agent_pid"; do
    if ! kill -0 "${end#* }" 2>/dev/null; then
        tail_of "$state/${end% *}.log"
        say "the ${end% *} stopped by itself"
    fi
done
exit 1
