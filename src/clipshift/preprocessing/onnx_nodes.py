"""ONNX graphs written as formulas: the few lines that the graphs of this package are made with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

INT64, INT32, FLOAT, DOUBLE, UINT8 = (
    TensorProto.INT64,
    TensorProto.INT32,
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.UINT8,
)
_GIVES: dict[str, int] = {
    **dict.fromkeys(("Less", "Equal", "Greater", "GreaterOrEqual", "Or"), TensorProto.BOOL),
    "Shape": INT64,
}
"""The element type of operators that do not keep that of what they take."""

Number = int | float


class Value:
    """A value of a graph, to compute with: each operation appends a node, numbers become constants of its type.

    Attributes:
        nodes: The graph's.
        name: In the graph.
        kind: Its element type, one of ONNX's numbers.
    """

    def __init__(self, nodes: Nodes, name: str, kind: int) -> None:
        self.nodes = nodes
        self.name = name
        self.kind = kind

    def __add__(self, other: Value | Number) -> Value:
        return self.nodes.add("Add", self, self._beside(other))

    def __sub__(self, other: Value | Number) -> Value:
        return self.nodes.add("Sub", self, self._beside(other))

    def __rsub__(self, other: Number) -> Value:
        return self.nodes.add("Sub", self._beside(other), self)

    def __mul__(self, other: Value | Number) -> Value:
        return self.nodes.add("Mul", self, self._beside(other))

    def __truediv__(self, other: Value | Number) -> Value:
        return self.nodes.add("Div", self, self._beside(other))

    def __rtruediv__(self, other: Number) -> Value:
        return self.nodes.add("Div", self._beside(other), self)

    def __floordiv__(self, other: Value | Number) -> Value:
        """Of whole numbers, which ONNX divides towards zero: right where none is negative."""
        return self.nodes.add("Div", self, self._beside(other))

    def __mod__(self, other: Value | Number) -> Value:
        return self.nodes.add("Mod", self, self._beside(other))

    def __lt__(self, other: Value | Number) -> Value:
        return self.nodes.add("Less", self, self._beside(other))

    def __gt__(self, other: Value | Number) -> Value:
        return self.nodes.add("Greater", self, self._beside(other))

    def __ge__(self, other: Value | Number) -> Value:
        return self.nodes.add("GreaterOrEqual", self, self._beside(other))

    def __or__(self, other: Value) -> Value:
        return self.nodes.add("Or", self, other)

    def __abs__(self) -> Value:
        return self.nodes.add("Abs", self)

    def floor(self) -> Value:
        """The largest whole numbers that are not larger."""
        return self.nodes.add("Floor", self)

    def at_least(self, least: Value | Number) -> Value:
        """The larger of both, place by place."""
        return self.nodes.add("Max", self, self._beside(least))

    def at_most(self, most: Value | Number) -> Value:
        """The smaller of both, place by place."""
        return self.nodes.add("Min", self, self._beside(most))

    def where(self, chosen: Value | Number, others: Value) -> Value:
        """`chosen` where this is true, `others` elsewhere."""
        return self.nodes.add("Where", self, chosen if isinstance(chosen, Value) else others._beside(chosen), others)

    def total(self, *axes: int, keep: bool = False) -> Value:
        """The sum over axes, or over all."""
        over = (self.nodes.integer(axes),) if axes else ()
        return self.nodes.add("ReduceSum", self, *over, keepdims=int(keep))

    def cast(self, kind: int) -> Value:
        """The value in another element type."""
        return self.nodes.add("Cast", self, kind=kind, to=kind)

    def turn(self, *axes: int) -> Value:
        """The value with its axes in another order."""
        return self.nodes.add("Transpose", self, perm=list(axes))

    def take(self, places: Value, axis: int) -> Value:
        """The entries of an axis at some places; `places` may have several axes."""
        return self.nodes.add("Gather", self, places, axis=axis)

    def expand(self, *axes: int) -> Value:
        """The value with new axes of length 1."""
        return self.nodes.add("Unsqueeze", self, self.nodes.integer(axes))

    def reshape(self, *shape: int | Value) -> Value:
        """The value in another shape: sizes are numbers (0 keeps the old, -1 is what is left) or int64 scalars."""
        if not any(isinstance(size, Value) for size in shape):
            return self.nodes.add(
                "Reshape", self, self.nodes.integer([size for size in shape if isinstance(size, int)])
            )
        sizes = [size.expand(0) if isinstance(size, Value) else self.nodes.integer([size]) for size in shape]
        return self.nodes.add("Reshape", self, self.nodes.add("Concat", *sizes, axis=0))

    def part(self, start: Value, length: Value, axis: int) -> Value:
        """`length` entries along an axis from `start` on; both are int64 scalars."""
        first, count = start.expand(0), length.expand(0)
        return self.nodes.add("Slice", self, first, first + count, self.nodes.integer([axis]))

    def size(self, axis: int) -> Value:
        """The length of an axis, an int64 scalar."""
        return self.nodes.add("Gather", self.nodes.add("Shape", self), self.nodes.integer(axis))

    def _beside(self, other: Value | Number) -> Value:
        return other if isinstance(other, Value) else self.nodes.constant(other, self.kind)


class Nodes:
    """Nodes and constants in their order; values are told apart by names.

    Args:
        prefix: Begins the names of all nodes, values and constants, so that two sets of nodes can share one graph.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(
        self, operator: str, *inputs: Value, out: str | None = None, kind: int | None = None, **attributes: object
    ) -> Value:
        """Append a node with one output.

        Args:
            operator: Name of the ONNX operator.
            inputs: Its inputs.
            out: Name of the output, if it matters.
            kind: Element type of the output; by default the operator's own, or that of the first input (of the last
                one of `Where`).
            attributes: Of the operator.

        Returns:
            The output.
        """
        name = f"{self.prefix}{len(self.nodes)}_{operator}"
        out = out or f"{name}_out"
        names = [value.name for value in inputs]
        self.nodes.append(helper.make_node(operator, names, [out], name=name, **attributes))  # type: ignore[arg-type]
        kept = inputs[-1 if operator == "Where" else 0].kind
        return Value(self, out, _GIVES.get(operator, kept) if kind is None else kind)

    def value(self, name: str, kind: int) -> Value:
        """A value that is there: an input of the graph."""
        return Value(self, name, kind)

    def constant(self, value: np.ndarray | Number | Iterable[Number], kind: int) -> Value:
        """A constant of an element type."""
        array = np.asarray(value, dtype=helper.tensor_dtype_to_np_dtype(kind))
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return Value(self, name, kind)

    def integer(self, value: int | Iterable[int]) -> Value:
        """An int64 constant: a scalar, or a vector."""
        return self.constant(value, INT64)

    def range(self, count: Value) -> Value:
        """0, 1 ... count - 1; `count` is an int64 scalar."""
        return self.add("Range", self.integer(0), count, self.integer(1))
