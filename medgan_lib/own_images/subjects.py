"""Whose image it is, by its name: images of one person must not be trained on and tested with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from medgan_lib.own_images.sides import few

# What a name says besides the person: the modality or contrast, as archives and challenges write it.
MODALITIES = (
    *("t1", "t1w", "t1n", "t1c", "t1ce", "t1gd", "t1wce", "t1post", "t1map", "t2", "t2w", "t2f", "t2star", "t2map"),
    *("flair", "pd", "pdw", "mr", "mri", "mra", "swi", "dwi", "adc", "dti", "bold", "asl", "cbf"),
    *("ct", "ctac", "cbct", "cect", "ncct", "nect", "ldct", "ndct", "cta", "pet", "suv", "spect"),
    *("us", "bmode", "cr", "dx", "xr", "mg", "oct", "octa", "fundus"),
)
LAYERS = ("slice", "slc", "sl", "frame", "layer", "axial", "ax", "coronal", "cor", "sagittal", "sag")
BIDS = re.compile(r"(?:^|[\W_])(sub-[a-z0-9]+)(?![a-z0-9-])")  # Brain Imaging Data Structure, folded
PARTS = re.compile(r"[\W_]+")
_MODALITY = "|".join(sorted(MODALITIES, key=len, reverse=True))
GLUED = re.compile(rf"(?:{_MODALITY})(\d+)|(\d+)(?:{_MODALITY})")  # ct001, 001ct
LAYER = re.compile(rf"(?:{'|'.join(LAYERS)})\d*")


def subject(name: str, dropped: Sequence[str] = ()) -> str:
    """The person in a name: its BIDS subject, or what is left without modality, number of the slice and ``dropped``.

    A name in which nothing would be left is a person of its own.
    """
    folded = name.casefold()
    if found := BIDS.search(folded):
        return found[1]
    kept: list[str] = []
    parts = [part for part in PARTS.split(folded) if part]
    for before, part in zip(["", *parts], parts, strict=False):
        if part in MODALITIES or part in dropped or LAYER.fullmatch(part):
            continue
        if part.isdigit() and before in LAYERS:
            continue
        glued = GLUED.fullmatch(part)
        kept.append((glued[1] or glued[2]) if glued else part)
    return "_".join(kept) or folded


def shared(names: Sequence[str]) -> tuple[str, ...]:
    """Parts that all names of a side have, if there are several: they tell sides apart, and not persons."""
    parts = [set(PARTS.split(name.casefold())) for name in names]
    return tuple(set.intersection(*parts)) if len(parts) > 1 else ()


def by_name(names: Mapping[str, Sequence[str]], kind: str, notes: list[str]) -> dict[str, str]:
    """The subject of every image name of ``names``, by side; notes on what names say and what they leave open.

    In an unpaired folder, what all names of one side share is left out, so that A/horse_1 and B/zebra_1, of which
    nobody knows whether they are of one subject, stay in one split.
    """
    found = {}
    for side in names.values():
        dropped = shared(side) if kind == "unpaired" else ()
        found |= {name: subject(name, dropped) for name in side}
    groups: dict[str, list[str]] = {}
    for name, person in found.items():
        groups.setdefault(person, []).append(name)
    joined = [group for group in groups.values() if len(group) > 1]
    if joined:
        like = few([" = ".join(sorted(group)[:3]) for group in joined[:3]])
        notes.append(
            f"{len(joined)} subjects have several images by their names ({like}{' ...' if joined[3:] else ''}), which "
            "stay in one split; labels.csv with a column subject says otherwise"
        )
    notes += doubts(list(groups))
    return found


def doubts(people: Sequence[str]) -> list[str]:
    """Notes on subjects that may be one: those that begin alike up to a number, and those whose numbers are equal."""
    split = {person: person.split("_") for person in people}
    common = set.intersection(*map(set, split.values())) if len(people) > 1 else set()
    begun: dict[str, set[str]] = {}
    counted: dict[tuple[int, ...], set[str]] = {}
    for person, parts in split.items():
        own = [part for part in parts if part not in common]
        first = next((n for n, part in enumerate(own) if re.search(r"\d", part)), None)
        if first is not None and own[first + 1 :]:
            begun.setdefault("_".join(own[: first + 1]), set()).add(person)
        numbers = tuple(int(digits) for digits in re.findall(r"\d+", person))
        if numbers:
            counted.setdefault(numbers, set()).add(person)
    notes = []
    if alike := [f"{start}..." for start, some in begun.items() if len(some) > 1]:
        notes.append(
            f"names that begin alike ({few(alike[:3])}) are taken as different subjects: if they are slices or visits "
            "of one, say so in labels.csv, column subject"
        )
    if twins := [" and ".join(sorted(some)[:3]) for some in counted.values() if len(some) > 1]:
        notes.append(
            f"names with equal numbers ({few(twins[:3])}{' ...' if twins[3:] else ''}) are taken as different "
            "subjects: if they are of one, say so in labels.csv, column subject"
        )
    return notes
