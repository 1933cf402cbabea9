"""What the tests of exports share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.exporting.making import graphs_made_once


@pytest.fixture(scope="package", autouse=True)
def _graphs_made_once() -> Iterator[None]:
    with graphs_made_once():
        yield
