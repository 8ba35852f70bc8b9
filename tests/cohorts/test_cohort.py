"""A `Cohort`: windows, selections, splits, digests."""

import dataclasses
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medgan_lib import cohorts
from medgan_lib.cohorts.cohort import Cohort, Window


def cohort(n=12, subjects=None, **changes):
    generator = torch.Generator().manual_seed(0)
    fields = {
        "name": "made",
        "tensors": {
            "x": torch.rand(n, 1, 4, 4, generator=generator) * 2 - 1,
            "ct": torch.rand(n, 1, 4, 4, generator=generator) * 2 - 1,
            "label": torch.arange(n) % 2,
        },
        "subjects": torch.as_tensor(range(n) if subjects is None else subjects),
        "units": {"x": "signal", "ct": "HU"},
        "window": {"x": (0.0, 65535.0), "ct": (-1000.0, 400.0)},
        "origin": "embedded",
        "split": "train",
        "classes": {"label": ("no", "yes")},
    }
    return Cohort(**(fields | changes))


@pytest.mark.parametrize("low, high", [(0.0, 65535.0), (-32768.0, 32767.0), (-1000.0, 400.0), (0.0, 1.0)])
def test_every_16_bit_value_survives_the_window(low, high):
    made = cohort(window={"x": (low, high)})
    values = torch.linspace(low, high, 65536, dtype=torch.float64)
    back = made.to_units(made.from_units(values.float()))
    step = (high - low) / 65535
    assert torch.equal(((back.double() - low) / step).round(), torch.arange(65536.0, dtype=torch.float64))
    torch.testing.assert_close(made.to_units(made.from_units(values)), values, rtol=1e-12, atol=1e-9)


def test_window_is_linear_and_clips_nothing():
    made = cohort()
    assert made.to_units(torch.tensor([-1.0, 0.0, 1.0]), "ct").tolist() == [-1000, -300, 400]
    assert made.from_units(torch.tensor([-1700, -1000, 400, 1100]), "ct").tolist() == [-2, -1, 1, 2]
    assert made.from_units(torch.tensor([0, 65535], dtype=torch.int32)).dtype == torch.float32
    with pytest.raises(ValueError, match="no window for 'label', only for x, ct"):
        made.to_units(made["label"], "label")


def test_a_window_scales_arrays_and_tensors_and_keeps_double_precision():
    window = Window(-1000.0, 400.0)
    assert window.span == 1400 and window == (-1000.0, 400.0) and f"{window}" == "(-1000.0, 400.0)"
    values = [-1700.0, -1000.0, -300.0, 400.0, 1100.0]
    assert window.scale(values).tolist() == [-1, -1, 0, 1, 1]
    assert window.scale(np.array(values), clip=False).tolist() == [-2, -1, 0, 1, 2]
    assert window.scale(np.array(values, np.int16)).dtype == torch.float32
    exact = torch.linspace(-1000, 400, 1000, dtype=torch.float64)
    torch.testing.assert_close(window.units(window.scale(exact)), exact, rtol=1e-15, atol=1e-12)


def test_a_pair_of_numbers_becomes_a_window():
    made = cohort()
    assert made.window["ct"].span == 1400 and made.select(x="ct").window["x"].units(torch.tensor(0.0)) == -300
    assert made.digest() == cohort(window={name: Window(*pair) for name, pair in made.window.items()}).digest()


def test_select_renames_everything_that_belongs_to_a_tensor():
    chosen = cohort().select(x="ct", y="x", c="label")
    assert list(chosen.tensors) == ["x", "y", "c"]
    assert torch.equal(chosen.x, cohort()["ct"])
    assert chosen.units == {"x": "HU", "y": "signal"}
    assert chosen.window == {"x": (-1000.0, 400.0), "y": (0.0, 65535.0)}
    assert chosen.classes == {"c": ("no", "yes")}
    with pytest.raises(ValueError, match=r"no tensor 'mr', only x, ct, label"):
        cohort().select(x="mr")
    with pytest.raises(ValueError, match=r"select\(x='y'\)"):
        _ = cohort().select(y="ct").x


@pytest.mark.parametrize(
    "index, expected",
    [
        (3, [3]),
        (-1, [11]),
        (slice(2, 6, 2), [2, 4]),
        ([5, 1, 5], [5, 1, 5]),
        (torch.tensor([7, 0]), [7, 0]),
        (torch.arange(12) > 9, [10, 11]),
        ([], []),
    ],
)
def test_subset_keeps_tensors_and_subjects_together(index, expected):
    made = cohort()
    part = made[index]
    assert part.subjects.tolist() == expected
    for key, tensor in made.tensors.items():
        assert torch.equal(part[key], tensor[torch.tensor(expected, dtype=torch.long)])


@given(
    people=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    shares=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_split_by_subject_is_a_partition_that_keeps_subjects_together(people, shares, seed):
    n = len(people)
    made = cohort(n, people, tensors={"x": torch.arange(float(n))}, units={}, window={}, classes={})
    fractions = [share / sum(shares) for share in shares]
    try:
        parts = made.split_by_subject(fractions, seed)
    except ValueError as error:
        assert "too few" in str(error) and len(set(people)) < 2 * sum(shares)
        return
    sets = [set(part.subjects.tolist()) for part in parts]
    assert sum(map(len, sets)) == len(set.union(*sets)) == len(set(people))
    assert sorted(torch.cat([part.x for part in parts]).tolist()) == list(range(n))
    for part, fraction in zip(sets, fractions, strict=True):
        assert abs(len(part) - fraction * len(set(people))) <= 1


def test_split_by_subject_follows_the_seed_and_refuses_bad_fractions():
    made = cohort(100)
    first, again, other = (made.split_by_subject((0.5, 0.5), seed)[0] for seed in (1, 1, 2))
    assert first.digest() == again.digest() != other.digest()
    for fractions in [(0.5, 0.6), (1.5, -0.5), ()]:
        with pytest.raises(ValueError, match="add up to 1"):
            made.split_by_subject(fractions)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tensors": {}}, "at least one tensor"),
        ({"tensors": {"x": torch.zeros(5, 2)}, "units": {}, "window": {}, "classes": {}}, "first dimension"),
        ({"subjects": torch.arange(12.0)}, "int64"),
        ({"origin": "phantom"}, "embedded, real"),
        ({"split": "validation"}, "train, val, test"),
        ({"units": {"t1": "signal"}}, "units for .'t1'."),
        ({"window": {"x": (1.0, 1.0)}}, "must rise"),
        ({"spacing": (1.0, 0.0)}, "positive"),
        ({"classes": {"label": ("only",)}}, "int64 in 0..0"),
    ],
)
def test_a_cohort_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=f"cohort 'made': .*{message}"):
        cohort(**change)


@pytest.mark.parametrize("value, message", [(math.nan, "not finite"), (math.inf, "not finite"), (1.5, "lie in")])
def test_an_image_off_its_range_is_refused(value, message):
    x = torch.zeros(12, 1, 4, 4)
    x[3, 0, 1, 2] = value
    with pytest.raises(ValueError, match=message):
        cohort(tensors={"x": x}, units={}, window={"x": (0.0, 1.0)}, classes={})


def test_digest_sees_every_change_that_can_change_a_result_and_no_other():
    made = cohort()
    changed = {key: tensor.clone() for key, tensor in made.tensors.items()}
    changed["x"][0, 0, 0, 0] += 1e-6
    others = [
        dataclasses.replace(made, tensors=changed),
        dataclasses.replace(made, window={"x": (0.0, 1.0)}),
        dataclasses.replace(made, subjects=made.subjects + 1),
        made[:-1],
        made.select(x="ct", ct="x", label="label"),
    ]
    digests = {made.digest(), *(other.digest() for other in others)}
    assert len(digests) == 6
    assert dataclasses.replace(made, note="another caption").digest() == made.digest()
    assert made.subset(slice(None)).digest() == made.digest()
    strided = {key: tensor.clone() for key, tensor in made.tensors.items()}
    strided["x"] = strided["x"].contiguous(memory_format=torch.channels_last)
    assert dataclasses.replace(made, tensors=strided).digest() == made.digest()


def test_in_another_process_the_digest_is_the_same_and_nothing_heavy_is_imported():
    code = """if True:
        import sys
        from medgan_lib import cohorts
        heavy = {"mlxtend", "nilearn", "pooch", "skimage", "PIL", "matplotlib"} & set(sys.modules)
        print(cohorts.load("ring", n=50, seed=3).digest(), heavy or "light")"""
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert there.stdout.split() == [cohorts.load("ring", n=50, seed=3).digest(), "light"]


def test_describe_gives_ranges_in_units_and_counts():
    facts = cohorts.load("digits", "val").describe()
    assert facts["items"] == facts["subjects"] == 500 and facts["origin"] == "embedded"
    assert facts["tensors"]["x"]["range"] == (0.0, 255.0)
    assert facts["tensors"]["label"]["classes"] == {str(k): 50 for k in range(10)}
