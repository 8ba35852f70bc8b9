"""The simulated heads: paired to the voxel, truth that is true, switches that change what they say and nothing else."""

import numpy as np
import pytest
import torch

from medgan_lib import cohorts
from medgan_lib.cohorts.simulated import head_anatomy, head_scanner, heads
from medgan_lib.cohorts.simulated.head_anatomy import centres, draw_subject, random_stream, tissue_shares
from medgan_lib.physics import ct, mr

MR = ("t1", "t2", "flair", "gre")
LABEL = {name: index for index, name in enumerate(heads.LABELS)}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        head_anatomy.load_atlas.cache_clear()
        yield


def load(n=12, split="train", **switches):
    return cohorts.load("heads", split, n=n, **switches)


@pytest.fixture(scope="module")
def paired(own_cache):
    return load(24, contrasts=(*MR, "ct"), seed=5)


def median(cohort, contrast, label):
    return float(cohort.to_units(cohort[contrast], contrast)[cohort["labels"] == LABEL[label]].median())


def pure(person, level, size, tissue, share=0.98):
    """Voxels that hold (almost) nothing else."""
    return torch.from_numpy(tissue_shares(person, level, size)[tissue] > share)


def test_cohort_says_what_it_is(paired):
    assert paired.x.shape == (24, 1, 64, 64)
    assert paired.x.dtype == torch.float32
    assert torch.equal(paired.x, paired["t1"])
    assert paired.spacing == (3.75, 3.75)
    assert paired.origin == "embedded"
    assert paired.units["ct"] == "HU" and paired.window["ct"] == (-1000, 2000)
    assert paired.units["t1"] == "signal" and paired.units["level_mm"] == "mm" and paired.units["t1_tr_ms"] == "ms"
    assert paired.classes["labels"] == heads.LABELS
    swapped = paired.select(x="ct", y="t1")
    assert torch.equal(swapped.x, paired["ct"]) and swapped.units["x"] == "HU"


def test_every_label_is_there_and_nested(paired):
    counts = torch.bincount(paired["labels"].flatten(), minlength=6)
    assert (counts > 0).all()
    inside = (paired["labels"] >= LABEL["csf"]).float().mean((1, 2, 3)) * 240**2 / 100  # cm²
    assert (inside > 60).all() and (inside < 220).all()  # intracranial area of an axial slice
    edge = torch.cat([paired["labels"][..., 0, :], paired["labels"][..., -1, :]])
    assert (edge == LABEL["background"]).all()


def test_contrasts_are_those_of_the_clinic(paired):
    m = {(c, t): median(paired, c, t) for c in (*MR, "ct") for t in heads.LABELS}
    white, grey, csf = "white matter", "grey matter", "csf"
    assert m["t1", white] > 1.08 * m["t1", grey] > 1.2 * m["t1", csf]
    assert m["t2", csf] > 1.2 * m["t2", grey] > 1.25 * m["t2", white]
    assert m["flair", grey] > 1.05 * m["flair", white] > 1.5 * m["flair", csf]
    assert 4 < m["ct", grey] - m["ct", white] < 15
    assert 600 < m["ct", "bone"] < 1500
    assert m["ct", "background"] == pytest.approx(-1000, abs=5)
    for contrast in MR:
        assert m[contrast, "background"] < 0.1 * m[contrast, grey]
        assert m[contrast, "bone"] < 0.7 * m[contrast, "scalp"]


def test_a_voxel_of_one_tissue_has_that_tissues_value():
    """Fractions → images: what the physics says for the subject's own tissue, up to noise."""
    switches = heads.Switches((*MR, "ct"), 0.0, None, None, "A", None, None)
    size = 128
    for index in range(3):
        person = draw_subject(0, "train", index, 1, switches)
        level = person.levels[0]
        row = heads._slice(person, 0, size, switches, lambda *use, i=index: random_stream(0, "train", i, 3, 0, *use))
        hu = torch.from_numpy(row["ct"][0] + 1) * 1500 - 1000
        line = centres(size)
        gain = torch.from_numpy(np.exp(person.bias * person.coil.on_plane(line, line, 0.0)))
        sequence = head_scanner.mr_sequence(person, "t1", "A")
        for tissue, name in ((head_anatomy.WHITE, "white"), (head_anatomy.GREY, "grey")):
            where = pure(person, level, size, tissue)
            assert where.sum() > 40
            assert hu[where].mean() == pytest.approx(ct.HU[name] + person.attenuation[tissue], abs=2)
            pd, t1, t2, _ = mr.TISSUES[name]
            f = person.relaxation[tissue]
            expected = mr.spin_echo(pd * f[0], t1 * f[1], t2 * f[2], tr=sequence.tr, te=sequence.te)
            signal = (torch.from_numpy(row["t1"][0]) + 1) / 2 * sequence.top / gain
            assert signal[where].mean() == pytest.approx(float(expected), rel=0.02)


def test_fluid_is_nulled_in_flair_for_the_nominal_tissue():
    for protocol in head_scanner.PROTOCOLS.values():
        fluid, grey = (protocol["flair"].signal(mr.TISSUES[name]) for name in ("csf", "grey"))
        assert abs(fluid) < 1e-9 < grey


def test_shares_sum_to_one():
    switches = heads.Switches(("t1",), 0.0, 1.0, 1.0, "A", None, None)
    for index in range(6):
        person = draw_subject(1, "train", index, 1, switches)
        fractions = tissue_shares(person, person.levels[0], 64)
        assert np.allclose(fractions.sum(0), 1, atol=1e-5)
        assert fractions.min() > -1e-6


def test_half_resolution_is_the_mean_of_full():
    """Partial volume: the shares of a voxel are those of the four voxels in it, up to how finely they are computed."""
    switches = heads.Switches(("t1",), 0.0, None, None, "A", None, None)
    person = draw_subject(2, "train", 0, 1, switches)
    fine, coarse = (tissue_shares(person, person.levels[0], size) for size in (128, 64))
    assert np.allclose(fine.reshape(-1, 64, 2, 64, 2).mean((2, 4)), coarse, atol=1e-5)


def test_same_seed_same_heads_and_others_differ():
    a, b, c = load(4, seed=1), load(6, seed=1), load(4, seed=2)
    assert torch.equal(a.x, b.x[:4])
    assert torch.equal(a["level_mm"], b["level_mm"][:4])
    assert not torch.equal(a.x, c.x)


def test_cache_gives_what_was_made(tmp_path, monkeypatch):
    switches = {"contrasts": ("t2", "ct"), "lesion": 0.5, "seed": 3, "n": 4}
    monkeypatch.setenv("MEDGAN_CACHE", str(tmp_path))
    fresh, again = load(**switches), load(**switches)
    assert len(list(tmp_path.glob("heads-*.npz"))) == 1
    assert fresh.digest() == again.digest()
    assert {k: v.dtype for k, v in fresh.tensors.items()} == {k: v.dtype for k, v in again.tensors.items()}


def test_splits_share_no_subject_and_no_image():
    parts = [load(5, split=split, slices_per_subject=2) for split in ("train", "val", "test")]
    subjects = [set(part.subjects.tolist()) for part in parts]
    assert not subjects[0] & subjects[1] and not subjects[0] & subjects[2] and not subjects[1] & subjects[2]
    images = [{image.numpy().tobytes() for image in part.x} for part in parts]
    assert len(set.union(*images)) == 15


def test_slices_of_a_subject_share_its_anatomy():
    cohort = load(9, slices_per_subject=4, seed=4)
    assert cohort.subjects.unique(return_counts=True)[1].tolist() == [4, 4, 1]
    for person in cohort.subjects.unique():
        mine = cohort.subset(cohort.subjects == person)
        for name in ("brain_scale", "ventricle_mm", "sulci", "bias", "t1_tr_ms"):
            assert len(mine[name].unique()) == 1, name
        assert (mine["level_mm"].diff() > 0).all()
    assert len(cohort["brain_scale"].unique()) == 3
    assert torch.equal(cohort["ventricle_mm"][::4], load(3, seed=4)["ventricle_mm"])  # the same people


def test_neighbouring_slices_look_alike():
    """Levels 1 mm apart in one head are closer than the same level in two heads."""
    switches = heads.Switches(("t1",), 0.0, None, None, "A", None, None)
    a, b = (draw_subject(0, "train", i, 1, switches) for i in (0, 1))
    here, near, other = tissue_shares(a, 20.0, 64), tissue_shares(a, 21.0, 64), tissue_shares(b, 20.0, 64)
    assert abs(here - near).mean() < 0.3 * abs(here - other).mean()


@pytest.mark.parametrize("mm", [2.0, 7.5])
def test_misregistration_moves_by_the_stated_distance(mm):
    from skimage.registration import phase_cross_correlation

    still = load(6, contrasts=("t1", "t2"), seed=6, size=96)
    moved = load(6, contrasts=("t1", "t2"), seed=6, size=96, misregistration_mm=mm)
    assert torch.equal(still["t1"], moved["t1"])
    assert torch.equal(still["labels"], moved["labels"])
    shift = moved["shift_mm"]
    assert torch.allclose(shift.norm(dim=1), torch.tensor(mm), atol=1e-5)
    assert still["shift_mm"].abs().max() == 0
    for k in range(6):
        found, *_ = phase_cross_correlation(
            moved["t2"][k, 0].numpy(), still["t2"][k, 0].numpy(), upsample_factor=20, normalization=None
        )
        down, right = found * still.spacing[0]
        assert (right, down) == pytest.approx(tuple(shift[k].tolist()), abs=0.35)


def test_the_moved_head_is_the_same_head():
    """A shift by whole voxels moves the tissues by whole voxels, exactly."""
    switches = heads.Switches(("t1",), 0.0, 1.0, None, "A", None, None)
    person = draw_subject(7, "train", 0, 1, switches)
    level = person.levels[0]
    here = tissue_shares(person, level, 64)
    there = tissue_shares(person, level, 64, shift=np.array([7.5, -3.75]))
    assert np.allclose(there[:, 4:-4, 4:-4], np.roll(here, (-1, 2), (1, 2))[:, 4:-4, 4:-4], atol=2e-4)


def test_a_lesion_changes_nothing_beyond_its_oedema():
    contrasts = ("flair", "t1", "ct")
    sound, ill = load(10, contrasts=contrasts, seed=8), load(10, contrasts=contrasts, seed=8, lesion=1.0)
    assert torch.equal(sound["labels"], ill["labels"])
    touched = ill["mask"] | (ill["oedema"] > 0)
    near = torch.nn.functional.max_pool2d(touched.float(), 3, 1, 1) > 0  # a voxel with under half a share of tumour
    for contrast in contrasts:
        difference = (sound[contrast] - ill[contrast]).abs()
        assert difference[~near].max() == 0, contrast
    assert torch.equal(ill["healthy"], sound["flair"])
    assert ill["mask"].dtype == torch.bool
    area = ill["mask"].sum((1, 2, 3)) * 3.75**2
    assert (area < np.pi * 22**2).all() and (area > 20).float().mean() > 0.8
    assert (ill["labels"][ill["mask"]] >= LABEL["csf"]).all()
    assert ill["label"].float().mean() > 0.9
    # oedema and tumour are bright in FLAIR against the same head without them
    gained = (ill["x"] - ill["healthy"])[ill["oedema"] > 0.7]
    assert gained.mean() > 0.15 and (gained > 0).float().mean() > 0.9


def test_heads_fit_into_the_picture():
    switches = heads.Switches(("t1",), 0.0, None, None, "A", None, None)
    line = centres(32)
    radius = np.hypot(line, line[:, None])
    for index in range(60):
        person = draw_subject(11, "train", index, 1, switches)
        body = 1 - tissue_shares(person, person.levels[0], 32)[head_anatomy.AIR]
        assert radius[body > 0.05].max() < 122
        assert radius[body > 0.5].max() > 60


def test_lesions_come_at_the_stated_rate():
    assert load(8, lesion=0.0)["mask"].sum() == 0
    assert load(8, lesion=0.0)["label"].sum() == 0
    switches = heads.Switches(("t1",), 0.0, 0.3, None, "A", None, None)
    rate = np.mean([draw_subject(0, "train", i, 1, switches).lesion is not None for i in range(400)])
    assert rate == pytest.approx(0.3, abs=0.08)


def test_a_lesion_shows_in_at_least_one_slice_of_its_subject():
    cohort = load(16, slices_per_subject=4, lesion=1.0, seed=2)
    per_subject = cohort["label"].reshape(4, 4).sum(1)
    assert (per_subject > 0).all() and (per_subject < 4).any()


def test_the_change_map_of_atrophy_is_the_change():
    cohort = load(12, contrasts=("t2",), atrophy=1.0, seed=9, size=96)
    without = load(12, contrasts=("t2",), seed=9, size=96)
    assert torch.equal(cohort["healthy"], without.x)
    assert (cohort["label"] == 1).all()
    assert ((cohort["ventricle_mm"] - without["ventricle_mm"]) > 2.9).all()
    change, difference = cohort["change"], cohort.x - cohort["healthy"]
    assert change.sum((1, 2, 3)).min() > 0  # fluid grows in every head
    assert change.max() > 0.9 and change.clamp(max=0).sum() > -0.1 * change.sum()
    found = np.corrcoef(change.flatten(), difference.flatten())[0, 1]
    assert found > 0.85  # T2: more fluid is brighter; the rest is grey and white matter that moved
    far = torch.nn.functional.max_pool2d((cohort["labels"] >= LABEL["csf"]).float(), 5, 1, 2) == 0
    assert difference[far].abs().max() == 0  # skull, scalp and air stay
    # the labels are those of the shrunken brain
    fluid = lambda c: (c["labels"] == LABEL["csf"]).sum((1, 2, 3))  # noqa: E731
    assert (fluid(cohort) > fluid(without)).all()


def test_both_illnesses_have_four_classes():
    cohort = load(16, lesion=0.5, atrophy=0.5, seed=1)
    assert cohort.classes["label"] == ("healthy", "lesion", "atrophy", "lesion and atrophy")
    assert len(cohort["label"].unique()) == 4
    healthy = cohort["label"] == 0
    same = (cohort.x == cohort["healthy"]).flatten(1).all(1)
    assert same[healthy & (cohort["oedema"].flatten(1).sum(1) == 0)].all() and not same[~healthy].any()


def test_protocol_changes_the_contrast_not_the_anatomy():
    a, b = (load(8, contrasts=(*MR, "ct"), seed=3, protocol=p) for p in "AB")
    assert torch.equal(a["labels"], b["labels"]) and torch.equal(a["ct"], b["ct"])
    assert torch.equal(a["ventricle_mm"], b["ventricle_mm"])
    for contrast in MR:
        assert not torch.allclose(a[contrast], b[contrast], atol=0.1)
        assert (b[contrast] >= 1).float().mean() < 0.01  # no protocol burns out

    def ratio(cohort, contrast, over, under):
        return median(cohort, contrast, over) / median(cohort, contrast, under)

    assert ratio(a, "t2", "scalp", "grey matter") > 1.3 * ratio(b, "t2", "scalp", "grey matter")  # fat saturation
    assert ratio(b, "flair", "scalp", "grey matter") > 1.3 * ratio(a, "flair", "scalp", "grey matter")


def test_undersampling_keeps_the_measured_lines():
    cohort = load(4, undersampling=3, seed=3)
    full = load(4, seed=3)
    assert torch.equal(cohort["reference"], full.x)
    assert cohort["sampling"].shape == (4, 1, 64, 1)
    assert (cohort["sampling"].sum((1, 2, 3)) == 21).all()
    assert (cohort.x - full.x).pow(2).mean() > 1e-3
    assert torch.allclose(load(4, undersampling=1, seed=3).x, full.x, atol=1e-6)


def test_dose_changes_the_noise_and_little_else():
    switches = {"contrasts": ("ct", "t1"), "seed": 3, "n": 3}
    low, fine, usual = load(dose=0.1, **switches), load(dose=10, **switches), load(**switches)
    assert torch.equal(low["t1"], usual["t1"])
    brain = (low["labels"] >= LABEL["grey matter"]).float()
    brain = torch.nn.functional.avg_pool2d(brain, 5, 1, 2) > 0.99

    def noise(a, b):
        return float(((a - b) * 1500)[brain].std())  # HU

    assert noise(low.x, fine.x) / noise(low["reference"], fine.x) == pytest.approx(np.sqrt(10.1 / 1.1), rel=0.1)
    assert 2 < noise(low["reference"], fine.x) < 8
    shifted = load(dose=1.0, contrasts=("t1", "ct"), seed=3, n=2, misregistration_mm=10)
    assert (shifted["ct"] > 0.2).flatten(1).any(1).all()
    assert abs(((fine.x - usual.x) * 1500)[brain].mean()) < 3


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"contrasts": ("t3",)}, "unknown contrast 't3'; give one or more, each once, of t1, t2, flair, gre, ct"),
        ({"contrasts": ()}, "of t1, t2, flair, gre, ct"),
        ({"contrasts": ("t1", "t1")}, "each once"),
        ({"size": 63}, "multiple of 8 from 32 to 256"),
        ({"size": 24}, "multiple of 8 from 32 to 256"),
        ({"size": 512}, "multiple of 8 from 32 to 256"),
        ({"protocol": "C"}, "unknown protocol 'C'; there are A, B"),
        ({"lesion": 1.5}, "lesion is 1.5; give None or a probability"),
        ({"atrophy": "yes"}, "atrophy is 'yes'; give None or a probability"),
        ({"lesion": True}, "lesion is True"),
        ({"misregistration_mm": -1.0, "contrasts": ("t1", "ct")}, "give 0 to 10 mm"),
        ({"misregistration_mm": float("nan"), "contrasts": ("t1", "ct")}, "give 0 to 10 mm"),
        ({"misregistration_mm": 2.0}, "needs two contrasts"),
        ({"slices_per_subject": 0}, "whole number from 1 to 64"),
        ({"undersampling": 0.5}, "None or 1 to 8"),
        ({"undersampling": 2, "contrasts": ("ct",)}, "needs an MR contrast"),
        ({"dose": 0.0, "contrasts": ("ct",)}, "0.001 to 10"),
        ({"dose": 0.5}, "needs 'ct'"),
        ({"split": "dev"}, "train, val, test"),
        ({"levels": (30, 5)}, "levels is (30, 5); give (low, high) within -16 to 74 mm"),
        ({"levels": (-20, 5)}, "within -16 to 74 mm"),
        ({"levels": 10}, "levels is 10; give (low, high)"),
        ({"snr": 0}, "snr is 0; give 1 to 1,000,000"),
        ({"snr": None}, "snr is None; give 1 to"),
        ({"snr": float("inf")}, "snr is inf; give 1 to"),
        ({"ct_window": (100, -100), "contrasts": ("ct",)}, "ct_window is (100, -100); give (low, high)"),
        ({"ct_window": (-100, 100)}, "ct_window needs 'ct' among the contrasts, they are t1"),
        ({"complex": "yes"}, "complex is 'yes'; give True or False"),
        ({"complex": True, "contrasts": ("ct",)}, "complex needs an MR contrast"),
        ({"volume": 8}, "volume is 8; give None or (slices, mm)"),
        ({"volume": (1, 5.0)}, "a whole number from 2 to 64, and 0.5 to 20 mm"),
        ({"volume": (4, 0)}, "a whole number from 2 to 64, and 0.5 to 20 mm"),
        ({"volume": (4, 5.0), "slices_per_subject": 4}, "leave slices_per_subject at 1"),
        ({"volume": (5, 5.0)}, "n is 12; a volume has 5 slices, so give a multiple of it"),
        ({"volume": (12, 6)}, "12 slices 6 mm apart can need 76.7 mm of MNI z (in the smallest head), the levels"),
        ({"tumour": 0.5}, "lesion"),
    ],
)
def test_wrong_switches_say_what_is_right(switches, message):
    with pytest.raises(ValueError) as error:
        load(**switches)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
