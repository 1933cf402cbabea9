"""From lines of the list of videos to lines of answers, in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipshift.config import EvaluateConfig
from clipshift.files import to_json
from clipshift.inference.embedding import embed_clips
from clipshift.inference.predictions import Failure
from clipshift.inference.sharding.manifest import clip_of

if TYPE_CHECKING:
    from clipshift.inference.predictor import Model


@dataclass(frozen=True)
class Asked:
    """What is asked of each video.

    Attributes:
        views: Its views.
        embed: Whether the answer is an embedding.
        workers: Threads that read ahead.
    """

    views: EvaluateConfig
    embed: bool
    workers: int


@dataclass(frozen=True)
class Line:
    """An answer as it is written.

    Attributes:
        text: JSON, without a line break.
        failed: Whether the video could not be read.
    """

    text: str
    failed: bool


def answer_lines(model: Model, videos: Path, start: int, stop: int, asked: Asked, offset: int = 0) -> Iterator[Line]:
    """The answers for some lines of the list of videos, in their order.

    Args:
        model: What answers.
        videos: The list.
        start: The first line, counted from `offset`.
        stop: The one after the last.
        asked: What is asked of each.
        offset: Bytes of the list that are passed over: whole lines.
    """
    with videos.open("rb") as file:
        file.seek(offset)
        clips = map(clip_of, itertools.islice(file, start, stop))
        answering = embed_clips if asked.embed else type(model).predict_clips
        for answer in answering(model, clips, asked.views, workers=asked.workers):
            yield Line(to_json(answer.to_json()), isinstance(answer, Failure))
