"""An RTSP server of GStreamer, run by the Python that Debian's bindings are for: rtsp_server.py PORT."""

from __future__ import annotations

import sys
from typing import Any

_PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=20/1 "
    "! openh264enc gop-size=10 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def main(port: str) -> None:
    import gi  # type: ignore[import-not-found, unused-ignore]

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found, unused-ignore]

    Gst.init(None)
    for needed in ("openh264enc", "h264parse", "rtph264pay"):
        if Gst.ElementFactory.find(needed) is None:
            sys.exit(f"GStreamer has no {needed}")
    server: Any = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_PIPELINE)
    factory.set_shared(True)
    server.get_mount_points().add_factory("/gate", factory)
    if server.attach(None) == 0:
        sys.exit("the port is taken")
    print("ready", flush=True)  # noqa: T201
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1])
