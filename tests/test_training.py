"""fit: resuming, stopping, failing and speed-relevant behaviour, on a GAN small enough to take milliseconds a step."""

from __future__ import annotations

import copy
import errno
import gc
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus
from torch.utils._python_dispatch import TorchDispatchMode

from medgan_lib.training import checkpoint, fit, loop


class Tiny(nn.Module):
    """A convolutional GAN with batch norm, an averaged generator and fused Adam: all that a checkpoint must hold."""

    def __init__(self, seed: int = 0, lr: float = 1e-3, penalty: bool = True):
        super().__init__()
        self.lr, self.penalty, self.calls = lr, penalty, 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.G = nn.Sequential(
                nn.Linear(4, 8 * 16), nn.Unflatten(1, (8, 4, 4)), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 2, 3, padding=1), nn.Dropout(0.1), nn.Tanh(),
            )  # fmt: skip
            self.D = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
        self.average = copy.deepcopy(self.G).requires_grad_(False)
        self.opt_G = torch.optim.Adam(self.G.parameters(), lr, fused=True)
        self.opt_D = torch.optim.Adam(self.D.parameters(), lr, fused=True)

    def networks(self):
        return {"G": self.G, "D": self.D}

    def optimizers(self):
        return {"G": self.opt_G, "D": self.opt_D}

    def step(self, batch):
        x = batch["x"]
        fake = self.G(torch.randn(len(x), 4, device=x.device))
        loss_D = softplus(-self.D(x)).mean() + softplus(self.D(fake.detach())).mean()
        if self.penalty:
            point = torch.lerp(fake.detach(), x, torch.rand(len(x), 1, 1, 1)).requires_grad_()
            (gradient,) = torch.autograd.grad(self.D(point).sum(), point, create_graph=True)
            loss_D = loss_D + (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        self.opt_D.zero_grad()
        loss_D.backward()
        self.opt_D.step()
        loss_G = softplus(-self.D(fake)).mean()
        self.opt_G.zero_grad()
        loss_G.backward()
        self.opt_G.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.G.parameters()), 0.1)
        self.dtypes = {x.dtype, fake.dtype, loss_D.dtype, loss_G.dtype}
        return {"loss_D": loss_D.detach(), "loss_G": loss_G.detach()}


class Line(nn.Module):
    """A method without convolutions whose loss becomes ``value`` at update ``at``."""

    def __init__(self, at: int = -1, value: float = float("nan"), lr: float = 0.1):
        super().__init__()
        self.net = nn.Linear(2, 1)
        self.opt = torch.optim.SGD(self.net.parameters(), lr)
        self.at, self.value, self.seen = at, value, []
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    def networks(self):
        return {"net": self.net}

    def optimizers(self):
        return {"net": self.opt}

    def step(self, batch):
        self.seen.append(batch)
        loss = self.net(batch["x"]).square().mean()
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        self.done += 1
        return {"loss": torch.where(self.done == self.at, self.value, loss.detach())}


class Stop(Exception):
    pass


def images(n: int = 50) -> dict[str, torch.Tensor]:
    return {"x": torch.rand(n, 2, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1}


def points(n: int = 10) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(2.0 * n).view(n, 2) / n, "label": torch.arange(n)}


def everything(method: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor of a method and its optimizers."""
    state = {f"method {k}": v for k, v in method.state_dict().items()}
    for name, optimizer in method.optimizers().items():
        for index, values in optimizer.state_dict()["state"].items():
            state |= {f"{name} {index} {k}": torch.as_tensor(v) for k, v in values.items()}
    return {k: v.clone() for k, v in state.items()}


def assert_same_run(a, b):
    ours, theirs = everything(a.method), everything(b.method)
    assert ours.keys() == theirs.keys()
    assert not [k for k in ours if not torch.equal(ours[k], theirs[k])]
    assert a.history.keys() == b.history.keys()
    assert all(torch.equal(a.history[k], b.history[k]) for k in a.history)
    assert [s for s, _ in a.snapshots] == [s for s, _ in b.snapshots]
    for (_, left), (_, right) in zip(a.snapshots, b.snapshots, strict=True):
        assert torch.equal(left["picture"], right["picture"]) and left["mean"] == right["mean"]


def look(step, method):
    """A snapshot that draws random numbers and runs the networks, as a reader's would."""
    picture = method.G(torch.randn(3, 4))
    return {"picture": picture, "mean": picture.mean().item(), "step": step}


SETTINGS = {"steps": 23, "batch_size": 16, "seed": 3, "every": 5, "on_snapshot": look}


@pytest.fixture(scope="module")
def whole():
    """The uninterrupted run that every interrupted one must equal."""
    return {p: fit(Tiny(), images(), precision=p, **SETTINGS) for p in ("float32", "bfloat16")}


def interrupt_at(step: int, monkeypatch) -> None:
    """Presses Ctrl-C in the middle of the update after ``step``."""
    calls, original = Counter(), Tiny.step

    def pressed(self, batch):
        calls["step"] += 1
        if calls["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch)

    monkeypatch.setattr(Tiny, "step", pressed)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("cuts", [[1], [7], [5, 8], [22], [3, 1, 4]])
def test_resumed_equals_uninterrupted_bit_for_bit(whole, tmp_path, monkeypatch, precision, cuts):
    path = tmp_path / "run.pt"
    for leg, cut in enumerate(cuts):  # later legs start with other weights: all must come from the checkpoint
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=f"of 23 steps.*{path.name}"):
            interrupt_at(cut, patch)
            fit(Tiny(seed=leg), images(), precision=precision, checkpoint=path, **SETTINGS)
        torch.rand(7)
    assert torch.load(path, weights_only=True)["step"] == sum(cuts)
    run = fit(Tiny(seed=99), images(), precision=precision, checkpoint=path, **SETTINGS)
    assert_same_run(run, whole[precision])
    assert list(tmp_path.iterdir()) == [path]
    finished = fit(Tiny(seed=98), images(), precision=precision, checkpoint=path, **SETTINGS)
    assert_same_run(finished, run)
    assert finished.seconds == run.seconds > 0


def test_precisions_differ_but_losses_are_float32(whole):
    assert whole["bfloat16"].precision == "bfloat16" and whole["float32"].precision == "float32"
    assert not torch.equal(whole["bfloat16"].history["loss_D"], whole["float32"].history["loss_D"])
    torch.testing.assert_close(whole["bfloat16"].history, whole["float32"].history, atol=0.1, rtol=0.1)
    assert all(run.method.dtypes == {torch.float32} for run in whole.values())


def test_killed_run_goes_on(whole, tmp_path):
    path = tmp_path / "run.pt"
    script = """
        import os, signal, sys
        sys.path.insert(0, {tests!r})
        from test_training import *
        loop.SAVE_EVERY = loop.SAVE_SHARE = 0  # every step
        original = Tiny.step
        def step(self, batch):
            if self.calls == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            self.calls += 1
            return original(self, batch)
        Tiny.step = step
        torch.set_num_threads({threads})
        fit(Tiny(), images(), precision="float32", checkpoint={path!r}, **SETTINGS)
    """
    here = Path(__file__).parent
    script = textwrap.dedent(script).format(tests=str(here), path=str(path), threads=torch.get_num_threads())
    done = subprocess.run([sys.executable, "-c", script], cwd=here.parent, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert torch.load(path, weights_only=True)["step"] == 13
    assert_same_run(fit(Tiny(seed=9), images(), precision="float32", checkpoint=path, **SETTINGS), whole["float32"])


def test_prolonged_run_equals_a_longer_one(whole, tmp_path):
    path = tmp_path / "run.pt"
    fit(Tiny(), images(), precision="float32", checkpoint=path, **SETTINGS | {"steps": 12})
    assert_same_run(fit(Tiny(), images(), precision="float32", checkpoint=path, **SETTINGS), whole["float32"])
    with pytest.raises(ValueError, match="holds 23 steps, more than steps=12"):
        fit(Tiny(), images(), precision="float32", checkpoint=path, **SETTINGS | {"steps": 12})


def test_snapshots_do_not_change_the_training(whole):
    plain = fit(Tiny(), images(), precision="float32", **SETTINGS | {"on_snapshot": None, "every": None})
    state, other = everything(plain.method), everything(whole["float32"].method)
    assert all(torch.equal(state[k], other[k]) for k in state)
    assert plain.snapshots == []
    assert [s for s, _ in whole["float32"].snapshots] == [0, 5, 10, 15, 20, 23]


def test_snapshot_sees_a_method_in_evaluation_mode_without_wrappers():
    seen = []
    method = Tiny()
    method.average.eval()

    def watch(step, m):
        copy.deepcopy(m)
        seen.append((m.G.training, "forward" in vars(m.G)))
        return None

    run = fit(method, images(), steps=2, batch_size=8, precision="bfloat16", on_snapshot=watch)
    assert seen == [(False, False)] * 2 and run.snapshots == []
    assert method.G.training and not method.average.training


def test_snapshot_that_cannot_be_kept_is_refused_at_once():
    method = Line()
    with pytest.raises(TypeError, match="returned a Counter2"):
        fit(method, points(), steps=50, on_snapshot=lambda step, m: type("Counter2", (), {})())
    assert not method.seen


def test_interrupt_finishes_the_step_and_saves(tmp_path, monkeypatch):
    interrupt_at(4, monkeypatch)
    handler = signal.getsignal(signal.SIGINT)
    method = Tiny()
    with pytest.raises(KeyboardInterrupt, match="stopped after 4 of 9 steps"):
        fit(method, images(), steps=9, batch_size=4, precision="bfloat16", checkpoint=tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True)["step"] == 4
    assert signal.getsignal(signal.SIGINT) is handler
    assert "forward" not in vars(method.G)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [1, 25, 26, 40])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, at, value):
    method = Line(at=at, value=value)
    with pytest.raises(FloatingPointError, match=rf"loss became {value} at step {at} of 40.*learning rate"):
        fit(method, points(), steps=40, checkpoint=tmp_path / "a.pt", every=10)
    assert len(method.seen) < at + loop.CHECK_EVERY
    saved = torch.load(tmp_path / "a.pt", weights_only=True)["history"]
    assert all(torch.isfinite(curve).all() for curve in saved.values())


def test_a_failing_step_gives_the_networks_back(monkeypatch):
    def fail(self, batch):
        self.D(batch["x"])
        raise Stop

    monkeypatch.setattr(Tiny, "step", fail)
    method = Tiny().eval()
    state = torch.get_rng_state()
    with pytest.raises(Stop):
        fit(method, images(), steps=3, precision="bfloat16")
    assert "forward" not in vars(method.D) and not method.training
    assert torch.equal(torch.get_rng_state(), state)


def test_random_state_of_the_caller_is_untouched_and_unused():
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        runs.append(fit(Tiny(), images(), steps=4, batch_size=8, on_snapshot=look))
        assert torch.equal(torch.get_rng_state(), before)
    assert_same_run(*runs)
    other = fit(Tiny(), images(), steps=4, batch_size=8, seed=1)
    assert not torch.equal(other.history["loss_D"], runs[0].history["loss_D"])


def test_every_sample_is_drawn_once_a_pass_and_stays_whole():
    method = Line()
    fit(method, points(10), steps=10, batch_size=7)
    labels = torch.cat([batch["label"] for batch in method.seen])
    assert all(labels[i : i + 10].sort().values.tolist() == list(range(10)) for i in range(0, 70, 10))
    assert len({tuple(labels[i : i + 10].tolist()) for i in range(0, 70, 10)}) == 7
    for batch in method.seen:
        assert torch.equal(batch["x"], points(10)["x"][batch["label"]])


def test_batches_longer_than_the_cohort_and_methods_with_several_draws():
    method = Line()
    method.draws = 3
    fit(method, points(4), steps=2, batch_size=5)
    assert [len(batch["x"]) for batch in method.seen] == [15, 15]
    counts = Counter(torch.cat([batch["label"] for batch in method.seen]).tolist())
    assert max(counts.values()) - min(counts.values()) <= 1


def test_images_come_channels_last_and_unchanged():
    method = Tiny()
    cohort = images(12)
    seen = []
    method.step = lambda batch: seen.append(batch["x"]) or {"loss": torch.zeros(())}
    fit(method, cohort, steps=1, batch_size=12)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert method.D[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert sorted(seen[0].flatten(1).sum(1).tolist()) == pytest.approx(sorted(cohort["x"].flatten(1).sum(1).tolist()))


def test_optimizers_with_a_past_keep_it():
    """Moments made before fit changed the memory format must follow it: fused Adam pairs them up as they lie."""
    torch.manual_seed(0)
    steps = [{"x": images()["x"][:8]}, {"x": images()["x"][8:16]}]
    fused, plain = Tiny(), Tiny()
    plain.opt_D = torch.optim.Adam(plain.D.parameters(), plain.lr, foreach=False)
    plain.opt_G = torch.optim.Adam(plain.G.parameters(), plain.lr, foreach=False)
    for method in (fused, plain):
        torch.manual_seed(0)
        for batch in steps:
            method.step(batch)
        fit(method, images(), steps=3, batch_size=8, precision="float32")
    torch.testing.assert_close(fused.state_dict(), plain.state_dict(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 9}, "batch_size"),
        ({"seed": 1}, "seed"),
        ({"precision": "bfloat16"}, "precision"),
        ({"every": 4}, "snapshots"),
        ({"cohort": images(51)}, "cohort"),
        ({"cohort": {"x": -images()["x"]}}, "cohort"),
        ({"method": lambda: Tiny(lr=1e-2)}, "settings.*\n.*optimizers"),
        ({"method": lambda: Tiny(penalty=False)}, "settings.*True.*False"),
        ({"method": lambda: Line()}, "method"),
    ],
)
def test_checkpoint_of_another_run_is_refused(tmp_path, change, named):
    path = tmp_path / "run.pt"
    call = {"steps": 2, "batch_size": 8, "precision": "float32", "checkpoint": path, "every": 5}
    call["on_snapshot"] = lambda step, method: step
    fit(Tiny(), images(), **call)
    before = path.read_bytes()
    other = call | change
    method, cohort = other.pop("method", Tiny)(), other.pop("cohort", images())
    with pytest.raises(ValueError, match=rf"(?s)run\.pt belongs to another run.*Delete or rename.*{named}") as caught:
        fit(method, cohort, **other)
    assert max(map(len, str(caught.value).splitlines())) < 250
    assert path.read_bytes() == before


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("hostile_ran",))


def test_broken_and_hostile_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.pt"
    fit(Line(), points(), steps=2, checkpoint=good)
    data = good.read_bytes()
    state = torch.load(good, weights_only=True)
    other, short = tmp_path / "other.pt", tmp_path / "short.pt"
    torch.save({"weights": 1}, other)
    torch.save(state | {"method": {}}, short)
    bad = {
        "half": data[: len(data) // 2],
        "empty": b"",
        "text": b"not a checkpoint",
        "damaged": data[:200] + bytes(50) + data[250:],
        "pickle": pickle.dumps(Hostile()),
        "other": other.read_bytes(),
        "short": short.read_bytes(),
    }
    torch.save({"format": Hostile()}, tmp_path / "zip.pt")
    bad["zip"] = (tmp_path / "zip.pt").read_bytes()
    for name, content in bad.items():
        path = tmp_path / f"{name}.bad"
        path.write_bytes(content)
        with (
            warnings.catch_warnings(),
            pytest.raises(ValueError, match=rf"{name}\.bad can't be read.*Delete or rename") as e,
        ):
            warnings.simplefilter("ignore")
            fit(Line(), points(), steps=2, checkpoint=path)
        assert "weights_only" not in str(e.getrepr(style="short")), name
        assert path.read_bytes() == content
    assert not (tmp_path / "hostile_ran").exists()


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    fit(Line(), points(), steps=3, checkpoint=path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(
        OSError, match=r"No space left on device: the checkpoint of step 6 .*Free some space.*run\.pt"
    ) as e:
        fit(Line(), points(), steps=6, checkpoint=path)
    assert e.value.errno == errno.ENOSPC
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    assert fit(Line(), points(), steps=6, checkpoint=path).steps == 6


def test_a_folder_that_cannot_be_written_to_shows_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    method = Line()
    with pytest.raises(OSError, match="checkpoint of step 0 couldn't be written"):
        fit(method, points(), steps=3, checkpoint=tmp_path / "file" / "run.pt")
    assert not method.seen
    assert fit(Line(), points(), steps=3, checkpoint=tmp_path / "new" / "folder" / "run.pt").steps == 3


class CountSyncs(TorchDispatchMode):
    """Counts what makes the host wait for a device: reading a number, or finding how many elements are set."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})

    @property
    def syncs(self) -> int:
        return sum(self.counts[name] for name in ("_local_scalar_dense", "is_nonzero", "nonzero", "equal"))


def test_the_host_waits_once_in_twenty_five_steps():
    def syncs(steps):
        with CountSyncs() as mode:
            fit(Tiny(), images(), steps=steps, batch_size=8)
        assert mode.counts["randn"] >= steps  # the mode did see the steps
        return mode.syncs

    assert syncs(4) == syncs(24) == syncs(74) - 2


def test_memory_is_flat():
    def held():
        return sum(thing.nbytes for thing in gc.get_objects() if type(thing) is torch.Tensor)

    sizes = []
    fit(
        Line(), {"x": torch.rand(2000, 2)}, steps=2000, every=400,
        on_snapshot=lambda step, m: m.seen.clear() or sizes.append(held()) or None,
    )  # fmt: skip
    assert max(sizes[2:]) - min(sizes[2:]) < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fit(Tiny(), images(), steps=150, batch_size=8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_progress_file(tmp_path, monkeypatch, capfd):
    path = tmp_path / "progress.json"
    monkeypatch.setenv("MEDGAN_PROGRESS", str(path))
    lines = []

    def read(step, method):
        if path.exists():
            lines.append(json.loads(path.read_text()))

    method = Tiny()
    method.objective = "gan-ma"
    fit(method, images(), steps=6, batch_size=8, every=2, on_snapshot=read)
    lines.append(json.loads(path.read_text()))
    assert lines[-1].keys() == {"label", "step", "steps", "seconds", "left"}
    assert (lines[-1]["label"], lines[-1]["step"], lines[-1]["steps"], lines[-1]["left"]) == ("Tiny gan-ma", 6, 6, 0)
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert list(tmp_path.iterdir()) == [path]
    out, err = capfd.readouterr()
    assert out == err == ""


@pytest.mark.parametrize("target", ["/dev/null", "/nonexistent/folder/progress.json"])
def test_progress_nobody_watches(monkeypatch, target):
    monkeypatch.setenv("MEDGAN_PROGRESS", target)
    fit(Line(), points(), steps=3)
    assert not Path("/dev/null").is_file()


def test_bar_in_a_terminal(monkeypatch, capsys):
    monkeypatch.delenv("MEDGAN_PROGRESS", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(Line(), points(), steps=3)
    assert "3/3" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    fit(Line(), points(), steps=3)
    assert capsys.readouterr().err == ""


def test_auto_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert fit(Tiny(), images(), steps=1).precision == "bfloat16"
    assert fit(Line(), points(), steps=1).precision == "float32"  # dense networks lose by the casts
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert fit(Tiny(), images(), steps=1).precision == "float32"


@pytest.mark.parametrize(
    ("cohort", "settings", "message"),
    [
        ({"x": torch.zeros(4, 2), "y": torch.zeros(5)}, {}, "equally many samples.*'y': 5"),
        ({"x": torch.zeros(0, 2)}, {}, "equally many samples, and some"),
        ({}, {}, "dict of tensors"),
        (torch.zeros(4, 2), {}, "dict of tensors"),
        (points(), {"steps": 0}, "steps is 0"),
        (points(), {"batch_size": -1}, "batch_size is -1"),
        (points(), {"every": 0}, "every is 0"),
        (points(), {"device": "tpu"}, "device 'tpu'.*cpu"),
        (points(), {"device": "cuda:99"}, "device 'cuda:99'.*cpu"),
        (points(), {"precision": "float16"}, "'float16'.*'bfloat16'"),
    ],
)
def test_arguments_that_make_no_sense(cohort, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(Line(), cohort, **{"steps": 2} | settings)


def test_scalars_must_be_scalars_and_keep_their_names():
    method = Line()
    method.step = lambda batch: {"loss": 0.5}
    with pytest.raises(ValueError, match=r"dict of scalar tensors.*loss"):
        fit(method, points(), steps=2)
    names = iter(("a", "b"))
    method.step = lambda batch: {next(names): torch.zeros(())}
    with pytest.raises(ValueError, match=r"'b'.*after.*'a'"):
        fit(method, points(), steps=2)
