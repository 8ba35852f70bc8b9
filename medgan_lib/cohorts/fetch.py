"""``python -m medgan_lib.cohorts.fetch [NAMES…] [--root DIR]``: real data from their origin into their prepared form.

A download is verified against ``data/registry.yml``, converted, and written whole or not at all. Originals are kept in
a temporary folder only.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import re
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medgan_lib.cohorts.public import (
    blood_cells,
    brain_mr_contrasts,
    brain_mr_ct,
    carotid_arteries,
    glands,
    retina_oct,
    retina_vessels,
)
from medgan_lib.cohorts.public.prepared import layout, read_file, read_npz
from medgan_lib.files.atomic import atomic

from .cache import data_root
from .registry import entry, registry

KINDS = {"sha256": "SHA-256", "md5": "MD5"}  # of checksums; MD5 where its publisher gives no other


def fetch(name: str, root: Path) -> tuple[Path, bool]:
    """(path of the prepared data set, whether it was made now). Does nothing if a usable one is there.

    ValueError: unknown name; a file that is there but damaged; a wrong checksum; an original that is not as described.
    OSError: no network, no space, no right to write. Whatever happens, nothing half-written stays.
    """
    about, folder, files = entry(name), root / name, layout(name)
    path = folder if len(files) > 1 else folder / f"{name}.npz"
    if all((folder / file).exists() for file in files):
        for file, expected in files.items():
            read_file(folder / file, expected, remedy="Delete it and run this again.")
        return path, False
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as downloads:
            originals = {file["name"]: _download(file, Path(downloads)) for file in about["files"]}
            try:
                made = CONVERTERS[name](originals, about)
            except ValueError as error:
                raise ValueError(f"{error}. Nothing was kept; try again.") from error
            _write(folder, made if len(files) > 1 else {path.name: made}, files)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    return path, True


def _write(folder: Path, made: dict[str, Any], files: dict[str, Any]) -> None:
    """Every one of the ``files``, an npz from its arrays and a table from its bytes, or none of them."""
    try:
        for file, expected in files.items():
            with atomic(folder / file) as out:
                if isinstance(made[file], bytes):
                    out.write(made[file])
                else:
                    np.savez_compressed(out, **made[file])
            read_file(folder / file, expected, "The originals are not as data/registry.yml describes them.")
    except BaseException:  # also Ctrl-C: a part of a data set is none
        for file in files:
            (folder / file).unlink(missing_ok=True)
        raise


def _download(file: dict[str, Any], folder: Path) -> Path:
    """One original, from the first of its addresses that answers. ValueError if it is not what was published."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # its advice on hashes is not for our users
    kind = next((kind for kind in KINDS if file.get(kind)), None)
    failures = []
    for url in file["urls"]:
        print(f"downloading {url}")
        try:
            path = pooch.retrieve(
                url,
                known_hash=f"{kind}:{file[kind]}" if kind else None,
                fname=file["name"],
                path=folder,
                downloader=pooch.HTTPDownloader(progressbar=True, timeout=60),
            )
            return Path(path)
        except requests.exceptions.RequestException as error:
            failures.append(f"{url} ({_reason(error)})")
        except ValueError as error:  # how pooch tells a wrong hash
            raise ValueError(
                f"{url} is not the file that data/registry.yml describes (wrong {KINDS[kind]}): the transfer was "
                "damaged or the file was changed at its origin. Nothing was kept; try again."
            ) from error
    raise OSError(f"could not download {file['name']}: {'; '.join(failures)}. Check the network and try again.")


def _reason(error: Exception) -> str:
    """What went wrong with a transfer, in a few words: requests' own messages are nested and long."""
    import requests

    if isinstance(error, requests.exceptions.Timeout):
        return "no answer within 60 s"
    if isinstance(error, requests.exceptions.HTTPError):
        return str(error).split(" for url")[0]
    return "the connection broke off" if "IncompleteRead" in str(error) else "no connection"


def convert_mnist(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, np.ndarray]:
    """The four gzipped idx files to {train,test}_{images,labels}, uint8."""
    arrays = {}
    for ours, theirs in (("train", "train"), ("test", "t10k")):
        for what, dims in (("images", 3), ("labels", 1)):
            file = originals[f"{theirs}-{what}-idx{dims}-ubyte.gz"]
            arrays[f"{ours}_{what}"] = _read_idx(file, dims, about["arrays"][f"{ours}_{what}"]["shape"])
    return arrays


def _read_idx(path: Path, dims: int, most: list[int]) -> np.ndarray:
    """A gzipped idx file of unsigned bytes: 0, 0, 8, dims, the big-endian uint32 sizes, then the bytes."""
    try:
        with gzip.open(path) as file:
            head = file.read(4 + 4 * dims)
            shape = tuple(int(k) for k in np.frombuffer(head[4:], ">u4"))
            known = head[:4] == bytes([0, 0, 8, dims]) and len(shape) == dims
            if not known or any(k > limit for k, limit in zip(shape, most, strict=True)):
                raise ValueError(f"{path.name} is not an idx file of bytes of at most {tuple(most)}")
            count = int(np.prod(shape))
            data = file.read(count + 1)
    except (gzip.BadGzipFile, EOFError, OSError) as error:
        raise ValueError(f"{path.name} is truncated or not gzip ({error})") from error
    if len(data) != count:
        raise ValueError(f"{path.name} does not hold the {count} bytes that it declares")
    return np.frombuffer(data, np.uint8).reshape(shape)


def convert_lung_nodules(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, np.ndarray]:
    """The repository's archive to {train,val,test}_{images,labels,candidate_ids} in the order of its label files.

    Only labelled images are taken (the repository's rotated copies have no label), and of these only the ones of
    50 x 50 pixels; candidate_ids is the number in the file name.
    """
    (archive,) = originals.values()
    files = _read_members(archive)
    verify_manifest(files, about["manifest_sha256"], archive.name)
    arrays = {}
    for split in ("train", "val", "test"):
        images, labels, ids = [], [], []
        for line in files[f"{split}datalabels.txt"].decode().splitlines():
            name, label = line.split()
            image = _grey(files[name], name)
            if image.shape == (50, 50):
                images.append(image)
                labels.append(int(label))
                ids.append(int(re.search(r"_(\d+)\.jpg$", name)[1]))
        arrays[f"{split}_images"] = np.stack(images)
        arrays[f"{split}_labels"] = np.array(labels, np.uint8)
        arrays[f"{split}_candidate_ids"] = np.array(ids, np.int64)
    return arrays


def _read_members(archive: Path) -> dict[str, bytes]:
    """Label files and the images they name, by their path below src/data; nothing is unpacked onto the disk."""
    wanted = re.compile(r"[^/]+/src/data/((?:train|val|test)(?:/image_\d+\.jpg|datalabels\.txt))")
    found = _members(archive, wanted, most=20_000, most_bytes=500_000)
    labels = [name for name in found if name.endswith(".txt")]
    listed = {line.split()[0] for name in labels for line in found[name].decode().splitlines()}
    needed = listed | {f"{split}datalabels.txt" for split in ("train", "val", "test")}
    return _complete(found, needed, archive)


def _members(archive: Path, wanted: re.Pattern[str], most: int, most_bytes: int) -> dict[str, bytes]:
    """The regular files whose path matches ``wanted``, by its first group; ValueError if more or larger than that."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                match = wanted.fullmatch(member.name)
                if not match or not member.isreg():
                    continue
                if member.size > most_bytes or len(found) > most:
                    raise ValueError(f"{archive.name} has larger or more files than this data set")
                found[match[1]] = tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{archive.name} is truncated or not a tar.gz archive ({error})") from error
    return found


def _complete(found: dict[str, bytes], needed: set[str], archive: Path) -> dict[str, bytes]:
    missing = sorted(needed - set(found))
    if missing:
        raise ValueError(f"{archive.name} lacks {len(missing)} files, such as {missing[0]}")
    return {name: found[name] for name in sorted(needed)}


def manifest(files: dict[str, bytes]) -> str:
    """SHA-256 over the lines "<sha256 of a file>  <name>" in the order of the names, as sha256sum writes them."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verify_manifest(files: dict[str, bytes], expected: str, source: str) -> None:
    """ValueError unless the files are byte for byte those that ``expected`` was computed from."""
    if manifest(files) != expected:
        raise ValueError(
            f"the contents of {source} are not those that data/registry.yml describes (wrong SHA-256): the transfer "
            "was damaged or the files were changed at their origin"
        )


def _grey(data: bytes, name: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.mode != "L" or max(image.size) > 64:
                raise ValueError(f"{name} is {image.mode} {image.size}, not a small grey image")
            return np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} can't be read as a JPEG ({error})") from error


def convert_brain_mr_contrasts(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, np.ndarray]:
    """The NIfTI files, and the DICOM series in the one archive, to {images, subject, channels}."""
    (archive,) = (path for name, path in originals.items() if name.endswith(".tar.gz"))
    files = {name: path for name, path in originals.items() if path != archive}
    folders = [
        folder
        for session in brain_mr_contrasts.SESSIONS.values()
        if session.source == brain_mr_contrasts.TCIA
        for folder in session.originals
    ]
    series = {folder: [f"{folder}/{k:06d}.dcm" for k in range(22)] for folder in folders}
    wanted = re.compile(rf"[^/]+/data/TestVolumes/((?:{'|'.join(folders)})/\d{{6}}\.dcm)")
    needed = {name for names in series.values() for name in names}
    found = _complete(_members(archive, wanted, most=200, most_bytes=1_000_000), needed, archive)
    verify_manifest(found, about["manifest_sha256"], archive.name)
    return brain_mr_contrasts.convert(files | {folder: [found[name] for name in series[folder]] for folder in series})


def convert_brain_mr_ct(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, np.ndarray]:
    """The images in the repository's archive to {ct,mr}_{train,test} and the names of their files."""
    (archive,) = originals.values()
    wanted = re.compile(r"[^/]+/ct-to-mri-cgan/Dataset/images/((?:train|test)(?:A/ct|B/mri)\d+\.(?:png|jpg))")
    found = _members(archive, wanted, most=6_000, most_bytes=1_000_000)
    verify_manifest(found, about["manifest_sha256"], archive.name)
    return brain_mr_ct.convert(found)


def convert_pneumonia_mnist(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, np.ndarray]:
    """The published file is the prepared form: its arrays, checked."""
    (path,) = originals.values()
    return read_npz(path, about["arrays"], remedy="It is not as data/registry.yml describes it")


def convert_blood_cells(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, Any]:
    """The repository's archive to an npz and a table of classes for each of the two sites."""
    (archive,) = originals.values()
    needed = {f"Class Labels of Dataset {site}.csv" for site in (1, 2)} | {
        f"Dataset {site}/{k:03d}.{kind}"
        for site, count in enumerate(blood_cells.COUNT, start=1)
        for k in range(1, count + 1)
        for kind in ("bmp", "png")
    }
    wanted = re.compile(r"[^/]+/(Dataset [12]/\d{3}\.(?:bmp|png)|Class Labels of Dataset [12]\.csv)")
    found = _complete(_members(archive, wanted, most=1_000, most_bytes=300_000), needed, archive)
    verify_manifest(found, about["manifest_sha256"], archive.name)
    return blood_cells.convert(found)


def convert_glands(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, Any]:
    """The images, annotations and grades in the repository's archive to an npz and a table."""
    (archive,) = originals.values()
    needed = {f"{name}{end}.bmp" for name in glands.names() for end in ("", "_anno")} | {"Grade.csv"}
    wanted = re.compile(r"[^/]+/GlaS/((?:train|testA|testB)_\d+(?:_anno)?\.bmp|Grade\.csv)")
    found = _complete(_members(archive, wanted, most=500, most_bytes=1_500_000), needed, archive)
    verify_manifest(found, about["manifest_sha256"], archive.name)
    return glands.convert(found)


def convert_carotid_arteries(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, Any]:
    """The two files of R data to an npz each."""
    return carotid_arteries.convert({name: path.read_bytes() for name, path in originals.items()})


def convert_retina_oct(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, Any]:
    """The volume and the pathological B-scans, each in the archive of a repository, to an npz each."""
    scans = {f"{k}-Input.tif" for k in range(1, retina_oct.SCANS + 1)}
    archive = originals["DrusenSegmentation-ModifiedChen.tar.gz"]
    wanted = re.compile(r"[^/]+/sample-scan/volume1/(\d{1,3}-Input\.tif)")
    found = _complete(_members(archive, wanted, most=200, most_bytes=1_000_000), scans, archive)
    other = originals["OCT-Biomarker-Segmentation.tar.gz"]
    folders = "|".join(map(re.escape, retina_oct.FOLDERS))
    wanted = re.compile(rf"[^/]+/code/nnunet/((?:{folders})/{retina_oct.NAMES.pattern})")
    found |= _members(other, wanted, most=200, most_bytes=2_000_000)
    verify_manifest(found, about["manifest_sha256"], f"{archive.name} and {other.name}")
    return retina_oct.convert(found)


def convert_retina_vessels(originals: dict[str, Path], about: dict[str, Any]) -> dict[str, Any]:
    """The photographs and the first observer's outlines in the repository's archive to an npz for each half."""
    (archive,) = originals.values()
    needed = {path for listed in retina_vessels.originals().values() for _, *pair in listed for path in pair}
    wanted = re.compile(r"[^/]+/DRIVE/datasets/((?:training|testing)/(?:images|1st_manual)/\d{2}_\w+\.(?:tif|gif))")
    found = _complete(_members(archive, wanted, most=200, most_bytes=2_000_000), needed, archive)
    verify_manifest(found, about["manifest_sha256"], archive.name)
    return retina_vessels.convert(found)


CONVERTERS: dict[str, Callable[[dict[str, Path], dict[str, Any]], dict[str, np.ndarray]]] = {
    "mnist": convert_mnist,
    "lung_nodules": convert_lung_nodules,
    "brain_mr_contrasts": convert_brain_mr_contrasts,
    "brain_mr_ct": convert_brain_mr_ct,
    "pneumonia_mnist": convert_pneumonia_mnist,
    "blood_cells": convert_blood_cells,
    "glands": convert_glands,
    "carotid_arteries": convert_carotid_arteries,
    "retina_oct": convert_retina_oct,
    "retina_vessels": convert_retina_vessels,
}


def main(argv: list[str] | None = None) -> int:
    """Fetches every named data set (default: all); returns 0, or 1 if any failed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make data", description="Fetch real data sets from their origin.")
    parser.add_argument("names", nargs="*", help=f"which of: {', '.join(registry())} (default: all)")
    parser.add_argument("--root", type=Path, help="folder to put them in (default: MEDGAN_DATA, else data/cache)")
    arguments = parser.parse_args(argv)
    root = arguments.root or data_root()
    names = arguments.names or list(registry())
    try:
        for name in names:
            entry(name)  # an unknown name stops before anything is downloaded
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    failed = False
    for name in names:
        try:
            path, made = fetch(name, root)
            size = sum((root / name / file).stat().st_size for file in layout(name))
            print(f"{name}: {'ready' if made else 'already there'}, {path} ({size / 1e6:.1f} MB)")
        except (ValueError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
        except KeyboardInterrupt:
            print(f"{name}: interrupted, nothing was kept", file=sys.stderr)
            return 130
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
