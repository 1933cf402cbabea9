from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from clipshift.errors import WeightsError
from clipshift.weights.checkpoint_files import WeightsFile, read_weights

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn._mean": np.array([1.5, -2.0], dtype=np.float32),
    "scale": np.array(0.5, dtype=np.float32),
    "half": np.array([1, 2], dtype=np.float16),
    "double": np.array([[0.1]], dtype=np.float64),
    "count": np.array([7], dtype=np.int64),
    "columns": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "none": np.zeros((0, 3), dtype=np.float32),
}
TENSORS = {name: torch.from_numpy(value.copy()) for name, value in ARRAYS.items()}


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _torch_bytes(content: object, *, new: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


def _zip_bytes(entries: list[tuple[str, bytes]], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def _torch_zip(table: bytes, storage: bytes = b"\0" * 16) -> bytes:
    return _zip_bytes([("a/data.pkl", table), ("a/byteorder", b"little"), ("a/data/0", storage), ("a/version", b"3\n")])


def _legacy_file(table: bytes) -> bytes:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)) + table


def _same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return list(state) == list(expected) and all(
        value.dtype == expected[name].dtype and torch.equal(value, expected[name]) for name, value in state.items()
    )


def _refused(path: Path) -> WeightsError:
    started = time.process_time()
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    assert time.process_time() - started < 1
    assert caught.value.where == str(path)
    assert caught.value.allowed is not None
    assert caught.value.remedy is not None
    assert len(str(caught.value).splitlines()) == 5
    return caught.value


# PaddlePaddle


def test_genuine_files_of_paddle(shared: Path) -> None:
    folder = shared / "reference" / "paddlevideo" / "file_format"
    expected = np.load(folder / "tiny.npz")
    weights = read_weights(folder / "tiny.pdparams")
    assert (weights.format, weights.about, weights.classes) == ("paddle", {}, None)
    assert _same(weights.state, {name: torch.from_numpy(expected[name]) for name in expected.files})
    assert list(read_weights(folder / "tiny.pdopt").state) == ["conv2d_0.w_0_velocity_0", "conv2d_0.b_0_velocity_0"]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("numpy", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_paddle_of_every_protocol_and_numpy(tmp_path: Path, protocol: int, numpy: bytes) -> None:
    content = pickle.dumps(ARRAYS | {"StructuredToParameterName@@": {"conv.weight": "conv2d_0.w_0"}}, protocol)
    for theirs in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        content = content.replace(b"\x8c" + bytes([len(theirs)]) + theirs, b"\x8c" + bytes([len(numpy)]) + numpy)
        content = content.replace(b"c" + theirs + b"\n", b"c" + numpy + b"\n")
    assert numpy in content
    # Whatever its name is.
    for name in ("w.pdparams", "w.pth", "w.safetensors", "w"):
        weights = read_weights(_write(tmp_path / name, content))
        assert weights.format == "paddle"
        assert _same(weights.state, TENSORS)


def test_paddle_written_by_python_2(tmp_path: Path) -> None:
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01K\x02\x85cnumpy\ndtype\n"
    array += b"(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08"
    array += np.array([1.5, -2], dtype="<f4").tobytes() + b"tb"
    weights = read_weights(_write(tmp_path / "w.pdparams", b"\x80\x02}(U\x01a" + array + b"u."))
    assert weights.state["a"].tolist() == [1.5, -2]


def test_paddle_optimizer_and_named_arrays(tmp_path: Path) -> None:
    content = {
        "w_velocity_0": ("w_velocity_0", np.ones(2, dtype=np.float32)),
        "LR_Scheduler": {"last_epoch": 12, "last_lr": 0.0025},
        "master_weights": {"w": np.ones(2, dtype=np.float32)},
        "StructuredToParameterName@@": {},
    }
    weights = read_weights(_write(tmp_path / "w.pdopt", pickle.dumps(content, 4)))
    assert {name: value.tolist() for name, value in weights.state.items()} == {"w_velocity_0": [1, 1]}
    assert weights.about == {"last_epoch": 12, "last_lr": 0.0025}


class _NamedTuple:
    """Pickles as PaddlePaddle's tensors do: as a call of `tuple`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (("linear_0.w_0", np.ones(2, dtype=np.float32)),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_paddle_tensors_outside_of_a_state(tmp_path: Path, protocol: int) -> None:
    content = {"state_dict": OrderedDict(w=_NamedTuple()), "epoch": 3}
    weights = read_weights(_write(tmp_path / "w.pdparams", pickle.dumps(content, protocol)))
    assert weights.state["w"].tolist() == [1, 1]
    assert weights.about == {"epoch": 3}


def test_paddle_slices_are_put_together(tmp_path: Path) -> None:
    def write(**changes: object) -> Path:
        content = {
            "a": np.zeros(1, dtype=np.float32),
            "w@@.0": np.arange(4, dtype=np.float32),
            "w@@.1": np.arange(4, 6, dtype=np.float32),
            "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}},
        }
        return _write(tmp_path / "w.pdparams", pickle.dumps(content | changes, 2))

    state = read_weights(write()).state
    assert list(state) == ["a", "w"]
    assert torch.equal(state["w"], torch.arange(6.0).reshape(2, 3))
    assert "do not fill" in str(_refused(write(**{"w@@.1": np.arange(3, dtype=np.float32)})).got)
    assert "belong together" in str(_refused(write(**{"w@@.1": np.arange(2)})).got)
    for entry in (
        {"w": {"OriginShape": (2**40, 2**40), "slices": ["w@@.0"]}},
        {"w": {"OriginShape": (8,), "slices": ["w@@.0", "w@@.0"]}},
        {"w": {"OriginShape": (4,), "slices": ["none"]}},
        {"w": 3},
        3,
    ):
        _refused(write(**{"UnpackBigParamInfor@@": entry}))


def test_paddle_bfloat16(tmp_path: Path) -> None:
    values = torch.tensor([1.5, -3.0], dtype=torch.bfloat16)
    content = pickle.dumps({"a": values.view(torch.uint16).numpy()}, 4)
    assert _same(read_weights(_write(tmp_path / "w.pdparams", content)).state, {"a": values})


def test_arrays_that_are_no_weights(tmp_path: Path) -> None:
    for array in (
        np.array([{}, None], dtype=object),
        np.array(["text"]),
        np.zeros(2, dtype=[("a", "f4"), ("b", "O")]),
        np.zeros(2, dtype="M8[s]"),
        np.zeros(2, dtype=np.complex64),
        np.zeros(2, dtype=np.uint64),
        np.zeros(2, dtype=">f4").astype("V4"),
    ):
        _refused(_write(tmp_path / "w.pdparams", pickle.dumps({"a": array}, 4)))
    swapped = read_weights(_write(tmp_path / "w.pdparams", pickle.dumps({"a": np.array([1.5], dtype=">f4")}, 4)))
    assert swapped.state["a"].tolist() == [1.5]


# PyTorch


@pytest.mark.parametrize("new", [True, False])
def test_checkpoint_of_mit(tmp_path: Path, new: bool) -> None:
    for best in (71.5, np.float64(71.5), np.float32(71.5), torch.tensor(71.5), torch.tensor([71.5])):
        content = {
            "epoch": 45,
            "arch": "resnet50",
            "state_dict": {f"module.{name}": value for name, value in TENSORS.items()},
            "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.01}]},
            "best_prec1": best,
        }
        weights = read_weights(_write(tmp_path / "ckpt.best.pth.tar", _torch_bytes(content, new=new)))
        assert _same(weights.state, TENSORS)
        assert weights.format == "torch"
        assert weights.about == {"arch": "resnet50", "epoch": 45, "best_prec1": 71.5}


@pytest.mark.parametrize("new", [True, False])
def test_what_tensors_may_be(tmp_path: Path, new: bool) -> None:
    base = torch.arange(12.0)
    parameter = torch.nn.Parameter(torch.ones(2))
    content = {
        "parameter": parameter,
        "transposed": base.reshape(3, 4).t(),
        "part": base[5:7],
        "shared": base,
        "truth": torch.tensor([True, False]),
        "bfloat16": torch.ones(2, dtype=torch.bfloat16),
        "byte": torch.ones(2, dtype=torch.uint8),
        "empty": torch.zeros(0, 5),
    }
    extras = {"dtype": torch.float32, "size": torch.Size([2]), "device": torch.device("cpu"), "counts": Counter([3, 3])}
    weights = read_weights(_write(tmp_path / "w.pt", _torch_bytes({"state_dict": content, **extras}, new=new)))
    assert _same(weights.state, {name: value.detach() for name, value in content.items()})
    assert weights.state["part"].data_ptr() == weights.state["shared"].data_ptr() + 20
    assert not weights.state["parameter"].requires_grad


def _history_buffer(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that pickles under mmengine's name, with methods in its state as mmengine's has them."""
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.array([0.5, 0.25])
            self._count_history = np.array([1, 1])
            self.max_length = 1_000_000
            self._statistics_methods = {"mean": HistoryBuffer.mean}

        def mean(self) -> None: ...

    HistoryBuffer.__module__ = HistoryBuffer.mean.__module__ = module.__name__
    HistoryBuffer.__qualname__, HistoryBuffer.mean.__qualname__ = "HistoryBuffer", "HistoryBuffer.mean"
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return HistoryBuffer


def _mmaction_checkpoint(history_buffer: type, *, new: bool = True) -> bytes:
    content = {
        "meta": {
            "epoch": 50,
            "iter": 1000,
            "cfg": "model = dict()\n" * 50,
            "seed": None,
            "mmengine_version": "0.10.7",
            "dataset_meta": {"classes": ["run", "jump"]},
        },
        "state_dict": OrderedDict(TENSORS),
        "message_hub": {
            "log_scalars": OrderedDict({"train/loss": history_buffer(), "train/lr": history_buffer()}),
            "runtime_info": OrderedDict(epoch=50, best_score=np.float64(0.7), last_ckpt=None),
            "resumed_keys": OrderedDict({"train/loss": True}),
        },
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.02, "params": [0, 1]}]},
        "param_schedulers": [{"milestones": Counter({25: 1}), "_global_step": 50}],
    }
    return _torch_bytes(content, new=new)


@pytest.mark.parametrize("new", [True, False])
def test_training_checkpoint_of_mmaction2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bool) -> None:
    content = _mmaction_checkpoint(_history_buffer(monkeypatch), new=new)
    monkeypatch.undo()
    path = _write(tmp_path / "epoch_50.pth", content)
    with pytest.raises(Exception, match="HistoryBuffer"):
        torch.load(path, weights_only=True)
    weights = read_weights(path)
    assert _same(weights.state, TENSORS)
    assert weights.about == {"mmengine_version": "0.10.7", "epoch": 50, "iter": 1000}
    assert weights.classes == ("run", "jump")


def test_old_checkpoint_of_mmaction2(tmp_path: Path) -> None:
    state = OrderedDict(TENSORS)
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    meta = {"mmaction_version": "0.24.1", "config": "x = 1\n", "CLASSES": ("a", "b"), "time": "Mon Jan 1", "epoch": 9}
    content = {"meta": meta, "state_dict": state, "optimizer": {}}
    weights = read_weights(_write(tmp_path / "w.pth", _torch_bytes(content)))
    assert _same(weights.state, TENSORS)
    assert weights.about == {"mmaction_version": "0.24.1", "epoch": 9, "time": "Mon Jan 1"}
    assert weights.classes == ("a", "b")


def test_facts_are_plain(tmp_path: Path) -> None:
    meta = {"epoch": "\x1b[2J", "time": "x" * 1000, "iter": float("inf"), "dataset_meta": {"classes": ["a", "\x1b"]}}
    content = {"state_dict": TENSORS, "epoch": True, "arch": ["a"], "best_prec1": torch.ones(2), "meta": meta}
    weights = read_weights(_write(tmp_path / "w.pth", _torch_bytes(content)))
    assert (weights.about, weights.classes) == ({}, None)
    strange = _refused(_write(tmp_path / "w.pth", _torch_bytes({"a\x1b[2J": torch.ones(1)})))
    assert "\x1b" not in str(strange)


@pytest.mark.parametrize("new", [True, False])
def test_settings_of_a_training_are_data(tmp_path: Path, new: bool) -> None:
    """timm's and torchvision's training checkpoints, which keep the arguments of the command line."""
    args = argparse.Namespace(
        model="resnet50",
        lr=np.float64(0.1),
        output_dir=PurePosixPath("/data/runs/a b"),
        root=PureWindowsPath("C:/data", "runs"),
        here=Path("runs") / "x",
        betas=(0.9, 0.999),
        resume=None,
        shift=True,
        shift_div=4,
        nested=argparse.Namespace(depth=2),
        seen=defaultdict(list, {"val": [1, 2]}),
        counts=defaultdict(str, a=defaultdict(int)),
        steps=Counter({30: 2}),
    )
    args.itself = args
    for key in ("args", "hyper_parameters"):
        content = {"model": TENSORS, "epoch": 3, key: args, "optimizer": OrderedDict(state={})}
        weights = read_weights(_write(tmp_path / "w.pth", _torch_bytes(content, new=new)))
        assert _same(weights.state, TENSORS)
        assert weights.settings == {
            "model": "resnet50",
            "lr": 0.1,
            "output_dir": "/data/runs/a b",
            "root": weights.settings["root"],
            "here": "runs/x",
            "shift": 1,
            "shift_div": 4,
        }
        assert "runs" in str(weights.settings["root"])


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    "module",
    ["lightning.pytorch.utilities.parsing", "pytorch_lightning.utilities.parsing", "lightning.fabric.utilities.data"],
)
def test_checkpoint_of_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bool, module: str) -> None:
    attributes = type("AttributeDict", (dict,), {"__module__": module, "__qualname__": "AttributeDict"})
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules[module], "AttributeDict", attributes, raising=False)
    content = {
        "epoch": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {
            **{f"model.{name}": value for name, value in TENSORS.items()},
            "criterion.weight": torch.ones(3),
            "seen": torch.tensor(7),
        },
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5), "dirpath": "/a"}},
        "lr_schedulers": [{"milestones": Counter({30: 1}), "last_epoch": 1}],
        "hyper_parameters": attributes(lr=0.1, num_segments=16),
    }
    raw = _torch_bytes(content, new=new)
    monkeypatch.undo()
    weights = read_weights(_write(tmp_path / "epoch=1.ckpt", raw))
    assert _same(weights.state, TENSORS)
    assert list(weights.ignored) == ["criterion.weight", "seen"]
    assert weights.settings == {"lr": 0.1, "num_segments": 16}


def test_objects_that_are_no_data(tmp_path: Path) -> None:
    """What a file may do with the classes that are read as data is what these classes do, and nothing else."""
    header = b"\x80\x02"
    payloads = {
        "a call": b"cargparse\nNamespace\n)R.",
        "a method": b"cbuiltins\ngetattr\ncargparse\nNamespace\nU\x01a\x86R.",
        "attributes in place of a table": b"cargparse\nNamespace\n)\x81(K\x01K\x02tb.",
        "a path of numbers": b"cpathlib\nPosixPath\nK\x01\x85R.",
        "an object that is a path": b"cpathlib\nPosixPath\n)\x81.",
        "another class": b"cpathlib\nPath.home\n)R.",
        "another class of argparse": b"cargparse\nArgumentParser\n)\x81.",
    }
    for what, payload in payloads.items():
        _write(tmp_path / "w.pth", _torch_zip(header + payload))
        assert _refused(tmp_path / "w.pth"), what
    bomb = header + b"(cpathlib\nPosixPath\n" + b"(X" + struct.pack("<I", 500) + b"x" * 500 + b"tq\x00R"
    bomb += b"cpathlib\nPosixPath\nh\x00R" * 2000 + b"t."
    assert "more memory" in str(_refused(_write(tmp_path / "w.pth", _torch_zip(bomb))).got)


# What is no file of weights


@pytest.mark.parametrize("suffix", [".pdparams", ".pth", ".safetensors", ""])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\n <!DOCTYPE html><html><head><title>404</title>", "a web page"),
        (b"<html>" + b"x" * 5000, "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:123\n", "Git LFS"),
        (b"epoch,loss\n1,0.5\n", "cannot be read"),
        (b"\x1f\x8b\x08" + bytes(100), "cannot be read"),
    ],
)
def test_other_files(tmp_path: Path, suffix: str, content: bytes, expected: str) -> None:
    error = _refused(_write(tmp_path / f"w{suffix}", content))
    assert expected in str(error)
    if expected == "a web page":
        assert "download failed" in str(error.remedy)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "link.pth").symlink_to("/dev/zero")
    for path, got in ((tmp_path, "a folder"), (tmp_path / "pipe.pth", "no file"), (tmp_path / "link.pth", "no file")):
        with pytest.raises(WeightsError, match="no such file") as caught:
            read_weights(path)
        assert got in str(caught.value.got)
    for path in (tmp_path / "none", tmp_path / "empty.pth"):
        with pytest.raises(WeightsError):
            read_weights(path)


# Hostile files


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _payloads(target: Path) -> dict[str, bytes]:
    """Pickles that make the file `target` when Python's own reader reads them, or that try to."""
    command = f"open({str(target)!r}, 'w').close()"
    shell, code = _text(f"touch {target}"), _text(command)
    names = b"cmmengine.logging.history_buffer\nHistoryBuffer\n"
    getattr_ = b"c__builtin__\ngetattr\n"
    return {
        "system": b"cposix\nsystem\n" + shell + b"\x85R.",
        "os": b"cos\nsystem\n" + shell + b"\x85R.",
        "stack": _text("posix") + _text("system") + b"\x93" + shell + b"\x85R.",
        "nested name": _text("os") + _text("path.os.system") + b"\x93" + shell + b"\x85R.",
        "popen": b"csubprocess\nPopen\n" + _text("touch") + _text(str(target)) + b"\x86\x85R.",
        "eval": b"c__builtin__\neval\n" + code + b"\x85R.",
        "exec": b"cbuiltins\nexec\n" + code + b"\x85R.",
        "import": b"c__builtin__\n__import__\n" + _text("this") + b"\x85R.",
        "paddle's eval": b"cbuiltins\neval\n" + code + b"}" + _text("data") + b"Ns\x86R.",
        "inst": b"(" + shell + b"iposix\nsystem\n.",
        "obj": b"(cposix\nsystem\n" + shell + b"o.",
        "newobj": b"csubprocess\nPopen\n" + shell + b"\x85\x81.",
        "extension": b"\x82\x01.",
        "getattr": getattr_ + b"cos\nsystem\n" + _text("__call__") + b"\x86R" + shell + b"\x85R.",
        "getattr of a type": getattr_ + b"cnumpy\nndarray\n" + _text("__class__") + b"\x86R.",
        "getattr chain": getattr_ + getattr_ + names + _text("__init__") + b"\x86R" + _text("__globals__") + b"\x86R.",
        "call of a method": getattr_ + names + _text("mean") + b"\x86R" + shell + b"\x85R.",
        "call of a class": names + shell + b"\x85R.",
        "attributes of a class": b"ccollections\nOrderedDict\nN}" + _text("pop") + b"Ns\x86b.",
        "attributes of a function": b"ctorch._utils\n_rebuild_tensor_v2\n}" + _text("__code__") + b"Nsb.",
        "numpy's loader": b"cnumpy\nload\n" + _text(str(target)) + b"\x85R.",
        "numpy's test": b"cnumpy.testing._private.utils\nrunstring\n" + code + b"}\x86R.",
        "torch's loader": b"ctorch\nload\n" + _text(str(target)) + b"\x85R.",
        "storage's constructor": b"ctorch.storage\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R.",
        "tensor's constructor": b"ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
        "rebuild by type": b"ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\nN)NtR.",
        "other encoding": b"c_codecs\nencode\n" + _text("a") + _text("rot13") + b"\x86R.",
        "persistent": b"(" + _text("module") + b"cposix\nsystem\n" + shell + _text("cpu") + b"K\x01tQ.",
        "persistent text": b"Pstorage\n.",
    }


@pytest.mark.parametrize("kind", list(_payloads(Path("x"))))
def test_nothing_runs(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "made"
    payload = _payloads(target)[kind]
    table = b"\x80\x02}" + _text("a") + payload[:-1] + b"s."
    for attack in (b"\x80\x02" + payload, table):
        files = {
            "w.pdparams": attack,
            "w.pth": _torch_zip(attack),
            "w.tar": _legacy_file(attack),
            "first.pth": attack + _legacy_file(b""),
            "zip.pdparams": _torch_zip(attack),
        }
        for name, content in files.items():
            error = _refused(_write(tmp_path / name, content))
            if kind in ("system", "stack"):
                assert "could run code" in error.what
                assert error.got == "posix.system"
    assert not target.exists()


def test_the_payloads_are_real(tmp_path: Path) -> None:
    """Without this, the test before could pass by a slip in the bytes."""
    for kind in ("system", "stack", "eval", "exec", "inst", "obj"):
        target = tmp_path / kind
        pickle.loads(b"\x80\x02" + _payloads(target)[kind])  # noqa: S301
        assert target.exists()


def _view(size: bytes, stride: bytes, *, offset: bytes = b"K\x00", count: bytes = b"K\x04") -> bytes:
    """The pickle of a table with one float32 tensor in a storage of 16 bytes."""
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + count + b"tQ"
    rest = offset + size + stride + b"\x89ccollections\nOrderedDict\n)RtRs."
    return b"\x80\x02}" + _text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest


def _long(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def test_views_that_lie(tmp_path: Path) -> None:
    good = read_weights(_write(tmp_path / "w.pth", _torch_zip(_view(b"K\x04\x85", b"K\x01\x85"))))
    assert good.state["a"].tolist() == [0, 0, 0, 0]
    huge, minus = _long(2**62), _long(-1)
    for name, table in {
        "beyond": _view(b"K\x05\x85", b"K\x01\x85"),
        "stride": _view(b"K\x02\x85", b"K\x04\x85"),
        "offset": _view(b"K\x04\x85", b"K\x01\x85", offset=b"K\x01"),
        "repeated": _view(b"M\xff\xff\x85", b"K\x00\x85"),
        "huge": _view(huge + b"\x85", b"K\x00\x85"),
        "overflow": _view(huge + huge + b"\x86", huge + b"K\x01\x86"),
        "empty": _view(b"K\x00" + huge + b"\x86", b"K\x01K\x01\x86"),
        "empty and large": _view(b"K\x00" + _long(2**40) * 2 + b"\x87", b"K\x01K\x01K\x01\x87"),
        "negative": _view(minus + b"\x85", b"K\x01\x85"),
        "negative stride": _view(b"K\x02\x85", minus + b"\x85", offset=b"K\x03"),
        "negative offset": _view(b"K\x02\x85", b"K\x01\x85", offset=minus),
        "dimensions": _view(b"K\x02K\x02\x86", b"K\x01\x85"),
        "truth": _view(b"\x88\x85", b"K\x01\x85"),
        "count": _view(b"K\x05\x85", b"K\x01\x85", count=b"K\x05"),
        "huge count": _view(b"K\x04\x85", b"K\x01\x85", count=huge),
        "dtype": _view(b"K\x02\x85", b"K\x01\x85", count=b"K\x02").replace(b"FloatStorage", b"ComplexFloatStorage"),
        "quantized": _view(b"K\x10\x85", b"K\x01\x85", count=b"K\x10").replace(b"FloatStorage", b"QInt8Storage"),
        "unknown dtype": _view(b"K\x04\x85", b"K\x01\x85").replace(b"FloatStorage", b"NoStorage"),
        "other entry": _view(b"K\x04\x85", b"K\x01\x85").replace(_text("0"), _text("../version")),
    }.items():
        _refused(_write(tmp_path / f"{name}.pth", _torch_zip(table)))
        _refused(_write(tmp_path / f"{name}.tar", _legacy_file(table + b"\x80\x02]" + _text("0") + b"a.")))


def test_archives_that_lie(tmp_path: Path) -> None:
    table = _view(b"K\x04\x85", b"K\x01\x85")
    entries = [("a/data.pkl", table), ("a/data/0", bytes(16))]
    with pytest.warns(UserWarning, match="Duplicate name"):
        doubled = _zip_bytes([*entries, ("a/data/0", bytes(16))])
    good = _zip_bytes(entries)
    files = {
        "parent": _zip_bytes([*entries, ("a/../../x", b"")]),
        "absolute": _zip_bytes([*entries, ("/etc/x", b"")]),
        "windows": _zip_bytes([*entries, ("C:\\x", b"")]),
        "duplicate": doubled,
        "no storage": _zip_bytes(entries[:1]),
        "no table": _zip_bytes(entries[1:]),
        "two tables": _zip_bytes([*entries, ("b/data.pkl", table)]),
        "big endian": _zip_bytes([*entries, ("a/byteorder", b"big")]),
        "compressed": _zip_bytes(entries, compression=zipfile.ZIP_DEFLATED),
        "flipped byte": good.replace(bytes(16), bytes(15) + b"\1"),
        "arrays": _zip_bytes([("a.npy", b"")]),
        "tail": good + bytes(10),
        "directory": good[:-10] + struct.pack("<I", 2**31) + good[-6:],
    }
    for name, content in files.items():
        _refused(_write(tmp_path / f"{name}.pth", content))
    assert read_weights(_write(tmp_path / "w.pth", good)).state["a"].shape == (4,)


def _safetensors(header: object, data: bytes = bytes(16), *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_safetensors_that_lie(tmp_path: Path) -> None:
    entry: dict[str, object] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    second: dict[str, object] = {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}
    good = _safetensors({"a": entry, "b": second, "__metadata__": {"format": "pt"}})
    assert list(read_weights(_write(tmp_path / "w.pth", good)).state) == ["a", "b"]
    same = json.dumps(entry)
    files = {
        "overlap": _safetensors({"a": entry, "b": second | {"data_offsets": [4, 12]}}, bytes(12)),
        "hole": _safetensors({"a": entry, "b": second | {"data_offsets": [12, 20]}}, bytes(20)),
        "beyond": _safetensors({"a": entry, "b": second}, bytes(12)),
        "too long": _safetensors({"a": entry, "b": second}, bytes(20)),
        "backwards": _safetensors({"a": entry | {"data_offsets": [8, 0]}}, bytes(8)),
        "negative": _safetensors({"a": entry | {"data_offsets": [-8, 0]}}, bytes(0)),
        "huge offset": _safetensors({"a": entry | {"data_offsets": [0, 2**70]}}),
        "shape": _safetensors({"a": entry | {"shape": [3]}}, bytes(8)),
        "huge shape": _safetensors({"a": entry | {"shape": [2**40, 2**40]}}, bytes(8)),
        "overflow": _safetensors({"a": entry | {"shape": [2**63, 2, 0], "data_offsets": [0, 0]}}, b""),
        "dtype": _safetensors({"a": entry | {"dtype": "F99"}}, bytes(8)),
        "complex": _safetensors({"a": entry | {"dtype": "C64", "shape": [1]}}, bytes(8)),
        "no dtype": _safetensors({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        "duplicate": _safetensors(f'{{"a": {same}, "a": {same}}}'.encode(), bytes(8)),
        "list": _safetensors(b"[1, 2]"),
        "no json": _safetensors(b"{'a': 1}"),
        "deep": _safetensors(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "no text": _safetensors(b'{"\xff\xfe": 1}'),
        "huge header": _safetensors({"a": entry}, length=2**63),
        "header beyond": _safetensors({"a": entry}, length=1000),
        "header of nothing": _safetensors({"a": entry}, length=0),
        "empty": _safetensors({}, b""),
    }
    for name, content in files.items():
        _refused(_write(tmp_path / f"{name}.safetensors", content))
    assert "twice" in str(_refused(tmp_path / "duplicate.safetensors").got)
    assert "F99" in str(_refused(tmp_path / "dtype.safetensors").got)


def _bombs() -> dict[str, bytes]:
    """Small files that ask for much memory or time."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    dtype = b"cnumpy\ndtype\n(" + _text("f4") + b"\x89\x88tR(K\x03" + _text("<") + b"NNNK\x00K\x00K\x00tb"
    deep_table = b"\x80\x02}" + _text("a") + b"N" + b"\x85" * 190_000 + b"s."
    laughs = b"\x80\x02)" + b"q\x00h\x00\x86" * 100
    megabyte = _text("x" * 2**20) + b"q\x00"
    shared_bytes = b"B" + struct.pack("<I", 2**20) + bytes(2**20) + b"q\x01" + dtype + b"q\x02"
    one_array = array + b"(K\x01" + _long(2**18) + b"\x85h\x02\x89h\x01tb"
    scalars = b"".join(_text(str(index)) + one_array for index in range(3000))
    # Compressed: half a gigabyte of zeros.
    squeezed = _zip_bytes([("a/data.pkl", _view(_long(2**27) + b"\x85", b"K\x01\x85", count=_long(2**27)))])
    buffer = io.BytesIO(squeezed)
    with (
        zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/data/0", "w", force_zip64=True) as entry,
    ):
        for _ in range(32):
            entry.write(bytes(2**24))
    stored = bytearray(_torch_zip(_view(b"K\x04\x85", b"K\x01\x85")))
    place = stored.rindex(b"a/data/0") - 46
    struct.pack_into("<II", stored, place + 20, 2**31, 2**31)
    return {
        "array.pdparams": b"\x80\x02}"
        + _text("a")
        + array
        + b"(K\x01"
        + _long(2**40)
        + b"\x85"
        + dtype
        + b"\x89C\x00tbs.",
        "overflow.pdparams": b"\x80\x02}"
        + _text("a")
        + array
        + b"(K\x01"
        + _long(2**62) * 2
        + b"\x86"
        + dtype
        + b"\x89C\x00tbs.",
        "bytes.pdparams": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.",
        "text.pdparams": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc.",
        "memo.pdparams": b"\x80\x02Nr\xff\xff\xff\xff.",
        "frame.pdparams": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"}.",
        "bytearray.pdparams": b"\x80\x02c__builtin__\nbytearray\n" + _long(2**40) + b"\x85R.",
        "encode.pdparams": b"\x80\x02]("
        + megabyte
        + b"c_codecs\nencode\nh\x00"
        + _text("latin1")
        + b"\x86R"
        # Each of these makes another megabyte.
        + b"(c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 5000
        + b"e.",
        "pairs.pdparams": b"\x80\x02K\x01N\x86q\x01]("
        + b"h\x01" * 50_000
        + b"eq\x00"
        + b"ccollections\nOrderedDict\nh\x00\x85R" * 5000
        + b".",
        "shared bytes.pdparams": b"\x80\x03" + shared_bytes + b"}(" + scalars + b"u.",
        "laughs.pdparams": laughs + b".",
        "laughs as a key.pdparams": laughs + b"q\x01}h\x01Ns.",
        "laughs twice as a key.pdparams": laughs + b"q\x01ccollections\nOrderedDict\n]h\x01K\x01\x86a\x85R.",
        "laughs as a slice.pdparams": laughs
        + b"q\x01}"
        + _text("UnpackBigParamInfor@@")
        + b"}"
        + _text("w")
        + b"}("
        + _text("OriginShape")
        + b")"
        + _text("slices")
        + b"h\x01uss.",
        "laughs as a storage.pth": _legacy_file(_view(b"K\x04\x85", b"K\x01\x85") + laughs + b"."),
        "long keys.pdparams": b"\x80\x02}" + b"".join(_long(k * (2**61 - 1)) + b"Ns" for k in range(1, 20_000)) + b".",
        "deep.pdparams": deep_table,
        "deep lists.pdparams": b"\x80\x02" + b"]" * 90_000 + b"a" * 89_999 + b".",
        "marks.pdparams": b"\x80\x02" + b"(" * 2_000_000 + b".",
        "many.pdparams": b"\x80\x02" + b"}q\x00" * 1_000_000 + b".",
        "line.pdparams": b"\x80\x02c" + b"x" * 10_000_000,
        "number.pdparams": b"\x80\x02\x8b" + struct.pack("<I", 2**31 - 1) + b"\x01.",
        "digits.pdparams": b"\x80\x02I" + b"9" * 1_000_000 + b"\n.",
        "squeezed.pth": buffer.getvalue(),
        "stored.pth": bytes(stored),
        "deep.pth": _torch_zip(deep_table),
        "entries.pth": _zip_bytes([(f"{index}", b"") for index in range(40_000)]),
        "header.safetensors": struct.pack("<Q", 2**40) + b"{}",
        "wide header.safetensors": _safetensors(b'{"a": [' + b"[]," * 340_000 + b"[]]}"),
    }


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
@pytest.mark.slow
def test_bombs(tmp_path: Path) -> None:
    """In a process that may take no more than 256 MiB beside what it has, and that must not die."""
    bombs = _bombs()
    for name, content in bombs.items():
        _write(tmp_path / name, content)
    script = """
import resource, sys, time
from pathlib import Path
import clipshift.weights.checkpoint_files as weight_files
from clipshift.errors import WeightsError
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (size, size))
for path in sorted(Path(sys.argv[1]).iterdir()):
    seconds = []
    for _ in range(2):  # the quicker one is the file's, the other may be a busy machine's
        started = time.process_time()
        try:
            weight_files.read_weights(path)
            outcome = "read"
        except WeightsError as error:
            outcome = str(error.got)
        seconds.append(time.process_time() - started)
    print(path.name, round(min(seconds), 3), outcome, sep="|")
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert child.returncode == 0, child.stderr
    outcomes = [line.split("|") for line in child.stdout.splitlines()]
    assert len(outcomes) == len(bombs)
    for name, seconds, outcome in outcomes:
        assert outcome != "read", name
        assert "MemoryError" not in outcome, name
        assert float(seconds) < 1, name


# Damage


def _small_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], bytes]]:
    tensors = {name: value for name, value in TENSORS.items() if name != "none"}
    checkpoint = {"epoch": 3, "state_dict": tensors, "best_prec1": np.float64(1)}
    history_buffer = _history_buffer(monkeypatch)
    return {
        "safetensors": lambda: save({name: value.contiguous() for name, value in tensors.items()}),
        "zip": lambda: _torch_bytes(checkpoint),
        "legacy": lambda: _torch_bytes(checkpoint, new=False),
        "mmaction": lambda: _mmaction_checkpoint(history_buffer),
        "paddle2": lambda: pickle.dumps(ARRAYS, 2),
        "paddle4": lambda: pickle.dumps(ARRAYS, 4),
    }


KINDS = ("safetensors", "zip", "legacy", "mmaction", "paddle2", "paddle4")


def _read_or_refuse(path: Path) -> WeightsFile | None:
    started = time.process_time()
    try:
        weights = read_weights(path)
    except WeightsError:
        weights = None
    assert time.process_time() - started < 1
    for name, value in weights.state.items() if weights is not None else ():
        assert type(name) is str
        assert type(value) is Tensor
        assert value.device.type == "cpu"
    return weights


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    content = _small_files(monkeypatch)[kind]()
    path = tmp_path / "w.pth"
    places = np.unique(np.linspace(1, len(content) - 1, 200).astype(int))
    for place in (*places, len(content) - 1):
        _refused(_write(path, content[:place]))


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    content = _small_files(monkeypatch)[kind]()
    random = np.random.default_rng(0)
    path = tmp_path / "w.pth"
    for _ in range(300):
        mutated = bytearray(content)
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(len(mutated)))
            change = random.integers(4)
            if change == 0:
                mutated[place] ^= 1 << int(random.integers(8))
            elif change == 1:
                mutated[place] = int(random.integers(256))
            elif change == 2:
                mutated[place:place] = random.bytes(int(random.integers(1, 9)))
            else:
                del mutated[place : place + int(random.integers(1, 20))]
        _read_or_refuse(_write(path, bytes(mutated)))


def test_wrappers_and_prefixes_are_taken_off(tmp_path: Path) -> None:
    weights = {"a.weight": torch.ones(2), "b": torch.zeros(3)}
    parallel = {f"module.{name}": value for name, value in weights.items()}
    compiled = {f"_orig_mod.{name}": value for name, value in weights.items()}
    numbers = {"epoch": 3, "best": np.float64(71.5), "steps": np.int64(4), "arch": "resnet50"}
    for content in (
        weights,
        {"state_dict": parallel, **numbers},
        {"model": compiled},
    ):
        torch.save(content, tmp_path / "w.pth")
        state = read_weights(tmp_path / "w.pth").state
        assert {name: value.tolist() for name, value in state.items()} == {"a.weight": [1, 1], "b": [0, 0, 0]}
    torch.save(weights, tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    assert list(read_weights(tmp_path / "old.tar").state) == list(weights)
    save_file(weights, tmp_path / "w.safetensors")
    assert sorted(read_weights(tmp_path / "w.safetensors").state) == sorted(weights)


@pytest.mark.parametrize("new", [True, False])
def test_every_wrapper_of_training_code(tmp_path: Path, new: bool) -> None:
    plain = {
        "layer1.0.weight": torch.ones(2),
        "layer1.0.count": torch.tensor(3),
        "fc.bias": torch.zeros(3),
    }
    for around in (
        "_orig_mod.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "module.module.",
        "model.",
        "model._orig_mod.module.",
        "net.",
        "network.module.",
        "state_dict.",
        "model.net.",
        "_forward_module.model.",
        "_layers.",
    ):
        wrapped = {around + name: value for name, value in plain.items()}
        for content in (wrapped, {"state_dict": wrapped}, {"model": {"state_dict": wrapped}}, {"net": wrapped}):
            weights = read_weights(_write(tmp_path / "w.pth", _torch_bytes(content, new=new)))
            assert _same(weights.state, plain), around
            assert (weights.ignored, weights.notes) == ({}, ())
    for infix in ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"):
        parts = {
            f"layer1.{infix}.0.weight": plain["layer1.0.weight"],
            f"layer1.{infix}.0.count": plain["layer1.0.count"],
            "fc.bias": plain["fc.bias"],
        }
        assert _same(read_weights(_write(tmp_path / "w.pth", _torch_bytes(parts, new=new))).state, plain)


def test_prefixes_that_not_all_weights_have_stay(tmp_path: Path) -> None:
    state = {"model.a": torch.ones(1), "head.b": torch.ones(1)}
    torch.save(state, tmp_path / "w.pth")
    assert list(read_weights(tmp_path / "w.pth").state) == list(state)
    # Beside the network lie only counters and the loss: these are named, not lost.
    beside = {"model.a": torch.ones(1), "steps": torch.tensor(3), "loss_fn.weight": torch.ones(3)}
    torch.save(beside, tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    assert (list(weights.state), list(weights.ignored)) == (["a"], ["steps", "loss_fn.weight"])
    # Names of prefixes alone end, too.
    torch.save({"module." * 100 + "a": torch.ones(1)}, tmp_path / "w.pth")
    assert next(iter(read_weights(tmp_path / "w.pth").state)).startswith("module.")
    torch.save({"module.": torch.ones(1)}, tmp_path / "w.pth")
    assert list(read_weights(tmp_path / "w.pth").state) == ["module."]


def test_entries_of_the_same_parameter_are_refused(tmp_path: Path) -> None:
    torch.save({"a._orig_mod.weight": torch.ones(1), "a.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="of the same parameter") as caught:
        read_weights(tmp_path / "w.pth")
    assert caught.value.got == "a._orig_mod.weight and a.weight, both a.weight"


PLAIN, MEAN = {"a.weight": torch.ones(2)}, {"a.weight": torch.full((2,), 5.0)}
# Of every way to keep averaged weights beside the plain ones: the content, and what the note names.
AVERAGED: dict[str, tuple[dict[str, Any], str]] = {
    "timm": ({"state_dict": PLAIN, "state_dict_ema": MEAN, "epoch": 1}, "state_dict_ema"),
    "torchvision": (
        {"model": PLAIN, "model_ema": {"n_averaged": torch.tensor(9), "module.a.weight": MEAN["a.weight"]}},
        "model_ema",
    ),
    "prefix": (
        {"state_dict": {"model.a.weight": PLAIN["a.weight"], "ema_model.a.weight": MEAN["a.weight"]}},
        "ema_model.*",
    ),
    "ema_pytorch": (
        {
            "online_model.a.weight": PLAIN["a.weight"],
            "ema_model.module.a.weight": MEAN["a.weight"],
            "initted": torch.tensor(True),
            "step": torch.tensor(3),
        },
        "ema_model.*",
    ),
}


@pytest.mark.parametrize("kind", AVERAGED)
def test_averaged_weights_are_taken_when_asked_for(tmp_path: Path, kind: str) -> None:
    content, name = AVERAGED[kind]
    torch.save(content, tmp_path / "w.pth")
    for averaged, expected in ((False, PLAIN), (True, MEAN)):
        weights = read_weights(tmp_path / "w.pth", averaged=averaged)
        assert _same(weights.state, expected)
        (note,) = weights.notes
        assert name in note
        assert ("--ema takes them" in note) is not averaged


def test_averaged_weights_alone_and_missing(tmp_path: Path) -> None:
    for content in ({"state_dict_ema": MEAN}, {f"ema_model.{name}": value for name, value in MEAN.items()}):
        torch.save(content, tmp_path / "w.pth")
        for averaged in (False, True):
            weights = read_weights(tmp_path / "w.pth", averaged=averaged)
            assert _same(weights.state, MEAN)
            assert "averaged" in weights.notes[0]
    torch.save({"state_dict": PLAIN}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no averaged weights"):
        read_weights(tmp_path / "w.pth", averaged=True)
    # mmengine stores the averaged ones where others store the plain ones.
    source = {"module.a.weight": PLAIN["a.weight"], "steps": torch.tensor(4)}
    meta = {"mmengine_version": "0.10.7"}
    torch.save({"meta": meta, "state_dict": MEAN, "ema_state_dict": source}, tmp_path / "w.pth")
    for averaged in (False, True):
        assert _same(read_weights(tmp_path / "w.pth", averaged=averaged).state, MEAN)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "args": Fraction(1, 3)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="reading it could run code") as caught:
        read_weights(tmp_path / "w.pth")
    assert caught.value.got == "fractions.Fraction"
    assert len(str(caught.value).splitlines()) <= 8


def test_files_without_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="no such file"):
        read_weights(tmp_path)
    (tmp_path / "empty.pth").touch()
    with pytest.raises(WeightsError, match="is empty"):
        read_weights(tmp_path / "empty.pth")
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    with pytest.raises(WeightsError, match="no table of weights"):
        read_weights(tmp_path / "tensor.pth")
    torch.save({}, tmp_path / "nothing.pth")
    with pytest.raises(WeightsError, match="no table of weights"):
        read_weights(tmp_path / "nothing.pth")
    torch.save({"a": torch.ones(1), "lr": 0.1}, tmp_path / "mixed.pth")
    with pytest.raises(WeightsError, match="other things than weights") as caught:
        read_weights(tmp_path / "mixed.pth")
    assert caught.value.got == "lr (float)"
