from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from clipshift.inference.importing import without_collections


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Python's, as it is in most programs, and afterwards as it was."""
    before, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.enable()
    gc.unfreeze()
    yield
    (gc.enable if before else gc.disable)()
    if frozen:
        gc.freeze()


def test_what_was_made_meanwhile_is_old_and_was_never_looked_at() -> None:
    looked_at: list[str] = []
    note = lambda phase, _: looked_at.append(phase)  # noqa: E731
    gc.callbacks.append(note)
    try:
        with without_collections():
            looked_at.clear()
            made = [[number] for number in range(5000)]
            assert not gc.isenabled()
        assert not looked_at
    finally:
        gc.callbacks.remove(note)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    old = {id(thing) for thing in gc.get_objects(generation=2)}
    assert all(id(each) in old for each in made)


def test_the_collector_goes_on_after_an_error() -> None:
    with pytest.raises(ModuleNotFoundError), without_collections():
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_a_program_with_plans_of_its_own_keeps_them() -> None:
    gc.disable()
    with without_collections():
        pass
    assert not gc.isenabled()
    gc.enable()
    gc.freeze()
    try:
        with without_collections():
            assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
