"""fit: what it asks of its arguments, gives to snapshots and to `step`, and when it stops."""

from __future__ import annotations

import copy
import gc
import json
import resource

import pytest
import torch
from trainable import SETTINGS, CountSyncs, Line, Stop, Tiny, assert_same_run, everything, images, look, points

from medgan_lib.training import fit, loop


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


def test_each_training_adds_a_line(tmp_path, monkeypatch):
    path = tmp_path / "trainings.jsonl"
    monkeypatch.setenv("MEDGAN_TRAININGS", str(path))
    method = Line()
    method.objective = "lsgan"
    run = fit(method, points(), steps=3, batch_size=4, name="toy")
    fit(Tiny(), images(), steps=2, batch_size=8, precision="bfloat16")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == {
        "name": "toy", "label": "Line lsgan", "steps": 3, "batch_size": 4, "device": "cpu", "precision": "float32",
        "digest": run.digest, "seconds": pytest.approx(run.seconds, abs=1e-3), "memory": None, "shared": False,
    }  # fmt: skip
    assert (second["name"], second["label"], second["precision"]) == (None, "Tiny", "bfloat16")
    monkeypatch.setenv("MEDGAN_TRAININGS", "")
    fit(Line(), points(), steps=3)
    assert len(path.read_text().splitlines()) == 2


def test_first_updates_stand_for_a_whole_training(tmp_path, monkeypatch):
    whole = fit(Tiny(), images(), **SETTINGS | {"steps": 60}, precision="float32")
    kept = tmp_path / "whole.pt"
    kept.write_text("not to be read, nor written")
    monkeypatch.setenv("MEDGAN_FIRST_UPDATES", "52")
    run = fit(Tiny(), images(), **SETTINGS | {"steps": 60}, precision="float32", checkpoint=kept)
    assert kept.read_text() == "not to be read, nor written" and list(tmp_path.iterdir()) == [kept]
    assert run.digest == whole.digest and run.steps == 60
    for key, curve in whole.history.items():
        assert torch.equal(run.history[key][:52], curve[:52])
        assert (run.history[key][52:] == curve[51]).all() and len(run.history[key]) == 60
    assert [step for step, _ in run.snapshots] == [step for step, _ in whole.snapshots] == list(range(0, 61, 5))
    for (step, ours), (_, theirs) in zip(run.snapshots, whole.snapshots, strict=True):
        assert torch.equal(ours["picture"], theirs["picture"]) == (step <= 52) and ours["step"] == step
    monkeypatch.setenv("MEDGAN_FIRST_UPDATES", "1000")
    assert_same_run(fit(Tiny(), images(), **SETTINGS | {"steps": 60}, precision="float32"), whole)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_first_updates_must_be_a_number(monkeypatch, text):
    monkeypatch.setenv("MEDGAN_FIRST_UPDATES", text)
    with pytest.raises(ValueError, match=f"MEDGAN_FIRST_UPDATES is '{text}'"):
        fit(Line(), points(), steps=3)
