"""Checkpoints: resuming, stopping, and files that are another run's, broken or can't be written."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch
from trainable import SETTINGS, Line, Tiny, assert_same_run, images, interrupt_at, points

from medgan_lib.training import checkpoint, fit


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


def test_killed_run_goes_on(whole, tmp_path):
    path = tmp_path / "run.pt"
    script = """
        import os, signal, sys
        sys.path.insert(0, {tests!r})
        from trainable import *
        from medgan_lib.training import fit, loop
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
    here = Path(__file__).parents[1]
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


def test_interrupt_finishes_the_step_and_saves(tmp_path, monkeypatch):
    interrupt_at(4, monkeypatch)
    handler = signal.getsignal(signal.SIGINT)
    method = Tiny()
    with pytest.raises(KeyboardInterrupt, match="stopped after 4 of 9 steps"):
        fit(method, images(), steps=9, batch_size=4, precision="bfloat16", checkpoint=tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True)["step"] == 4
    assert signal.getsignal(signal.SIGINT) is handler
    assert "forward" not in vars(method.G)


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


def test_a_name_in_a_folder_of_checkpoints(tmp_path):
    folder = tmp_path / "new" / "folder"
    first = fit(Line(), points(), steps=3, checkpoint=folder, name="wgan, lam 0.5")
    assert [path.name for path in folder.iterdir()] == ["wgan, lam 0.5.pt"]
    method = Line()
    again = fit(method, points(), steps=3, checkpoint=folder, name="wgan, lam 0.5")
    assert not method.seen and again.history["loss"].equal(first.history["loss"])
    fit(method, points(), steps=3, checkpoint=folder, name="other")
    assert len(method.seen) == 3 and len(list(folder.iterdir())) == 2
    fit(Line(), points(), steps=3, name="other")  # without a folder nothing is kept, and nothing is found
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "..", ".hidden", " a", "a\n", "a\0", 3])
@pytest.mark.parametrize("folder", [True, False])
def test_names_that_no_file_in_the_folder_can_have(tmp_path, name, folder):
    with pytest.raises(ValueError, match="name is "):
        fit(Line(), points(), steps=3, checkpoint=tmp_path if folder else None, name=name)
    assert not list(tmp_path.iterdir())


def test_a_folder_needs_a_name_and_a_name_a_folder(tmp_path):
    with pytest.raises(ValueError, match="is a folder: say name="):
        fit(Line(), points(), steps=3, checkpoint=tmp_path)
    (tmp_path / "run.pt").write_text("a file")
    with pytest.raises(ValueError, match=r"run\.pt is a file: with name='a' it must be the folder"):
        fit(Line(), points(), steps=3, checkpoint=tmp_path / "run.pt", name="a")


def digest_after(run):
    """Of the weights as they are, and of all that the steps returned."""
    return checkpoint.digest_of_weights(run.method, torch.stack(list(run.history.values()), 1))


def test_digest_of_the_weights(tmp_path, monkeypatch):
    def run(steps=60, **settings):
        method = Tiny(lr=settings.pop("lr", 1e-3))
        return fit(method, images(), steps=steps, batch_size=8, precision="float32", **settings)

    one = run()
    assert len(one.digest) == 16 and int(one.digest, 16) and one.digest == run().digest
    assert run(lr=1.001e-3).digest != one.digest
    assert run(70).digest == one.digest  # of the first 50 updates
    at_50 = run(50)
    assert at_50.digest == one.digest == digest_after(at_50)
    short = run(7)
    assert short.digest == digest_after(short) != one.digest
    path = tmp_path / "a.pt"
    for cut in (20, 35):  # before and after the 50th
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt_at(cut, patch)
            run(checkpoint=path)
    assert run(checkpoint=path).digest == run(checkpoint=path).digest == one.digest
    prolonged = tmp_path / "b.pt"
    assert run(7, checkpoint=prolonged).digest == short.digest
    assert run(60, checkpoint=prolonged).digest == one.digest


def test_digest_sees_weights_buffers_and_losses_and_not_how_they_lie_in_memory():
    method, losses = Tiny(), torch.zeros(3, 2)
    method.register_buffer("seen", torch.zeros(4))
    before = checkpoint.digest_of_weights(method, losses)
    method.to(memory_format=torch.channels_last)
    assert checkpoint.digest_of_weights(method, losses) == before
    assert checkpoint.digest_of_weights(method, losses + 1e-6) != before
    method.seen += 1
    assert checkpoint.digest_of_weights(method, losses) != before
