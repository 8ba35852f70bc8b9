"""The trained judge: it sees every planted fault, others do not; real images pass it, a Gaussian does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medgan_lib import cohorts, metrics, networks, training
from medgan_lib.metrics import yardstick


def trained(x: torch.Tensor, exam: torch.Tensor, steps: int = 300, **options) -> metrics.Yardstick:
    return metrics.Yardstick.train(x, held_out=exam, steps=steps, device="cpu", **options)


@pytest.fixture(scope="module")
def nodules() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(cohorts.load("nodules", split, size=32, n=n).x for split, n in (("train", 500), ("test", 800)))


@pytest.fixture(scope="module")
def heads() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(cohorts.load("heads", split, size=32, n=n).x for split, n in (("train", 200), ("test", 180)))


@pytest.fixture(scope="module")
def of_nodules(nodules) -> metrics.Yardstick:
    return trained(*nodules)


@pytest.fixture(scope="module")
def of_heads(heads) -> metrics.Yardstick:
    return trained(*heads, steps=200)


# --- what it sees ---------------------------------------------------------------------------------


def sees_everything(yard: metrics.Yardstick, held_out: torch.Tensor) -> bool:
    """Each fault, plain, makes the distance three times the floor at least, and it grows with the strength."""
    sight = yard.sees(held_out)
    return not sight.blind(least=3.0) and all(list(r) == sorted(r) for r in sight.ratios.values())


def test_it_sees_every_fault_and_more_of_it_when_it_is_stronger(of_nodules, nodules, of_heads, heads) -> None:
    assert sees_everything(of_nodules, nodules[1]), of_nodules.sees(nodules[1])
    assert sees_everything(of_heads, heads[1]), of_heads.sees(heads[1])
    for yard in (of_nodules, of_heads):
        assert yard.reads and yard.accuracy > 0.6 and "cannot read" not in yard.describe()
    assert of_heads.content.reads and of_heads.content.chance == 0.25
    assert abs(of_nodules.content.value - 0.25) < 0.06  # these patches have no way up


@pytest.mark.parametrize("taught", [(), ("blur",)])
def test_a_judge_of_turns_alone_or_of_blur_is_blind_to_the_rest(nodules, taught: tuple[str, ...]) -> None:
    mutant = trained(*nodules, steps=200, faults=taught)
    assert not sees_everything(mutant, nodules[1])
    assert "warp" in mutant.sees(nodules[1]).blind(least=3.0)
    assert not mutant.reads and "cannot read real images" in repr(mutant)


def test_an_untrained_judge_is_no_judge(nodules) -> None:
    assert not trained(*nodules, steps=1).reads


# --- what passes it -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nodules", "heads"])
def test_real_images_pass_and_a_gaussian_and_an_untrained_generator_fail(name: str, request) -> None:
    yard, (train, held_out) = request.getfixturevalue(f"of_{name}"), request.getfixturevalue(name)
    third = len(held_out) // 3
    real, other, fresh = held_out[:third], held_out[third : 2 * third], held_out[2 * third :]
    draw = torch.Generator().manual_seed(0)
    gaussian = metrics.PCA.fit(train, 64).sample(third, draw)
    torch.manual_seed(0)
    with torch.no_grad():
        untrained = networks.Generator((1, 32, 32), 16, 8).eval()(torch.randn(third, 16, generator=draw))
    floor = yard.score(real, other, fresh).floor
    assert yard.score(real, other, fresh).value < 2 * floor
    assert yard.score(real, other, gaussian).value > 4 * floor
    assert yard.score(real, other, untrained).value > 20 * floor


def test_a_judge_of_turns_alone_lets_a_gaussian_pass(heads) -> None:
    train, held_out = heads
    mutant = trained(train, held_out, steps=200, faults=())
    half = len(held_out) // 2
    gaussian = metrics.PCA.fit(train, 64).sample(half, torch.Generator().manual_seed(0))
    score = mutant.score(held_out[:half], held_out[half:], gaussian)
    assert score.value < 4 * score.floor


# --- distances ------------------------------------------------------------------------------------


def test_distances_are_of_equal_numbers_at_random_and_always_alike(of_nodules, nodules) -> None:
    real = nodules[1]
    ordered = torch.cat([real[:300], torch.full((300, 1, 32, 32), -1.0)])  # the cut must not take the first ones
    assert of_nodules.distance(real[:300], ordered) > 10 * of_nodules.distance(real[:300], real[300:600])
    assert of_nodules.distance(real[:300], ordered) == of_nodules.distance(real[:300], ordered)
    assert of_nodules.distance(real, real) == pytest.approx(0, abs=1e-6)
    score = of_nodules.score(real[:200], real[200:500], real[500:800])
    assert score.floor == pytest.approx(score.value, rel=0.5)
    same = of_nodules.score(real[:200], real[200:400], real[400:600])
    assert same.value == of_nodules.distance(real[:200], real[400:600])
    assert same.floor == of_nodules.distance(real[:200], real[200:400])


def test_features_are_those_of_each_image_alone(of_nodules, nodules) -> None:
    x = nodules[1][:300]
    found = of_nodules.features(x)
    assert found.shape == (300, yardstick.FEATURES) and found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(of_nodules.features(x[7:8]), found[7:8], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"images of shape \(1, 16, 16\) for a yardstick made for \(1, 32, 32\)"):
        of_nodules.features(x[..., :16, :16])


def test_the_table_says_what_is_not_seen() -> None:
    sight = metrics.Sight((0.25, 0.5, 1.0), {"blur": (1.0, 1.9, 8.0), "mesh": (2.0, 30.0, 99.0)})
    assert sight.blind() == ["blur"] and sight.blind(least=50) == ["blur", "mesh"]
    assert str(sight).splitlines()[1].split() == ["blur", "1.0", "1.9", "8.0"]


# --- training -------------------------------------------------------------------------------------


def test_one_seed_makes_one_yardstick_and_a_checkpoint_spares_the_training(nodules, tmp_path: Path) -> None:
    x, exam = nodules[0][:80], nodules[1][:40]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = trained(x, exam, steps=4, checkpoint=tmp_path, name="judge")
    assert torch.equal(torch.rand(1), expected)  # the caller's random numbers are left alone
    file = tmp_path / "judge.pt"
    before = file.stat().st_mtime_ns
    loaded = trained(x, exam, steps=4, checkpoint=tmp_path, name="judge")
    assert file.stat().st_mtime_ns == before
    for again in (loaded, trained(x, exam, steps=4)):
        assert torch.equal(first.features(exam), again.features(exam)) and first.accuracy == again.accuracy
    assert not torch.equal(first.features(exam), trained(x, exam, steps=4, seed=1).features(exam))


def test_classes_are_learnt_where_there_are_some_and_turns_else() -> None:
    digits = cohorts.load("digits", "train", n=400)
    by_class = metrics.Yardstick.train(digits, steps=120, device="cpu")
    assert by_class.content.chance == 0.1 and by_class.content.value > 0.8
    by_turn = metrics.Yardstick.train(digits.x, steps=2, device="cpu")
    assert by_turn.content.chance == 0.25
    given = metrics.Yardstick.train(digits.x, digits["label"], steps=2, device="cpu")
    assert given.content.chance == 0.1


def test_a_fifth_of_the_subjects_is_kept_for_the_examination(monkeypatch) -> None:
    cohort = cohorts.load("nodules", "train", size=32, n=60)
    cohort = dataclasses.replace(cohort.select(x="x"), subjects=torch.arange(60) // 3)
    seen = {}
    real_fit, real_exam = yardstick.training.fit, yardstick._examined
    monkeypatch.setattr(yardstick.training, "fit", lambda m, data, **o: seen.update(fit=data) or real_fit(m, data, **o))
    monkeypatch.setattr(yardstick, "_examined", lambda n, exam, *o: seen.update(exam=exam) or real_exam(n, exam, *o))
    metrics.Yardstick.train(cohort, steps=1, device="cpu")
    assert len(seen["fit"]["x"]) == 48 and len(seen["exam"]["x"]) == 12
    index = [(cohort.x == image).flatten(1).all(1).nonzero().item() for image in seen["exam"]["x"]]
    assert len({i // 3 for i in index}) == 4  # four whole people


@pytest.mark.parametrize("shape", [(3, 20, 29), (1, 17, 16), (1, 16, 16, 18)])
def test_channels_odd_sizes_and_volumes(shape: tuple[int, ...]) -> None:
    x = torch.rand(60, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    yard = metrics.Yardstick.train(x, steps=2, width=4, device="cpu")
    assert yard.features(x).shape == (60, yardstick.FEATURES)
    assert yard.content.chance == (0.25 if shape[-1] == shape[-2] else 0.5)
    assert yard.distance(x[:30], x[30:]) >= 0


@pytest.mark.parametrize("size", [(8, 8), (8, 6)])
def test_turns_are_even_and_the_label_says_how_far(size: tuple[int, int]) -> None:
    x = torch.rand(8, 1, *size)
    found, label = yardstick.turned(x)
    count = 4 if size[0] == size[1] else 2
    assert torch.bincount(label).tolist() == [8 // count] * count and found.shape == x.shape
    back = [image.rot90(-int(k) * 4 // count, (1, 2)) for image, k in zip(found, label, strict=True)]
    order = torch.cat([torch.arange(k, 8, count) for k in range(count)])
    assert torch.equal(torch.stack(back), x[order])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": torch.zeros(30, 1, 32, 32)}, "at least 40 images"),
        ({"train": torch.zeros(80, 1, 8, 8)}, "16 pixels an edge"),
        ({"train": torch.zeros(80, 32, 32)}, "2-D or 3-D"),
        ({"label": torch.zeros(79, dtype=torch.int64)}, "labels must be int64"),
        ({"label": torch.zeros(80)}, "labels must be int64"),
        ({"held_out": torch.zeros(9, 1, 16, 16)}, "shape of the training images"),
        ({"held_out": torch.zeros(0, 1, 32, 32)}, "some for its examination"),
        ({"faults": ("ring",)}, r"unknown faults \['ring'\]"),
    ],
)
def test_what_cannot_be_learnt_from_says_so(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.Yardstick.train(**({"train": torch.zeros(80, 1, 32, 32), "steps": 1} | change))


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in ("_local_scalar_dense", "is_nonzero", "nonzero", "equal")
        return func(*args, **(kwargs or {}))


def test_a_step_waits_for_nothing() -> None:
    batch = {"x": torch.rand(28, 1, 16, 16) * 2 - 1, "label": torch.arange(28) % 3}
    for labelled in (True, False):
        lessons = yardstick.Lessons(yardstick.Reader((1, 16, 16), 3 if labelled else 4, 4), labelled, steps=9)
        lessons.step(batch)
        with Waits() as waits:
            found = lessons.step(batch)
        assert waits.count == 0 and set(found) == {"content", "fault"}


def test_the_lessons_teach_what_their_labels_say() -> None:
    """Images of one grey: only contrast and blur leave them as they are, and every class has its share of a batch."""
    torch.manual_seed(0)
    lessons = yardstick.Lessons(yardstick.Reader((1, 16, 16), 4, 4), False, steps=9)
    x, kind = lessons._spoilt(torch.full((700, 1, 16, 16), 0.2))
    fault = (kind + yardstick.LEVELS - 1) // yardstick.LEVELS
    assert torch.bincount(fault).tolist() == [100] * 7
    change = (x - 0.2).abs().flatten(1).mean(1)
    names = ["none", *metrics.FAULTS]
    for k in (2, 4):  # noise and mesh, whose amplitude is the strength
        levels = [change[kind == 1 + yardstick.LEVELS * (k - 1) + level] for level in range(yardstick.LEVELS)]
        assert len(torch.cat(levels)) == 100 and names[k] in ("noise", "mesh")
        assert levels[0].mean() < levels[1].mean() < levels[2].mean()
    assert change[fault == 0].max() == 0 and change[fault == 1].max() < 1e-5


def test_the_learning_rate_falls_in_the_second_half_and_a_resumed_training_is_the_same(tmp_path: Path) -> None:
    x = {"x": torch.rand(60, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1}
    kept = {"batch_size": 28, "seed": 0, "precision": "float32", "device": "cpu"}

    def lessons() -> yardstick.Lessons:
        torch.manual_seed(0)
        return yardstick.Lessons(yardstick.Reader((1, 16, 16), 4, 4), False, steps=8)

    whole, rates = lessons(), []
    training.fit(whole, x, steps=8, every=1, on_snapshot=lambda n, m: rates.append(m.opt.param_groups[0]["lr"]), **kept)
    assert rates == pytest.approx([3e-3] * 5 + [2.25e-3, 1.5e-3, 0.75e-3, 0.0])
    training.fit(lessons(), x, steps=5, checkpoint=tmp_path / "y.pt", **kept)
    resumed = lessons()
    training.fit(resumed, x, steps=8, checkpoint=tmp_path / "y.pt", **kept)
    for a, b in zip(whole.net.state_dict().values(), resumed.net.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_chapters_share_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGAN_SHARED", str(tmp_path / "shared"))
    x = torch.rand(60, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    yards, steps, plain = [], [], yardstick.Lessons.step
    monkeypatch.setattr(yardstick.Lessons, "step", lambda self, batch: steps.append(1) or plain(self, batch))
    for name, options in (("one", {}), ("two", {"checkpoint": tmp_path}), ("third", {"faults": ("blur",)})):
        yards.append(trained(x[:45], x[45:], steps=3, name=name, **options))
    assert len(steps) == 6, "the second takes that of the first, the third learns something else"
    one, two, _ = (yard.features(x[:5]) for yard in yards)
    assert one.equal(two) and len(list(tmp_path.rglob("*.pt"))) == 2


# --- features of any network ----------------------------------------------------------------------


class Doubler(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def features(self, x):
        return self.drop(self.weight * x.flatten(1))


def test_features_in_evaluation_mode_and_in_order():
    net, x = Doubler().train(), torch.randn(10, 1, 4)
    result = metrics.features(net, x, batch=3)
    assert torch.equal(result, 2 * x.flatten(1)) and not result.requires_grad and net.training and net.drop.training
    with pytest.raises(ValueError, match="Linear has no method features"):
        metrics.features(torch.nn.Linear(2, 2), x)
    with pytest.raises(ValueError, match="no samples"):
        metrics.features(net, x[:0])
