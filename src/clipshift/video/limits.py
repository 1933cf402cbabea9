"""Upper bounds that a clip must keep to before any of it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from clipshift.config.schema import ReadingConfig
from clipshift.errors import VideoError

if TYPE_CHECKING:
    from clipshift.remote import VideoPath

_DEFAULT = ReadingConfig()


@dataclass(frozen=True)
class Limits:
    """The largest clip that is read; the defaults are those of the configuration section `data`.

    Attributes:
        max_pixels: Largest frame, width x height in pixels.
        max_frames: Longest clip in frames.
        max_seconds: Longest clip in seconds.
    """

    max_pixels: int = _DEFAULT.max_pixels
    max_frames: int = _DEFAULT.max_frames
    max_seconds: float = _DEFAULT.max_seconds

    @classmethod
    def of(cls, data: ReadingConfig) -> Limits:
        """Takes the limits from a configuration."""
        return cls(max_pixels=data.max_pixels, max_frames=data.max_frames, max_seconds=data.max_seconds)

    def check_size(self, path: VideoPath | str, width: int, height: int) -> None:
        """Refuses frames that are too large, or that have no size at all.

        Raises:
            VideoError: `width` x `height` is larger than `max_pixels`, or not positive.
        """
        if width <= 0 or height <= 0:
            raise VideoError(
                "The video announces frames without a size.",
                where=path,
                got=f"{width}x{height}",
                remedy="the file is damaged: fetch or encode it again",
            )
        if width * height > self.max_pixels:
            raise VideoError(
                "The frames are larger than the configuration allows.",
                where=path,
                got=f"{width}x{height} = {width * height} pixels; data.max_pixels is {self.max_pixels}",
                remedy=f"if the file is to be trusted, add the setting data.max_pixels={width * height}",
            )

    def check_frames(self, path: VideoPath, frames: int, *, at_least: bool = False) -> None:
        """Refuses clips with too many frames; `at_least` says that counting stopped at `frames`.

        Raises:
            VideoError: `frames` is larger than `max_frames`.
        """
        if frames > self.max_frames:
            raise VideoError(
                "The clip has more frames than the configuration allows.",
                where=path,
                got=f"{'at least ' if at_least else ''}{frames} frames; data.max_frames is {self.max_frames}",
                remedy=f"cut the clip, or add the setting data.max_frames={10 * frames if at_least else frames}",
            )

    def check_samples(self, path: VideoPath, samples: int) -> None:
        """Refuses files whose tables announce far more than so many frames and the sound that belongs to them.

        Raises:
            VideoError: There are more samples than eight for each of `max_frames`, or of its default if that is more.
        """
        most = 8 * max(self.max_frames, _DEFAULT.max_frames)
        if samples > most:
            raise VideoError(
                "The file announces more frames and sound than any that is read.",
                where=path,
                got=f"{samples} samples",
                allowed=f"at most {most}",
                remedy="the file is damaged, or made to take all memory: fetch or encode it again",
            )

    def check_seconds(self, path: VideoPath, seconds: float | None) -> None:
        """Refuses clips that last too long; None (unknown) passes.

        Raises:
            VideoError: `seconds` is larger than `max_seconds`.
        """
        if seconds is not None and seconds > self.max_seconds:
            raise VideoError(
                "The clip lasts longer than the configuration allows.",
                where=path,
                got=f"{seconds:.1f} seconds; data.max_seconds is {self.max_seconds:g}",
                remedy=f"cut the clip, or add the setting data.max_seconds={ceil(seconds)}",
            )
