"""Chapters side by side on this machine: processes of ``python -m pipeline execute``, so many at a time.

Plain Python, so that it also runs where few packages are; a cluster has the Snakefile.
"""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from pipeline import ROOT, Run

GRACE = 30.0  # seconds in which an interrupted chapter has to save what it trained


class Pool:
    """Executes ``runs``, ``jobs`` at a time: seeds 0 first, those that took longest (``seconds``) first among them.

    What never was measured may take long, so it comes before. ``finished`` is told of each run that succeeded, and may
    give more to do. After ``end`` (of ``time.monotonic()``) no other is begun and those at work are interrupted.
    ``left`` are then the runs that the same command goes on with.
    """

    def __init__(
        self,
        runs: Iterable[Run],
        jobs: int,
        threads: int,
        seconds: dict[str, float],
        end: float = math.inf,
        finished: Callable[[Run], Iterable[Run]] = lambda run: (),
    ) -> None:
        self.jobs, self.seconds, self.end, self.finished = jobs, seconds, end, finished
        self.env = {**os.environ, "MEDGAN_THREADS": str(threads), "MEDGAN_PIPELINE_PID": str(os.getpid())}
        self.stopped: float | None = None  # when
        self.all: list[Run] = []
        self.waiting: list[Run] = []
        self.left: list[Run] = []
        self.running: dict[Run, subprocess.Popen] = {}
        self.add(runs)

    def add(self, runs: Iterable[Run]) -> None:
        """Queue those of ``runs`` that were not yet, and forget what is left of earlier executions of them."""
        new = [run for run in runs if run not in self.all]
        for run in new:
            for name in ("progress.json", "training.json", "failed.ipynb"):
                (run.folder / name).unlink(missing_ok=True)
        self.all += new
        self.waiting += new
        self.waiting.sort(key=lambda run: (run.seed > 0, -self.seconds.get(run.chapter, math.inf)))

    def busy(self) -> bool:
        """See which runs ended, and begin others; whether any is at work."""
        for run, process in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[run]
            if process.returncode == 0:
                self.add(self.finished(run))
            elif self.stopped is not None and not (run.folder / "failed.ipynb").exists():
                self.left.append(run)
        now = time.monotonic()
        if self.stopped is None and now >= self.end:
            self.stop()
        if self.stopped is not None:
            self.left += self.waiting
            self.waiting = []
            if now > self.stopped + GRACE:
                self._signal(signal.SIGKILL)
        while self.waiting and len(self.running) < self.jobs:
            self._begin(self.waiting.pop(0))
        return bool(self.running)

    def _begin(self, run: Run) -> None:
        command = [sys.executable, "-m", "pipeline", "execute", "--profile", run.profile, "--chapters", run.chapter,
                   "--seed", str(run.seed)]
        run.folder.mkdir(parents=True, exist_ok=True)
        with (run.folder / "log.txt").open("w") as log:
            # A session of its own: an interrupt reaches it once, from here, whether it came from a terminal or by kill.
            self.running[run] = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True)

    def stop(self) -> None:
        """Begin no other run, and interrupt those at work, which save what they trained."""
        self.stopped = time.monotonic()
        self._signal(signal.SIGINT)

    def interrupt(self) -> None:
        """Stop and wait until all have ended; a second Ctrl-C ends them at once."""
        self.stop()
        try:
            while self.busy():
                time.sleep(0.1)
        except KeyboardInterrupt:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, number)
