"""One bar for all that takes long: training, and the simulation of a large cohort."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Self, TypeVar

from medgan_lib.files.atomic import write_atomic

T = TypeVar("T")


class Progress:
    """A bar in a terminal or a live notebook, or a line of JSON in the file that MEDGAN_PROGRESS names.

    ``total`` units of work of which ``first`` are done; ``hidden`` shows and writes nothing, for what is done at once.
    The bar stays when it is full if ``stays``. Nobody has to watch: a file that can't be written stops nothing.
    """

    def __init__(
        self, label: str, total: int, *, unit: str = "step", first: int = 0, hidden: bool = False, stays: bool = True
    ) -> None:
        self.label, self.total, self.first, self.hidden = label, total, first, hidden
        self.file = os.environ.get("MEDGAN_PROGRESS")
        self.started, self.written = time.perf_counter(), 0.0
        self.bar = None
        if not self.file:
            from tqdm.auto import tqdm

            notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
            hidden = hidden or not (notebook or sys.stderr.isatty())
            self.bar = tqdm(total=total, initial=first, desc=label, unit=unit, disable=hidden, leave=stays)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None:
            self.write(self.total)

    def update(self, done: int) -> None:
        """``done`` units are done now, one more than before."""
        if self.bar is not None:
            self.bar.update()
        elif time.perf_counter() - self.written >= 0.5:
            self.write(done)

    def write(self, done: int) -> None:
        self.written = time.perf_counter()
        path = Path(self.file)
        if self.hidden or not path.parent.is_dir() or (path.exists() and not path.is_file()):
            return  # such as /dev/null: nobody looks, and it mustn't be replaced
        seconds = self.written - self.started
        left = seconds / max(done - self.first, 1) * (self.total - done)
        line = {"label": self.label, "step": done, "steps": self.total}
        line |= {"seconds": round(seconds, 2), "left": round(left, 2)}
        with contextlib.suppress(OSError):
            write_atomic(path, json.dumps(line) + "\n")


@contextlib.contextmanager
def waiting(label: str, total: int) -> Iterator[None]:
    """Says what is waited for inside: a `Progress` at 0 of ``total`` that goes without getting any further."""
    progress = Progress(label, total, stays=False)
    if progress.bar is None:
        progress.write(0)
    try:
        yield
    finally:
        if progress.bar is not None:
            progress.bar.close()


def watched(items: Collection[T], label: str, *, unit: str, hidden: bool = False) -> Iterator[T]:
    """The items one after the other, with a `Progress` that goes when all are done."""
    with Progress(label, len(items), unit=unit, hidden=hidden, stays=False) as progress:
        for done, item in enumerate(items, 1):
            yield item
            progress.update(done)
