"""Preprocessing as ONNX nodes: from decoded frames of any size to the network's input, as `transforms` beside it.

ONNX has an operator for resizing, which is no help to one file for all engines: OpenVINO resizes without `antialias`
and is off by up to 174 gray levels; ONNX Runtime knows it, and still differs from PyTorch by a level (bicubic: two) in
up to 1.5 % of the values, in about the same time (docs/speed.md). Here resizing is what it is by its formula, a product
with a matrix of weights, made of operators that all engines share and exact in whole numbers. The matrix is banded:
each block of 16 new pixels is computed from the few old ones that it covers, so the work grows with the frame.

Layouts: N = B T frames, H, W their height and width as decoded; L the length of the axis that is resized.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipshift.config import Crops, InputConfig
from clipshift.errors import ExportError
from clipshift.preprocessing.onnx_nodes import DOUBLE, FLOAT, INT32, INT64, Nodes, Value
from clipshift.video.region import PARTS, edges

_BLOCK = 16
"""New pixels that are computed from one window of old ones."""
_MOST_PRECISION = 22
_FIXED_POINT_ONE = 2048
"""OpenCV's weights are parts of this."""


@dataclass(frozen=True)
class _Span:
    """Part of a resized axis: the axis goes from `old` to `new` pixels, of which `count` from `start` on are wanted.

    All are int64 scalars.
    """

    old: Value
    new: Value
    start: Value
    count: Value


def add_preprocessing(nodes: Nodes, frames: Value, settings: InputConfig, crops: Crops) -> tuple[Value, int]:
    """Nodes from frames to the views that the network sees: scaled, cropped and normalized.

    The same numbers as `evaluation_views` and `normalize` of `transforms`: resizing as PyTorch does on uint8 (weights
    of 15 bits, rows and columns rounded one after the other), or as OpenCV does.

    Args:
        nodes: Are appended to.
        frames: uint8 (B, T, H, W, 3), RGB.
        settings: Sizes, rounding, interpolation, mean and standard deviation.
        crops: Which crops of every frame.

    Returns:
        The views, float32 (B V, T, 3, side, side), those of a clip one after the other, and their number V.

    Raises:
        ExportError: The interpolation cannot be written in ONNX exactly.
    """
    height, width = (frames.size(axis) for axis in (2, 3))
    frames_NHWC = frames.reshape(-1, height, width, 3)
    if settings.fixed_region is not None:  # one that moves is cut by who reads the clip
        x, y, across, down = settings.fixed_region
        left, width = _part_of(width, *edges(x, across))
        top, height = _part_of(height, *edges(y, down))
        frames_NHWC = frames_NHWC.part(top, height, axis=1).part(left, width, axis=2)
    new_height, new_width = _scaled_size(nodes, height, width, settings)

    crop = nodes.integer(settings.crop)
    if crops == "center":
        rows = _Span(height, new_height, _center(new_height, settings), crop)
        columns = _Span(width, new_width, _center(new_width, settings), crop)
        views = [_resized(nodes, frames_NHWC, rows, columns, settings)]
    else:
        zero = nodes.integer(0)
        rows, columns = _Span(height, new_height, zero, new_height), _Span(width, new_width, zero, new_width)
        whole_N3HW = _resized(nodes, frames_NHWC, rows, columns, settings)
        views = _cut(nodes, whole_N3HW, new_height, new_width, settings, crops)

    side = settings.resize if crops == "three" else settings.crop
    segments = settings.segments
    shaped = [view.reshape(-1, 1, segments, 3, side, side) for view in views]
    together = shaped[0] if len(shaped) == 1 else nodes.add("Concat", *shaped, axis=1)
    return _normalized(nodes, together.reshape(-1, segments, 3, side, side), settings), len(views)


def _part_of(pixels: Value, first: int, last: int) -> tuple[Value, Value]:
    """Where a region begins along an axis, and its length, as `clipshift.video.region.pixel_edges`."""
    begin = ((pixels * (2 * first) + PARTS) // (2 * PARTS)).at_most(pixels - 1)
    end = ((pixels * (2 * last) + PARTS) // (2 * PARTS)).at_least(begin + 1)
    return begin, end - begin


def _scaled_size(nodes: Nodes, height: Value, width: Value, settings: InputConfig) -> tuple[Value, Value]:
    """As `clipshift.preprocessing.transforms.scaled_size`, in whole numbers."""
    old, short = height.at_most(width), nodes.integer(settings.resize)
    if settings.aspect == "four_thirds":
        long = nodes.integer(4 * settings.resize // 3)
        landscape, kept = width > height, nodes.add("Equal", old, short)
        return kept.where(height, landscape.where(short, long)), kept.where(width, landscape.where(long, short))

    def scale(length: Value) -> Value:
        doubled = length * (2 * settings.resize)
        return (doubled + old if settings.resize_rounding == "nearest" else doubled) // (old * 2)

    return scale(height), scale(width)


def _center(length: Value, settings: InputConfig) -> Value:
    """Where a centered crop begins."""
    free = length - settings.crop
    half = free // 2
    if settings.crop_rounding == "down":
        return half
    # Half to even: one more where the half is odd and something is left over.
    return half + free % 2 * (half % 2)


def _cut(
    nodes: Nodes, whole_N3HW: Value, height: Value, width: Value, settings: InputConfig, crops: Crops
) -> list[Value]:
    """The crops of whole scaled frames, as `clipshift.preprocessing.transforms.evaluation_views` lays them."""
    side = nodes.integer(settings.resize if crops == "three" else settings.crop)
    places = {
        "three": ((0, 0), (1, 1), (2, 2)),
        "three_small": ((0, 2), (4, 2), (2, 2)),
        "ten": ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    }[crops]
    parts = 2 if crops == "three" else 4
    across, down = ((length - side) // parts for length in (width, height))
    views = []
    for x, y in places:
        view = whole_N3HW.part(down * y, side, axis=2).part(across * x, side, axis=3)
        views.append(view)
        if crops == "ten":
            backwards = [nodes.integer([end]) for end in (-1, -(2**31), 3, -1)]
            views.append(nodes.add("Slice", view, *backwards))
    return views


def _normalized(nodes: Nodes, pixels: Value, settings: InputConfig) -> Value:
    # In this order, as `normalize`: the same rounding.
    mean, std = (nodes.constant(values, FLOAT).reshape(3, 1, 1) for values in (settings.mean, settings.std))
    return (pixels / 255 - mean) / std


def _resized(nodes: Nodes, frames_NHWC: Value, rows: _Span, columns: _Span, settings: InputConfig) -> Value:
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
    turned_NMH = frames_NHWC.reshape(-1, rows.old, columns.old * 3).turn(0, 2, 1)
    narrow_NWM = _resize_axis(nodes, turned_NMH.reshape(-1, columns.old, rows.old * 3), columns, settings)
    narrow_NHM = narrow_NWM.reshape(-1, columns.count * 3, rows.old).turn(0, 2, 1)
    small_NHM = _resize_axis(nodes, narrow_NHM, rows, settings)
    return small_NHM.reshape(-1, rows.count, columns.count, 3).turn(0, 3, 1, 2)


def _resize_axis(nodes: Nodes, pixels_NLM: Value, span: _Span, settings: InputConfig) -> Value:
    """Resizes axis 1 as PyTorch's antialiased kernel for uint8 does (aten/native/cpu/UpSampleKernel.cpp).

    New pixel i lies at (i + 1/2) old / new. An old one, j, has the weight f(|j + 1/2 - that| new / max(old, new)), with
    f the triangle or the cubic; weights are divided by their sum and become whole parts of 2^p, p as large as keeps the
    largest of the axis below 2^15.

    Returns:
        The values, float32 (N, span.count, M), whole numbers in [0, 255].
    """
    first_b = nodes.range(_blocks(span.new)) * _BLOCK
    sources_bw = _windows(nodes, span, first_b, settings)
    targets_br = (first_b.expand(1) + nodes.range(nodes.integer(_BLOCK))).at_most(span.new - 1)
    weights_brw = _in_whole_parts(nodes, _weights(span, targets_br, sources_bw, settings))

    # Only the blocks that are wanted, and of them only the pixels that are.
    first = span.start // _BLOCK
    wanted = _blocks(span.start + span.count) - first
    windows_bw = sources_bw.part(first, wanted, axis=0).at_most(span.old - 1)  # beyond the end weights are 0
    windows_NbwM = pixels_NLM.take(windows_bw, axis=1).cast(FLOAT)
    sums_NbrM = nodes.add("MatMul", weights_brw.part(first, wanted, axis=0), windows_NbwM)
    sums_NlM = sums_NbrM.reshape(-1, wanted * _BLOCK, pixels_NLM.size(2))
    rounded = (sums_NlM.part(span.start % _BLOCK, span.count, axis=1) + 0.5).floor()
    if settings.interpolation == "bilinear":
        return rounded  # a mean of old pixels, but for the rounding of weights, which is far from half a gray level
    return nodes.add("Clip", rounded, nodes.constant(0, FLOAT), nodes.constant(255, FLOAT))


def _blocks(pixels: Value) -> Value:
    """How many blocks hold so many pixels."""
    return (pixels + (_BLOCK - 1)) // _BLOCK


# Below, lengths along an axis are in units of 1 / (2 new) old pixels. In them old pixel j lies at (2 j + 1) new, new
# pixel i at (2 i + 1) old: whole numbers, so no rounding decides which pixels count.


def _reach(span: _Span, settings: InputConfig) -> Value:
    """How far from a new pixel old ones have a weight."""
    return span.old.at_least(span.new) * (2 if settings.interpolation == "bilinear" else 4)


def _windows(nodes: Nodes, span: _Span, first_b: Value, settings: InputConfig) -> Value:
    """The old pixels that each block is computed from, int64 (b, w); windows have one length, and may end beyond `old`.

    Args:
        nodes: Are appended to.
        span: The axis.
        first_b: The first new pixel of each block.
        settings: Gives the interpolation.
    """
    reach = _reach(span, settings)
    begin_b = ((first_b * 2 + 1) * span.old - reach - span.new).at_least(0) // (span.new * 2)
    covered = span.old * (2 * (_BLOCK - 1)) + reach * 2
    return begin_b.expand(1) + nodes.range(covered // (span.new * 2) + 2)


def _weights(span: _Span, targets_br: Value, sources_bw: Value, settings: InputConfig) -> Value:
    """The weight of each old pixel of a window for each new one of its block, float64 (b, r, w), with sum 1 over w."""
    distances_brw = abs(((sources_bw * 2 + 1) * span.new).expand(1) - ((targets_br * 2 + 1) * span.old).expand(2))
    inside_b1w = (sources_bw < span.old).expand(1).cast(INT64)
    longer = span.old.at_least(span.new) * 2
    if settings.interpolation == "bilinear":
        shares = ((longer - distances_brw).at_least(0) * inside_b1w).cast(DOUBLE)
    else:
        shares = _cubic(distances_brw.cast(DOUBLE) / longer.cast(DOUBLE)) * inside_b1w.cast(DOUBLE)
    return shares / shares.total(2, keep=True)


def _cubic(x: Value) -> Value:
    """Keys' cubic with a = -1/2, as PyTorch takes where it antialiases: 0 from x = 2 on; float64, x >= 0."""
    a = -0.5
    near = (x * (a + 2) + -(a + 3)) * x * x + 1
    far = ((x * a + -5 * a) * x + 8 * a) * x + -4 * a
    return (x < 1).where(near, (x < 2).where(far, x.nodes.constant(0, DOUBLE)))


def _in_whole_parts(nodes: Nodes, weights: Value) -> Value:
    """Weights rounded to whole parts of 2^p, float32; p is chosen by the largest.

    Division by a power of two rounds nothing: sums of products with pixels are as exact as those of whole numbers.
    """
    # p is the first number for which the largest weight, in parts of 2^(p + 1), would not fit 15 bits.
    powers = nodes.constant([2.0 ** (p + 1) for p in range(_MOST_PRECISION)], DOUBLE)
    largest = nodes.add("ReduceMax", weights, keepdims=0)
    p = ((powers * largest + 0.5).floor() < 2.0**15).cast(INT64).total()
    one = nodes.constant([2.0**p for p in range(_MOST_PRECISION + 1)], DOUBLE).take(p, axis=0)
    scaled = weights * one
    whole = nodes.add("Sign", scaled) * (abs(scaled) + 0.5).floor()  # half away from zero
    return (whole / one).cast(FLOAT)


def _resized_fixed_point(nodes: Nodes, frames_NHWC: Value, rows: _Span, columns: _Span) -> Value:
    """OpenCV's bilinear resizing of 8 bits; the arithmetic is told in `clipshift.preprocessing.transforms`."""
    upper, lower = _taps(nodes, rows, axis=1)
    left, right = _taps(nodes, columns, axis=2, edges=True)
    total = nodes.constant(2, INT32)
    for row, row_weights in (upper, lower):
        lines = frames_NHWC.take(row, axis=1)
        first, second = (lines.take(column, axis=2).cast(INT32) * weights for column, weights in (left, right))
        total = total + (first + second) // 16 * row_weights // 2**16
    return (total // 4).turn(0, 3, 1, 2).cast(FLOAT)


def _taps(
    nodes: Nodes, span: _Span, *, axis: int, edges: bool = False
) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
    """The two old pixels of each wanted new one, and their weights.

    The weights are int32 and have the shape that broadcasts along `axis` of (N, H, W, 3).

    Args:
        nodes: Are appended to.
        span: The axis.
        axis: Where it is.
        edges: Whether pixels beyond the first and the last one count as these, with their whole weight.
    """
    wanted = (nodes.range(span.count) + span.start).cast(DOUBLE)
    scale = 1 / (span.new.cast(DOUBLE) / span.old.cast(DOUBLE))
    places = ((wanted + 0.5) * scale - 0.5).cast(FLOAT)
    floor = places.floor()
    fractions = places - floor
    first, last = floor.cast(INT64), span.old - 1
    weights = [nodes.add("Round", share * _FIXED_POINT_ONE).cast(INT32) for share in (1 - fractions, fractions)]
    if edges:
        outside = (first < 0) | (first >= last)
        weights = [outside.where(whole, weight) for whole, weight in zip((_FIXED_POINT_ONE, 0), weights, strict=True)]
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    shaped = [weight.reshape(*shape) for weight in weights]
    indices = [index.at_most(last).at_least(0) for index in (first, first + 1)]
    return (indices[0], shaped[0]), (indices[1], shaped[1])
