"""Published weights by name: fetched from a server on this machine, converted once, then ordinary models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

import clipshift
from clipshift.errors import DownloadError, WeightsError
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO
from clipshift.weights import cache, loading, resolve
from clipshift.weights.published import Project, PublishedWeights, published_weights
from clipshift.weights.resolve import find_model, published_model

NAME, CLASSES = "tsm-r18-8f-ucf101-test", 101


@pytest.fixture(scope="module")
def network() -> Recognizer:
    return Recognizer(
        ZOO["tsm-r18"].model, segments=8, classes=CLASSES, generator=torch.Generator().manual_seed(4)
    ).eval()


@pytest.fixture(scope="module")
def file(network: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as MIT publishes one."""
    state = {}
    for name, value in network.state_dict().items():
        inner = f"module.base_model.{name.removeprefix('backbone.')}".replace("base_model.classifier.", "new_fc.")
        state[inner.replace(".conv1.weight", ".conv1.net.weight") if ".layer" in inner else inner] = value
    path = tmp_path_factory.mktemp("published") / "w.pth.tar"
    torch.save({"state_dict": state, "epoch": 50}, path)
    return path


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture
def server(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(file.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = PublishedWeights(
        what="TSM on ResNet-18",
        model="tsm-r18",
        data="ucf101",
        segments=8,
        url=f"http://127.0.0.1:{server.server_address[1]}/{file.name}",
        project=Project("MIT temporal-shift-module", "Apache-2.0"),
        page="https://example.org",
    )
    monkeypatch.setitem(published_weights(), NAME, entry)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    for user in (resolve, loading):
        monkeypatch.setattr(user, "fetch", partial(cache.fetch, https_only=False, attempts=1, pause=0))
    yield server
    server.shutdown()
    server.server_close()


def test_first_use_fetches_and_converts(server: ThreadingHTTPServer, network: Recognizer) -> None:
    told: list[tuple[int, int | None]] = []
    model = clipshift.load(NAME, device="cpu", progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == cache.cached_file(NAME).stat().st_size
    assert len(model.classes) == CLASSES
    assert model.classes[0] == "ApplyEyeMakeup"
    assert model.spec.provenance["project"] == "MIT temporal-shift-module"
    theirs = network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.network.state_dict().items())
    frames = np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), dtype=np.uint8)
    assert model.predict(frames).probabilities.shape == (CLASSES,)
    # From then on neither the server nor the file is needed.
    server.shutdown()
    server.server_close()
    cache.cached_file(NAME).unlink()
    assert published_model(NAME) == cache.cached_model_folder(NAME)
    assert list(clipshift.load(NAME, device="cpu").network.state_dict()) == list(theirs)


def test_several_at_once_convert_once(server: ThreadingHTTPServer) -> None:
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: published_model(NAME), range(3)))
    assert folders == {cache.cached_model_folder(NAME)}
    assert {path.name for path in next(iter(folders)).parent.iterdir()} == {NAME}


def test_what_a_killed_conversion_left_is_made_anew(server: ThreadingHTTPServer) -> None:
    folder = cache.cached_model_folder(NAME)
    for unfinished in (folder, folder.with_name(f"{NAME}.new")):
        unfinished.mkdir(parents=True)
        (unfinished / "model.safetensors").write_bytes(b"half")
    assert clipshift.load(published_model(NAME), device="cpu").classes[-1] == "YoYo"


def test_file_fetched_by_hand_needs_no_server(server: ThreadingHTTPServer, file: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="cannot be fetched") as caught:
        clipshift.load(NAME, device="cpu")
    place = cache.cached_file(NAME)
    assert str(place) in str(caught.value.remedy)
    assert "clipshift convert FILE --to FOLDER" in str(caught.value.remedy)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file.read_bytes())
    assert len(clipshift.load(NAME, device="cpu").classes) == CLASSES


def test_training_starts_from_a_name(server: ThreadingHTTPServer, network: Recognizer) -> None:
    fresh = Recognizer(ZOO["tsm-r18"].model, segments=8, classes=3)
    report = loading.load_weights(fresh, NAME)
    assert report.new_classifier == "the file's has 101 classes, the network 3"
    theirs = network.backbone.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in fresh.backbone.state_dict().items())


def test_names_that_mean_no_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such model") as caught:
        clipshift.load("pptsm-r50-k4OO")
    assert "pptsm-r50-k400" in str(caught.value.allowed)
    with pytest.raises(WeightsError, match="network of single images") as caught:
        clipshift.load("r50vd-imagenet1k-ssld-paddle")
    assert "--recipe pptsm-r50 --weights r50vd-imagenet1k-ssld-paddle" in str(caught.value.remedy)


def test_file_is_not_yet_a_model(file: Path) -> None:
    with pytest.raises(WeightsError, match="becomes a model first") as caught:
        clipshift.load(file)
    assert caught.value.remedy == f"clipshift convert {file} --to FOLDER"


def test_folder_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pptsm-r50-k400").mkdir()
    with pytest.raises(WeightsError, match="no model here"):
        find_model("pptsm-r50-k400")
