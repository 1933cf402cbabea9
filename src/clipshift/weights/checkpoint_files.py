"""Reading files of weights: safetensors, PyTorch's and PaddlePaddle's. No code runs from a file.

PyTorch's and PaddlePaddle's files hold pickles, which [clipshift.weights.pickles][] reads without running them. A file
is known by its content, not by its suffix.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from clipshift.errors import WeightsError
from clipshift.weights.pickles import Array, ForbiddenNameError, Storage, View, plain_sizes, read_pickle
from clipshift.weights.wrappers import unwrap_names, unwrap_tables

Format = Literal["safetensors", "torch", "paddle"]

# What is kept of the numbers and texts beside the weights, where a file has them: MIT's at the top, mmaction2's in
# `meta`, PaddlePaddle's in the state of the learning rate.
_TOP_FACTS = ("arch", "epoch", "best_prec1")
_META_FACTS = ("mmaction_version", "mmengine_version", "mmcv_version", "epoch", "iter", "time")
_RATE_FACTS = ("last_epoch", "last_lr")
_LONGEST_FACT = 200
# Where training scripts keep their settings, those of the shift among them: argparse's, Lightning's, others.
_SETTINGS = ("args", "opt", "opts", "hyper_parameters", "hparams", "config", "cfg")
# mmaction2 keeps its configuration as a text of Python.
_CONFIG_TEXTS = ("cfg", "config")
_LONGEST_CONFIG = 2**20

# What PaddlePaddle keeps between the parameters: their other names, the learning rate, an optimizer's own copies.
_PADDLE_NAMES, _PADDLE_RATE, _PADDLE_COPIES = "StructuredToParameterName@@", "LR_Scheduler", "master_weights"
_PADDLE_SLICES = "UnpackBigParamInfor@@"

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# How many bytes an element has in kinds of storages that hold no weights, but may lie between those that do.
_OTHER_SIZES = {"UntypedStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16}
_HEADER_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Some ten thousand tensors; more takes longer to read than a hostile file should be able to ask for.
_MAX_HEADER = 2**20
_MAX_DIRECTORY = 2**21
_ALLOWED = ".safetensors, a file of torch.save, or PaddlePaddle's .pdparams"
_AGAIN = "fetch or copy the file again, and compare its size with the original's"


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        state: Names and tensors, of any number dtype, on the CPU; the wrappers (`state_dict`, `model`) and prefixes
            (`module.`, `_orig_mod.`, `model.`) of checkpoints are taken off.
        format: Who wrote the file.
        about: Numbers and short texts found beside the weights (`arch`, `epoch`, `mmaction_version`).
        classes: Names of the classes, where the file has them.
        ignored: {entry that is not of the network: why}, such as counters of an average, or a loss's weights.
        notes: Which of several sets of weights was taken.
        settings: Numbers and short texts of the training's settings (`args`), where the file has them.
        config: The training's configuration as a text (mmaction2), or nothing.
    """

    state: dict[str, Tensor]
    format: Format
    about: dict[str, str | int | float] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    ignored: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: dict[str, str | int | float] = field(default_factory=dict)
    config: str = ""


@dataclass(frozen=True, eq=False)
class _Content:
    """A file's table, and how to make a tensor of what stands in it for one (None where it is something else)."""

    format: Format
    table: object
    tensor: Callable[[object], Tensor | None]


def read_weights(path: str | Path, *, averaged: bool = False) -> WeightsFile:
    """Read a file of weights of any known format, whatever its suffix.

    Args:
        path: A `.safetensors` file; a file of `torch.save`, new or old, also a whole checkpoint of MIT's TSM or of
            mmaction2; a `.pdparams` or `.pdopt` of PaddlePaddle.
        averaged: Take the averaged weights (EMA) of a file that holds both; else the plain ones, if it has them.

    Returns:
        The weights, and what else the file says about them.

    Raises:
        WeightsError: There is no such file, it is damaged, it is of another format, it holds no weights (or none that
            are averaged), two entries are of the same parameter, or it asks for code.
    """
    path = Path(path)
    try:
        if not path.is_file():
            # Also a pipe or a device: opening one could wait for ever.
            got = "a folder" if path.is_dir() else "something that is no file" if path.exists() else None
            raise WeightsError("There is no such file of weights.", where=path, got=got, allowed=_ALLOWED)
        size = path.stat().st_size
        if size == 0:
            raise WeightsError("The file of weights is empty.", where=path, remedy=_AGAIN)
        with path.open("rb", buffering=0) as raw, _Bounded(raw, size) as file:
            head = file.read(1024)
            file.seek(0)
            return _weights_of(_reader(head, size, path)(file, size, path), path, averaged=averaged)
    except ForbiddenNameError as error:
        raise WeightsError(
            "The file holds more than weights, and was not opened: reading it could run code.",
            where=path,
            got=_printable(error.name),
            allowed="tensors, arrays, numbers, texts, and tables of them",
            remedy="where you trust it, save its weights alone where it was made: torch.save(model.state_dict(), ...)",
        ) from error
    except WeightsError:
        raise
    except Exception as error:
        # Damaged and hostile bytes end in many kinds of exceptions; all mean the same here.
        raise WeightsError(
            "The file of weights cannot be read: it is damaged, or not of a known format.",
            where=path,
            got=_printable(f"{type(error).__name__} {error}".partition("\n")[0].strip()),
            allowed=_ALLOWED,
            remedy=_AGAIN,
        ) from error


def _reader(head: bytes, size: int, path: Path) -> Callable[[io.BufferedReader, int, Path], _Content]:
    """How to read a file that begins with these bytes."""
    header_length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header_length <= size:
        return _read_safetensors
    if head.startswith(b"PK\x03\x04"):
        return _read_zip
    if head.startswith(b"\x80") and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _read_plain_pickle
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        what, remedy = "a web page", "the download failed: fetch the file itself, not the page that offers it"
    elif start.startswith(b"version https://git-lfs"):
        what, remedy = "a placeholder of Git LFS", "fetch the file itself: git lfs pull"
    elif path.suffix == ".safetensors" or head[8:9] == b"{":
        return _read_safetensors
    else:
        what, remedy = ("a text" if head.isascii() and b"\0" not in head else "of no known format"), _AGAIN
    raise WeightsError(
        f"The file of weights cannot be read: it is {what}.",
        where=path,
        got=f"its first bytes are {head[:24]!r}",
        allowed=_ALLOWED,
        remedy=remedy,
    )


def _weights_of(content: _Content, path: Path, *, averaged: bool) -> WeightsFile:
    """Take off what is wrapped around the weights, and make tensors of them."""
    about, classes = _facts(content.table, content)
    settings, config = _settings(content.table, content)
    table, notes, found = unwrap_tables(content.table, averaged=averaged)
    unwrapped = unwrap_names(_tensors(table, content, path), path, averaged=averaged, found=found)
    return WeightsFile(
        unwrapped.state,
        content.format,
        about,
        classes,
        ignored=unwrapped.ignored,
        notes=(*notes, *unwrapped.notes),
        settings=settings,
        config=config,
    )


def _tensors(table: object, content: _Content, path: Path) -> dict[str, Tensor]:
    """Names and tensors of a table that holds nothing else."""
    if not isinstance(table, Mapping) or not table:
        got = "nothing" if isinstance(table, Mapping) else f"a {type(table).__name__}"
        raise WeightsError(
            "The file holds no table of weights.", where=path, got=got, allowed="names and tensors", remedy=_AGAIN
        )
    if content.format == "paddle":
        table = _join_slices({k: v for k, v in table.items() if k not in (_PADDLE_NAMES, _PADDLE_RATE, _PADDLE_COPIES)})
    state: dict[str, Tensor] = {}
    strange = []
    for name, value in table.items():
        tensor = content.tensor(value) if isinstance(name, str) and name.isprintable() else None
        if tensor is None:
            strange.append(f"{_printable(str(name))} ({type(value).__name__})")
        else:
            state[name] = tensor
    if strange:
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise WeightsError(
            "The file holds other things than weights.",
            where=path,
            got=", ".join(strange[:5]) + more,
            allowed="names and tensors",
            remedy="save its weights alone: torch.save(model.state_dict(), ...)",
        )
    return state


def _settings(table: object, content: _Content) -> tuple[dict[str, str | int | float], str]:
    """The plain settings of the training, and its configuration as a text."""
    if not isinstance(table, Mapping):
        return {}, ""
    settings: dict[str, str | int | float] = {}
    for key in _SETTINGS:
        kept = table.get(key)
        for name, value in kept.items() if isinstance(kept, Mapping) else ():
            fact = _fact(int(value) if isinstance(value, bool) else value, content)
            if isinstance(name, str) and fact is not None:
                settings.setdefault(name, fact)
    meta = table.get("meta")
    texts = [meta.get(key) for key in _CONFIG_TEXTS] if isinstance(meta, Mapping) else []
    return settings, next((text for text in texts if isinstance(text, str) and len(text) <= _LONGEST_CONFIG), "")


def _facts(table: object, content: _Content) -> tuple[dict[str, str | int | float], tuple[str, ...] | None]:
    """The plain facts beside the weights, and the classes."""
    if not isinstance(table, Mapping):
        return {}, None
    meta = table.get("meta")
    about: dict[str, str | int | float] = {}
    for source, names in ((table.get(_PADDLE_RATE), _RATE_FACTS), (meta, _META_FACTS), (table, _TOP_FACTS)):
        for name in names:
            value = _fact(source.get(name), content) if isinstance(source, Mapping) else None
            if value is not None:
                about[name] = value
    if not isinstance(meta, Mapping):
        return about, None
    dataset = meta.get("dataset_meta")
    found = dataset.get("classes") if isinstance(dataset, Mapping) else meta.get("CLASSES")
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) for name in found):
        return about, None
    return about, tuple(found) if all(name.isprintable() for name in found) else None


def _fact(value: object, content: _Content) -> str | int | float | None:
    """The value, where it is a short text or a finite number (which checkpoints also keep as a tensor)."""
    if isinstance(value, View) and math.prod(value.size) == 1:
        tensor = content.tensor(value)
        value = None if tensor is None else tensor.item()
    if isinstance(value, str):
        return value if value.isprintable() and len(value) <= _LONGEST_FACT else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    return None


def _printable(text: str) -> str:
    """Short, and without what a terminal would obey."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[:160])
    return shown + ("..." if len(text) > 160 else "")


# safetensors


def _read_safetensors(file: io.BufferedReader, size: int, path: Path) -> _Content:
    try:
        _check_header(file, size)
        state = load_file(path)
    except Exception as error:
        raise WeightsError(
            "The safetensors file cannot be read: it is damaged, or no safetensors file.",
            where=path,
            got=_printable(str(error)),
            allowed=_ALLOWED,
            remedy=_AGAIN,
        ) from error
    return _Content("safetensors", state, lambda value: value if isinstance(value, Tensor) else None)


def _check_header(file: io.BufferedReader, size: int) -> None:
    """What the library lets pass: names that stand there twice, and dtypes that no weights have."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise ValueError(f"a header of {length} bytes in a file of {size}")
    header = json.loads(file.read(length), object_pairs_hook=_without_doubles)
    header.pop("__metadata__", None)
    if not all(isinstance(entry, dict) for entry in header.values()):
        raise ValueError("a header that describes no tensors")
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if entry["dtype"] not in _HEADER_SIZES:
            raise ValueError(f"dtype {entry['dtype']} of {name}; allowed are {', '.join(_HEADER_SIZES)}")
        first, last = entry["data_offsets"]
        if first != end:
            raise ValueError(f"the bytes of {name} overlap others, or leave a hole")
        if last - first != math.prod(plain_sizes(entry["shape"])) * _HEADER_SIZES[entry["dtype"]]:
            raise ValueError(f"{name} has another number of bytes than its shape asks for")
        end = last
    if end != size - 8 - length:
        raise ValueError(f"{size - 8 - length} bytes of tensors, where the header describes {end}")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name that stands there twice")
    return table


# PyTorch


def _read_zip(file: io.BufferedReader, size: int, path: Path) -> _Content:
    """A file of `torch.save` since PyTorch 1.6: a zip archive of a pickle and the bytes of each storage."""
    _check_directory(file, size)
    # Closed with the file.
    archive = zipfile.ZipFile(file)
    entries = _check_entries(archive, size)
    tables = [name for name in entries if name.endswith("/data.pkl")]
    if len(tables) != 1:
        raise WeightsError(
            "The archive is not one of torch.save.",
            where=path,
            got=f"{len(tables)} entries data.pkl among {len(entries)}",
            allowed=_ALLOWED,
            remedy="where it was packed by hand, unpack it first",
        )
    root = tables[0].removesuffix("data.pkl")
    if f"{root}byteorder" in entries and archive.read(entries[f"{root}byteorder"]) != b"little":
        raise ValueError("numbers in another byte order")
    raw = archive.read(entries[tables[0]])
    table = read_pickle(io.BytesIO(raw), len(raw)).value

    def storage_bytes(storage: Storage) -> bytearray:
        entry = entries.get(f"{root}data/{storage.key}")
        if entry is None:
            raise ValueError(f"the entry data/{storage.key} is missing")
        return bytearray(archive.read(entry))

    return _Content("torch", table, _tensor_maker(storage_bytes))


def _check_directory(file: io.BufferedReader, size: int) -> None:
    """The archive ends in its directory, and this is of a size that is quickly read."""
    file.seek(max(0, size - 98))
    tail = file.read(98).rjust(98, b"\0")
    if tail[76:80] != b"PK\x05\x06":
        raise ValueError("the end of the archive is missing")
    # Archives with 64-bit sizes have two more records before the last.
    large = tail[56:60] == b"PK\x06\x07"
    (length,) = struct.unpack("<Q", tail[40:48]) if large else struct.unpack("<I", tail[88:92])
    if length > min(size, _MAX_DIRECTORY):
        raise ValueError(f"a directory of {length} bytes in an archive of {size}")


def _check_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    entries = {}
    for entry in archive.infolist():
        name = entry.filename
        if name in entries:
            raise ValueError(f"the entry {name} is there twice")
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise ValueError(f"the entry {name} lies outside of the archive")
        # PyTorch does not compress, which makes every byte of an entry a byte of the file.
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
            raise ValueError(f"the entry {name} is compressed or encrypted")
        entries[name] = entry
    if sum(entry.file_size for entry in entries.values()) > size:
        raise ValueError("entries that are larger than the archive")
    return entries


def _read_plain_pickle(file: io.BufferedReader, size: int, _path: Path) -> _Content:
    """A pickle that is not in an archive: PaddlePaddle's, or the first of several in an old file of `torch.save`."""
    first = read_pickle(file, size)
    if type(first.value) is int and first.value == _LEGACY_MAGIC:
        return _read_legacy(file, size)
    if first.storages:
        raise ValueError("tensors whose bytes lie elsewhere")
    made: dict[int, Tensor] = {}

    def tensor(value: object) -> Tensor | None:
        if type(value) is tuple and len(value) == 2 and isinstance(value[0], str):
            value = value[1]
        if type(value) is not Array:
            return None
        if id(value) not in made:
            made[id(value)] = _tensor_of_array(value)
        return made[id(value)]

    return _Content("paddle", first.value, tensor)


def _read_legacy(file: io.BufferedReader, size: int) -> _Content:
    """A file of `torch.save` before PyTorch 1.6: pickles one after the other, then the bytes of each storage."""
    if read_pickle(file, size).value != _LEGACY_PROTOCOL:
        raise ValueError("an unknown version of PyTorch's old format")
    system = read_pickle(file, size).value
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("numbers in another byte order")
    content = read_pickle(file, size)
    keys = read_pickle(file, size).value
    starts: dict[str, int] = {}
    position = file.tell()
    for key in keys:
        if type(key) is not str:  # the hash of a nested tuple can take for ever
            raise ValueError("a storage without a name")
        storage = content.storages[key]
        file.seek(position)
        if file.read(8) != storage.count.to_bytes(8, "little") or key in starts:
            raise ValueError(f"storage {_printable(key)} does not begin where it should")
        starts[key] = position + 8
        position += 8 + _nbytes(storage)
        if position > size:
            raise ValueError(f"storage {_printable(key)} reaches beyond the end of the file")

    def storage_bytes(storage: Storage) -> bytearray:
        file.seek(starts[storage.key])
        return _read_bytes(file, _nbytes(storage))

    return _Content("torch", content.value, _tensor_maker(storage_bytes))


class _Bounded(io.BufferedReader):
    """A file that is asked for no more bytes than it has: Python sets memory aside for as many as are asked for."""

    def __init__(self, file: io.FileIO, size: int) -> None:
        super().__init__(file)
        self._size = size

    def read(self, count: int | None = -1) -> bytes:
        if count is not None and count > 4096:
            count = max(0, min(count, self._size - self.tell()))
        return super().read(count)


def _read_bytes(file: io.BufferedReader, count: int) -> bytearray:
    data = bytearray(count)
    if file.readinto(data) != count:
        raise ValueError("the file ends before its last tensor")
    return data


def _nbytes(storage: Storage) -> int:
    dtype = _DTYPES.get(storage.kind)
    itemsize = _OTHER_SIZES.get(storage.kind) if dtype is None else dtype.itemsize
    if itemsize is None:
        raise ValueError(f"a storage of the unknown kind {storage.kind}")
    return storage.count * itemsize


def _tensor_maker(storage_bytes: Callable[[Storage], bytearray]) -> Callable[[object], Tensor | None]:
    """A function that makes tensors of views; each storage is read once, when a tensor first needs it."""
    read: dict[str, bytearray] = {}

    def tensor(view: object) -> Tensor | None:
        if type(view) is not View:
            return None
        storage = view.storage
        if storage.kind not in _DTYPES or view.dtype is not None:
            raise ValueError(f"a tensor of {view.dtype or storage.kind}, which no weights are")
        _check_view(view)
        if storage.key not in read:
            read[storage.key] = storage_bytes(storage)
            if len(read[storage.key]) != _nbytes(storage):
                raise ValueError(f"storage {storage.key} has another number of bytes than it should")
        dtype = _DTYPES[storage.kind]
        if math.prod(view.size) == 0:
            return torch.empty(view.size, dtype=dtype)
        elements = torch.frombuffer(read[storage.key], dtype=dtype)
        return elements.as_strided(view.size, view.stride, view.offset)

    return tensor


def _check_view(view: View) -> None:
    """The view lies in its storage, and has no more elements than it (a stride of nothing repeats one for free)."""
    elements = math.prod(view.size)
    if len(view.size) != len(view.stride) or elements > view.storage.count:
        raise ValueError("a tensor of another size than its storage")
    steps = zip(view.size, view.stride, strict=True)
    if elements and view.offset + sum((length - 1) * stride for length, stride in steps) >= view.storage.count:
        raise ValueError("a tensor that reaches beyond its storage")


# PaddlePaddle


def _tensor_of_array(array: Array) -> Tensor:
    tensor = torch.from_numpy(array.numpy())
    if tensor.dtype == torch.uint16:
        # NumPy has no bfloat16: PaddlePaddle writes its bits as unsigned integers, and has no others of 16 bits.
        return tensor.view(torch.bfloat16)
    if tensor.dtype not in _DTYPES.values():
        raise ValueError(f"an array of {tensor.dtype}, which no weights are")
    return tensor


def _join_slices(table: dict[Any, Any]) -> dict[Any, Any]:
    """Put together the parameters that PaddlePaddle cuts for old pickles, which hold no object above four gigabytes."""
    cut = table.pop(_PADDLE_SLICES, {})
    for name, entry in cut.items():
        if any(type(part) is not str for part in entry["slices"]):  # the hash of a nested tuple can take for ever
            raise ValueError(f"a slice of {name} without a name")
        # Each slice is taken out of the table, and so makes part of one parameter only.
        arrays = [table.pop(part) for part in entry["slices"]]
        shape = plain_sizes(entry["OriginShape"])
        if len({array.dtype for array in arrays}) != 1 or any(len(array.shape) != 1 for array in arrays):
            raise ValueError(f"the slices of {name} do not belong together")
        if sum(array.shape[0] for array in arrays) != math.prod(shape):
            raise ValueError(f"the slices of {name} do not fill its shape")
        table[name] = Array(shape, arrays[0].dtype, raw=b"".join(array.raw for array in arrays))
    return table
