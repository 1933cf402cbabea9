"""What a server takes from strangers, and how it says that it does not take something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from clipshift.config import ReadingConfig
from clipshift.errors import ConfigError

MEBIBYTE = 1024 * 1024


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is not answered with what it asked for.

    Args:
        status: HTTP's status code.
        reason: One line for the client.
        headers: Further ones of the answer.
        path: Name of the clip that the reason is about, if it is about one.
    """

    def __init__(
        self, status: int, reason: str, *, headers: Mapping[str, str] | None = None, path: str | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        self.path = path

    def to_json(self) -> dict[str, str]:
        """What the client reads: as a [Failure][clipshift.inference.predictions.Failure], where it is about a clip."""
        return {**({} if self.path is None else {"path": self.path}), "error": self.reason}


class ClientLeft(Exception):  # noqa: N818 - not a fault
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class ServerLimits:
    """The largest request that is worked on, and how many at once.

    Attributes:
        max_megabytes: Of a request's body, in MiB, counted while it comes in.
        max_seconds: Longest clip, in seconds.
        max_pixels: Largest frame, width x height.
        max_frames: Longest clip, in frames.
        max_classes: Most classes that `top` may ask for.
        queue: Requests that may wait for a decoder.
        uploads: Requests whose bodies may come in at once.
        held_megabytes: Of all bodies together, in MiB: they are kept in memory and never on a disk.
        request_seconds: From the end of the body to the answer.
        decode_seconds: Processor time of one clip's decoding; by the clock it may take twice that and a second more.
        timelines: Time lines that are made at once, each with a decoder of its own; more are refused.
        timeline_seconds: From the end of the body to the end of a time line.
        explanations: Explanations that are made at once, each of many answers; more are refused.
        explain_seconds: From the end of the body to an explanation.
        decode_megabytes: Memory of one decoder, in MiB, besides what it has before its first clip; the frames that a
            model takes of a clip may be a quarter of it.

    Raises:
        ConfigError: One of them is not positive.
    """

    max_megabytes: int = 64
    max_seconds: float = 600.0
    max_pixels: int = 4096 * 2304
    max_frames: int = 100_000
    max_classes: int = 1000
    queue: int = 32
    uploads: int = 128
    held_megabytes: int = 1024
    request_seconds: float = 30.0
    decode_seconds: int = 10
    timelines: int = 2
    timeline_seconds: float = 300.0
    explanations: int = 1
    explain_seconds: float = 60.0
    decode_megabytes: int = 2048

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value <= 0:
                raise ConfigError("A limit of the server is not positive.", where=each.name, got=value)

    @property
    def body_bytes(self) -> int:
        """The largest body."""
        return self.max_megabytes * MEBIBYTE

    @property
    def frame_bytes(self) -> int:
        """The most that the frames which a model takes of one clip may have."""
        return self.decode_megabytes * MEBIBYTE // 4

    @property
    def decode_wall_seconds(self) -> float:
        """By the clock: other decoders, and networks, share the cores."""
        return 2.0 * self.decode_seconds + 1.0

    def reading(self, own: ReadingConfig) -> ReadingConfig:
        """The limits of reading clips of a model, and these, whichever are smaller."""
        return own.model_copy(
            update={
                "max_pixels": min(own.max_pixels, self.max_pixels),
                "max_frames": min(own.max_frames, self.max_frames),
                "max_seconds": min(own.max_seconds, self.max_seconds),
            }
        )


@dataclass
class HeldBytes:
    """Memory that all uploads share.

    Attributes:
        most: So much may be held.
        held: So much is.
    """

    most: int
    held: int = field(default=0)

    def take(self, count: int) -> None:
        """Hold so many more bytes.

        Raises:
            Refusal: There is no room.
        """
        if self.held + count > self.most:
            raise Refusal(429, "The server holds as many uploads as it may.", headers={"Retry-After": "2"})
        self.held += count

    def give_back(self, count: int) -> None:
        """Hold so many less."""
        self.held -= count
