"""Models on the Hugging Face Hub: its genuine client, against a server on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import yaml
from huggingface_hub import constants

import clipshift
from clipshift.cli import app
from clipshift.errors import ConfigError, DownloadError, OutputError, UserError, VideoError, WeightsError
from clipshift.files import sha256_of_file
from clipshift.weights.hub import HubModel, fetch_from_hub, parse_hub_name
from tests.conftest import MakeExport

pytestmark = pytest.mark.slow

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Hub:
    """What a hub keeps: files of repositories by name; one commit each."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    """Status of every answer, if it is not 0."""


def answer(hub: Hub, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:  # noqa: C901, PLR0911
    """The part of the hub's interface that its client uses to read and to commit."""

    def said(value: object) -> tuple[int, bytes, dict[str, str]]:
        return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}

    if hub.refused:
        return hub.refused, b'{"error": "no"}', {}
    if path == "/api/repos/create":
        asked = json.loads(body)
        hub.created.append(asked)
        name = f"{asked['organization']}/{asked['name']}"
        hub.files.setdefault(name, {})
        return said({"url": f"{constants.ENDPOINT}/{name}", "name": name, "id": "1"})
    if path == "/api/validate-yaml":
        return said({"errors": [], "warnings": []})
    found = re.match(r"(?:/api/models)?/([\w.-]+/[\w.-]+)/(\w+)/([^/]+)/?(.*)", path)
    if found is None or found[1] not in hub.files:
        return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
    name, what, revision, file = found.groups()
    if what == "preupload":
        asked = json.loads(body)["files"]
        return said({"files": [{"path": e["path"], "uploadMode": "regular", "shouldIgnore": False} for e in asked]})
    if what == "commit":
        lines = [json.loads(line) for line in body.splitlines()]
        hub.files[name] |= {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        url = f"{constants.ENDPOINT}/{name}/commit/{COMMIT}"
        return said({"commitUrl": url, "commitOid": COMMIT, "success": True})
    if revision not in ("main", COMMIT):
        return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
    files = hub.files[name]
    if what == "revision":
        return said({"_id": "1", "id": name, "sha": COMMIT, "siblings": [{"rfilename": one} for one in files]})
    if what == "tree":
        return said(
            [{"type": "file", "path": one, "size": len(data), "oid": _oid(data)} for one, data in files.items()]
        )
    if what == "resolve" and file in files:
        return 200, files[file], {"X-Repo-Commit": COMMIT, "ETag": f'"{_oid(files[file])}"'}
    return 404, b"{}", {"X-Error-Code": "EntryNotFound"}


def _oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    kept = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, data, headers = answer(kept, self.path.partition("?")[0], body)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of_file(path) for path in folder.iterdir()}


def test_a_model_goes_to_the_hub_and_comes_back_the_same(hub: Hub, small_model: Path, small_clips: Path) -> None:
    pushed = clipshift.push(small_model, "gym/squat", license="apache-2.0", private=True)
    assert pushed.place == f"hf://gym/squat@{COMMIT}"
    assert pushed.files == ("README.md", "config.json", "model.json", "model.safetensors")
    assert hub.created[0]["name"] == "squat"
    assert "private" in json.dumps(hub.created[0])
    back = fetch_from_hub(pushed.place)
    for name in ("model.json", "model.safetensors"):
        assert sha256_of_file(back / name) == sha256_of_file(small_model / name)
    assert not (back / "config.json").exists()  # of others, what is no model is left there
    clip = min(small_clips.rglob("*.mp4"))
    for name in (pushed.place, "hf://gym/squat"):
        model = clipshift.load(name)
        expected = clipshift.load(small_model).predict(clip).probabilities
        np.testing.assert_array_equal(model.predict(clip).probabilities, expected)


def test_an_export_runs_from_the_hub(hub: Hub, exported: MakeExport, small_clips: Path) -> None:
    folder = exported("onnx").folder
    pushed = clipshift.push(folder, "hf://gym/gate")
    assert set(hub.files["gym/gate"]) == {"README.md", "config.json", "model.json", "model.onnx"}
    clip = min(small_clips.rglob("*.mp4"))
    answers = clipshift.pipeline(pushed.place)(str(clip), top_k=2)
    expected = clipshift.load(folder).predict(clip).top(2)
    assert [(one["label"], one["score"]) for one in answers] == expected


def test_the_card_and_the_labels(small_model: Path, tmp_path: Path) -> None:
    """What hubs read, in a folder of the same form; of a run also what was measured."""
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    (run / "model").symlink_to(small_model)
    measured = {"top1": 0.9375, "top5": 1.0, "mean_class": 0.93, "mean_ap": None, "data": "/videos/gym"}
    (run / "evaluation" / "metrics.json").write_text(json.dumps(measured))
    pushed = clipshift.push(run, tmp_path / "out", license="mit")
    assert Path(pushed.place) == tmp_path / "out"
    assert f"clipshift predict {pushed.place} VIDEO" in pushed.to_text()
    spec = clipshift.load(small_model).spec
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [config["id2label"][str(number)] for number in range(len(spec.classes))] == list(spec.classes)
    assert config["label2id"] == {name: number for number, name in enumerate(spec.classes)}
    card = huggingface_hub.ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.library_name) == ("mit", "clipshift")
    results = card.data.eval_results
    assert results is not None
    assert {(one.metric_name, one.metric_value, one.dataset_name) for one in results} == {
        ("Top-1", 0.9375, "gym"),
        ("Top-5", 1.0, "gym"),
        ("Mean class accuracy", 0.93, "gym"),
    }
    assert files_of(tmp_path / "out")["model.safetensors"] == sha256_of_file(small_model / "model.safetensors")
    clipshift.load(tmp_path / "out")


def test_cards_without_measurements(small_model: Path, exported: MakeExport, tmp_path: Path) -> None:
    for model, out in ((small_model, "a"), (exported("openvino").folder, "b")):
        clipshift.push(model, tmp_path / out)
        text = (tmp_path / out / "README.md").read_text(encoding="utf-8")
        metadata = yaml.safe_load(text.split("---\n")[1])
        assert "model-index" not in metadata
        assert "license" not in metadata
        assert len(text) > 500


def test_folders_that_hold_something(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        clipshift.push(small_model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match="no branches"):
        clipshift.push(small_model, tmp_path / "new", private=True)


def test_programs_are_not_put_on_the_hub(exported: MakeExport, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="may run what lies in it"):
        clipshift.push(exported("torch").folder, tmp_path / "new")


def test_what_the_hub_refuses(hub: Hub, small_model: Path) -> None:
    hub.files["gym/empty"] = {"pytorch_model.bin": b"x"}
    with pytest.raises(WeightsError, match="no model in the form"):
        clipshift.load("hf://gym/empty")
    with pytest.raises(DownloadError) as missing:
        clipshift.load("hf://gym/none")
    assert "HF_TOKEN" in str(missing.value)
    hub.files["gym/squat"] = {}
    with pytest.raises(DownloadError) as revision:
        clipshift.load("hf://gym/squat@v9")
    assert "revision" in str(revision.value)
    hub.refused = 403
    with pytest.raises(DownloadError, match="could not be put on the hub"):
        clipshift.push(small_model, "gym/squat")
    for error in (missing, revision):
        assert "hf_of_the_test" not in str(error.value)
        assert len(str(error.value).splitlines()) <= 8


def test_damage_on_the_way_is_noticed(hub: Hub, small_model: Path) -> None:
    clipshift.push(small_model, "gym/squat")
    weights = bytearray(hub.files["gym/squat"]["model.safetensors"])
    weights[-1] ^= 1
    hub.files["gym/squat"]["model.safetensors"] = bytes(weights)
    with pytest.raises(WeightsError, match="not those that the model was saved with"):
        clipshift.load("hf://gym/squat")


def test_without_the_network(hub: Hub, small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clipshift.push(small_model, "gym/squat")
    folder = fetch_from_hub("hf://gym/squat")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_from_hub("hf://gym/squat") == folder
    with pytest.raises(DownloadError):
        fetch_from_hub("hf://gym/other")


@pytest.mark.parametrize("name", ["hf://squat", "hf://a/b/c", "hf://../x", "hf://a/b@", "hf://a/b@x y", "hf://-a/b"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="no model on the hub"):
        parse_hub_name(name)


def test_names() -> None:
    assert parse_hub_name("hf://a/b") == HubModel("a/b")
    assert parse_hub_name("hf://a/b-1.x@refs/pr/3") == HubModel("a/b-1.x", "refs/pr/3")
    assert str(HubModel("a/b", "v1")) == "hf://a/b@v1"


def test_the_pipeline_of_transformers(exported: MakeExport, small_clips: Path, tmp_path: Path) -> None:
    pipe = clipshift.pipeline(clipshift.load(exported("onnx").folder))
    clips = sorted(small_clips.rglob("*.mp4"))[:2]
    answers = pipe([str(clip) for clip in clips])
    assert answers == [pipe(clip) for clip in clips]
    assert all(len(one) == len(pipe.model.classes) for one in answers)  # fewer than five
    assert [one["score"] for one in answers[0]] == sorted((one["score"] for one in answers[0]), reverse=True)
    with pytest.raises(VideoError):
        pipe([str(clips[0]), str(tmp_path / "missing.mp4")])


def test_the_command(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["push", str(small_model), str(tmp_path / "out"), "--license", "mit"], result_action="return_value")
    assert f"clipshift predict {tmp_path / 'out'} VIDEO" in capsys.readouterr().out
    with pytest.raises(UserError, match="no model on the hub"):
        app(["push", str(small_model), "hf://nothing"], result_action="return_value")
