"""The switches of the simulated vessels: families, lengths, stenoses, aneurysms and branches as they promise."""

import math
import os

import pytest
import torch
from scipy import stats

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import vessels as cohort
from medgan_lib.physics import tubes, vessels

F64 = torch.float64


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        yield


@pytest.fixture(scope="module")
def made(own_cache):
    return cohorts.load("vessels", n=500)


def mm_of(made, key="x"):
    values = cohort.to_mm(made, made[key].double())
    return values[:, :3], values[:, 3]


@pytest.fixture(scope="module")
def wide(own_cache):
    return cohorts.load("vessels", n=400, lengths=(40, 220))


@pytest.fixture(scope="module")
def forked(own_cache):
    return cohorts.load("vessels", n=200, size=512, branch=1.0)


@pytest.fixture(scope="module")
def narrowed(own_cache):
    return cohorts.load("vessels", n=200, lengths=(40, 220), stenosis=1.0)


def test_the_default_is_what_it_was_before_there_were_switches(made):
    assert list(made.tensors) == ["x", "centreline", "radius", "label", "length", "tortuosity", "taper", "undulation"]
    assert made.window == {"centreline": (-80.0, 160.0), "radius": (0.0, 4.0)}
    torch.testing.assert_close(made["length"][:3], torch.tensor([103.393074, 121.091034, 127.409538]))
    ends = [[0.024134, -1 / 3, -1 / 3, -0.394211], [0.554611, -1 / 3, -1 / 3, -0.417898]]
    torch.testing.assert_close(made.x[:2, :, -1], torch.tensor(ends), rtol=0, atol=1e-5)
    mean = torch.tensor([-0.222563, -0.131497, -0.135012])
    torch.testing.assert_close(made.x[:3].mean((1, 2)), mean, rtol=0, atol=1e-5)


def test_lengths_are_spread_evenly_and_exact(made, wide):
    assert wide.window["centreline"] == (-110.0, 220.0)
    line, _ = mm_of(wide)
    torch.testing.assert_close(vessels.length(line), wide["length"].double(), rtol=2e-3, atol=0)
    assert stats.kstest(wide["length"].numpy(), stats.uniform(40, 180).cdf).pvalue > 0.01
    for family in (0, 1):  # the length says nothing about the family
        part = wide["length"][wide["label"] == family].numpy()
        assert stats.kstest(part, stats.uniform(40, 180).cdf).pvalue > 0.01
    exact = cohorts.load("vessels", n=10, size=512, lengths=(150, 150))
    torch.testing.assert_close(vessels.length(mm_of(exact)[0]), torch.full((10,), 150.0, dtype=F64), rtol=2e-5, atol=0)
    torch.testing.assert_close(wide["taper"], made["taper"][:400])  # nothing else is drawn anew


def test_vessels_of_any_length_are_sound_and_bend_no_tighter(made, wide):
    line, radius = mm_of(wide)
    assert not tubes.flaws(line, radius).any.any()
    short = vessels.curvature(line[wide["length"] < 90]).amax(1)
    assert float(short.max()) < float(vessels.curvature(mm_of(made)[0]).max())
    tortuosity = wide["tortuosity"]
    assert float(tortuosity[wide["length"] < 70].mean()) < 0.5 * float(tortuosity[wide["length"] > 120].mean())


def test_a_stenosis_narrows_the_radius_by_its_degree_at_its_place(narrowed, wide):
    _, radius = mm_of(narrowed)
    left = radius / narrowed.to_units(narrowed["healthy_radius"].double(), "healthy_radius")[:, 0]
    torch.testing.assert_close(1 - left.amin(1), narrowed["stenosis_degree"].double(), rtol=0, atol=1e-5)
    assert torch.equal(narrowed["healthy_radius"], wide["radius"][:200])
    assert torch.equal(narrowed["centreline"], wide["centreline"][:200])
    spacing = (narrowed["length"] / 63).double()
    share = torch.linspace(0, 1, 64, dtype=F64).expand_as(left)
    touched = left < 1 - 1e-5
    first = share.masked_fill(~touched, 2).amin(1) * narrowed["length"]
    last = share.masked_fill(~touched, -1).amax(1) * narrowed["length"]
    assert ((last - first - narrowed["stenosis_length"]).abs() < 2 * spacing).all()
    assert (((last + first) / 2 - narrowed["stenosis_place"] * narrowed["length"]).abs() < spacing).all()
    assert (first > 0).all() and (last < narrowed["length"]).all()
    degree, reach = narrowed["stenosis_degree"], narrowed["stenosis_length"]
    assert 0.3 <= degree.min() < 0.35 and 0.75 < degree.max() <= 0.8
    assert 10 <= reach.min() < 11 and 19 < reach.max() <= 20 and float(radius.min()) > 0.05


def test_a_branch_starts_on_its_parent_at_its_angle_and_has_its_length(forked):
    (line, _), (side, thin) = mm_of(forked), mm_of(forked, "branch")
    spacing = vessels.length(line) / 511
    start = side[..., :1]
    assert (torch.cdist(line.mT, start.mT).amin((1, 2)) < 0.51 * spacing).all()
    at = forked["branch_place"].double() * 511
    k = at.floor().long()
    low, high = (line.gather(2, (k + step)[:, None, None].expand(-1, 3, 1)) for step in (0, 1))
    on = low + (high - low) * (at - k)[:, None, None]
    assert float((on - start).norm(dim=1).max()) < 2e-3
    directions = [torch.nn.functional.normalize(v, dim=1) for v in ((high - low)[..., 0], side[..., 1] - side[..., 0])]
    angle = torch.acos((directions[0] * directions[1]).sum(1))
    torch.testing.assert_close(angle, forked["branch_angle"].double(), rtol=0, atol=0.03)
    torch.testing.assert_close(vessels.length(side), forked["branch_length"].double(), rtol=1e-3, atol=0)
    assert not tubes.flaws(side, thin).any.any() and float(forked["branch"].abs().max()) <= 1


def test_radii_at_a_fork_follow_murray(forked):
    before, behind, beside = forked["branch_radii"].double().unbind(1)
    torch.testing.assert_close(behind**3 + beside**3, before**3, rtol=1e-5, atol=0)
    _, radius = mm_of(forked)
    k = (forked["branch_place"].double() * 511).floor().long()[:, None]
    seen = [radius.gather(1, k)[:, 0], radius.gather(1, k + 1)[:, 0], mm_of(forked, "branch")[1][:, 0]]
    assert float((seen[1] ** 3 + seen[2] ** 3 - seen[0] ** 3).abs().div(seen[0] ** 3).max()) < 0.02
    torch.testing.assert_close(seen[2], beside, rtol=1e-5, atol=0)
    torch.testing.assert_close(1 - radius[:, -1] / radius[:, 0], forked["taper"].double(), rtol=0, atol=1e-5)
    alone = cohorts.load("vessels", n=200, size=512)
    torch.testing.assert_close(mm_of(forked)[0], mm_of(alone)[0], rtol=0, atol=1e-4)
    drop = radius / mm_of(alone)[1]
    torch.testing.assert_close(drop[:, 0], torch.ones(200, dtype=F64), rtol=0, atol=1e-5)
    torch.testing.assert_close(drop[:, -1], behind / before, rtol=1e-5, atol=0)


def test_a_branch_leaves_its_parent_for_good(forked):
    (line, radius), (side, thin) = mm_of(forked), mm_of(forked, "branch")
    gap = torch.cdist(side.mT, line.mT) - thin[:, :, None] - radius[:, None]
    along = torch.linspace(0, 1, 512, dtype=F64) * forked["branch_length"][:, None]
    far = along > 2.5 * (forked["branch_radii"][:, 0] + forked["branch_radii"][:, 2])[:, None]
    assert float(gap.masked_fill(~far[:, :, None], torch.inf).min()) > 0


def test_so_many_have_a_branch_or_a_stenosis_and_the_others_none(made):
    mixed = cohorts.load("vessels", n=500, stenosis=0.3, branch=0.6)
    for what, share in (("stenosis", 0.3), ("branch", 0.6)):
        has = mixed[f"has_{what}"] == 1
        assert abs(float(has.float().mean()) - share) < 4 * math.sqrt(share * (1 - share) / 500)
        for key in [key for key in mixed.tensors if key.startswith(f"{what}_")]:
            assert not mixed[key][~has].any() and (mixed[key][has] != 0).all(), key
    neither = (mixed["has_stenosis"] == 0) & (mixed["has_branch"] == 0)
    assert torch.equal(mixed["radius"][neither], made["radius"][neither])
    line, radius = mm_of(mixed, "branch")
    none = mixed["has_branch"] == 0
    assert float(line[none].abs().max()) < 1e-4 and float(radius[none].abs().max()) < 1e-6
    assert float(radius[~none].min()) > 0.1
    # one switch does not move what another draws
    alone = cohorts.load("vessels", n=500, stenosis=0.3)
    for key in ("has_stenosis", "stenosis_place", "stenosis_degree"):
        assert torch.equal(alone[key], mixed[key])


@pytest.fixture(scope="module")
def four(own_cache):
    return cohorts.load("vessels", n=800, families=cohort.FAMILIES, lengths=(40, 220), stenosis=0.25, aneurysm=0.15)


def test_side_branches_are_families_of_their_own(four):
    assert four.classes["label"] == ("left", "right", "diagonal", "marginal")
    count = torch.bincount(four["label"], minlength=4)
    assert ((count - 200).abs() < 4 * math.sqrt(800 * 0.25 * 0.75)).all()
    line, radius = mm_of(four)
    assert not tubes.flaws(line, radius).any.any()
    torch.testing.assert_close(vessels.length(line), four["length"].double(), rtol=2e-3, atol=0)
    branch = four["label"] >= 2
    for some, top in ((~branch, 220), (branch, 130)):
        assert stats.kstest(four["length"][some].numpy(), stats.uniform(40, top - 40).cdf).pvalue > 0.01
    start = radius[:, 0]
    assert float(start[branch].quantile(0.95)) < float(start[~branch].quantile(0.2)), "side branches are thin"
    assert set(cohort.SIDE) == set(cohort.FAMILIES) and cohort.SIDE["diagonal"] == "left"


def test_each_family_bends_in_its_own_way(four):
    """The mean courses of vessels long enough to bend differ by far more than those of two halves of one family do."""
    line = mm_of(four)[0] / four["length"][:, None, None]
    long = (four["length"] > 75).nonzero()[:, 0]
    courses = [line[long[four["label"][long] == k]] for k in range(4)]
    within = [float((part[::2].mean(0) - part[1::2].mean(0)).norm(dim=0).mean()) for part in courses]
    means = [part.mean(0) for part in courses]
    for a in range(4):
        for b in range(a):
            assert float((means[a] - means[b]).norm(dim=0).mean()) > 2 * (within[a] + within[b]), (a, b)


def test_families_are_asked_for_by_name_and_move_nothing_else(made):
    turned = cohorts.load("vessels", n=500, families=("left", "right"))
    assert torch.equal(turned.x, made.x)
    only = cohorts.load("vessels", n=40, families=("right",))
    assert only.classes["label"] == ("right",) and not only["label"].any()
    same = made["label"][:40] == 1
    torch.testing.assert_close(only.x[same], made.x[:40][same])


def test_an_aneurysm_widens_the_radius_by_its_degree_at_its_place(wide):
    bulging = cohorts.load("vessels", n=400, lengths=(40, 220), aneurysm=1.0)
    assert bulging.window["radius"] == (0.0, 8.0) and float(bulging.x[:, 3].max()) <= 1
    _, radius = mm_of(bulging)
    healthy = bulging.to_units(bulging["healthy_radius"].double(), "healthy_radius")[:, 0]
    torch.testing.assert_close(healthy, mm_of(wide)[1], rtol=0, atol=1e-5)
    grown = radius / healthy - 1
    torch.testing.assert_close(grown.amax(1), bulging["aneurysm_degree"].double(), rtol=0, atol=1e-4)
    assert torch.equal(bulging["centreline"], wide["centreline"])
    middle = (grown * torch.linspace(0, 1, 64, dtype=F64)).sum(1) / grown.sum(1)
    assert float((middle - bulging["aneurysm_place"]).abs().max()) < 1.5 / 63
    degree = bulging["aneurysm_degree"]
    assert 0.5 <= degree.min() < 0.55 and 0.95 < degree.max() <= 1.0


def test_a_stenosis_and_an_aneurysm_are_drawn_apart(four):
    for what, share in (("stenosis", 0.25), ("aneurysm", 0.15)):
        has = four[f"has_{what}"] == 1
        assert abs(float(has.float().mean()) - share) < 4 * math.sqrt(share * (1 - share) / 800)
        for key in ("place", "length", "degree"):
            assert not four[f"{what}_{key}"][~has].any() and (four[f"{what}_{key}"][has] != 0).all()
    both = float(((four["has_stenosis"] == 1) & (four["has_aneurysm"] == 1)).float().mean())
    assert abs(both - 0.0375) < 4 * math.sqrt(0.0375 / 800)
    alone = cohorts.load("vessels", n=800, families=cohort.FAMILIES, lengths=(40, 220), stenosis=0.25)
    assert torch.equal(alone["stenosis_place"], four["stenosis_place"])


@pytest.mark.parametrize(
    "wrong, message",
    [
        *(({what: bad}, f"{what} of 'vessels' must be a number from 0 to 1, it is {bad!r}")
          for what in ("stenosis", "aneurysm", "branch") for bad in (-0.1, 1.5, True, "half")),
        *(({"lengths": bad}, "lengths of 'vessels' must be the least and the greatest in mm, two numbers from 20")
          for bad in (120, (40,), (220, 40), (10, 220), (40, 400), (40, "220"), (True, 220), (float("nan"), 50), "40")),
        *(({"families": bad}, "families of 'vessels' must be some of left, right, diagonal, marginal, each once")
          for bad in ((), ("left", "left"), ("septal",), "left", None)),
    ],
)  # fmt: skip
def test_a_wrong_switch_says_what_is_possible(wrong, message):
    with pytest.raises(ValueError, match=message):
        cohorts.load("vessels", **wrong)
