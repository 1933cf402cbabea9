"""What is named becomes a source; its secrets do not become its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipshift.errors import ConfigError, UserError, VideoError
from clipshift.video.live.addresses import Address, read_address, shown_url

SECRET = "geheim"  # noqa: S105 - no password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"rtsp://user:{SECRET}@cam:554/gate?token={SECRET}", "rtsp://cam:554/gate?..."),
        (f"RTSP://user:{SECRET}@cam/gate", "rtsp://cam/gate"),
        (f"http://cam/user=admin_password={SECRET}_channel=1.sdp", "http://cam/..."),
        (f"https://{SECRET}@[::1]:8443/live.m3u8#{SECRET}", "https://[::1]:8443/live.m3u8?..."),
        (f"rtsp://user:{SECRET}/x@cam/gate", "rtsp://..."),
        (f"rtsp://user:12/{SECRET}@cam/gate", "rtsp://..."),
        (f"rtsp://user:{SECRET}#x@cam/gate", "rtsp://..."),
        ("udp://@239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ],
)
def test_an_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_kinds(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    os.mkfifo(tmp_path / "pipe")
    assert read_address(tmp_path / "clip.mp4").kind == "file"
    assert read_address(str(tmp_path)).kind == "folder"
    assert read_address(tmp_path / "pipe").kind == "pipe"
    assert read_address("/dev/null").kind == "camera"
    assert read_address("-") == read_address("/dev/stdin") == Address("pipe", "-", "standard input")
    assert read_address("-").descriptor == 0
    assert Address("pipe", "/dev/fd/63", "").descriptor == 63
    assert read_address(tmp_path / "pipe").descriptor is None
    assert not read_address("-").live
    for url, kind in {"rtsps://a": "rtsp", "https://a/b": "http", "tcp://a:1": "socket"}.items():
        assert (read_address(url).kind, read_address(url).live) == (kind, True)


def test_an_address_in_a_file_is_in_no_command(tmp_path: Path) -> None:
    file = tmp_path / "gate.url"
    file.write_text(f"rtsp://me:{SECRET}@cam/gate\nmore\n")
    found = read_address(f"@{file}")
    assert found.location == f"rtsp://me:{SECRET}@cam/gate"
    assert SECRET not in repr(found)
    file.write_text("\n")
    with pytest.raises(VideoError, match="names no source"):
        read_address(f"@{file}")
    with pytest.raises(VideoError, match="cannot be read"):
        read_address(f"@{tmp_path}/nothing")


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (f"rtsp://me:{SECRET}@/gate", ConfigError, "no host"),
        ("http:///live.m3u8", ConfigError, "no host"),
        (f"rtsp://me:{SECRET}@cam:port/x", ConfigError, r"not valid(.|\n)*%2F"),
        (f"gopher://me:{SECRET}@cam/x", ConfigError, r"kind(.|\n)*rtsp://"),
        ("nothing.mp4", VideoError, r"no such source(.|\n)*@FILE"),
        (f"rtsp:/me:{SECRET}@cam/x", VideoError, "no such source"),
        ("a\0b", VideoError, "cannot be read"),
    ],
)
def test_what_is_no_source_is_told_without_its_secrets(source: str, error: type[UserError], text: str) -> None:
    with pytest.raises(error, match=text) as raised:
        read_address(source)
    assert SECRET not in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 8
