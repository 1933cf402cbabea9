"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import clipshift  # before OpenVINO, which else tells its makers of every test that imports it

if TYPE_CHECKING:
    from clipshift import Exported
    from clipshift.inference.export_folder import Target

MakeExport = Callable[["Target"], "Exported"]

# Small networks gain nothing from threads, and where several processes share the cores, threads that spin while they
# wait make everything many times slower. Read by PyTorch when it is first imported, also in processes that tests start.
_THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes, one takes all tests of a file and makes its fixtures once; files with slow tests begin.

    Tests that share something else say so by a mark `xdist_group` of their own.
    """
    if not hasattr(config, "workerinput"):  # not a process of pytest-xdist
        return
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.location[0]))


def pytest_collection_finish() -> None:
    """Let the garbage collector pass by what lives as long as the process: PyTorch, and thousands of tests."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries complain at the end of what they find still there


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:  # noqa: ANN401
    """See that groups stay together: else each process makes every fixture for itself, without a word."""
    if node.config.getvalue("dist") == "loadgroup" and any("@" not in name for name in ids):
        pytest.exit(f"pytest-xdist keeps no groups together with pytest {pytest.__version__}", returncode=4)


@pytest.fixture(autouse=True)
def threads_of_pytorch() -> Iterator[None]:
    """After a test that sets another number, as many threads as before: by it the last bits of answers differ."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != _THREADS:
        torch.set_num_threads(_THREADS)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, weights and reference numbers that lies beside the repository, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "videos").is_dir():
        pytest.skip("no folder 'shared' with real clips beside the repository")
    return folder


@pytest.fixture(scope="session")
def seeded(shared: Path) -> ModuleType:
    """The functions that rebuild every reference network's checkpoint from names and shapes."""
    spec = importlib.util.spec_from_file_location("seeded_weights", shared / "reference" / "seeded_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def blank_pictures() -> Iterator[None]:
    """The reports of a file's tests have blank pictures."""
    from tests.drawing import draw_nothing

    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield


@pytest.fixture(scope="session")
def small_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight MP4 files in a folder for each class."""
    from clipshift.datasets.motion import write_motion_clips

    folder = tmp_path_factory.mktemp("motion") / "clips"
    return write_motion_clips(folder, clips_per_class=1, validation_per_class=2, frames=8, size=48) / "val"


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model of the classes of `small_clips`."""
    from tests.exporting.making import save_model

    return save_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="session")
def exported(small_model: Path, small_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeExport:
    """The small model as exported to a target, in float32, taking frames; once for all tests."""
    from tests.exporting.making import graphs_made_once

    @cache
    def make(target: Target) -> Exported:
        out = tmp_path_factory.mktemp("exports") / target
        with graphs_made_once():
            return clipshift.export(small_model, to=target, out=out, data=small_clips, license="Apache-2.0")

    return make
