"""Several processes that ask for one training: it is made once, and only what is really the same is taken for it."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from catalogue import CATALOGUE, critic, generator, image, made
from torch import nn
from trainable import Line, points

from medgan_lib.methods import GAN, Classifier, UnrolledGAN
from medgan_lib.networks import MLP
from medgan_lib.training import fit
from medgan_lib.training.shared import key_of

TESTS = Path(__file__).parents[1]
CPU = torch.device("cpu")
# A chapter: trains a small GAN, says when it begins and how many steps it took. It stops at a gate until that exists.
CHAPTER = """
    import os, sys, time, json, hashlib
    from catalogue import *
    from medgan_lib.training import checkpoint, fit, loop
    loop.SAVE_EVERY = loop.SAVE_SHARE = 0  # every step
    torch.set_num_threads(1)
    name, gate, killed_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
    taken, original = [], M.GAN.step
    def step(self, batch):
        if not taken:
            print("training", flush=True)
        taken.append(1)
        if len(taken) == killed_at:
            os.kill(os.getpid(), 9)
        while gate and not os.path.exists(gate):
            time.sleep(0.02)
        return original(self, batch)
    M.GAN.step = step
    method, cohort = made("GAN")
    run = fit(method, cohort, steps=12, batch_size=4, precision="float32", device="cpu", name=name, shared=True)
    weights = checkpoint.digest_of_weights(run.method, torch.stack(list(run.history.values()), 1))
    print(json.dumps({"steps": len(taken), "weights": weights, "digest": run.digest}), flush=True)
"""


@pytest.fixture
def chapter(tmp_path: Path):
    """Starts a chapter in a process of its own."""
    started = []

    def start(name: str, gate: Path | str = "", killed_at: int = 0, **env: str) -> subprocess.Popen:
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))), "OMP_NUM_THREADS": "1",
            "MEDGAN_SHARED": str(tmp_path / "shared"), "MEDGAN_TRAININGS": str(tmp_path / f"{name}.jsonl"),
            "MEDGAN_PROGRESS": str(tmp_path / f"{name}.json"),
        } | env  # fmt: skip
        arguments = [sys.executable, "-c", textwrap.dedent(CHAPTER), name, str(gate), str(killed_at)]
        started.append(subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def end(process: subprocess.Popen) -> dict:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


def line(tmp_path: Path, name: str) -> dict:
    return json.loads((tmp_path / f"{name}.jsonl").read_text(encoding="utf-8"))


def test_of_two_at_the_same_time_one_trains_and_the_other_waits(chapter, tmp_path):
    gate, waits = tmp_path / "gate", tmp_path / "second.json"
    first = chapter("first", gate=gate)
    assert first.stdout.readline() == "training\n"
    second, end_of_patience = chapter("second"), time.monotonic() + 120
    while not waits.exists() and time.monotonic() < end_of_patience:
        time.sleep(0.02)
    said = json.loads(waits.read_text(encoding="utf-8"))
    assert said["label"] == "GAN gan-ma, trained by another process" and (said["step"], said["steps"]) == (0, 12)
    gate.touch()
    ours, theirs = end(first), end(second)
    assert (ours["steps"], theirs["steps"]) == (12, 0)
    assert ours["weights"] == theirs["weights"] and ours["digest"] == theirs["digest"]
    assert len(list((tmp_path / "shared").glob("*.pt"))) == 1
    lines = line(tmp_path, "first"), line(tmp_path, "second")
    assert [each["shared"] for each in lines] == [False, True]
    assert lines[0] | {"name": "second", "shared": True} == lines[1]


def test_the_second_goes_on_where_the_first_was_killed(chapter, tmp_path):
    first = chapter("first", killed_at=8)
    first.communicate(timeout=120)
    assert first.returncode == -signal.SIGKILL
    second = end(chapter("second"))
    assert second["steps"] == 12 - 7 and not line(tmp_path, "second")["shared"]
    alone = end(chapter("alone", MEDGAN_SHARED=str(tmp_path / "other")))
    assert alone["steps"] == 12 and alone["weights"] == second["weights"]


def test_without_a_folder_it_is_as_if_not_asked_for(chapter, tmp_path):
    assert [end(chapter(name, MEDGAN_SHARED=""))["steps"] for name in ("first", "second")] == [12, 12]
    assert not (tmp_path / "shared").exists() and not line(tmp_path, "second")["shared"]


def test_a_cohort_and_a_dict_of_its_tensors_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_SHARED", str(tmp_path))

    class Held:
        def __init__(self, tensors):
            self.tensors = tensors

        def digest(self):
            return "another way to say what it holds"

    asked = {"steps": 2, "batch_size": 4, "shared": True}
    runs = [fit(*made("GAN"), **asked), fit(made("GAN")[0], Held(made("GAN")[1]), **asked)]
    assert runs[0].digest == runs[1].digest and len(list(tmp_path.glob("*.pt"))) == 1
    fit(*made("GAN"), steps=2, batch_size=4, checkpoint=tmp_path / "own", name="mine")
    assert len(list(tmp_path.glob("*.pt"))) == 1, "who doesn't ask has a checkpoint of its own"


def test_first_updates_are_neither_read_nor_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_SHARED", str(tmp_path))
    monkeypatch.setenv("MEDGAN_FIRST_UPDATES", "1")
    fit(*made("GAN"), steps=2, batch_size=4, shared=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["", "shared"])
def test_snapshots_can_not_be_shared(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("MEDGAN_SHARED", folder and str(tmp_path / folder))
    with pytest.raises(ValueError, match=r"^a shared training has no on_snapshot: snapshots belong to one chapter$"):
        fit(*made("GAN"), steps=2, shared=True, on_snapshot=lambda step, method: step)


# --- keys -------------------------------------------------------------------------------------------------------

SETTINGS = {"steps": 9, "batch_size": 4, "seed": 0, "crop": None, "precision": "float32"}


def game(**options) -> GAN:
    torch.manual_seed(0)
    return GAN(generator(), critic(), **options)


def key(method: nn.Module | None = None, cohort: dict | None = None, **settings) -> str:
    torch.manual_seed(1)
    cohort = {"x": image(6)} if cohort is None else cohort
    return key_of(game() if method is None else method, cohort, CPU, **SETTINGS | settings)


def changed(change, method: nn.Module | None = None) -> nn.Module:
    method = game() if method is None else method
    with torch.no_grad():
        change(method)
    return method


def other_pixel() -> dict:
    torch.manual_seed(1)
    x = image(6)
    x[3, 0, 5, 5] += 1e-6
    return {"x": x}


def slope(method: GAN) -> None:
    layer = next(module for module in method.modules() if isinstance(module, nn.LeakyReLU))
    layer.negative_slope = 0.3


def tied(method: GAN) -> None:
    weights = [module for module in method.modules() if isinstance(module, nn.Linear)]
    weights[0].bias = weights[1].bias = nn.Parameter(weights[1].bias.clone())


def stepped(method: GAN) -> None:
    for parameter in method.D.parameters():
        parameter.grad = torch.zeros_like(parameter)
    method.opt_D.step()  # by nothing: the weights stay, and the count of the optimizer is another


MUTANTS = {
    "one weight": lambda: key(changed(lambda m: next(m.D.parameters()).view(-1)[0].add_(1e-6))),
    "a weight that is not trained": lambda: key(changed(lambda m: next(m.D.parameters()).requires_grad_(False))),
    "learning rate": lambda: key(game(lr=3e-4)),
    "learning rate of one optimizer": lambda: key(changed(lambda m: m.opt_D.param_groups[0].update(lr=3e-4))),
    "state of an optimizer": lambda: key(changed(stepped)),
    "what an optimizer trains": lambda: key(changed(lambda m: m.opt_D.param_groups[0]["params"].pop())),
    "lambda": lambda: key(game(penalty=1.0)),
    "objective": lambda: key(game(objective="lsgan")),
    "attribute of a layer": lambda: key(changed(slope)),
    "tied weights": lambda: key(changed(tied)),
    "class": lambda: key(changed(lambda m: setattr(m, "__class__", UnrolledGAN))),
    "buffer": lambda: key(changed(lambda m: m.register_buffer("more", torch.zeros(1)))),
    "tensor that is no buffer": lambda: key(changed(lambda m: setattr(m, "more", torch.zeros(1)))),
    "hook": lambda: key(changed(lambda m: m.D.register_forward_hook(torch.nn.functional.relu))),
    "one pixel": lambda: key(cohort=other_pixel()),
    "name of a tensor": lambda: key(cohort={"y": other_pixel()["x"]}),
    "type of the cohort": lambda: key(cohort={"x": other_pixel()["x"].double()}),
    "steps": lambda: key(steps=10),
    "batch size": lambda: key(batch_size=5),
    "seed": lambda: key(seed=1),
    "crop": lambda: key(crop=(8, 8)),
    "precision": lambda: key(precision="bfloat16"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_any_other_ingredient_gives_another_key(name):
    assert key() == key() != MUTANTS[name]() == MUTANTS[name]()


def test_the_machine_is_part_of_the_key(monkeypatch):
    keys = [key()]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 77)
        keys.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.1")
        keys.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "abacus")
        keys.append(key())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "none")
    keys.append(key_of(game(), {"x": image(6)}, torch.device("cuda"), **SETTINGS))
    assert len(set(keys)) == len(keys)


def test_fit_hands_all_of_its_arguments_to_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_SHARED", str(tmp_path))
    asked = {"steps": 2, "batch_size": 4, "seed": 0, "precision": "float32", "device": "cpu", "shared": True}
    for change in ({}, {"steps": 3}, {"batch_size": 5}, {"seed": 1}, {"precision": "bfloat16"}, {"crop": 16}):
        fit(*made("GAN"), **asked | change)
    assert len(list(tmp_path.glob("*.pt"))) == 6
    fit(*made("GAN"), **asked, every=1, name="another", checkpoint=tmp_path / "folder")  # none of which decides
    assert len(list(tmp_path.glob("**/*.pt"))) == 6


def test_every_method_has_a_key_of_its_own():
    keys = [key_of(*made(name), CPU, **SETTINGS) for name in CATALOGUE]
    assert len(set(keys)) == len(keys)
    assert keys == [key_of(*made(name), CPU, **SETTINGS) for name in CATALOGUE]


class Notebook(MLP):
    """A network whose class is the chapter's own."""


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (lambda: GAN(Notebook(2, 2, 4), MLP(2, 1, 4)), r"Notebook isn't of the library"),
        (lambda: changed(lambda m: setattr(m, "noise", lambda n: torch.zeros(n, 2))), "lambda.* isn't of the library"),
        (lambda: changed(lambda m: m.D.register_forward_hook(lambda *_: None)), "lambda.* isn't of the library"),
        (lambda: changed(lambda m: setattr(m, "f", functools.partial(points, 3))), "points isn't of the library"),
        (lambda: changed(lambda m: setattr(m, "random", torch.Generator())), "Generator can't be told"),
        (Line, "Line isn't of the library"),
    ],
)
def test_what_a_key_can_not_see_is_refused(method, said, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_SHARED", str(tmp_path))
    with pytest.raises(ValueError, match=rf"{said}.* can't be shared"):
        fit(method(), points(), steps=2, shared=True)
    assert not list(tmp_path.iterdir())


def test_partial_functions_are_told_apart_by_their_arguments():
    partials = [functools.partial(torch.nn.functional.leaky_relu, negative_slope=s) for s in (0.1, 0.2)]
    methods = [Classifier(MLP(2, 2, 4)) for _ in partials]
    for method, function in zip(methods, partials, strict=True):
        method.load_state_dict(methods[0].state_dict())
        method.net.after = function
    assert key(methods[0]) != key(methods[1])
