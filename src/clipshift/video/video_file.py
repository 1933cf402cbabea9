"""Video files: the frames that are asked for, and as little decoding as that takes.

The frames are bit-identical to decoding the whole file and picking from the list. Two short ways are taken where the
packets prove that they do not change the result (`clipshift.video.bitstream` says when): groups of pictures that hold
no wanted frame are not touched, and of the others the pictures that no other depends on are left out. Of H.264 the
decoder never sees these; of other codecs it skips them itself (`skip_frame`, set packet by packet). Every other file is
decoded from its first packet on, up to the last wanted frame.

A frame is refused, not shown patched up, if the decoder reports it or one decoded before it in the same stretch as
damaged. What lies in stretches that are not touched is not looked at.
"""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from clipshift.closing import Closing
from clipshift.errors import VideoError
from clipshift.video.decoder import FrameDecoder, pictures_side_by_side
from clipshift.video.index import UNKNOWN, frame_stamps
from clipshift.video.opened_file import Contexts, open_file
from clipshift.video.packet_source import PacketSource
from clipshift.video.pictures import Pictures
from clipshift.video.reader import ClipInfo, Stretch, check_indices
from clipshift.video.stream_facts import frame_boundaries, read_facts

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from av.container import InputContainer
    from av.video.stream import VideoStream

    from clipshift.remote import VideoPath
    from clipshift.video.index import PacketIndex
    from clipshift.video.limits import Limits

_PIXELS_TOGETHER = 1 << 20
"""Frames up to so many pixels are converted in a row: each for itself would find the caches full of decoding."""


class VideoFile(Closing):
    """An open video file; see [clipshift.video.open_clip][].

    Attributes:
        irregular: Why frames are decoded from the first packet on; None where the short ways are taken.
    """

    def __init__(
        self, path: VideoPath, *, limits: Limits, threads: int, square_pixels: bool = False, remember: bool = False
    ) -> None:
        self._path = path
        opened = open_file(path, limits, remember=remember)
        self._container: InputContainer | None = opened.container
        self._source: PacketSource | None = None
        try:
            stream, index = opened.stream, opened.index
            self._source = PacketSource(opened.again, opened.container, stream, index)
            side_by_side = pictures_side_by_side(stream.codec_context.codec.canonical_name, index, threads)
            self._decoder: FrameDecoder | None = FrameDecoder(
                path, Contexts(opened, limits), self._source, index, side_by_side=side_by_side
            )
            pixels = stream.codec_context.width * stream.codec_context.height
            converting = threads if pixels > _PIXELS_TOGETHER else 1
            self._pictures = Pictures(path, stream, limits, threads=converting, square_pixels=square_pixels)
            self._stream = stream
            self._uniform = index.uniform
            self._told_pixels = _told_pixels(stream, index, square_pixels=square_pixels)
            # Where other threads go on decoding meanwhile, nothing is gained by waiting.
            self._together = 1 if side_by_side > 1 else max(1, min(8, _PIXELS_TOGETHER // pixels))
            self.irregular = index.irregular
            self._decoded_times: list[int] = []
            self._boundaries: np.ndarray | None = None
            self._frame_count = self._count(self._decoder, index)
            self._stream_facts = read_facts(opened, self._frame_count)
            limits.check_seconds(path, self._stream_facts.seconds)
        except BaseException:
            self.close()
            raise

    @property
    def frame_count(self) -> int:
        """How many frames decoding everything gives."""
        return self._frame_count

    @property
    def info(self) -> ClipInfo:
        """The clip's facts; the first frame is decoded for them, if none was read yet."""
        width, height = self._shown_size()
        facts = self._stream_facts
        return ClipInfo(
            path=self._path,
            frames=self._frame_count,
            width=width,
            height=height,
            fps=facts.fps,
            seconds=facts.seconds,
            rotation=self._pictures.rotation,
            codec=facts.codec,
            pixel_aspect=self._pictures.pixel_aspect,
            video_streams=facts.video_streams,
        )

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of a frame in RGB; of one that no header tells of, the first one is decoded."""
        if self._told_pixels and not self._pictures.known:
            return 3 * self._told_pixels
        width, height = self._shown_size()
        return 3 * width * height

    @property
    def boundaries(self) -> np.ndarray:
        """When frames begin, and the last one ends; see [clipshift.video.ClipReader.boundaries][].

        By the times of presentation that the file stores, whatever its frame rate does; evenly spread where it stores
        none, or some that contradict the order of its frames.
        """
        if self._boundaries is None:
            if self._source is None:
                raise ValueError("the clip is closed")
            stamps = np.array(self._decoded_times, dtype=np.int64)
            if self.irregular is None:
                stamps = frame_stamps(self._source.index, self._stream)
            self._boundaries = frame_boundaries(stamps, self._stream.time_base, self._stream_facts, self._frame_count)
        return self._boundaries

    @property
    def stretch(self) -> Stretch:
        """All of it."""
        return Stretch(self, 0.0, float(self.boundaries[-1]))

    @property
    def pictures_decoded(self) -> int:
        """How many pictures the decoder has given so far, wanted or not."""
        return 0 if self._decoder is None else self._decoder.pictures_decoded

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Decodes the asked-for frames; see [clipshift.video.ClipReader.read][]."""
        if self._decoder is None:
            raise ValueError("the clip is closed")
        wanted = check_indices(indices, self._frame_count)
        if not wanted:
            return np.empty((0, *self._shown_size()[::-1], 3), dtype=np.uint8)
        frames_THWC: np.ndarray | None = None
        places: dict[int, list[int]] = {}
        for place, index in enumerate(wanted):
            places.setdefault(index, []).append(place)
        # Where frames may differ in size or orientation, the first one tells those of the clip.
        needed = set(places) if self._uniform or self._pictures.known else {0, *places}
        found = 0
        with closing(self._decoder.frames(sorted(needed))) as frames:
            while together := list(islice(frames, self._together)):
                for index, frame in together:
                    self._pictures.check(frame)
                    found += 1
                    if index not in places:
                        continue
                    picture_HWC = self._pictures.picture(frame)
                    if frames_THWC is None:
                        frames_THWC = np.empty((len(wanted), *picture_HWC.shape), dtype=np.uint8)
                    for place in places[index]:
                        frames_THWC[place] = picture_HWC
        if frames_THWC is None or found < len(needed):
            raise self._ended()
        return frames_THWC

    def frames(self, first: int = 0, count: int | None = None) -> Generator[np.ndarray]:
        """Decodes frames one after the other; see [clipshift.video.ClipReader.frames][]."""
        if self._decoder is None:
            raise ValueError("the clip is closed")
        wanted = list(range(first, self._frame_count if count is None else first + count))
        # Where frames may differ in size or orientation, the first one tells those of the clip.
        ahead = [] if self._uniform or self._pictures.known or first == 0 else [0]
        found = 0
        with closing(self._decoder.frames([*ahead, *wanted])) as frames:
            for number, frame in frames:
                self._pictures.check(frame)
                if number >= first:
                    yield np.ascontiguousarray(self._pictures.picture(frame))
                    found += 1
        if found < len(wanted):
            raise self._ended()

    def close(self) -> None:
        """Gives back the file handle and the decoder; may be called twice."""
        # The decoder and its buffers go with the last reference to them, not when garbage is collected.
        self._decoder = None
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _ended(self) -> VideoError:
        return VideoError(
            "The video ended before a wanted frame: the file changed while it was open.", where=self._path
        )

    def _count(self, decoder: FrameDecoder, index: PacketIndex) -> int:
        """Counts the frames: their packets, or where those do not tell, what decoding all of them gives."""
        count = 0 if index.irregular is not None else len(index.shown)
        if index.irregular is not None:
            with closing(decoder.all_frames()) as frames:
                for frame in frames:
                    self._pictures.check(frame)
                    self._decoded_times.append(UNKNOWN if frame.pts is None else frame.pts)
                    count += 1
        if count == 0:
            raise VideoError("The video has no frames.", where=self._path, got=f"{index.packets} packets")
        return count

    def _shown_size(self) -> tuple[int, int]:
        """Width and height as shown; the first frame is decoded if no frame was yet."""
        if not self._pictures.known:
            if self._decoder is None:
                raise ValueError("the clip is closed")
            with closing(self._decoder.frames([0])) as first:
                self._pictures.check(next(first)[1])
        return self._pictures.size


def _told_pixels(stream: VideoStream, index: PacketIndex, *, square_pixels: bool) -> int:
    """Of a frame as it is read, or some more, by headers alone; 0 where they do not tell."""
    aspect = stream.sample_aspect_ratio
    if not index.uniform or (square_pixels and not aspect and not index.square):
        return 0
    return ceil(index.pixels * max(1, aspect or 1)) if square_pixels else index.pixels
