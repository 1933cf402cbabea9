"""ONNX nodes written as calls: the few lines that the graphs of this package are made with."""

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


class Nodes:
    """Nodes and constants in their order; values are told apart by names.

    Args:
        prefix: Begins the names of all nodes, values and constants, so that two sets of nodes can share one graph.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, out: str | None = None, **attributes: object) -> str:
        """Append a node with one output.

        Args:
            operator: Name of the ONNX operator.
            inputs: Names of its inputs; an empty one leaves an optional input out.
            out: Name of the output, if it matters.
            attributes: Of the operator.

        Returns:
            The name of the output.
        """
        name = f"{self.prefix}{len(self.nodes)}_{operator}"
        out = out or f"{name}_out"
        self.nodes.append(helper.make_node(operator, list(inputs), [out], name=name, **attributes))  # type: ignore[arg-type]
        return out

    def constant(self, value: np.ndarray | float | Iterable[float], kind: int) -> str:
        """Name of a constant; `kind` is an element type of ONNX."""
        array = np.asarray(value, dtype=helper.tensor_dtype_to_np_dtype(kind))
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def integer(self, value: int | Iterable[int]) -> str:
        """Name of an int64 constant: a scalar, or a vector."""
        return self.constant(value, INT64)

    def cast(self, value: str, kind: int) -> str:
        """The value in another element type."""
        return self.add("Cast", value, to=kind)

    def expand(self, value: str, *axes: int) -> str:
        """The value with new axes of length 1."""
        return self.add("Unsqueeze", value, self.integer(axes))

    def reshape(self, value: str, *shape: int | str) -> str:
        """The value in another shape: sizes are numbers (0 keeps the old, -1 is what is left) or names of scalars."""
        if all(isinstance(size, int) for size in shape):
            return self.add("Reshape", value, self.integer([int(size) for size in shape]))
        sizes = [self.integer([size]) if isinstance(size, int) else self.expand(size, 0) for size in shape]
        return self.add("Reshape", value, self.add("Concat", *sizes, axis=0))

    def part(self, value: str, start: str, length: str, axis: int) -> str:
        """`length` entries along an axis from `start` on; both are names of int64 scalars."""
        first, count = self.expand(start, 0), self.expand(length, 0)
        return self.add("Slice", value, first, self.add("Add", first, count), self.integer([axis]))

    def size(self, value: str, axis: int) -> str:
        """The length of an axis, an int64 scalar."""
        return self.add("Gather", self.add("Shape", value), self.integer(axis))

    def range(self, count: str) -> str:
        """0, 1 ... count - 1; `count` is the name of an int64 scalar."""
        return self.add("Range", self.integer(0), count, self.integer(1))
