"""From clips to scores in threads, one by one or a few together."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from clipshift.datasets.clip import Clip
from clipshift.inference.scorer import ScoredClip

Result = TypeVar("Result")
Score = Callable[[Sequence[Clip]], list[ScoredClip]]
"""Scores clips in their order; blocks."""


def engine_threads(count: int) -> ThreadPoolExecutor:
    """Threads that run networks, each alone: all cores are busy with clips of their own, and none waits for another."""
    return ThreadPoolExecutor(count, thread_name_prefix="engine", initializer=_one_core_each)


def _one_core_each() -> None:
    if "torch" in sys.modules:  # a trained network has been loaded
        import torch

        torch.set_num_threads(1)  # of this thread


class Batcher:
    """Lets clips that come at about the same time share a forward pass.

    While the engine is busy, those that wait come together by themselves.

    Args:
        score: Is called with at most `size` clips.
        places: How many calls of it go side by side.
        size: Clips in a batch.
        seconds: How long the first clip of a batch waits for others.
        threads: Where `score` is called.
    """

    def __init__(self, score: Score, *, places: int, size: int, seconds: float, threads: ThreadPoolExecutor) -> None:
        self._score = score
        self._places = asyncio.Semaphore(places)
        self._size = size
        self._seconds = seconds
        self._threads = threads
        self._waiting: deque[tuple[Clip, asyncio.Future[ScoredClip]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do other work of the engine, in a place and a thread of its own."""
        async with self._places:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextmanager
    def place_in(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        """A place among the forward passes, for a thread that runs the network itself; blocks until there is one."""
        taken = asyncio.run_coroutine_threadsafe(self._places.acquire(), loop)
        while not taken.done() and not loop.is_closed():
            wait([taken], timeout=1.0)
        taken.result(0)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(self._places.release)

    async def score(self, clip: Clip) -> ScoredClip:
        """Score one clip; an error of the engine comes out here."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ScoredClip] = loop.create_future()
        self._waiting.append((clip, future))
        if len(self._waiting) >= self._size:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_later(self._seconds, self._begin)
        return await future

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task = asyncio.get_running_loop().create_task(self._run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self) -> None:
        async with self._places:
            batch: list[tuple[Clip, asyncio.Future[ScoredClip]]] = []
            while self._waiting and len(batch) < self._size:
                clip, future = self._waiting.popleft()
                if not future.done():  # its client has not left
                    batch.append((clip, future))
            if not batch:
                return
            loop = asyncio.get_running_loop()
            try:
                scored = await loop.run_in_executor(self._threads, self._score, [clip for clip, _ in batch])
            except Exception as error:  # of the engine: each request tells it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                return
            for (_, future), each in zip(batch, scored, strict=True):
                if not future.done():
                    future.set_result(each)
