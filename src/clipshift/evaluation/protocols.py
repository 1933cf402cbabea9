"""Published ways to test a video classifier, each by one word: which frames, how many clips and which crops."""

from __future__ import annotations

from dataclasses import dataclass

from clipshift.config import Average, Crops, ModelSpec, Sampling
from clipshift.errors import ConfigError


@dataclass(frozen=True)
class Protocol:
    """What a test sees of a video; None is the model's own.

    Attributes:
        about: Who tests so, one line.
        clips: Sets of frames per video.
        crops: Crops per frame.
        sampling: The rule for the frames.
        segments: Frames per set; only of a TSN, which takes any number.
        average: What is averaged over clips and crops.
    """

    about: str
    clips: int
    crops: Crops
    sampling: Sampling | None = None
    segments: int | None = None
    average: Average | None = None


# A name is KIND-CLIPSxCROPS, of `tsn` KIND-FRAMESxCROPS. TSN averages the features of all frames and crops, which is
# to average the logits.
PROTOCOLS: dict[str, Protocol] = {
    "uniform-1x1": Protocol("efficient test: PaddleVideo's TSM, PP-TSM and PP-TSMv2, MIT's TSM", 1, "center"),
    "uniform-1x3": Protocol("mmaction2's TSM on MobileNetV2", 1, "three"),
    "uniform-1x10": Protocol("mmaction2's and MIT's TSM on Kinetics", 1, "ten"),
    "tsn-25x1": Protocol("PaddleVideo's TSN with DALI", 1, "center", segments=25, average="logits"),
    "tsn-25x3": Protocol("mmaction2's TSN on UCF101", 1, "three", segments=25, average="logits"),
    "tsn-25x10": Protocol(
        "TSN of the paper, PaddleVideo and mmaction2; PP-TSN", 1, "ten", segments=25, average="logits"
    ),
    "twice-2x1": Protocol("middles and first frames of the parts, center crop", 2, "center", "middle_float"),
    "twice-2x3": Protocol("accurate test on Something-Something: mmaction2, MIT", 2, "three", "middle_float"),
    "dense-10x1": Protocol("ten windows of 64 frames, center crop", 10, "center", "dense"),
    "dense-10x3": Protocol("accurate test on Kinetics: MIT's dense TSM", 10, "three", "dense"),
    "dense-10x3-small": Protocol("PaddleVideo's dense PP-TSM: crops of 224 pixels", 10, "three_small", "dense"),
    "dense-10x10": Protocol("mmaction2's dense TSM", 10, "ten", "dense"),
}
"""All protocols by name."""


def with_protocol(spec: ModelSpec, name: str) -> ModelSpec:
    """A model's description with the frames, clips, crops and averaging of a protocol in place of its own.

    Where the protocol does not say how frames are spread over the video, the model's own rule stays, unless that is
    `dense`: then they are the middles of the parts.

    Raises:
        ConfigError: There is no such protocol, or it takes frames that the model cannot take.
    """
    protocol = PROTOCOLS.get(name)
    if protocol is None:
        raise ConfigError("There is no such protocol.", where="protocol", got=name, allowed=PROTOCOLS)
    own = spec.input
    segments = protocol.segments or own.segments
    if segments != own.segments and spec.model.architecture != "tsn":
        raise ConfigError(
            "Only a TSN takes another number of frames than it was trained with.",
            where=f"protocol {name}",
            got=f"a {spec.model.architecture} of {own.segments} frames",
            allowed=[known for known, other in PROTOCOLS.items() if other.segments is None],
        )
    if own.rate is not None and protocol.sampling is not None:
        raise ConfigError(
            "The model sees frames at a rate of its own; this protocol spreads others over the video.",
            where=f"protocol {name}",
            got=f"input.rate={own.rate:g}",
            allowed=[known for known, other in PROTOCOLS.items() if other.sampling is None and other.segments is None],
        )
    sampling = protocol.sampling or ("middle" if own.sampling == "dense" else own.sampling)
    return spec.model_copy(
        update={
            "input": own.model_copy(update={"segments": segments, "sampling": sampling}),
            "clips": protocol.clips,
            "crops": protocol.crops,
            "average": protocol.average or spec.average,
        }
    )
