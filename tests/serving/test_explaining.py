"""Explanations over the server are those of the command line; they are few at once, and others come between."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import clipshift
from clipshift.errors import ServerError
from clipshift.serving.limits import ServerLimits
from tests.serving.running import PATIENCE, Running, running, wait_until

ADDRESS = "/v1/models/gate/explain"
UNLIKE = {"path", "model", "engine"}


def rest(explanation: dict[str, Any]) -> dict[str, Any]:
    """What does not name the model and the clip."""
    return {key: value for key, value in explanation.items() if key not in UNLIKE}


def test_an_export_is_explained_as_on_the_command_line(gate: Path, clip: Path, shared_server: Running) -> None:
    expected = clipshift.explain(gate, clip).to_json()
    with clipshift.Client(shared_server.server.address) as client:
        found = client.explain(clip, "gate")
    assert rest(found) == rest(expected)
    assert found["path"] == clip.name
    assert found["model"].keys() == {"name", "sha256"}
    assert found["heat"]["method"] == "occlusion"
    assert all(frame["time"] is not None for frame in found["frames"])


def test_a_network_is_explained_by_its_gradients(small_model: Path, clip: Path, shared_server: Running) -> None:
    label = clipshift.load(small_model).classes[-1]
    expected = clipshift.explain(small_model, clip, label=label).to_json()

    async def ask() -> dict[str, Any]:
        async with clipshift.AsyncClient(shared_server.server.address) as client:
            return await client.explain(clip, "gate1", label=label)

    found = asyncio.run(ask())
    assert (found["label"], found["heat"]["method"]) == (label, "grad-cam")
    for one, other in zip(found["frames"], expected["frames"], strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    for maps, others in zip(found["heat"]["maps"], expected["heat"]["maps"], strict=True):
        for row, other_row in zip(maps, others, strict=True):
            assert row == pytest.approx(other_row, abs=1e-4)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"color": "red"}, "There is no option 'color'"),
        ({"label": "no class"}, "The model has no class 'no class'."),
        ({"where": "there"}, "The option 'where' is one of: auto, grad-cam, occlusion, none."),
        ({"pictures": "2"}, "The option 'pictures' is 0 or 1."),
        ({"where": "grad-cam"}, "An exported model has no gradients, which Grad-CAM needs."),
    ],
)
def test_what_cannot_be_is_refused(query: dict[str, str], reason: str, clip: Path, shared_server: Running) -> None:
    answer = shared_server.client.post(ADDRESS, params=query, content=clip.read_bytes())
    assert (answer.status_code, answer.json()["error"].startswith(reason)) == (400, True), answer.text
    assert shared_server.service.explanations.taken == 0


def test_what_is_no_clip_is_refused_and_too_many_are_told_to_come_again(clip: Path, shared_server: Running) -> None:
    answer = shared_server.client.post(ADDRESS, params={"name": "a.mp4"}, content=b"no video")
    assert (answer.status_code, answer.json()["path"]) == (422, "a.mp4")
    with shared_server.service.explanations:
        refused = shared_server.client.post(ADDRESS, content=clip.read_bytes())
        assert (refused.status_code, "no more explanations" in refused.text) == (429, True)
        assert refused.headers["retry-after"] == "10"
        assert shared_server.predict(clip).status_code == 200


def test_one_that_takes_too_long_is_given_up_and_leaves_nothing(gate: Path, clip: Path) -> None:
    with running(gate, limits=ServerLimits(explain_seconds=1.0)) as server:
        places = server.service.models["gate"].batcher._places
        asyncio.run_coroutine_threadsafe(places.acquire(), server.service.loop).result(PATIENCE)
        with clipshift.Client(server.server.address, retries=0) as client:
            with pytest.raises(ServerError, match="refuses") as error:
                client.explain(clip)
            assert "503" in str(error.value.got)
            server.call(places.release)
            wait_until(lambda: server.service.explanations.taken == 0)
            assert client.predict(clip).label
        wait_until(lambda: not places.locked())  # the thread has seen that nobody waits


def test_pictures_are_beside_the_numbers(clip: Path, shared_server: Running) -> None:
    for where, heat in (("occlusion", True), ("none", False)):
        query: dict[str, str | int] = {"pictures": 1, "where": where}
        found = shared_server.client.post(ADDRESS, params=query, content=clip.read_bytes()).json()
        assert len(found["pictures"]) == len(found["frames"]) == 4
        for picture in found["pictures"]:
            assert picture["jpeg"].startswith("/9j/")
            assert (picture["heat_png"] or "").startswith("iVBOR") == heat
