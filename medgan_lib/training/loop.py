"""`fit` runs the steps of a method on a cohort, and nothing else in the project does.

It keeps the data on the device where they fit, never waits for the device between two checks, and can be stopped and
continued at any step: on a CPU a run that was resumed equals an uninterrupted one bit for bit.

Two variables of the environment are for checking what was trained before. MEDGAN_TRAININGS names a file, to which each
training adds a line of JSON at its end: "name", "label", "steps", "batch_size", "device", "precision", "digest",
"seconds", "memory" (the most that PyTorch held on a GPU, MB; null on a CPU) and "shared" (taken from another process,
whose seconds these are). MEDGAN_FIRST_UPDATES = k stops each training after k updates as if it were complete: the
histories repeat their last row, snapshots show the weights there are, and no checkpoint is read or written. The digests
are then those of the whole trainings, if k is at least 50.

A third one, MEDGAN_SHARED, names a folder of trainings that several chapters ask for (``shared=True``): the first
trains, the others wait for it and load its run. The folder must be another for another version of the library's code.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medgan_lib.training import checkpoint as checkpoints
from medgan_lib.training.placement import (
    cuda_index,
    own_random_state,
    place,
    random_state,
    set_random_state,
    under_autocast,
    where_and_how,
)
from medgan_lib.training.progress import Progress
from medgan_lib.training.sampler import Sampler, crop_of, tensors_of
from medgan_lib.training.shared import alone, key_of

CHECK_EVERY = 25  # steps between two looks at the losses; each look waits for the device once
SAVE_EVERY = 30.0  # seconds between two checkpoints, at most
SAVE_SHARE = 20  # a checkpoint may cost one part in so many of the time
DIGEST_AFTER = 50  # updates


@dataclass
class Run:
    """What `fit` gives back.

    ``history`` has one float32 tensor of shape (steps,) on the CPU for every scalar that ``step`` returns.
    ``snapshots`` are pairs (steps done, what ``on_snapshot`` returned), tensors on the CPU. ``seconds`` is the time
    in the training loop, snapshots between steps included, over all legs of an interrupted run. ``device`` and
    ``precision`` are what was really used. ``digest`` is that of the weights after the first 50 updates, or after all
    where there are fewer: 16 hexadecimal digits of the SHA-256 of all parameters and buffers and of the history so far.
    """

    method: nn.Module
    history: dict[str, Tensor]
    snapshots: list[tuple[int, Any]]
    steps: int
    seconds: float
    device: str
    precision: str
    digest: str


def fit(
    method: nn.Module,
    cohort: Any,
    *,
    steps: int,
    batch_size: int = 64,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    checkpoint: str | os.PathLike | None = None,
    name: str | None = None,
    every: int | None = None,
    on_snapshot: Callable[[int, nn.Module], Any] | None = None,
    crop: int | tuple[int, ...] | None = None,
    shared: bool = False,
) -> Run:
    """Trains ``method`` for ``steps`` steps on ``cohort`` and returns a `Run`.

    method: a `methods.base.Method`. Each step gets a dict of tensors of ``method.draws * batch_size`` samples on
        the device, drawn from shuffled passes over the cohort. What changes while it trains belongs into parameters,
        buffers or optimizers; a plain attribute isn't part of a checkpoint. It is trained in place and given back,
        whatever happens, on the device where it came from.
    cohort: a Cohort, or a dict of tensors with equal first dimension.
    seed: of every random number drawn in the run; the caller's random state isn't touched.
    device: "auto" (a CUDA GPU where there is one), "cpu", "cuda" or "cuda:1".
    precision: "float32"; "bfloat16", in which networks run under autocast while their outputs, the losses, the
        penalties and the updates are float32; "auto", which is bfloat16 for convolutional networks on a CPU that has
        bfloat16 arithmetic, and float32 otherwise.
    checkpoint: a file, or with ``name`` a folder, whose file <name>.pt it is then. Written at the start, at the end, at
        ``every`` (at most once a second), every half minute and on Ctrl-C. Where it exists the run goes on from it, and
        a finished run is just loaded; a larger ``steps`` prolongs it.
    name: of this training among those of a folder of checkpoints. Without a folder nothing is kept.
    every: steps between snapshots; by default only at the start and at the end.
    on_snapshot: called as ``on_snapshot(steps done, method)`` with the method in evaluation mode; may return a
        tensor, a number, a string, lists and dicts of them, or None for nothing. It can't change the course of the
        training by drawing random numbers or by running the networks.
    crop: pixels along each axis, such as 64 or (64, 96), of random crops that the method gets in place of the images.
        Each sample is cut at a place of its own, the same in every tensor that has the spatial size of "x" (pairs,
        masks); all others stay as they are, and so places in mm must not be among them. A UserWarning says where
        networks with instance norm have to be applied to tiles afterwards.
    shared: whether other processes may ask for the very same training, of which there is then one run: where
        MEDGAN_SHARED names a folder, the checkpoint is a file in there, called after all that decides the result
        (`shared.key_of`). Without that variable as if False.

    Raises ValueError for arguments that make no sense, a crop larger than the images, a checkpoint that can't be read
    or belongs to another run; FloatingPointError where a loss isn't finite; OSError where a checkpoint can't be written
    (the last one stays).
    """
    _check_arguments(steps, batch_size, every)
    if shared and on_snapshot is not None:
        raise ValueError("a shared training has no on_snapshot: snapshots belong to one chapter")
    path = checkpoints.file_of(checkpoint, name)
    updates = _first_updates()
    if updates is not None:
        path = None  # neither read nor written
    tensors = tensors_of(cohort)
    where, precision = where_and_how(device, precision, method)
    sizes = crop_of(crop, tensors, method)
    home = next((p.device for p in method.parameters()), torch.device("cpu"))
    folder = os.environ.get("MEDGAN_SHARED") if shared and updates is None else None
    if folder:
        settings = {"steps": steps, "batch_size": batch_size, "seed": seed, "crop": sizes, "precision": precision}
        path = Path(folder, f"{key_of(method, tensors, where, **settings)}.pt")
        cohort = tensors  # a Cohort and a dict of its tensors are the same training
    signature = {}
    if path is not None:
        signature = checkpoints.signature(
            method, cohort, tensors, batch_size=batch_size, seed=seed, precision=precision, crop=sizes,
            snapshots="none" if on_snapshot is None else f"every {every}",
        )  # fmt: skip

    with contextlib.ExitStack() as stack:
        if folder:
            stack.enter_context(alone(path, label(method), steps))
        stack.enter_context(own_random_state(seed, where))
        modes = {module: module.training for module in method.modules()}
        stack.callback(lambda: [setattr(module, "training", mode) for module, mode in modes.items()])
        stack.callback(place, method, home)
        place(method, where)
        method.train()
        for index in cuda_index(where):
            torch.cuda.reset_peak_memory_stats(index)
        sampler = Sampler(tensors, batch_size * getattr(method, "draws", 1), where, sizes)
        loop = _Loop(method, sampler, where, precision, steps, updates, every, on_snapshot, path, signature)
        if path is not None and path.exists():
            loop.load()
        taken = bool(folder) and loop.step == steps
        loop.run()
        memory = [torch.cuda.max_memory_allocated(index) / 1e6 for index in cuda_index(where)]

    run = Run(method, loop.curves(), loop.snapshots, steps, loop.seconds, str(where), precision, loop.digest)
    _note(run, name, batch_size, memory, taken)
    return run


class _Loop:
    """One leg of a run: its state, and how the state goes to and comes from a checkpoint."""

    def __init__(
        self,
        method: nn.Module,
        sampler: Sampler,
        device: torch.device,
        precision: str,
        steps: int,
        updates: int | None,
        every: int | None,
        on_snapshot: Callable[[int, nn.Module], Any] | None,
        path: Path | None,
        signature: dict[str, str],
    ):
        self.method, self.sampler, self.device, self.precision = method, sampler, device, precision
        self.steps, self.every = steps, every
        self.last = steps if updates is None else min(updates, steps)  # step after which training ends
        self.on_snapshot, self.path, self.signature = on_snapshot, path, signature
        self.step, self.seconds, self.digest = 0, 0.0, ""
        self.keys: tuple[str, ...] = ()
        self.history: Tensor | None = None  # (steps, keys), on the device, allocated when the keys are known
        self.checked = 0  # rows of the history known to be finite
        self.snapshots: list[tuple[int, Any]] = []
        self.saved_step, self.saved_at, self.save_cost = -1, time.perf_counter(), 0.0

    def run(self) -> None:
        if self.step == self.steps:
            return
        self.started = time.perf_counter() - self.seconds  # of all legs, as if there had been no pause
        with _deferred_interrupt() as interrupted, Progress(label(self.method), self.last, first=self.step) as progress:
            if self.step == 0:
                self.snapshot()
                self.save()  # a folder that can't be written to shows now and not at the end
            while self.step < self.last:
                with under_autocast(self.method, self.device, self.precision):
                    while self.step < self.last and not interrupted:
                        self.record(self.method.step(self.sampler.draw()))
                        self.step += 1
                        progress.update(self.step)
                        if self.step == min(DIGEST_AFTER, self.last):
                            self.digest = checkpoints.digest_of_weights(self.method, self.history[: self.step])
                        if self.step % CHECK_EVERY == 0:
                            self.check()
                        if self.boundary() or self.save_is_due(SAVE_EVERY):
                            break
                self.check()
                self.seconds = time.perf_counter() - self.started
                if self.boundary():
                    self.snapshot()
                if interrupted:
                    self.save()
                    raise KeyboardInterrupt(self.stopped_message())
                if self.step == self.steps or self.save_is_due(1.0 if self.boundary() else SAVE_EVERY):
                    self.save()
        if self.last < self.steps:
            self.pretend()

    def pretend(self) -> None:
        """Fills what is left of an abridged run with what there is."""
        self.history[self.step :] = self.history[self.step - 1]
        for step in range(self.step + 1, self.steps + 1):
            self.step = step
            if self.boundary():
                self.snapshot()

    def boundary(self) -> bool:
        return self.step == self.steps or (self.every is not None and self.step % self.every == 0)

    def record(self, scalars: dict[str, Tensor]) -> None:
        if self.history is None:
            odd = [key for key, value in scalars.items() if not isinstance(value, Tensor) or value.ndim]
            if odd or not scalars:
                raise ValueError(f"step() must return a dict of scalar tensors; look at {odd or scalars}")
            self.keys = tuple(scalars)
            self.history = torch.full((self.steps, len(self.keys)), torch.nan, device=self.device)
        if tuple(scalars) != self.keys:
            raise ValueError(f"step() returned {list(scalars)} after {list(self.keys)}: the names must stay")
        self.history[self.step] = torch.stack([scalars[key].detach() for key in self.keys])

    def check(self) -> None:
        """Looks at the losses since the last check, and says where the first one that isn't finite is."""
        if self.history is None:
            return
        rows = self.history[self.checked : self.step]
        if not torch.isfinite(rows).all():
            row, column = (~torch.isfinite(rows)).nonzero()[0].tolist()
            value, step = rows[row, column].item(), self.checked + row + 1
            raise FloatingPointError(
                f"{self.keys[column]} became {value} at step {step} of {self.steps}."
                " Try a lower learning rate, a gradient penalty or precision='float32',"
                " and look for values that aren't finite in the cohort."
            )
        self.checked = self.step

    def snapshot(self) -> None:
        if self.on_snapshot is None:
            return
        modes = {module: module.training for module in self.method.modules()}
        self.method.eval()  # else batch normalisation would learn from the snapshot
        try:
            with torch.random.fork_rng(cuda_index(self.device)):
                value = self.on_snapshot(self.step, self.method)
        finally:
            for module, mode in modes.items():
                module.training = mode
        if value is not None:
            self.snapshots.append((self.step, checkpoints.portable(value)))

    def curves(self) -> dict[str, Tensor]:
        """The history so far: for every name a float32 tensor of shape (steps done,) on the CPU."""
        if self.history is None:
            return {}
        rows = self.history[: self.step].cpu()
        return {key: rows[:, column].clone() for column, key in enumerate(self.keys)}

    def stopped_message(self) -> str:
        where = "" if self.path is None else f"; the same call goes on from {self.path}"
        return f"stopped after {self.step} of {self.steps} steps{where}"

    def save_is_due(self, pause: float) -> bool:
        waited = time.perf_counter() - self.saved_at
        return self.path is not None and waited > max(pause, SAVE_SHARE * self.save_cost)

    def save(self) -> None:
        if self.path is None or self.saved_step == self.step:
            return
        begin = time.perf_counter()
        optimizers = self.method.optimizers()
        state = {
            "format": checkpoints.FORMAT,
            "signature": self.signature,
            "step": self.step,
            "seconds": self.seconds,
            "method": self.method.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "digest": self.digest,
            "random": random_state(self.device),
            "sampler": self.sampler.state(),
            "history": self.curves(),
            "snapshots": self.snapshots,
        }
        checkpoints.write(self.path, state)
        self.saved_step, self.saved_at = self.step, time.perf_counter()
        self.save_cost = self.saved_at - begin

    def load(self) -> None:
        state = checkpoints.read(self.path)
        checkpoints.check_same(self.path, state["signature"], self.signature)
        if state["step"] > self.steps:
            raise ValueError(
                f"{self.path} holds {state['step']} steps, more than steps={self.steps}."
                f" Ask for at least as many. {checkpoints.REMEDY}"
            )
        try:
            self.restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ValueError(checkpoints.unreadable(self.path, error)) from None

    def restore(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.method.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.sampler.restore(state["sampler"])
        self.step = self.checked = self.saved_step = state["step"]
        self.seconds, self.digest = state["seconds"], state["digest"]
        if self.step:
            self.keys = tuple(state["history"])
            self.history = torch.full((self.steps, len(self.keys)), torch.nan, device=self.device)
            self.history[: self.step] = torch.stack(list(state["history"].values()), dim=1)
        # The last snapshot of a run that is now prolonged lies off the rhythm of the longer one.
        self.snapshots = [(step, value) for step, value in state["snapshots"] if self.has_snapshot_at(step)]
        set_random_state(state["random"], self.device)

    def has_snapshot_at(self, step: int) -> bool:
        return step in (0, self.steps) or (self.every is not None and step % self.every == 0)


def _check_arguments(steps: int, batch_size: int, every: int | None) -> None:
    for name, value in {"steps": steps, "batch_size": batch_size, "every": 1 if every is None else every}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, but must be a whole number of at least 1")


def _first_updates() -> int | None:
    text = os.environ.get("MEDGAN_FIRST_UPDATES")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"MEDGAN_FIRST_UPDATES is {text!r}, but must be a whole number of at least 1, or not set")
    return int(text)


def _note(run: Run, name: str | None, batch_size: int, memory: list[float], shared: bool) -> None:
    """Adds the line on a training to the file that MEDGAN_TRAININGS names, if there is one."""
    file = os.environ.get("MEDGAN_TRAININGS")
    if not file:
        return
    line = {"name": name, "label": label(run.method), "steps": run.steps, "batch_size": batch_size}
    line |= {"device": run.device, "precision": run.precision, "digest": run.digest}
    line |= {"seconds": round(run.seconds, 3), "memory": round(memory[0], 1) if memory else None, "shared": shared}
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def label(method: nn.Module) -> str:
    """What a training is called: the method, and its objective where it has one."""
    objective = getattr(method, "objective", "")
    return f"{type(method).__name__} {getattr(objective, 'name', objective)}".strip()


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[list[bool]]:
    """Ctrl-C fills the list, so that the run stops after a whole step; a second Ctrl-C interrupts at once."""
    pressed: list[bool] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield pressed
        return

    def handler(number: int, frame: Any) -> None:
        if pressed:
            previous(number, frame)
        pressed.append(True)

    signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
