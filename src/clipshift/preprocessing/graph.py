"""Preprocessing as ONNX nodes: from decoded frames of any size to the network's input, as `transforms` beside it.

ONNX has an operator for resizing, but engines differ in it: ONNX Runtime's was seen to miss PyTorch's by up to nine
gray levels where it scales down, and TensorRT has none that antialiases. Here resizing is what it is by its formula, a
product with a matrix of weights, made of operators that all engines share and exact in whole numbers. The matrix is
banded: each block of 16 new pixels is computed from the few old ones that it covers, so the work grows with the frame.

Layouts: N = B T frames, H, W their height and width as decoded; L the length of the axis that is resized.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipshift.config import Crops, InputConfig
from clipshift.errors import ExportError
from clipshift.preprocessing.onnx_nodes import DOUBLE, FLOAT, INT32, INT64, Nodes

_BLOCK = 16
"""New pixels that are computed from one window of old ones."""
_MOST_PRECISION = 22
_FIXED_POINT_ONE = 2048
"""OpenCV's weights are parts of this."""


@dataclass(frozen=True)
class _Span:
    """Part of a resized axis: the axis goes from `old` to `new` pixels, of which `count` from `start` on are wanted.

    All are names of int64 scalars.
    """

    old: str
    new: str
    start: str
    count: str


def add_preprocessing(nodes: Nodes, frames: str, settings: InputConfig, crops: Crops) -> tuple[str, int]:
    """Nodes from frames to the views that the network sees: scaled, cropped and normalized.

    The same numbers as `evaluation_views` and `normalize` of `transforms`: resizing as PyTorch does on uint8 (weights
    of 15 bits, rows and columns rounded one after the other), or as OpenCV does.

    Args:
        nodes: Are appended to.
        frames: Name of the input, uint8 (B, T, H, W, 3), RGB.
        settings: Sizes, rounding, interpolation, mean and standard deviation.
        crops: Which crops of every frame.

    Returns:
        Name of the views, float32 (B V, T, 3, side, side), those of a clip one after the other, and their number V.

    Raises:
        ExportError: The interpolation cannot be written in ONNX exactly.
    """
    height, width = (nodes.size(frames, axis) for axis in (2, 3))
    frames_NHWC = nodes.reshape(frames, -1, height, width, 3)
    new_height, new_width = _scaled_size(nodes, height, width, settings)

    crop = nodes.integer(settings.crop)
    if crops == "center":
        rows = _Span(height, new_height, _center(nodes, new_height, settings), crop)
        columns = _Span(width, new_width, _center(nodes, new_width, settings), crop)
        views = [_resized(nodes, frames_NHWC, rows, columns, settings)]
    else:
        zero = nodes.integer(0)
        rows, columns = _Span(height, new_height, zero, new_height), _Span(width, new_width, zero, new_width)
        whole_N3HW = _resized(nodes, frames_NHWC, rows, columns, settings)
        views = _cut(nodes, whole_N3HW, new_height, new_width, settings, crops)

    side = settings.resize if crops == "three" else settings.crop
    segments = settings.segments
    shaped = [nodes.reshape(view, -1, 1, segments, 3, side, side) for view in views]
    together = shaped[0] if len(shaped) == 1 else nodes.add("Concat", *shaped, axis=1)
    pixels = nodes.reshape(together, -1, segments, 3, side, side)
    return _normalized(nodes, pixels, settings), len(views)


def _scaled_size(nodes: Nodes, height: str, width: str, settings: InputConfig) -> tuple[str, str]:
    """As `clipshift.preprocessing.transforms.scaled_size`, in whole numbers."""
    old, short = nodes.add("Min", height, width), nodes.integer(settings.resize)
    if settings.aspect == "four_thirds":
        long = nodes.integer(4 * settings.resize // 3)
        landscape, kept = nodes.add("Greater", width, height), nodes.add("Equal", old, short)
        scaled = nodes.add("Where", landscape, short, long), nodes.add("Where", landscape, long, short)
        return nodes.add("Where", kept, height, scaled[0]), nodes.add("Where", kept, width, scaled[1])

    def scale(length: str) -> str:
        doubled = nodes.add("Mul", length, nodes.integer(2 * settings.resize))
        if settings.resize_rounding == "nearest":
            doubled = nodes.add("Add", doubled, old)
        return nodes.add("Div", doubled, nodes.add("Mul", old, nodes.integer(2)))

    return scale(height), scale(width)


def _center(nodes: Nodes, length: str, settings: InputConfig) -> str:
    """Where a centered crop begins."""
    free = nodes.add("Sub", length, nodes.integer(settings.crop))
    half = nodes.add("Div", free, nodes.integer(2))
    if settings.crop_rounding == "down":
        return half
    # Half to even: one more where the half is odd and something is left over.
    odd = nodes.add("Mul", nodes.add("Mod", free, nodes.integer(2)), nodes.add("Mod", half, nodes.integer(2)))
    return nodes.add("Add", half, odd)


def _cut(nodes: Nodes, whole_N3HW: str, height: str, width: str, settings: InputConfig, crops: Crops) -> list[str]:
    """The crops of whole scaled frames, as `clipshift.preprocessing.transforms.evaluation_views` lays them."""
    side = nodes.integer(settings.resize if crops == "three" else settings.crop)
    places = {
        "three": ((0, 0), (1, 1), (2, 2)),
        "three_small": ((0, 2), (4, 2), (2, 2)),
        "ten": ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    }[crops]
    parts = nodes.integer(2 if crops == "three" else 4)
    across, down = (nodes.add("Div", nodes.add("Sub", length, side), parts) for length in (width, height))
    views = []
    for x, y in places:
        rows = nodes.part(whole_N3HW, nodes.add("Mul", down, nodes.integer(y)), side, axis=2)
        view = nodes.part(rows, nodes.add("Mul", across, nodes.integer(x)), side, axis=3)
        views.append(view)
        if crops == "ten":
            backwards = [nodes.integer([end]) for end in (-1, -(2**31), 3, -1)]
            views.append(nodes.add("Slice", view, *backwards))
    return views


def _normalized(nodes: Nodes, pixels: str, settings: InputConfig) -> str:
    # In this order, as `normalize`: the same rounding.
    scaled = nodes.add("Div", pixels, nodes.constant(255, FLOAT))
    shape = (3, 1, 1)
    mean, std = (nodes.reshape(nodes.constant(values, FLOAT), *shape) for values in (settings.mean, settings.std))
    return nodes.add("Div", nodes.add("Sub", scaled, mean), std)


def _resized(nodes: Nodes, frames_NHWC: str, rows: _Span, columns: _Span, settings: InputConfig) -> str:
    """Part of the resized frames: float32 (N, 3, rows.count, columns.count) of whole numbers in [0, 255]."""
    if not settings.antialias:
        if settings.interpolation != "bilinear":
            raise ExportError(
                "Bicubic resizing without antialiasing cannot be written in ONNX.",
                where="input.interpolation, input.antialias",
                got=f"{settings.interpolation}, {settings.antialias}",
                remedy="export with --input clips, for programs that do the preprocessing themselves",
            )
        return _resized_fixed_point(nodes, frames_NHWC, rows, columns)
    # Colors stand beside the axis that is not resized, where resizing does not mind them: so both turns are of whole
    # matrices, which engines do several times faster than turns that keep the three bytes of a pixel together.
    values, wanted_values = (nodes.add("Mul", length, nodes.integer(3)) for length in (columns.old, columns.count))
    turned_NMH = nodes.add("Transpose", nodes.reshape(frames_NHWC, -1, rows.old, values), perm=[0, 2, 1])
    tall = nodes.add("Mul", rows.old, nodes.integer(3))
    narrow_NWM = _resize_axis(nodes, nodes.reshape(turned_NMH, -1, columns.old, tall), columns, settings)
    narrow_NMH = nodes.reshape(narrow_NWM, -1, wanted_values, rows.old)
    small_NHM = _resize_axis(nodes, nodes.add("Transpose", narrow_NMH, perm=[0, 2, 1]), rows, settings)
    small_NHWC = nodes.reshape(small_NHM, -1, rows.count, columns.count, 3)
    return nodes.add("Transpose", small_NHWC, perm=[0, 3, 1, 2])


def _resize_axis(nodes: Nodes, pixels_NLM: str, span: _Span, settings: InputConfig) -> str:
    """Resizes axis 1 as PyTorch's antialiased kernel for uint8 does (aten/native/cpu/UpSampleKernel.cpp).

    New pixel i lies at (i + 1/2) old / new. An old one, j, has the weight f(|j + 1/2 - that| new / max(old, new)), with
    f the triangle or the cubic; weights are divided by their sum and become whole parts of 2^p, p as large as keeps the
    largest of the axis below 2^15. Multiplied by 2 max(old, new), distances are whole numbers, so no rounding decides
    which pixels count.

    Returns:
        Name of the values, float32 (N, span.count, M), whole numbers in [0, 255].
    """
    one, two = nodes.integer(1), nodes.integer(2)
    old, new = span.old, span.new
    longer = nodes.add("Mul", nodes.add("Max", old, new), two)
    support = nodes.integer(1 if settings.interpolation == "bilinear" else 2)
    reach = nodes.add("Mul", longer, support)  # in units of 1 / (2 new) old pixels
    twice_new = nodes.add("Mul", new, two)

    # The windows of all blocks: where each begins, and how long all are.
    blocks = _blocks(nodes, new)
    first_new = nodes.add("Mul", nodes.range(blocks), nodes.integer(_BLOCK))
    places = nodes.add("Mul", nodes.add("Add", nodes.add("Mul", first_new, two), one), old)
    begin = nodes.add("Sub", nodes.add("Sub", places, reach), new)
    begin_b = nodes.add("Div", nodes.add("Max", begin, nodes.integer(0)), twice_new)
    covered = nodes.add("Add", nodes.add("Mul", old, nodes.integer(2 * (_BLOCK - 1))), nodes.add("Mul", reach, two))
    window = nodes.add("Add", nodes.add("Div", covered, twice_new), two)
    sources_bw = nodes.add("Add", nodes.expand(begin_b, 1), nodes.range(window))

    # The weights of the window's old pixels for each new one of its block.
    last = nodes.add("Sub", new, one)
    offsets = nodes.range(nodes.integer(_BLOCK))
    targets_br = nodes.add("Min", nodes.add("Add", nodes.expand(first_new, 1), offsets), last)
    targets = nodes.add("Mul", nodes.add("Add", nodes.add("Mul", targets_br, two), one), old)
    sources = nodes.add("Mul", nodes.add("Add", nodes.add("Mul", sources_bw, two), one), new)
    distances_brw = nodes.add("Abs", nodes.add("Sub", nodes.expand(sources, 1), nodes.expand(targets, 2)))
    inside = nodes.cast(nodes.expand(nodes.add("Less", sources_bw, old), 1), INT64)
    if settings.interpolation == "bilinear":
        heights = nodes.add("Max", nodes.add("Sub", longer, distances_brw), nodes.integer(0))
        shares = nodes.cast(nodes.add("Mul", heights, inside), DOUBLE)
    else:
        ratio = nodes.add("Div", nodes.cast(distances_brw, DOUBLE), nodes.cast(longer, DOUBLE))
        shares = nodes.add("Mul", _cubic(nodes, ratio), nodes.cast(inside, DOUBLE))
    weights = nodes.add("Div", shares, nodes.add("ReduceSum", shares, nodes.integer([2]), keepdims=1))
    parts = _in_whole_parts(nodes, weights)

    # Only the blocks that are wanted.
    size = nodes.integer(_BLOCK)
    first = nodes.add("Div", span.start, size)
    end = _blocks(nodes, nodes.add("Add", span.start, span.count))
    wanted = nodes.add("Sub", end, first)
    gathered = nodes.add("Min", nodes.part(sources_bw, first, wanted, axis=0), nodes.add("Sub", old, one))
    windows_NbwM = nodes.cast(nodes.add("Gather", pixels_NLM, gathered, axis=1), FLOAT)
    sums_NbrM = nodes.add("MatMul", nodes.part(parts, first, wanted, axis=0), windows_NbwM)
    columns = nodes.size(pixels_NLM, 2)
    sums_NlM = nodes.reshape(sums_NbrM, -1, nodes.add("Mul", wanted, size), columns)
    sums = nodes.part(sums_NlM, nodes.add("Mod", span.start, size), span.count, axis=1)
    rounded = nodes.add("Floor", nodes.add("Add", sums, nodes.constant(0.5, FLOAT)))
    if settings.interpolation == "bilinear":
        return rounded  # a mean of old pixels, but for the rounding of weights, which is far from half a gray level
    return nodes.add("Clip", rounded, nodes.constant(0, FLOAT), nodes.constant(255, FLOAT))


def _blocks(nodes: Nodes, pixels: str) -> str:
    """How many blocks hold so many pixels."""
    return nodes.add("Div", nodes.add("Add", pixels, nodes.integer(_BLOCK - 1)), nodes.integer(_BLOCK))


def _cubic(nodes: Nodes, x: str) -> str:
    """Keys' cubic with a = -1/2, as PyTorch takes where it antialiases: 0 from x = 2 on; float64, x >= 0."""
    a = -0.5

    def polynomial(*coefficients: float) -> str:
        value = nodes.constant(coefficients[0], DOUBLE)
        for coefficient in coefficients[1:]:
            value = nodes.add("Add", nodes.add("Mul", value, x), nodes.constant(coefficient, DOUBLE))
        return value

    near, far = polynomial(a + 2, -(a + 3), 0, 1), polynomial(a, -5 * a, 8 * a, -4 * a)
    outer = nodes.add("Where", nodes.add("Less", x, nodes.constant(2, DOUBLE)), far, nodes.constant(0, DOUBLE))
    return nodes.add("Where", nodes.add("Less", x, nodes.constant(1, DOUBLE)), near, outer)


def _in_whole_parts(nodes: Nodes, weights: str) -> str:
    """Weights rounded to whole parts of 2^p, float32; p is chosen by the largest.

    Division by a power of two rounds nothing: sums of products with pixels are as exact as those of whole numbers.
    """
    half = nodes.constant(0.5, DOUBLE)
    # p is the first number for which the largest weight, in parts of 2^(p + 1), would not fit 15 bits.
    powers = nodes.constant([2.0 ** (p + 1) for p in range(_MOST_PRECISION)], DOUBLE)
    largest = nodes.add("ReduceMax", weights, keepdims=0)
    scaled_largest = nodes.add("Floor", nodes.add("Add", nodes.add("Mul", powers, largest), half))
    fits = nodes.cast(nodes.add("Less", scaled_largest, nodes.constant(2.0**15, DOUBLE)), INT64)
    p = nodes.add("ReduceSum", fits, keepdims=0)
    one = nodes.add("Gather", nodes.constant([2.0**p for p in range(_MOST_PRECISION + 1)], DOUBLE), p)
    scaled = nodes.add("Mul", weights, one)
    # Half away from zero.
    whole = nodes.add(
        "Mul", nodes.add("Sign", scaled), nodes.add("Floor", nodes.add("Add", nodes.add("Abs", scaled), half))
    )
    return nodes.cast(nodes.add("Div", whole, one), FLOAT)


def _resized_fixed_point(nodes: Nodes, frames_NHWC: str, rows: _Span, columns: _Span) -> str:
    """OpenCV's bilinear resizing of 8 bits; the arithmetic is told in `clipshift.preprocessing.transforms`."""
    upper, lower = _taps(nodes, rows, axis=1)
    left, right = _taps(nodes, columns, axis=2, edges=True)
    total = nodes.constant(2, INT32)
    for row, row_weights in (upper, lower):
        lines = nodes.add("Gather", frames_NHWC, row, axis=1)
        mixed = [
            nodes.add("Mul", nodes.cast(nodes.add("Gather", lines, column, axis=2), INT32), weights)
            for column, weights in (left, right)
        ]
        short = nodes.add("Div", nodes.add("Add", *mixed), nodes.constant(16, INT32))
        weighted = nodes.add("Mul", short, row_weights)
        total = nodes.add("Add", total, nodes.add("Div", weighted, nodes.constant(2**16, INT32)))
    pixels_NHWC = nodes.add("Div", total, nodes.constant(4, INT32))
    return nodes.cast(nodes.add("Transpose", pixels_NHWC, perm=[0, 3, 1, 2]), FLOAT)


def _taps(nodes: Nodes, span: _Span, *, axis: int, edges: bool = False) -> tuple[tuple[str, str], tuple[str, str]]:
    """The two old pixels of each wanted new one, and their weights.

    The weights are int32 and have the shape that broadcasts along `axis` of (N, H, W, 3).

    Args:
        nodes: Are appended to.
        span: The axis.
        axis: Where it is.
        edges: Whether pixels beyond the first and the last one count as these, with their whole weight.
    """
    half = nodes.constant(0.5, DOUBLE)
    wanted = nodes.cast(nodes.add("Add", nodes.range(span.count), span.start), DOUBLE)
    old, new = (nodes.cast(length, DOUBLE) for length in (span.old, span.new))
    scale = nodes.add("Div", nodes.constant(1, DOUBLE), nodes.add("Div", new, old))
    exact = nodes.add("Sub", nodes.add("Mul", nodes.add("Add", wanted, half), scale), half)
    places = nodes.cast(exact, FLOAT)
    floor = nodes.add("Floor", places)
    fractions = nodes.add("Sub", places, floor)
    first = nodes.cast(floor, INT64)
    last = nodes.add("Sub", span.old, nodes.integer(1))
    one = nodes.constant(_FIXED_POINT_ONE, FLOAT)
    shares = [nodes.add("Sub", nodes.constant(1, FLOAT), fractions), fractions]
    weights = [nodes.cast(nodes.add("Round", nodes.add("Mul", share, one)), INT32) for share in shares]
    if edges:
        outside = nodes.add("Or", nodes.add("Less", first, nodes.integer(0)), nodes.add("GreaterOrEqual", first, last))
        weights = [
            nodes.add("Where", outside, nodes.constant(whole, INT32), weight)
            for whole, weight in zip((_FIXED_POINT_ONE, 0), weights, strict=True)
        ]
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    shaped = [nodes.reshape(weight, *shape) for weight in weights]
    indices = [first, nodes.add("Add", first, nodes.integer(1))]
    clipped = [nodes.add("Max", nodes.add("Min", index, last), nodes.integer(0)) for index in indices]
    return (clipped[0], shaped[0]), (clipped[1], shaped[1])
