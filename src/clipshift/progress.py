"""What long calls tell of how far they are: the types of the functions that callers hand in."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Is told how many are done, and of how many."""
DownloadProgress = Callable[[int, int | None], None]
"""Is told how many bytes are there, and of how many; None where the server does not say."""
