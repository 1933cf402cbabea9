"""Numbers for Prometheus count what happened, and OpenAPI describes every address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.serving.running import Running


def samples(server: Running) -> dict[str, float]:
    """Values by names, followed by those of the labels in their order."""
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return {
        " ".join([each.name, *(each.labels[label] for label in sorted(each.labels))]): each.value
        for family in families
        for each in family.samples
    }


def test_requests_are_counted_by_their_answers(shared_server: Running, clip: Path) -> None:
    predict = "clipshift_requests_total gate /v1/models/{name}/predict"
    before = samples(shared_server)
    assert shared_server.predict(clip).status_code == 200
    assert shared_server.predict(b"no video").status_code == 422
    shared_server.client.get("/nobody/knows/this")
    after = samples(shared_server)
    for name, grown in {
        f"{predict} 200": 1,
        f"{predict} 422": 1,
        "clipshift_requests_total  other 404": 1,
        "clipshift_part_seconds_count network": 1,
        "clipshift_request_seconds_count /v1/models/{name}/predict": 2,
    }.items():
        assert after[name] - before.get(name, 0) == grown, name
    assert after["clipshift_received_bytes_total"] - before["clipshift_received_bytes_total"] > clip.stat().st_size
    assert (after["clipshift_inside"], after["clipshift_held_bytes"], after["clipshift_decoders"]) == (0, 0, 1)
    assert after["clipshift_decoder_starts_total"] >= 1
    assert after["process_resident_memory_bytes"] > 1e7
    assert sum(name.startswith("clipshift_model_loaded_timestamp_seconds") for name in after) == 2


def references(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_openapi_describes_every_address(shared_server: Running) -> None:
    described = shared_server.client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(references(described)) <= known
    routes = shared_server.routes()
    own = {("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/page/{file}")}
    paths = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert paths == {each for each in routes if "{version}" not in each[1]} - own
    for path, methods in described["paths"].items():
        for operation in methods.values():
            named = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
