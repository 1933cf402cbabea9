"""Reading pickles without running them: the names of code in a file stay names, and only plain values come out.

A pickle is a small program. Python's own reader runs it, and even with a list of allowed names it hands control to the
file's author: to callables, to attributes, to hashes of nested tuples that take years. Here every operation is one of a
few dozen small functions over a list; what a file may "call" is a table from names to functions of this module, which
copy nothing twice and set no memory aside that the file does not fill.

`torch.load(..., weights_only=True)` is no replacement: before torch 2.10 a file can corrupt memory through it
(CVE-2026-24747: items set on what is no dict, storages that declare more elements than the archive has), and clipshift
runs on torch 2.9. It also refuses the checkpoints that people have, with an `argparse.Namespace` or a path in them.
Those are data, too, and are read as such: their classes are never looked up.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

# A checkpoint of a thousand tensors with two states of an optimizer each takes some 150 000.
_MAX_OPERATIONS = 200_000
# More elements than any machine holds: refused before NumPy or PyTorch compute with them.
_MAX_ELEMENTS = 2**48


class ForbiddenNameError(ValueError):
    """The pickle asks for code that is not known here.

    Args:
        name: Module and name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


@dataclass(frozen=True, slots=True)
class Name:
    """A function or class that the pickle names; never looked up."""

    text: str


@dataclass(slots=True, eq=False)
class DType:
    """A NumPy dtype of plain numbers: its code (`f4`) and byte order."""

    code: str
    order: str = "="

    def numpy(self) -> np.dtype[Any]:
        """As NumPy has it."""
        return np.dtype(self.order + self.code)


@dataclass(slots=True, eq=False)
class Array:
    """A NumPy array as bytes: `raw` has exactly the bytes that shape and dtype ask for, once it is complete."""

    shape: tuple[int, ...] = (0,)
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.uint8))
    fortran: bool = False
    raw: bytes = b""

    def numpy(self) -> NDArray[Any]:
        """A new array of its own memory, in this machine's byte order."""
        array = np.frombuffer(self.raw, self.dtype).astype(self.dtype.newbyteorder("="), copy=True)
        return array.reshape(self.shape, order="F" if self.fortran else "C")


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a PyTorch file keeps elements: the entry's name, the kind (`FloatStorage`), and how many there are."""

    key: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A PyTorch tensor: which elements of a storage, and a dtype (`torch.uint16`) where the storage has none."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str | None = None


class Record(dict[Any, Any]):
    """The attributes of a plain object (`argparse.Namespace`) by name; a mapping in every other respect."""

    __slots__ = ()


class Opaque:
    """Something that is known to be harmless, and that nobody reads."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pickle:
    """What a pickle holds.

    Attributes:
        value: None, numbers, strings (also for paths), bytes, tuples, lists, dicts, and the classes of this module. May
            contain itself, and may be nested to any depth: do not walk it recursively, hash it, compare it or print it.
        storages: Every storage that it mentions, by key.
    """

    value: Any
    storages: dict[str, Storage]


def read_pickle(file: IO[bytes], size: int) -> Pickle:
    """Read one pickle; the file is then right behind it.

    Args:
        file: Read through `read`, `readline` and `tell`. `read` must not set aside more memory than there are bytes.
        size: Bytes in the file; what is made from it in memory stays within a multiple of them.

    Raises:
        ForbiddenNameError: It names code that is not known here.
        Exception: Of any kind: it is damaged, or does what files of weights do not do.
    """
    machine = _Machine(budget=2 * size + 4096)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count == _MAX_OPERATIONS:
            raise ValueError(f"more than {_MAX_OPERATIONS} operations")
        if opcode.name in _VALUES:
            machine.stack.append(argument)
            continue
        operation = _OPERATIONS.get(opcode.name)
        if operation is None:
            raise ValueError(f"operation {opcode.name}")
        operation(machine, argument)
    return Pickle(machine.stack.pop(), machine.storages)


def plain_sizes(value: object) -> tuple[int, ...]:
    """The value, where it is a usable shape.

    Raises:
        ValueError: It is none, or one of more elements than a machine can hold.
    """
    sizes = plain_numbers(value)
    if math.prod(max(1, size) for size in sizes) > _MAX_ELEMENTS:
        raise ValueError("a shape of too many elements")
    return sizes


def plain_numbers(value: object) -> tuple[int, ...]:
    """The value, where it is a short row of natural numbers: a stride, an offset.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, tuple | list) or len(value) > 32:
        raise ValueError("a shape or stride that is none")
    if any(type(number) is not int or not 0 <= number <= _MAX_ELEMENTS for number in value):
        raise ValueError("a shape, stride or offset out of range")
    return tuple(value)


class _Machine:
    """The state of a pickle that is being read."""

    def __init__(self, budget: int) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.budget = budget

    def spend(self, size: int) -> None:
        """Account for a copy: a file may ask for the same one again and again."""
        self.budget -= size
        if self.budget < 0:
            raise ValueError("more memory is asked for than the file has bytes")

    def since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marked.pop()
        return items


# Operations: what to do with the machine and the argument that follows in the file.


def _nothing(machine: _Machine, _: object) -> None:
    pass


def _push(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _mark(machine: _Machine, _: object) -> None:
    machine.marked.append(machine.stack)
    machine.stack = []


def _tuple(machine: _Machine, _: object) -> None:
    items = machine.since_mark()
    machine.stack.append(tuple(items))


def _tuple_of(length: int) -> Callable[[_Machine, Any], None]:
    def operation(machine: _Machine, _: object) -> None:
        if len(machine.stack) < length:
            raise ValueError("a tuple of missing items")
        machine.stack[-length:] = [tuple(machine.stack[-length:])]

    return operation


def _append(machine: _Machine, _: object) -> None:
    _extend(machine, [machine.stack.pop()])


def _appends(machine: _Machine, _: object) -> None:
    _extend(machine, machine.since_mark())


def _extend(machine: _Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise ValueError("items for something that is no list")
    target.extend(items)


def _set_item(machine: _Machine, _: object) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _update(machine.stack[-1], [key, value])


def _set_items(machine: _Machine, _: object) -> None:
    items = machine.since_mark()
    _update(machine.stack[-1], items)


def _update(target: Any, items: list[Any]) -> None:  # noqa: ANN401 - whatever the file sets items on
    if type(target) not in (dict, Record) or len(items) % 2:
        raise ValueError("items for something that is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Other keys are not found in files of weights, and can be made so that their hashes take for ever: nested
        # tuples, and long integers that all have the same.
        if type(key) is not str and not (type(key) is int and abs(key) < 2**60):
            raise ValueError(f"a key that is a {type(key).__name__}")
        target[key] = value


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _memoize(machine: _Machine, _: object) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _global(machine: _Machine, argument: str) -> None:
    machine.stack.append(_known(argument.replace(" ", ".", 1)))


def _stack_global(machine: _Machine, _: object) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name that is no text")
    machine.stack.append(_known(f"{module}.{name}"))


def _known(text: str) -> Name:
    # Python 2 called it otherwise, and files of protocol 2 still do.
    text = re.sub(r"^__builtin__\.", "builtins.", text)
    known = text in _CALLS or text in _PLAIN_NAMES or text in _RECORDS
    if not known and _TORCH_NAMES.fullmatch(text) is None:
        raise ForbiddenNameError(text)
    return Name(text)


def _reduce(machine: _Machine, _: object) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(_call(machine, function, arguments))


def _call(machine: _Machine, function: object, arguments: object) -> object:
    if type(function) is not Name or type(arguments) is not tuple or function.text not in _CALLS:
        raise ValueError("a call of something that is no function")
    return _CALLS[function.text](machine, *arguments)


def _new(machine: _Machine, _: object) -> None:
    machine.stack.pop()
    made = machine.stack.pop()
    if type(made) is Name and made.text in _RECORDS:
        machine.stack.append(Record())
    elif made == _HISTORY:
        machine.stack.append(Opaque())
    else:
        raise ValueError("an object of a class that is none")


def _build(machine: _Machine, _: object) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if type(target) is Array:
        _build_array(machine, target, *state)
    elif type(target) is DType:
        _build_dtype(target, *state)
    elif type(target) is Record:
        _build_record(machine, target, state)
    elif type(target) is not dict and type(target) is not Opaque:
        # A dict's attributes (the versions of PyTorch's modules) and those of known objects are left out.
        raise ValueError("attributes for something that has none")


def _build_array(machine: _Machine, array: Array, _: object, shape: object, dtype: object, *rest: object) -> None:
    fortran, raw = rest
    if isinstance(raw, str):  # written by Python 2
        machine.spend(len(raw))
        raw = raw.encode("latin-1")
    if type(dtype) is not DType or type(raw) is not bytes:
        raise ValueError("an array that is none")
    machine.spend(len(raw))
    sizes, kind = plain_sizes(shape), dtype.numpy()
    if math.prod(sizes) * kind.itemsize != len(raw):
        raise ValueError("an array with another number of bytes than its shape asks for")
    array.shape, array.dtype, array.fortran, array.raw = sizes, kind, bool(fortran), raw


def _build_dtype(dtype: DType, _: object, order: object, *rest: object) -> None:
    # What follows describes parts: sub-arrays, names and fields of records.
    if order not in ("<", ">", "|", "=") or len(rest) < 3 or any(part is not None for part in rest[:3]):
        raise ValueError("a dtype that is not of plain numbers")
    dtype.order = str(order)


def _build_record(machine: _Machine, record: Record, state: object) -> None:
    if type(state) is not dict:
        raise ValueError("attributes that are no table")
    machine.spend(len(state))
    record.update(state)


def _persistent(machine: _Machine, _: object) -> None:
    identifier = machine.stack.pop()
    if type(identifier) is not tuple or len(identifier) not in (5, 6) or identifier[5:] not in ((), (None,)):
        raise ValueError("a storage that is none")
    tag, kind, key, _location, count = identifier[:5]
    if tag != "storage" or type(kind) is not Name or type(key) is not str:
        raise ValueError("a storage that is none")
    (count,) = plain_numbers((count,))
    storage = Storage(key, kind.text.rpartition(".")[2], count)
    if machine.storages.setdefault(key, storage) != storage:
        raise ValueError("two storages of the same name")
    machine.stack.append(storage)


# Calls: what stands in for the functions and classes that files of weights name.


def _make_array(_: _Machine, kind: object, shape: object, code: object) -> Array:
    if kind != Name("numpy.ndarray") or shape != (0,) or code not in (b"b", "b"):
        raise ValueError("an array that is none")
    return Array()


def _make_dtype(_: _Machine, code: object, *flags: object) -> DType:
    if not isinstance(code, str) or re.fullmatch(r"b1|[iu][1248]|f[248]", code) is None or len(flags) > 2:
        raise ValueError("a dtype that is not of plain numbers")
    return DType(code)


def _make_scalar(_: _Machine, dtype: object, raw: object) -> int | float | bool:
    raw = raw.encode("latin-1") if isinstance(raw, str) and len(raw) <= 8 else raw
    if type(dtype) is not DType or type(raw) is not bytes or len(raw) != dtype.numpy().itemsize:
        raise ValueError("a number that is none")
    number: int | float | bool = np.frombuffer(raw, dtype.numpy())[0].item()
    return number


def _encode(machine: _Machine, text: object, encoding: object) -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("text in an unknown encoding")
    machine.spend(len(text))
    return text.encode("latin-1")


def _no_bytes(_: _Machine) -> bytes:
    return b""  # as protocol 2 writes it: a call without arguments


def _make_dict(machine: _Machine, pairs: object = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    if not isinstance(pairs, list | tuple):
        raise ValueError("a dict of something else than pairs")
    machine.spend(len(pairs))
    for pair in pairs:
        _update(made, list(pair) if isinstance(pair, list | tuple) and len(pair) == 2 else [None])
    return made


def _counts(_: _Machine, counts: object = None) -> dict[Any, Any]:
    return counts if type(counts) is dict else {}


def _default_dict(_machine: _Machine, *_factory: object) -> dict[Any, Any]:
    return {}


def _same_tuple(_: _Machine, items: object = ()) -> tuple[Any, ...]:
    if type(items) is not tuple:
        raise ValueError("a tuple of something else")
    return items


def _path(machine: _Machine, *parts: object) -> str:
    texts = [part for part in parts if type(part) is str]
    if len(texts) != len(parts):
        raise ValueError("a path of something else than texts")
    machine.spend(sum(map(len, texts)) + len(texts))
    root = texts[:1] if texts and texts[0].endswith(("/", "\\")) else []
    return "".join(root) + "/".join(texts[len(root) :])


def _method(_: _Machine, owner: object, name: object) -> Opaque:
    if owner != _HISTORY or type(name) is not str:
        raise ForbiddenNameError("builtins.getattr")
    return Opaque()


def _opaque(_machine: _Machine, *_: object) -> Opaque:
    return Opaque()


def _make_view(_: _Machine, storage: object, offset: object, size: object, stride: object, *rest: object) -> View:
    if type(storage) is not Storage:
        raise ValueError("a tensor without a storage")
    (start,) = plain_numbers((offset,))
    # Requires-grad and hooks come first; the dtype stands third, where there is one.
    dtype = rest[2].text if len(rest) > 2 and isinstance(rest[2], Name) else None
    return View(storage, start, plain_sizes(size), plain_numbers(stride), dtype)


def _parameter(_machine: _Machine, view: object, *_: object) -> View:
    if type(view) is not View:
        raise ValueError("a parameter that is no tensor")
    return view


def _typed_view(machine: _Machine, function: object, _kind: object, arguments: object, *_: object) -> View:
    if type(function) is not Name or function.text not in _TENSORS:
        raise ValueError("a tensor that is none")
    return _parameter(machine, _call(machine, function, arguments))


_HISTORY = Name("mmengine.logging.history_buffer.HistoryBuffer")
_TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _make_view,
    "torch._utils._rebuild_tensor_v2": _make_view,
    "torch._utils._rebuild_tensor_v3": _make_view,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
# The plain objects that training scripts keep beside the weights: their settings.
_RECORDS = frozenset(
    {
        "argparse.Namespace",
        "pytorch_lightning.utilities.parsing.AttributeDict",
        "lightning.pytorch.utilities.parsing.AttributeDict",
        "lightning_fabric.utilities.data.AttributeDict",
        "lightning.fabric.utilities.data.AttributeDict",
    }
)
# Python 3.13 moved its paths to another module, and 3.14 back.
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
# NumPy 1 and 2 write their functions under different names. PaddlePaddle saves a parameter as a tuple of its name and
# its array; mmengine keeps the history of every logged number, with the methods that take its mean and extremes.
_CALLS: dict[str, Callable[..., Any]] = {
    **_TENSORS,
    "torch._tensor._rebuild_from_type_v2": _typed_view,
    "torch.Size": _same_tuple,
    "torch.device": _opaque,
    "numpy.core.multiarray._reconstruct": _make_array,
    "numpy._core.multiarray._reconstruct": _make_array,
    "numpy.core.multiarray.scalar": _make_scalar,
    "numpy._core.multiarray.scalar": _make_scalar,
    "numpy.dtype": _make_dtype,
    "collections.OrderedDict": _make_dict,
    "collections.Counter": _counts,
    "collections.defaultdict": _default_dict,
    "builtins.tuple": _same_tuple,
    "builtins.bytes": _no_bytes,
    "builtins.getattr": _method,
    "builtins.set": _opaque,
    "builtins.complex": _opaque,
    "_codecs.encode": _encode,
    **{f"{module}.{name}": _path for module in ("pathlib", "pathlib._local") for name in _PATHS},
}
_PLAIN_NAMES = frozenset(
    {
        _HISTORY.text,
        "numpy.ndarray",
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        "builtins.bool",
        "builtins.dict",
        "builtins.float",
        "builtins.int",
        "builtins.list",
        "builtins.long",  # int, and below str, as Python 2 called them: protocol 2 still does
        "builtins.str",
        "builtins.unicode",
    }
)
_TORCH_NAMES = re.compile(r"torch\.((cuda\.)?[A-Z][A-Za-z0-9]*Storage|(b?float|complex|q?u?int)[0-9]\w*|bool)")
_VALUES = frozenset(
    {
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
    }
)
_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "STOP": _nothing,
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_TUPLE": _push(tuple),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(dict),
    "MARK": _mark,
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _memoize,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
