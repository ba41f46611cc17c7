"""An RTSP camera for the stories: GStreamer's own server with a test picture in H.264.

rtsp_server.py PORT USER PASSWORD basic|digest [ENCODING [CERTIFICATE]]; says `ready PORT` once it listens, and
serves until it is killed. With a certificate, a file with its key, it speaks TLS only. The bars are grey, yellow, cyan, green, magenta, red, blue, at 75 %.
"""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer

port, user, password, method = sys.argv[1:5]
encoding = sys.argv[5] if len(sys.argv) > 5 else "h264"
Gst.init(None)
pay = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0",
    "jpeg422": "videoconvert ! video/x-raw,format=Y42B ! jpegenc quality=30 ! rtpjpegpay name=pay0",
}[encoding]
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(port)
auth = GstRtspServer.RTSPAuth.new()
token = GstRtspServer.RTSPToken.new()
token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
if method == "digest":
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest(user, password, token)
else:
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
if len(sys.argv) > 6:
    auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(sys.argv[6]))
server.set_auth(auth)
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true pattern=smpte75"
    f" ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 ! {pay} )"
)
factory.set_shared(True)
factory.add_role_from_structure(Gst.Structure.from_string(
    "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true")[0])
server.get_mount_points().add_factory("/cam", factory)
if server.attach(None) == 0:
    sys.exit("no port")
print("ready", server.get_bound_port(), flush=True)
GLib.MainLoop().run()
