"""Aligned T1, T2 and FLAIR slices: reading the prepared form, and making it of originals with a known anatomy."""

import hashlib
import io

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from archives import packed
from prepared_arrays import PREPARED, needs_copy

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.public import brain_mr_contrasts as brain
from medgan_lib.cohorts.registry import entry, registry

NAME = "brain_mr_contrasts"
PER_SESSION = 2


def small():
    """A valid prepared file's arrays: two slices of noise a session."""
    subject = np.repeat(np.array(list(brain.SESSIONS), "<U27"), PER_SESSION)
    images = np.random.default_rng(0).integers(0, 256, (len(subject), 3, 192, 192)).astype(np.uint8)
    return {"images": images, "subject": subject, "channels": np.array(["T1", "T2", "FLAIR"], "<U5")}


def place(root, arrays):
    path = root / NAME / f"{NAME}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


# ---------------------------------------------------------------- loading


def test_values_are_kept_and_every_source_has_the_right_on_the_left(root):
    arrays = small()
    place(root, arrays)
    for split in ("train", "val", "test"):
        made = cohorts.load(NAME, split)
        mine = [k for k, name in enumerate(arrays["subject"]) if brain.SESSIONS[name].split == split]
        assert len(made) == len(mine) and made.spacing == (1.2, 1.2) and made.origin == "real"
        for channel, name in enumerate(("t1", "t2", "flair")):
            grey = (made.to_units(made[name], name) * 2.55).round()[:, 0].to(torch.uint8).numpy()
            for shown, k in zip(grey, mine, strict=True):
                stored = arrays["images"][k, channel]
                assert np.array_equal(shown, stored if "TCIA" in arrays["subject"][k] else stored[:, ::-1])
        assert torch.equal(made.x, made["t1"])


def test_no_patient_is_in_two_splits_and_two_sessions_are_one_patient(root):
    place(root, small())
    parts = {split: cohorts.load(NAME, split, size=8) for split in ("train", "val", "test")}
    people = {split: set(part.subjects.tolist()) for split, part in parts.items()}
    assert [len(found) for found in people.values()] == [6, 2, 3] and len(set().union(*people.values())) == 11
    numbers = {}
    for name, session in brain.SESSIONS.items():
        numbers.setdefault(name.split("-study")[0], set()).add(session.patient)
    assert len(numbers) == 11 and all(len(found) == 1 for found in numbers.values())
    # two sessions of patient 01 in train, of patient 12 in test
    assert int((parts["train"].subjects == 0).sum()) == int((parts["test"].subjects == 3).sum()) == 2 * PER_SESSION
    # a model is judged on people of sources that it has seen, whole heads and bare brains
    seen = set(parts["train"]["source"].tolist())
    for split in ("val", "test"):
        assert {0, 1} <= set(parts[split]["source"].tolist()) <= seen


def test_contrasts_choose_and_order_the_tensors(root):
    place(root, small())
    every = cohorts.load(NAME, "val")
    two = cohorts.load(NAME, "val", contrasts=("flair", "t1"))
    assert set(two.tensors) == {"x", "flair", "t1", "source"} and set(two.window) == {"x", "flair", "t1"}
    for new, old in (("x", "flair"), ("flair", "flair"), ("t1", "t1")):
        assert torch.equal(two[new], every[old])
    assert torch.equal(cohorts.load(NAME, "val", contrasts="t2").x, every["t2"])


@pytest.mark.parametrize("size", [64, 128])
def test_a_smaller_size_keeps_the_field_of_view_and_does_not_alias(root, size):
    arrays = small()
    row = np.arange(192)
    arrays["images"][:, 0] = row[:, None]  # a ramp
    arrays["images"][:, 1] = 255 * ((row[:, None] + row) % 2)  # finer than the size can show
    place(root, arrays)
    made = cohorts.load(NAME, "val", size=size)
    assert made.x.shape[1:] == (1, size, size) and made.spacing[0] * size == pytest.approx(230.4)
    expected = (torch.arange(size) + 0.5) * 192 / size - 0.5
    found = made.to_units(made["t1"], "t1") * 2.55
    torch.testing.assert_close(found[0, 0, 3:-3, 5], expected[3:-3], rtol=0, atol=0.2)
    assert float((made["t2"][:, :, 3:-3, 3:-3]).abs().max()) < 0.25


def test_n_slices_are_drawn_by_the_seed_and_stay_paired(root):
    place(root, small())
    a, b, c = (cohorts.load(NAME, n=6, seed=seed) for seed in (1, 1, 2))
    assert a.digest() == b.digest() != c.digest()
    every = cohorts.load(NAME)
    for item in range(6):
        (k,) = (k for k in range(len(every)) if torch.equal(every.x[k], a.x[item]))
        assert torch.equal(every["flair"][k], a["flair"][item]) and every.subjects[k] == a.subjects[item]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"contrasts": ("t1", "dwi")}, "unknown contrast 'dwi'; give one or more, each once, of t1, t2, flair"),
        ({"contrasts": ("t1", "t1")}, r"contrasts are \('t1', 't1'\)"),
        ({"contrasts": ()}, r"contrasts are \(\)"),
        ({"size": 4}, "size must be from 8 to 192, it is 4"),
        ({"size": 256}, "size must be from 8 to 192, it is 256"),
        ({"n": 1000}, "has 14 such items, 1000 were asked for"),
        ({"slices_per_subject": 2}, "has no switch slices_per_subject; it has contrasts"),
    ],
)
def test_a_wrong_request_says_what_exists(root, wrong, message):
    place(root, small())
    with pytest.raises(ValueError, match=message) as error:
        cohorts.load(NAME, **wrong)
    assert NAME in str(error.value) and "\n" not in str(error.value)


BAD = {
    "size": r"'images' has shape \(26, 3, 190, 192\)",
    "too many": r"'images' (has shape \(519, 3, 192, 192\)|declares)",
    "channels": "its channels are not T1, T2, FLAIR",
    "fewer names": "it has 26 images, but names the subject of 25",
    "stranger": "names subjects that this data set does not have",
    "no text": "names subjects that this data set does not have",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_used_is_refused(root, kind):
    arrays = small()
    images, subject = arrays["images"], arrays["subject"].copy()
    stranger, garbage = subject.copy(), subject.copy()
    stranger[3] = "LJ-MS-long-patient99-study1"
    garbage.view(np.uint32)[0] = 0xFFFFFFFF  # no character
    changes = {
        "size": {"images": images[:, :, :190]},
        "too many": {"images": np.zeros((519, 3, 192, 192), np.uint8)},
        "channels": {"channels": np.array(["T2", "T1", "FLAIR"], "<U5")},
        "fewer names": {"subject": subject[:-1]},
        "stranger": {"subject": stranger},
        "no text": {"subject": garbage},
    }
    path = place(root, arrays | changes[kind])
    with pytest.raises(ValueError, match=BAD[kind]) as error:
        cohorts.load(NAME)
    assert str(error.value).startswith(f"{path} is not usable: ") and f"make data NAMES={NAME}" in str(error.value)
    assert "\n" not in str(error.value)


@needs_copy(NAME)
def test_the_prepared_copy_loads(monkeypatch):
    monkeypatch.setenv("MEDGAN_DATA", str(PREPARED))
    parts = [cohorts.load(NAME, split, size=64) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [276, 90, 152]
    assert len({item.numpy().tobytes() for part in parts for item in part.x}) == 518
    for part in parts:
        for name in ("t1", "t2", "flair"):
            assert float((part[name] > -0.9).float().mean((1, 2, 3)).min()) > 0.03, "every slice has every contrast"
    # fluid is dark in T1 and bright in T2: in a bare brain the two go opposite ways
    train = parts[0]
    bare = train["source"] == brain.SOURCES.index("Kirby21")
    inside = (train["t1"][bare] > -0.9) & (train["t2"][bare] > -0.9)
    pair = torch.stack([train["t1"][bare][inside], train["t2"][bare][inside]])
    assert float(torch.corrcoef(pair)[0, 1]) < -0.2
    # the stroke of C-STAR is in the left hemisphere, so on the right of the image, and bright in T2
    stroke = train["t2"][train["source"] == brain.SOURCES.index("C-STAR")]
    assert float(stroke[..., 32:].mean() - stroke[..., :32].mean()) > 0.005


# ---------------------------------------------------------------- converter, on originals made here

CENTRE = (4.0, -10.0, 12.0)  # mm to the right, the front, the head: middle of the grids


def phantom(points):
    """Signal at points (..., 3) in mm to the right, the front and the head: rises along each, inside of a cylinder."""
    right, front, up = np.moveaxis(points, -1, 0)
    inside = (right / 75) ** 2 + (front / 95) ** 2 < 1
    return np.where(inside, 600 + 3 * right + 2 * front + up, 0)


def grid(shape, zooms, axes):
    """(affine, signal) of a volume about `CENTRE` whose axes point to e.g. "LPS"."""
    order = nibabel.orientations.axcodes2ornt(axes)
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(order):
        affine[int(world), axis] = sign * zooms[axis]
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return affine, phantom(index @ affine[:3, :3].T + affine[:3, 3])


def nifti(path, shape, zooms, axes):
    affine, signal = grid(shape, zooms, axes)
    nibabel.save(nibabel.Nifti1Image(signal.astype(np.float32), affine), path)


def dicom(shift=0.0):
    """A series of 22 files, 40 rows x 48 columns of 5 mm, 4 mm apart, not in the order of their position."""
    affine, signal = grid((48, 40, 22), (5, 5, 4), "LPS")
    files = []
    for k in np.random.default_rng(0).permutation(22):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"1.2.3.{k + 1}"
        data.Rows, data.Columns, data.PixelSpacing = 40, 48, [5, 5]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        right, front, up = affine[:3, 3] + k * affine[:3, 2]
        data.ImagePositionPatient = [-right, -front, up + shift]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.PixelData = signal[:, :, k].T.round().astype("<i2").tobytes()
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, data, enforce_file_format=True)
        files.append(buffer.getvalue())
    return files


KEPT = {  # one session of each kind, a few slices of each
    "LJ-MS-long-patient12-study1": range(20, 23),
    "LJ-MS-cross-patient26": range(40, 46, 2),
    "Kirby21-113": range(36, 42, 2),
    "CSTAR-stroke": range(36, 42, 2),
    "TCIA-BTP-PGBM-003": range(22),
}
STEP = {"LJ-MS-long-patient12-study1": 3.0, "TCIA-BTP-PGBM-003": 4.0}  # mm between kept slices, else 2


@pytest.fixture
def origin(tmp_path, monkeypatch):
    """Originals of one session of each source, as files {name: path}, with registry and sessions cut down to them."""
    sessions = {name: brain.SESSIONS[name]._replace(slices=kept) for name, kept in KEPT.items()}
    monkeypatch.setattr(brain, "SESSIONS", sessions)
    folder = tmp_path / "origin"
    folder.mkdir()
    grids = {  # T1, T2, FLAIR as different as they come in the origins
        "LJ-MS-long-patient12-study1": [
            ((48, 52, 48), (5, 5, 3.3), "LPS"),
            ((44, 50, 44), (5.5, 5, 3), "LPS"),
            ((60, 60, 40), (4, 4, 4), "LPS"),
        ],
        "LJ-MS-cross-patient26": [((46, 50, 80), (5, 5, 1), "LAS")] * 3,
        "Kirby21-113": [((42, 50, 80), (5.5, 5, 1), "RPS")] * 3,
        "CSTAR-stroke": [((46, 50, 80), (5, 5, 1), "RAS")] * 3,
    }
    files = {}
    for name, volumes in grids.items():
        for file, volume in zip(sessions[name].originals, volumes, strict=True):
            nifti(folder / file, *volume)
            files[file] = folder / file
    series = dict.fromkeys(brain.PGBM_003, dicom())
    members = {f"{part}/{k:06d}.dcm": data for part, parts in series.items() for k, data in enumerate(parts)}
    files["volumes.tar.gz"] = folder / "volumes.tar.gz"
    pack(files["volumes.tar.gz"], members)
    about = dict(entry(NAME)) | {
        "manifest_sha256": fetch.manifest(members),
        "files": [{"name": file, "urls": []} for file in files],
    }
    monkeypatch.setitem(registry(), NAME, about)
    monkeypatch.setattr(fetch, "_download", lambda file, _: files[file["name"]])
    return files, members


def pack(path, members):
    more = {"../../escaped.dcm": b"x", "Study3/26401-T1prereg-52906/notes.txt": b"y"}
    path.write_bytes(packed("starter-895fee68/data/TestVolumes", {**members, **more}))


def plane(image):
    """(value in the middle, rise a mm to the left, rise a mm upwards) of an image, by least squares in its middle."""
    at = (torch.arange(192, dtype=torch.float64) - 95.5) * 1.2
    y, x = torch.meshgrid(-at, -at, indexing="ij")
    middle = x.abs().maximum(y.abs()) < 40
    matrix = torch.stack([torch.ones_like(x), x, y], -1)[middle]
    return torch.linalg.lstsq(matrix, image.double()[middle][:, None]).solution[:, 0].tolist()


def test_the_converter_puts_every_source_on_one_grid_in_the_right_orientation(origin, root, tmp_path):
    path, made = fetch.fetch(NAME, root)
    assert made and not list(tmp_path.rglob("escaped*"))
    with np.load(path, allow_pickle=False) as stored:
        assert stored["images"].dtype == np.uint8 and stored["images"].shape == (34, 3, 192, 192)
        assert stored["subject"].tolist() == [name for name, kept in KEPT.items() for _ in kept]
        assert stored["channels"].tolist() == ["T1", "T2", "FLAIR"]
        assert stored["images"].max() == 255
    loaded = {split: cohorts.load(NAME, split) for split in ("train", "test")}
    for name, kept in KEPT.items():
        session = brain.SESSIONS[name]
        part = loaded[session.split]
        part = part[part["source"] == session.source]
        assert len(part) == len(kept)
        depth = {"LJ-MS-long-patient12-study1": 44, "TCIA-BTP-PGBM-003": 22}.get(name, 80)
        for contrast in ("t1", "t2", "flair"):
            for item, k in ((0, kept[0]), (len(kept) - 1, kept[-1])):
                up = CENTRE[2] + (k - (depth - 1) / 2) * STEP.get(name, 2.0) / (kept.step if name not in STEP else 1)
                signal = 600 + 3 * CENTRE[0] + 2 * CENTRE[1] + up
                value, to_the_left, upwards = plane(part[contrast][item, 0] + 1)
                # the patient's right is on the left of the image, the front is up, and no scale is known: ratios only
                assert upwards / to_the_left == pytest.approx(2 / 3, rel=0.02), (name, contrast)
                assert value / to_the_left == pytest.approx(signal / 3, rel=0.02), (name, contrast)
            rise = plane(part[contrast][-1, 0] + 1)[0] - plane(part[contrast][0, 0] + 1)[0]
            mm = (len(kept) - 1) * STEP.get(name, 2.0)
            assert rise / to_the_left == pytest.approx(mm / 3, rel=0.2), (name, contrast)


def test_the_scale_is_the_percentile_of_the_foreground():
    volume = np.zeros((20, 10, 10), np.float32)
    volume[:8] = np.arange(1, 801).reshape(8, 10, 10)
    scaled = brain._scale(volume)
    top = np.percentile(np.arange(1, 801), 99.7)
    np.testing.assert_allclose(scaled[:8], np.minimum(volume[:8] / top, 1), rtol=1e-5)
    with pytest.raises(ValueError, match="a volume is empty"):
        brain._scale(np.zeros((2, 2, 2), np.float32))


def test_an_archive_that_is_not_as_described_leaves_nothing(origin, root):
    files, members = origin
    archive = files["volumes.tar.gz"]
    first = min(members)
    whole = archive.read_bytes()
    pack(archive, {name: data for name, data in members.items() if name != first})
    with pytest.raises(ValueError, match=f"lacks 1 files, such as {first}"):
        fetch.fetch(NAME, root)
    pack(archive, members | {first: members[first][:-2] + b"\x01\x02"})
    with pytest.raises(ValueError, match=r"volumes.tar.gz .* \(wrong SHA-256\)"):
        fetch.fetch(NAME, root)
    pack(archive, members | {first: bytes(2_000_000)})
    with pytest.raises(ValueError, match="larger or more files"):
        fetch.fetch(NAME, root)
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated or not a tar"):
        fetch.fetch(NAME, root)
    assert not (root / NAME).exists()


def test_originals_that_cannot_be_read_are_named(origin):
    files, _ = origin
    given = {name: path for name, path in files.items() if path.suffix == ".gz"} | dict.fromkeys(
        brain.PGBM_003, dicom()
    )
    displaced = given | {brain.PGBM_003[2]: dicom(shift=1.5)}
    with pytest.raises(ValueError, match="three series of TCIA-BTP-PGBM-003 are not on one grid"):
        brain.convert(displaced)
    with pytest.raises(ValueError, match="originals of TCIA-BTP-PGBM-003 can't be read as DICOM"):
        brain.convert(given | {brain.PGBM_003[0]: [b"nothing"] * 22})
    with pytest.raises(ValueError, match="TCIA-BTP-PGBM-003 has 5 slices, 22 are needed"):
        brain.convert(given | dict.fromkeys(brain.PGBM_003, dicom()[:5]))
    kirby = files[brain.KIRBY[1]]
    kirby.write_bytes(kirby.read_bytes()[:-300])
    with pytest.raises(ValueError, match="originals of Kirby21-113 can't be read as NIfTI"):
        brain.convert(given)


def test_the_registry_names_every_original_once():
    about = entry(NAME)
    named = [file["name"] for file in about["files"]]
    sessions = [session for session in brain.SESSIONS.values() if session.source != brain.TCIA]
    volumes = [file for session in sessions for file in session.originals]
    assert len(volumes) == 33 and sorted(named) == sorted([*volumes, "nd320-c3-3d-imaging-starter.tar.gz"])
    assert sum(len(session.slices) for session in brain.SESSIONS.values()) == about["arrays"]["images"]["shape"][0]
    assert len({file.get("sha256") for file in about["files"]}) == len(named)
    assert all(len(bytes.fromhex(file.get("sha256", hashlib.sha256().hexdigest()))) == 32 for file in about["files"])
