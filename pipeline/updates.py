"""Pages brought up to date beside the execution: soon after a chapter finished, a reader finds its page replaced."""

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType

from pipeline import Run

QUICK = 30.0  # seconds of building that may follow each chapter
SHARE = 0.1  # of the time, at most, goes into builds that take longer


def pause(took: float) -> float:
    """Seconds to wait after a build that took so long: meanwhile other chapters finish."""
    return 0.0 if took < QUICK else took * (1 - SHARE) / SHARE


class Updates:
    """Calls ``build`` in a thread of its own, once at a time, after `due` was called: as a context, until its end.

    ``build`` takes a function that says whether the end has come, so that it need not go on.
    What a build can't do now (a chapter just begins anew, a full disk) is left to the last build, which the caller
    makes when all chapters are through, and which says so.
    """

    def __init__(self, build: Callable[[Callable[[], bool]], object]) -> None:
        self._build, self._due, self._over = build, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Updates":
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._due.set()
        self._thread.join()

    def due(self, run: Run | None = None) -> tuple[()]:
        """There is something new to show, such as ``run``, to which nothing has to follow."""
        self._due.set()
        return ()

    def _work(self) -> None:
        while self._due.wait() and not self._over.is_set():
            self._due.clear()
            began = time.monotonic()
            with contextlib.suppress(Exception):
                self._build(self._over.is_set)
            self._over.wait(pause(time.monotonic() - began))
