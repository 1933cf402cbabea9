"""Answers of the server are those of the command line, to the byte; the rest is refused with a reason."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

import clipshift
from clipshift.files import to_json
from clipshift.preprocessing.sampling import segment_middles
from tests.serving.running import Running, wait_until


def line_of(model: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What `clipshift predict MODEL CLIP --json` writes in the folder of the clip."""
    monkeypatch.chdir(clip.parent)
    (answer,) = clipshift.predict(clipshift.load(model, device="cpu"), clip.name)
    return (to_json(answer.to_json()) + "\n").encode()


def test_answers_are_those_of_the_command_line(
    shared_server: Running, gate: Path, small_clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = sorted(small_clips.rglob("*.mp4"))
    for clip in clips:
        expected = line_of(gate, clip, monkeypatch)
        assert shared_server.predict(clip).content == expected
        raw = shared_server.client.post(
            "/v1/models/gate/predict", params={"name": clip.name}, content=clip.read_bytes()
        )
        assert raw.content == expected
    assert len(clips) == 8


def test_a_trained_model_answers_as_on_the_command_line(
    shared_server: Running, small_model: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = shared_server.client.post("/v1/models/gate1/predict", files={"video": (clip.name, clip.read_bytes())})
    assert answer.content == line_of(small_model, clip, monkeypatch)


@pytest.mark.parametrize("name", ["öffnen 体育.mp4", 'a "quoted" name.mp4', "no_suffix", "wrong.avi", "a;b=c.mkv"])
def test_names_come_back_as_they_were(
    name: str, shared_server: Running, gate: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / name
    copy.write_bytes(clip.read_bytes())
    raw = shared_server.client.post("/v1/models/gate/predict", params={"name": name}, content=copy.read_bytes())
    assert raw.content == line_of(gate, copy, monkeypatch)
    if '"' not in name:  # which every client quotes in its own way
        assert shared_server.predict(copy).content == raw.content


def test_a_clip_that_cannot_be_read_is_told_as_on_the_command_line(
    shared_server: Running, gate: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.mp4"
    for content in (b"no video at all", clip.read_bytes()[:2000], clip.read_bytes()[:-300]):
        broken.write_bytes(content)
        answer = shared_server.predict(broken)
        assert answer.status_code == 422
        assert answer.content == line_of(gate, broken, monkeypatch)
    assert shared_server.predict(clip).status_code == 200


def test_few_classes_and_the_frames_that_the_network_saw(shared_server: Running, clip: Path) -> None:
    whole = shared_server.predict(clip).json()
    answer = shared_server.predict(clip, top=2, frames=1).json()
    assert list(answer["probabilities"].items()) == list(whole["probabilities"].items())[:2]
    assert [frame["index"] for frame in answer["frames"]] == segment_middles(8, 4)
    picture = Image.open(io.BytesIO(base64.b64decode(answer["frames"][0]["jpeg"])))
    assert picture.size == (48, 48)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"top": 0}, "'top' is a number from 1 to 1000"),
        ({"top": "1001"}, "'top' is a number"),
        ({"top": "9" * 5000}, "'top' is a number"),
        ({"frames": "yes"}, "'frames' is 0 or 1"),
        ({"url": "http://127.0.0.1/x.mp4"}, "no option 'url'"),
    ],
)
def test_options_that_are_none_are_refused(
    query: dict[str, str], reason: str, shared_server: Running, clip: Path
) -> None:
    answer = shared_server.predict(clip, **query)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


def test_what_is_no_clip_in_a_form_is_refused(shared_server: Running) -> None:
    client, address = shared_server.client, "/v1/models/gate/predict"
    form = {"content-type": "multipart/form-data; boundary=x"}
    cases = {
        "no part 'video'": client.post(address, files={"file": ("a.mp4", b"abc")}),
        "one clip": client.post(address, files=[("video", ("a", b"abc")), ("video", ("b", b"abc"))]),
        "no boundary": client.post(address, content=b"abc", headers={"content-type": "multipart/form-data"}),
        "cannot be read": client.post(address, content=b"no form", headers=form),
        "ends in the middle": client.post(
            address, content=b'--x\r\nContent-Disposition: form-data; name="video"\r\n\r\nabc', headers=form
        ),
        "is empty": client.post(address, content=b""),
        "more than 16 parts": client.post(address, files=[(f"part{n}", ("a", b"abc")) for n in range(17)]),
    }
    for reason, answer in cases.items():
        assert answer.status_code == 400, reason
        assert reason in answer.json()["error"]


def test_models_are_listed_and_others_are_not_found(shared_server: Running, clip: Path) -> None:
    models = shared_server.client.get("/v1/models").json()["models"]
    assert [model["name"] for model in models] == ["gate", "gate1"]
    assert shared_server.client.get("/v1/models/gate").json() == models[0]
    answer = shared_server.client.post("/v1/models/other/predict", files={"video": ("a.mp4", clip.read_bytes())})
    assert answer.status_code == 404
    assert "there are: gate, gate1" in answer.json()["error"]
    assert shared_server.client.get("/v1/models/gate/predict").status_code == 405
    assert shared_server.client.get("/etc/passwd").status_code == 404


def test_requests_have_numbers_and_lines_in_the_log(shared_server: Running, clip: Path) -> None:
    address, headers = "/v1/models/gate/predict", {"x-request-id": "order-66"}
    answer = shared_server.client.post(address, params={"name": "x"}, content=clip.read_bytes(), headers=headers)
    assert answer.headers["x-request-id"] == "order-66"
    # The line is written behind the answer, which may be here first.
    wait_until(lambda: any(each.id == "order-66" for each in shared_server.log))
    told = next(each for each in shared_server.log if each.id == "order-66").to_json()
    assert (told["status"], told["model"], told["path"], told["bytes_in"]) == (
        200,
        "gate",
        address,
        clip.stat().st_size,
    )
    assert told["bytes_out"] == len(answer.content)
    assert json.loads(json.dumps(told)) == told
    odd = shared_server.client.get("/v1/models", headers={"x-request-id": "a b\tc" * 99}).headers["x-request-id"]
    assert odd.isalnum()


def test_pages_of_other_sites_cannot_use_it(shared_server: Running, clip: Path) -> None:
    answer = shared_server.client.post(
        "/v1/models/gate/predict", content=clip.read_bytes(), headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403
