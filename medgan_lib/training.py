"""The only training loop of the project: `fit` runs the steps of a method on a cohort, and nothing else does.

It keeps the data on the device, never waits for the device between two checks, and can be stopped and continued
at any step: on a CPU a run that was resumed equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECK_EVERY = 25  # steps between two looks at the losses; each look waits for the device once
SAVE_EVERY = 30.0  # seconds between two checkpoints, at most
SAVE_SHARE = 20  # a checkpoint may cost one part in so many of the time
_FORMAT = "medgan_lib checkpoint 1"
_REMEDY = "Delete or rename the file to train anew."


@dataclass
class Run:
    """What `fit` gives back.

    ``history`` has one float32 tensor of shape (steps,) on the CPU for every scalar that ``step`` returns.
    ``snapshots`` are pairs (steps done, what ``on_snapshot`` returned), tensors on the CPU. ``seconds`` is the time
    in the training loop, snapshots between steps included, over all legs of an interrupted run. ``device`` and
    ``precision`` are what was really used.
    """

    method: nn.Module
    history: dict[str, Tensor]
    snapshots: list[tuple[int, Any]]
    steps: int
    seconds: float
    device: str
    precision: str


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
    every: int | None = None,
    on_snapshot: Callable[[int, nn.Module], Any] | None = None,
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
        penalties and the updates are float32; "auto", which is bfloat16 for convolutional networks on a GPU or CPU
        that has bfloat16 arithmetic, and float32 otherwise.
    checkpoint: a file. Written at the start, at the end, at ``every`` (at most once a second), every half minute
        and on Ctrl-C. Where it exists the run goes on from it, and a finished run is just loaded; a larger
        ``steps`` prolongs it.
    every: steps between snapshots; by default only at the start and at the end.
    on_snapshot: called as ``on_snapshot(steps done, method)`` with the method in evaluation mode; may return a
        tensor, a number, a string, lists and dicts of them, or None for nothing. It can't change the course of the
        training by drawing random numbers or by running the networks.

    Raises ValueError for arguments that make no sense, a checkpoint that can't be read or belongs to another run;
    FloatingPointError where a loss isn't finite; OSError where a checkpoint can't be written (the last one stays).
    """
    _check_arguments(steps, batch_size, every)
    tensors = _tensors(cohort)
    fabric = _fabric(device, precision, method)
    precision = "bfloat16" if fabric.strategy.precision.precision == "bf16-mixed" else "float32"
    home = next((p.device for p in method.parameters()), torch.device("cpu"))
    path = None if checkpoint is None else Path(checkpoint)
    signature = {}
    if path is not None:
        signature = _signature(
            method, cohort, batch_size=batch_size, seed=seed, precision=precision,
            snapshots="none" if on_snapshot is None else f"every {every}",
        )  # fmt: skip

    with contextlib.ExitStack() as stack:
        stack.enter_context(_own_random_state(seed, fabric.device))
        modes = {module: module.training for module in method.modules()}
        stack.callback(lambda: [setattr(module, "training", mode) for module, mode in modes.items()])
        stack.callback(_place, method, home)
        _place(method, fabric.device)
        method.train()
        loop = _Loop(method, tensors, fabric, steps, batch_size, every, on_snapshot, path, signature)
        if path is not None and path.exists():
            loop.load()
        loop.run()

    return Run(method, loop.curves(), loop.snapshots, steps, loop.seconds, str(fabric.device), precision)


class _Loop:
    """One leg of a run: its state, and how the state goes to and comes from a checkpoint."""

    def __init__(
        self,
        method: nn.Module,
        tensors: dict[str, Tensor],
        fabric: Fabric,
        steps: int,
        batch_size: int,
        every: int | None,
        on_snapshot: Callable[[int, nn.Module], Any] | None,
        path: Path | None,
        signature: dict[str, str],
    ):
        self.method, self.fabric, self.steps, self.every = method, fabric, steps, every
        self.on_snapshot, self.path, self.signature = on_snapshot, path, signature
        self.sampler = _Sampler(tensors, batch_size * getattr(method, "draws", 1), fabric.device)
        self.step, self.seconds = 0, 0.0
        self.keys: tuple[str, ...] = ()
        self.history: Tensor | None = None  # (steps, keys), on the device, allocated when the keys are known
        self.checked = 0  # rows of the history known to be finite
        self.snapshots: list[tuple[int, Any]] = []
        self.saved_step, self.saved_at, self.save_cost = -1, time.perf_counter(), 0.0

    def run(self) -> None:
        if self.step == self.steps:
            return
        self.started = time.perf_counter() - self.seconds  # of all legs, as if there had been no pause
        with _deferred_interrupt() as interrupted, _Progress(self.method, self.step, self.steps) as progress:
            if self.step == 0:
                self.snapshot()
                self.save()  # a folder that can't be written to shows now and not at the end
            while self.step < self.steps:
                with _under_autocast(self.method, self.fabric):
                    while self.step < self.steps and not interrupted:
                        self.record(self.method.step(self.sampler.draw()))
                        self.step += 1
                        progress.update(self.step)
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

    def boundary(self) -> bool:
        return self.step == self.steps or (self.every is not None and self.step % self.every == 0)

    def record(self, scalars: dict[str, Tensor]) -> None:
        if self.history is None:
            odd = [key for key, value in scalars.items() if not isinstance(value, Tensor) or value.ndim]
            if odd or not scalars:
                raise ValueError(f"step() must return a dict of scalar tensors; look at {odd or scalars}")
            self.keys = tuple(scalars)
            self.history = torch.full((self.steps, len(self.keys)), torch.nan, device=self.fabric.device)
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
            with torch.random.fork_rng(_cuda_index(self.fabric.device)):
                value = self.on_snapshot(self.step, self.method)
        finally:
            for module, mode in modes.items():
                module.training = mode
        if value is not None:
            self.snapshots.append((self.step, _portable(value)))

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
            "format": _FORMAT,
            "signature": self.signature,
            "step": self.step,
            "seconds": self.seconds,
            "method": self.method.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "random": _random_state(self.fabric.device),
            "sampler": self.sampler.state(),
            "history": self.curves(),
            "snapshots": self.snapshots,
        }
        try:
            _write(self.path, state)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}: the checkpoint of step {self.step} couldn't be written. Free some space"
                " or choose another folder, then repeat the call; an earlier checkpoint is still there and whole",
                str(self.path),
            ) from error
        self.saved_step, self.saved_at = self.step, time.perf_counter()
        self.save_cost = self.saved_at - begin

    def load(self) -> None:
        state = _read(self.path)
        theirs = state["signature"]
        lines = [
            _difference(key, str(theirs.get(key)), ours)
            for key, ours in self.signature.items()
            if theirs.get(key) != ours
        ]
        if lines:
            raise ValueError("\n  ".join([f"{self.path} belongs to another run. {_REMEDY}", *lines]))
        if state["step"] > self.steps:
            raise ValueError(
                f"{self.path} holds {state['step']} steps, more than steps={self.steps}."
                f" Ask for at least as many. {_REMEDY}"
            )
        try:
            self.restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ValueError(_unreadable(self.path, error)) from None

    def restore(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.method.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.sampler.restore(state["sampler"])
        self.step = self.checked = self.saved_step = state["step"]
        self.seconds = state["seconds"]
        if self.step:
            self.keys = tuple(state["history"])
            self.history = torch.full((self.steps, len(self.keys)), torch.nan, device=self.fabric.device)
            self.history[: self.step] = torch.stack(list(state["history"].values()), dim=1)
        # The last snapshot of a run that is now prolonged lies off the rhythm of the longer one.
        self.snapshots = [(step, value) for step, value in state["snapshots"] if self.has_snapshot_at(step)]
        _set_random_state(state["random"], self.fabric.device)

    def has_snapshot_at(self, step: int) -> bool:
        return step in (0, self.steps) or (self.every is not None and step % self.every == 0)


class _Sampler:
    """Minibatches from shuffled passes over the cohort, drawn on the device.

    A minibatch longer than the rest of a pass goes on in the next, so small cohorts need no special case.
    """

    def __init__(self, tensors: dict[str, Tensor], size: int, device: torch.device):
        self.tensors = {name: _channels_last(tensor.to(device)) for name, tensor in tensors.items()}
        self.size, self.device = size, device
        self.n = len(next(iter(tensors.values())))
        self.order, self.position = torch.empty(0, dtype=torch.int64, device=device), 0

    def draw(self) -> dict[str, Tensor]:
        while self.position + self.size > len(self.order):
            self.order = torch.cat([self.order[self.position :], torch.randperm(self.n, device=self.device)])
            self.position = 0
        index = self.order[self.position : self.position + self.size]
        self.position += self.size
        return {name: _take(tensor, index) for name, tensor in self.tensors.items()}

    def state(self) -> dict[str, Any]:
        return {"order": self.order[self.position :].clone()}

    def restore(self, state: dict[str, Any]) -> None:
        self.order, self.position = state["order"].to(self.device), 0


class _Progress:
    """A bar in a terminal or a live notebook, or a line of JSON in the file that MEDGAN_PROGRESS names."""

    def __init__(self, method: nn.Module, step: int, steps: int):
        objective = getattr(method, "objective", "")
        self.label = f"{type(method).__name__} {getattr(objective, 'name', objective)}".strip()
        self.first, self.steps = step, steps
        self.file = os.environ.get("MEDGAN_PROGRESS")
        self.started, self.written = time.perf_counter(), 0.0
        self.bar = None
        if not self.file:
            from tqdm.auto import tqdm

            notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
            hidden = not (notebook or sys.stderr.isatty())
            self.bar = tqdm(total=steps, initial=step, desc=self.label, unit="step", disable=hidden)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif kind is None:
            self.write(self.steps)

    def update(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update()
        elif time.perf_counter() - self.written >= 0.5:
            self.write(step)

    def write(self, step: int) -> None:
        self.written = time.perf_counter()
        if os.path.exists(self.file) and not os.path.isfile(self.file):
            return  # such as /dev/null: nobody looks, and it mustn't be replaced
        seconds = self.written - self.started
        left = seconds / max(step - self.first, 1) * (self.steps - step)
        line = {"label": self.label, "step": step, "steps": self.steps}
        line |= {"seconds": round(seconds, 2), "left": round(left, 2)}
        with contextlib.suppress(OSError):  # training doesn't stop because nobody can watch it
            temporary = Path(f"{self.file}.{os.getpid()}")
            temporary.write_text(json.dumps(line) + "\n")
            os.replace(temporary, self.file)


def _check_arguments(steps: int, batch_size: int, every: int | None) -> None:
    for name, value in {"steps": steps, "batch_size": batch_size, "every": 1 if every is None else every}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, but must be a whole number of at least 1")


def _tensors(cohort: Any) -> dict[str, Tensor]:
    tensors = getattr(cohort, "tensors", cohort)
    if not (isinstance(tensors, Mapping) and tensors and all(isinstance(t, Tensor) for t in tensors.values())):
        raise ValueError("cohort must be a Cohort or a dict of tensors, such as {'x': images}")
    lengths = {name: len(tensor) if tensor.ndim else 0 for name, tensor in tensors.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"the tensors of a cohort must hold equally many samples, and some; here {lengths}")
    return dict(tensors)


def _fabric(device: str, precision: str, method: nn.Module) -> Fabric:
    from lightning_fabric import Fabric  # slow to import, and only needed to train

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if (f"{kind}:{index or 0}" if kind == "cuda" else device) not in there:
        raise ValueError(f"device {device!r} isn't there; choose 'auto' or one of {', '.join(there)}")
    if precision == "auto":
        precision = "bfloat16" if _bfloat16_helps(kind, method) else "float32"
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"precision {precision!r} is unknown; choose 'auto', 'float32' or 'bfloat16'")
    with _quiet("lightning_fabric.utilities.rank_zero"):  # it announces its settings, in every notebook
        return Fabric(
            accelerator=kind,
            devices=[int(index or 0)] if kind == "cuda" else 1,
            precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        )


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    logger = logging.getLogger(logger)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _bfloat16_helps(kind: str, method: nn.Module) -> bool:
    """Whether the processor computes in bfloat16 and the networks convolve: small dense ones lose by the casts."""
    if not any(parameter.ndim >= 3 for parameter in method.parameters()):
        return False
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in instructions)


def _place(method: nn.Module, device: torch.device) -> None:
    """Moves a method with its optimizers to a device, the weights of 2-D networks channels-last."""
    method.to(device)
    for network in method.networks().values():
        dimensions = {parameter.ndim for parameter in network.parameters()}
        if 4 in dimensions and 5 not in dimensions:
            network.to(memory_format=torch.channels_last)
    for optimizer in method.optimizers().values():
        optimizer.zero_grad()
        optimizer.load_state_dict(optimizer.state_dict())  # brings its state to the device of its parameters
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                # Fused updates walk through parameter and moments as they lie in memory: both must lie alike.
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim == 4:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor.contiguous()


def _take(tensor: Tensor, index: Tensor) -> Tensor:
    """Copies whole samples in one piece: images lie as (n, h, w, c) and only look like (n, c, h, w)."""
    if tensor.ndim == 4:
        return tensor.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return tensor.index_select(0, index)


@contextlib.contextmanager
def _under_autocast(method: nn.Module, fabric: Fabric) -> Iterator[None]:
    """While open, every network of the method runs in the chosen precision and returns float32.

    The instance's ``forward`` is replaced instead of the network: Fabric's own wrapper refuses a plain
    ``loss.backward()``, and a network that stays itself needs no care in optimizers, checkpoints and copies.
    """
    precision = fabric.strategy.precision
    if precision.precision == "32-true":
        yield
        return

    def cast(forward: Callable) -> Callable:
        def run(*inputs: Any, **named: Any) -> Any:
            with fabric.autocast():
                output = forward(*inputs, **named)
            return precision.convert_output(output)

        return run

    networks = list({id(network): network for network in method.networks().values()}.values())
    own = [network.__dict__.get("forward") for network in networks]
    for network in networks:
        network.forward = cast(network.forward)
    try:
        yield
    finally:
        for network, forward in zip(networks, own, strict=True):
            if forward is None:
                del network.forward
            else:
                network.forward = forward


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


def _cuda_index(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


@contextlib.contextmanager
def _own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the generators of the CPU and of ``device``, no other, and gives them back as they were."""
    with torch.random.fork_rng(_cuda_index(device)):
        torch.random.default_generator.manual_seed(seed)
        for index in _cuda_index(device):
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    for index in _cuda_index(device):
        state["cuda"] = torch.cuda.get_rng_state(index)
    return state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    for index in _cuda_index(device):
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], index)


def _portable(value: Any) -> Any:
    """A copy on the CPU of what a snapshot returned, made of nothing but what a safe checkpoint can hold."""
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)  # NumPy's numbers pass for floats, but not in a safe checkpoint
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    raise TypeError(
        f"on_snapshot returned a {type(value).__name__};"
        " return a tensor, a number, a string, lists and dicts of them, or None"
    )


def _signature(method: nn.Module, cohort: Any, **settings: Any) -> dict[str, str]:
    """What must agree for a checkpoint to belong to a run, as text."""
    plain = int | float | str | bool | tuple | list | None
    shown = {
        name: getattr(value, "name", value)
        for name, value in vars(method).items()
        if not name.startswith("_") and name != "training"
    }
    optimizers = {
        name: (
            type(optimizer).__name__,
            [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups],
        )
        for name, optimizer in method.optimizers().items()
    }
    return {
        "method": f"{type(method).__module__}.{type(method).__qualname__}",
        "settings": repr({name: value for name, value in shown.items() if isinstance(value, plain)}),
        "optimizers": repr(optimizers),
        "networks": repr(method),
        "parameters": repr({name: tuple(value.shape) for name, value in method.state_dict().items()}),
        "cohort": cohort.digest() if hasattr(cohort, "digest") else _digest(_tensors(cohort)),
        **{name: str(value) for name, value in settings.items()},
    }


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _difference(key: str, old: str, new: str) -> str:
    """One line that shows where two texts part, however long they are."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(same - 20, 0)
    old, new = (textwrap.shorten(text[start:], 60, placeholder=" …") for text in (old, new))
    return f"{key}: {'… ' if start else ''}{old} in the file, {'… ' if start else ''}{new} here"


def _write(path: Path, state: dict[str, Any]) -> None:
    """Puts a checkpoint in place of the last one in one go: after a crash the file is the old or the new one."""
    buffer = io.BytesIO()  # so that a full disk shows as an OSError and not as an error of torch's archive
    torch.save(state, buffer)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict[str, Any]:
    data = io.BytesIO(path.read_bytes())  # so that an OSError is about the file and not about what it holds
    try:
        state = torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no common error for a broken file
        # torch's own text would advise to load the file without the safe unpickler
        raise ValueError(_unreadable(path, error)) from None
    if not (
        isinstance(state, dict)
        and state.get("format") == _FORMAT
        and isinstance(state.get("signature"), dict)
        and isinstance(state.get("step"), int)
    ):
        raise ValueError(_unreadable(path, TypeError("not a checkpoint of fit")))
    return state


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"{path} can't be read as a checkpoint ({type(error).__name__}): it's truncated, damaged or not from fit."
        f" {_REMEDY}"
    )
