"""What was logged, read back by each library's own reader."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clipshift.tracking.trackers import Trackers
from tests.tracking.making import PIXEL, make_run

CURVES = {
    "update/loss": [(1, 1.5)],
    "train/loss": [(2, 1.25)],
    "validation/top1": [(2, 0.5)],
    "epoch": [(2, 1.0)],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "gym")


def track(run: Path, name: str) -> str:
    said: list[str] = []
    with Trackers([name], run, 120.0, said.append) as trackers:
        trackers.start()
        trackers.finish()
    assert said[0].startswith(f"Tracked by {name}: "), said[0] + (run / "tracking" / f"{name}.log").read_text()
    return said[0]


def test_tensorboard_reads_its_events(run: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert track(run, "tensorboard").endswith(f"tensorboard --logdir {run}/tensorboard")
    everything = {"tensors": 0, "images": 0}
    events = accumulators.EventAccumulator(str(run / "tensorboard"), size_guidance=everything).Reload()
    for name, curve in CURVES.items():
        assert [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors(name)] == curve
    assert events.Tensors("kept/top1")[0].tensor_proto.float_val[0] == 0.75
    assert events.Images("plots/loss")[0].encoded_image_string == PIXEL
    assert b"| train.epochs | 2 |" in events.Tensors("settings")[0].tensor_proto.string_val[0]
    assert "hparams" in events.PluginTagToContent("hparams").__repr__()


def test_dvc_finds_metrics_tables_parameters_and_pictures(run: Path) -> None:
    track(run, "dvc")
    folder = run / "dvclive"
    table = yaml.safe_load((folder / "dvc.yaml").read_text())
    for part in (*table["params"], *table["metrics"], *table["plots"][0], table["plots"][1]):
        assert (folder / part).exists()
    for name, curve in CURVES.items():
        lines = (folder / "plots" / "metrics" / f"{name}.tsv").read_text().splitlines()
        assert lines == [f"step\t{Path(name).name}", *(f"{step}\t{value}" for step, value in curve)]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["step"] == 2
    assert metrics["train"] == {"loss": 1.25, "lr": 0.1}
    assert metrics["kept"] == {"top1": 0.75, "top5": 1.0}
    parameters = yaml.safe_load((folder / "params.yaml").read_text())
    assert parameters["train"] == {"epochs": 2, "seed": 0, "track": '["dvc"]', "patience": "none"}
    assert (folder / "plots" / "images" / "loss.png").read_bytes() == PIXEL


def test_mlflow_reads_its_store(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    track(run, "mlflow")
    track(run, "mlflow")  # goes on with the same run
    client = mlflow.MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("clipshift").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "gym")
    assert found.data.params["model.backbone"] == "test_resnet"
    for name, curve in CURVES.items():
        assert [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, name)] == curve
    names = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert {"report.html", "config.yaml", "model", "plots"} <= names
    kept = client.list_artifacts(found.info.run_id, "model")
    assert [each.path for each in kept] == ["model/model.json"]


def test_trackio_reads_its_store(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    track(run, "trackio")
    track(run, "trackio")
    # In a process of its own: the library looks where its store is when it is imported.
    reader = (
        "import json, trackio\n"
        "from trackio.sqlite_storage import SQLiteStorage as Store\n"
        "(run,) = trackio.Api().runs('clipshift')\n"
        "print(json.dumps([run.name, run.config, Store.get_logs('clipshift', run.name)]))"
    )
    done = subprocess.run([sys.executable, "-c", reader], capture_output=True, text=True, check=True)
    name, settings, logs = json.loads(done.stdout.splitlines()[-1])
    assert name.startswith("gym-")
    assert settings["model.backbone"] == "test_resnet"
    for curve, points in CURVES.items():
        assert [(log["step"], log[curve]) for log in logs if curve in log] == points
    assert any(log.get("kept/top1") == 0.75 for log in logs)
    assert any("plots/loss" in log for log in logs)


def test_wandb_reads_its_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "wandb sync" in track(run, "wandb")
    (path,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    found, settings = {}, {}
    for data in framed(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for item in record.run.config.update:
            settings[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert {"update/loss": 1.5, "train/loss": 1.25, "validation/top1": 0.5}.items() <= found.items()
    assert settings["model.backbone"] == "test_resnet"


def framed(content: bytes) -> Iterator[bytes]:
    """The messages of wandb's file, framed as LevelDB frames its log: in pieces of blocks of 32 KiB."""
    position, message = 7, b""  # behind the file's own header
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        message += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or its last piece
            yield message
            message = b""
