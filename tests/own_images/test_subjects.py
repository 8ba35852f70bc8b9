"""Images of one person stay in one split, whatever their files are called."""

import pytest
from own_folders import nifti, png

from medgan_lib import cohorts
from medgan_lib.own_images import inspect_folder
from medgan_lib.own_images.subjects import subject


@pytest.mark.parametrize(
    "names",
    [
        ("sub-02_t1", "sub-02_ct"),
        ("sub-02_ses-1_T1w", "sub-02_ses-2_run-1_T2w", "sub-02"),
        ("p7_T1", "p7_ct", "p7-FLAIR", "P7 cbct", "p7"),
        ("BraTS-GLI-00002-000-t1c", "BraTS-GLI-00002-000-t2f"),
        ("ct_001", "mr_001", "001_pet"),
        ("ct001", "mr001", "001ct"),
        ("case3_slice012", "case3_slice_013", "case3_slice14_t1"),
        ("IXI012-Guys-0700-T1", "IXI012-Guys-0700-PD"),
        ("pat 01 (ct)", "pat 01 [MR]", "pat 01+t2"),
        ("ses-1_sub-01", "sub-01_ses-2"),
    ],
)
def test_names_that_are_of_one_subject(names):
    assert len({subject(name) for name in names}) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("sub-02_t1", "sub-020_t1", "sub-2_t1"),
        ("p7_t1", "p8_t1"),
        ("p7_1", "p7_2"),
        ("ct", "mr"),
        ("slice_1", "slice_2"),
        ("ct001", "ct002"),
        ("october", "oct"),
        ("petra", "pet"),
    ],
)
def test_names_that_are_of_different_subjects(names):
    assert len({subject(name) for name in names}) == len(names)


def splits_of(root):
    found = inspect_folder(root)
    by_subject = {}
    for key, number in found.subjects.items():
        by_subject.setdefault(number, set()).add(found.splits[key])
    assert all(len(splits) == 1 for splits in by_subject.values())
    return found


def test_an_unpaired_folder_with_the_same_people_on_both_sides(tmp_path):
    for k in range(9):
        nifti(tmp_path / "A" / f"sub-{k:02}_t1.nii.gz")
    for k in range(2, 14):
        nifti(tmp_path / "B" / f"sub-{k:02}_ct.nii.gz", low=-1000)
    found = splits_of(tmp_path)
    assert found.kind == "unpaired" and len(set(found.subjects.values())) == 14
    for k in range(2, 9):
        assert found.splits[f"A/sub-{k:02}_t1"] == found.splits[f"B/sub-{k:02}_ct"]
    for letter in "AB":
        for split in ("train", "val", "test"):
            assert found.of_split(letter, split), (letter, split)
    assert any("7 subjects have several images by their names (sub-02_ct = sub-02_t1" in line for line in found.notes)
    a, b = (cohorts.load(str(tmp_path), "train", domain=domain) for domain in "AB")
    test = cohorts.load(str(tmp_path), "test", domain="B")
    assert not (set(a.subjects.tolist()) | set(b.subjects.tolist())) & set(test.subjects.tolist())


def test_what_all_names_of_a_side_share_tells_no_subject(tmp_path):
    for k in range(6):
        png(tmp_path / "A" / f"site1-{k}-before.png")
        png(tmp_path / "B" / f"{k}_after.png")
    found = splits_of(tmp_path)
    assert all(found.splits[f"A/site1-{k}-before"] == found.splits[f"B/{k}_after"] for k in range(6))


def test_a_plain_folder_of_several_contrasts_and_slices(tmp_path):
    for k in range(6):
        for contrast in ("t1", "t2"):
            for number in range(2):
                png(tmp_path / f"p{k}_{contrast}_slice{number}.png")
    found = splits_of(tmp_path)
    assert len(set(found.subjects.values())) == 6


def test_a_table_of_subjects_overrules_names(tmp_path):
    for k in range(6):
        png(tmp_path / f"p{k}_t1.png")
        png(tmp_path / f"p{k}_t2.png")
    rows = [f"p{k}_{c},{k if c == 't1' else k + 10}" for k in range(6) for c in ("t1", "t2")]
    (tmp_path / "labels.csv").write_text("name,subject\n" + "\n".join(rows))
    found = inspect_folder(tmp_path)
    assert len(set(found.subjects.values())) == 12 and not any("by their names" in line for line in found.notes)


def test_a_number_that_may_be_a_slice_is_pointed_out(tmp_path):
    for k in range(3):
        for number in range(4):
            png(tmp_path / f"patient{k}_{number:03}.png")
    assert any("begin alike (patient0..., patient1..." in line for line in inspect_folder(tmp_path).notes)
    for name in ("a1", "a2", "a3", "a10"):
        png(tmp_path / "plain" / f"{name}.png")
    assert not any("different subjects" in line for line in inspect_folder(tmp_path / "plain").notes)


@pytest.mark.parametrize(
    "first, second",
    [("CTpatient0{}", "MRpatient0{}"), ("pat0{}CTA1", "pat0{}MRX1"), ("00{}_art", "00{}_ven"),
     ("00{}_left", "00{}_right"), ("p0{}_ceT", "p{}_hrT"), ("00{}-2020-01-01", "00{}-2021-05-05"),
     ("p{}_pre", "p{}_post")],
)  # fmt: skip
def test_names_that_may_be_of_one_subject_are_pointed_out(tmp_path, first, second):
    for k in range(1, 7):
        png(tmp_path / f"{first.format(k)}.png")
        png(tmp_path / f"{second.format(k)}.png")
    assert any("are taken as different subjects" in line for line in inspect_folder(tmp_path).notes)
