"""Simulated coronary-like centrelines with radius, in two families, whose length, tortuosity and taper are known.

A vessel is drawn as how it bends along its length: the bends that make its family (below), each of its own angle and
place, and a smooth random undulation whose strength is drawn over a wide range. Integrating that gives a centreline of
exactly the length drawn. "left" is a short trunk that turns into the groove between the ventricles, follows the heart's
surface and bends round its tip; "right" bends forward, runs in a wide C around the heart and turns off at its back, to
the other hand than the left one does. Radii at the start and taper follow Dodge et al., Circulation 86:232 (1992);
angles and lengths are ours, chosen for the look of coronary arteries.

Switches ask for more: further ``families``, the side branches of either side by themselves; ``lengths`` of a wide
range; a ``stenosis`` or an ``aneurysm`` (the radius narrows or widens locally); and a ``branch``, a second vessel that
starts on the first, whose radii follow Murray's law.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from medgan_lib.cohorts.cache import cached
from medgan_lib.cohorts.cohort import SPLITS, Cohort, Window, subject_ids
from medgan_lib.physics import vessels

NAME = "vessels"
FAMILIES = ("left", "right", "diagonal", "marginal")
MAIN = FAMILIES[:2]
SIDE = {"left": "left", "right": "right", "diagonal": "left", "marginal": "right"}  # a branch is of its parent's side
WINDOW = Window(-80.0, 160.0)  # mm, of the centreline: its first axis is the long one
RADIUS_WINDOW = Window(0.0, 4.0)  # mm
WIDENED_WINDOW = Window(0.0, 8.0)  # mm, with aneurysms
STEP = 8  # the number of points is a multiple of it
PIECES = 1024  # of a centreline while it is integrated: 0.14 mm each
LIMIT = 2.5  # standard deviations: nothing is drawn further off

# mean and standard deviation of a family: mm, and share of the radius lost on the way
SIZE = {
    "length": ((125.0, 14.0), (120.0, 14.0), (65.0, 10.0), (75.0, 10.0)),
    "radius": ((2.25, 0.25), (1.95, 0.3), (1.1, 0.15), (1.25, 0.2)),
    "taper": ((0.58, 0.07), (0.3, 0.07), (0.45, 0.07), (0.35, 0.07)),
}
# its bends: towards which normal, angle (rad) and its spread, middle and spread as a share of the length
BENDS = {
    "left": (
        (0, 1.0, 0.2, 0.09, 0.025), (1, 0.6, 0.2, 0.17, 0.05), (0, -1.3, 0.3, 0.55, 0.22), (0, -0.9, 0.3, 0.93, 0.05),
    ),
    "right": (
        (1, 0.7, 0.2, 0.08, 0.04), (0, 1.5, 0.25, 0.35, 0.12), (0, 1.5, 0.25, 0.65, 0.12), (1, -0.9, 0.3, 0.88, 0.05),
    ),
    "diagonal": (
        (0, 1.3, 0.2, 0.15, 0.05), (1, 0.7, 0.2, 0.45, 0.15), (0, 0.2, 0.2, 0.7, 0.1), (1, 0.2, 0.2, 0.93, 0.05),
    ),
    "marginal": (
        (0, 0.3, 0.2, 0.1, 0.04), (1, -0.7, 0.2, 0.4, 0.15), (0, 1.4, 0.25, 0.8, 0.08), (1, -0.3, 0.2, 0.93, 0.05),
    ),
}  # fmt: skip
SHORTEST, LONGEST = 20.0, 300.0  # mm, what `lengths` may ask for
STENOSIS_LENGTH, STENOSIS_DEGREE = (10.0, 20.0), (0.3, 0.8)  # mm, share of the diameter
STENOSIS_SHARE = 0.4  # of the vessel's length, at most; of an aneurysm, too
ANEURYSM_LENGTH, ANEURYSM_DEGREE = (10.0, 20.0), (0.5, 1.0)  # mm, share by which the diameter grows
SIDE_BRANCHES = 0.5  # of the range of `lengths`, from its lower end, is where diagonals and marginals end
# shares of the parent's length and of what is left of it; rad; radius over the parent's behind the fork
BRANCH_PLACE, BRANCH_LENGTH, BRANCH_ANGLE, BRANCH_RATIO = (0.15, 0.5), (0.5, 0.9), (0.7, 1.2), (0.5, 0.9)
BRANCH_TAPER = (0.3, 0.6)
_EXTRA = 32  # random numbers of a subject for the switches
WAVES = 6  # of the undulation, with wavelengths from 15 to 70 mm


def load(
    split: str,
    *,
    size: int | None = None,
    n: int | None = None,
    seed: int = 0,
    families: tuple[str, ...] = MAIN,
    lengths: tuple[float, float] | None = None,
    stenosis: float = 0.0,
    aneurysm: float = 0.0,
    branch: float = 0.0,
) -> Cohort:
    """``n`` (default 2,000) vessels of ``size`` (default 64) equidistant points, of each family as many on average.

    ``x`` (n, 4, size) in [-1, 1]: the centreline's three coordinates and the radius, each in its own window; `to_mm`
    and `from_mm` translate. The same in two parts: ``centreline`` (n, 3, size) mm, in the frame of
    `physics.vessels.to_frame`, and ``radius`` (n, 1, size) mm. ``label`` the family. Known of each (n,): ``length`` mm;
    ``tortuosity``, length over the distance between the ends, less one; ``taper``, the share of its radius at the
    start that is lost at the end; ``undulation`` 1/mm, the standard deviation of the random part of its curvature.

    ``families``, some of `FAMILIES`: besides the two main courses, "diagonal" and "marginal" are side branches of the
    left and of the right one (`SIDE`), shorter and thinner, each with its own bends. ``label`` counts within them.

    ``lengths=(40, 220)`` draws them uniformly between these two, in mm, instead of around the family's mean, those of
    side branches in the lower half of that range. The angles of a vessel shorter than its family's mean shrink with
    it, so that none bends more tightly than usual.

    ``stenosis`` is the probability of one: ``has_stenosis`` (n,); ``stenosis_place``, its middle as a share of the
    length; ``stenosis_length`` mm; ``stenosis_degree``, the share of the diameter that is lost (each (n,), 0 where
    there is none); ``healthy_radius``, the ``radius`` without it. ``aneurysm`` likewise, with ``aneurysm_degree`` the
    share by which the diameter grows; the radius then has a window from 0 to 8 mm.

    ``branch`` is the probability of a side branch: ``has_branch`` (n,); ``branch`` (n, 4, size), centreline and radius
    of the side branch as in ``x``, in the frame of its parent, on which it starts, for `to_mm` (where there is none,
    the radius is 0 and all points are the parent's start); ``branch_place``, as a share of the parent's length;
    ``branch_length`` mm; ``branch_angle`` rad, between the two directions at the fork; ``branch_radii`` (n, 3) mm, of
    the parent before and behind the fork and of the branch there, without a stenosis (each 0 where there is none).
    Behind it the parent is thinner (`physics.vessels.daughters`), which ``taper`` includes.

    The window of the centreline holds whatever can be drawn: (−80, 160) mm by itself; (−longest / 2, longest) with
    ``lengths``, as nothing that returns to its chord can lie further off; (−longest, longest) with a branch.

    ValueError: a size that is no multiple of 8 from 16 to 512, families that there are not or twice, lengths that are
    no two rising numbers from 20 to 300, a stenosis, aneurysm or branch outside 0..1.
    """
    size, n = size or 64, n or 2000
    check_points(NAME, size)
    lengths, families = _checked(lengths), _known(families)
    for what, value in (("stenosis", stenosis), ("aneurysm", aneurysm), ("branch", branch)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{what} of {NAME!r} must be a number from 0 to 1, it is {value!r}")
    stenosis, aneurysm, branch = float(stenosis), float(aneurysm), float(branch)
    window, wide = _window(lengths, branch > 0), WIDENED_WINDOW if aneurysm else RADIUS_WINDOW
    tensors = cached(
        NAME,
        {
            **{"split": split, "size": size, "n": n, "seed": seed},
            **{"families": families, "lengths": lengths},
            **{"stenosis": stenosis, "aneurysm": aneurysm, "branch": branch},
        },
        lambda: _simulate(split, size, n, seed, families, lengths, stenosis, aneurysm, branch, window, wide),
    )
    units = {
        "centreline": "mm",
        "radius": "mm",
        "length": "mm",
        "tortuosity": "1",
        "taper": "1",
        "undulation": "1/mm",
    }
    windows, classes = {"centreline": window, "radius": wide}, {"label": families}
    for what, share in (("stenosis", stenosis), ("aneurysm", aneurysm)):
        if share:
            units |= {"healthy_radius": "mm", f"{what}_place": "1", f"{what}_length": "mm", f"{what}_degree": "1"}
            windows["healthy_radius"], classes[f"has_{what}"] = wide, ("none", what)
    if branch:
        units |= {"branch_place": "1", "branch_length": "mm", "branch_angle": "rad", "branch_radii": "mm"}
        classes["has_branch"] = ("none", "branch")
    return Cohort(
        name=NAME,
        tensors=tensors,
        subjects=subject_ids(split, seed, n),
        units=units,
        window=windows,
        origin="embedded",
        split=split,
        classes=classes,
        note=f"simulated coronary-like centrelines with radius, {size} points",
    )


def check_points(name: str, size: int) -> None:
    if size % STEP or not 16 <= size <= 512:
        raise ValueError(f"size of {name!r} is the number of points, a multiple of {STEP} from 16 to 512, it is {size}")


def _known(families: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(families) if isinstance(families, list | tuple) else ()
    if not names or len(set(names)) < len(names) or not set(names) <= set(FAMILIES):
        known = ", ".join(FAMILIES)
        raise ValueError(f"families of {NAME!r} must be some of {known}, each once, they are {families!r}")
    return names


def _checked(lengths: tuple[float, float] | None) -> tuple[float, float] | None:
    if lengths is None:
        return None
    values = tuple(lengths) if isinstance(lengths, list | tuple) else ()
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 2 or len(numbers) != 2 or not SHORTEST <= numbers[0] <= numbers[1] <= LONGEST:
        raise ValueError(
            f"lengths of {NAME!r} must be the least and the greatest in mm, two numbers from {SHORTEST:g} to "
            f"{LONGEST:g}, they are {lengths!r}"
        )
    return float(values[0]), float(values[1])


def _window(lengths: tuple[float, float] | None, branch: bool) -> Window:
    """mm. A path of length L from the start to its end on the first axis lies between −L / 2 and L in each direction;
    one through a fork, which has an end elsewhere, between −L and L."""
    longest = lengths[1] if lengths else WINDOW.high
    return Window(-longest if branch else -longest / 2, longest)


def to_mm(cohort: Cohort, x: Tensor) -> Tensor:
    """mm (n, 4, points) of x (n, 4, points), of this cohort or made like it: centreline and radius.

    (n, 3, points) for the x of arteries without a radius, see `carotid_arteries`.
    """
    if x.shape[1] == 3:
        return cohort.to_units(x, "centreline")
    return torch.cat([cohort.to_units(x[:, :3], "centreline"), cohort.to_units(x[:, 3:], "radius")], 1)


def from_mm(cohort: Cohort, values: Tensor) -> Tensor:
    """Inverse of `to_mm`."""
    if values.shape[1] == 3:
        return cohort.from_units(values, "centreline")
    return torch.cat([cohort.from_units(values[:, :3], "centreline"), cohort.from_units(values[:, 3:], "radius")], 1)


def packed(
    centreline: Tensor, radius: Tensor, window: Window, radius_window: Window = RADIUS_WINDOW
) -> dict[str, Tensor]:
    """``x``, ``centreline`` and ``radius``, float32 in [-1, 1], of a centreline (n, 3, p) and radius (n, 1, p), mm."""
    # not `Window.scale`: here the middle of a window about 0 mm is 0 to the last bit
    line = (centreline * (2 / window.span) - (window.low + window.high) / window.span).float()
    wide = radius_window.scale(radius, clip=False).float()
    return {"x": torch.cat([line, wide], 1), "centreline": line, "radius": wide}


def _simulate(
    split: str,
    size: int,
    n: int,
    seed: int,
    families: tuple[str, ...],
    lengths: tuple[float, float] | None,
    stenosis: float,
    aneurysm: float,
    branch: float,
    window: Window,
    radius_window: Window,
) -> dict[str, Tensor]:
    streams = [np.random.default_rng([*b"vessels", SPLITS.index(split), seed, i]) for i in range(n)]
    last = len(families) - 1
    label = torch.tensor([last - int(rng.random() * len(families)) for rng in streams])
    normal = torch.from_numpy(np.stack([rng.standard_normal(32) for rng in streams])).clamp(-LIMIT, LIMIT)
    uniform = torch.from_numpy(np.stack([rng.random(2 + 6 * WAVES) for rng in streams]))
    extra = torch.from_numpy(np.stack([rng.random(_EXTRA) for rng in streams]))  # last: it moves nothing above

    family = torch.tensor([FAMILIES.index(name) for name in families])[label]

    def of_family(what: str, column: int) -> Tensor:
        mean, spread = torch.tensor(SIZE[what], dtype=torch.float64)[family].unbind(1)
        return mean + spread * normal[:, column]

    length, start, taper = (of_family(what, k) for k, what in enumerate(SIZE))
    shrink = torch.ones_like(length)
    if lengths:
        whole = torch.where(family < len(MAIN), 1.0, SIDE_BRANCHES).double()
        length = lengths[0] + (lengths[1] - lengths[0]) * whole * extra[:, 0]
        shrink = (length / torch.tensor(SIZE["length"], dtype=torch.float64)[family, 0]).clamp(max=1)
    share = (torch.arange(PIECES, dtype=torch.float64) + 0.5) / PIECES
    bending = torch.zeros(n, 2, PIECES, dtype=torch.float64)
    for k in range(4):  # a bend is spread over the length as a bell, and turns by its angle in all
        towards, angle, spread, middle, width = (
            torch.tensor([BENDS[name][k] for name in FAMILIES]).double()[family].T
        )
        angle = (angle + spread * normal[:, 3 + 2 * k]) * shrink
        middle = middle * (1 + 0.1 * normal[:, 4 + 2 * k])
        bell = torch.exp(-0.5 * ((share - middle[:, None]) / width[:, None]) ** 2)
        bell = bell * (angle / (width * math.sqrt(2 * math.pi) * length))[:, None]
        bending += torch.nn.functional.one_hot(towards.long(), 2)[:, :, None] * bell[:, None]
    undulation = 0.004 * 10 ** uniform[:, 0]  # 1/mm, 0.004 to 0.04
    wave, phase = uniform[:, 2 : 2 + 2 * WAVES], uniform[:, 2 + 2 * WAVES : 2 + 4 * WAVES]
    cycles = (length[:, None] / (15 * (70 / 15) ** wave)).reshape(n, 2, WAVES, 1)
    waves = torch.sin(2 * math.pi * (cycles * share + phase.reshape(n, 2, WAVES, 1))).sum(2)
    waves = waves * (undulation / math.sqrt(WAVES / 2))[:, None, None]
    fine = vessels.bend(bending + waves, length)

    along = torch.linspace(0, 1, PIECES + 1, dtype=torch.float64).expand(n, -1)
    bumps = torch.sin(
        2 * math.pi * (torch.arange(1, 4)[:, None] * along[0] * 2 + uniform[:, 2 + 4 * WAVES :][:, :3, None])
    )
    bumps = 1 + 0.04 * bumps.mean(1) * torch.sin(math.pi * along)  # neither at the start nor at the end
    radius = start[:, None] * (1 - taper[:, None] * along) * bumps
    points = vessels.resample(torch.cat([fine, radius[:, None]], 1), along, size)
    line, wide = points[:, :3], points[:, 3:]
    known = {}
    if branch:
        windows = window, radius_window
        forked, drop, known = _branch(extra[:, 5:], branch, fine, radius, line, length, undulation, windows)
        behind = torch.linspace(0, 1, size, dtype=torch.float64) > forked[:, None]
        wide = torch.where(behind, drop[:, None], 1.0)[:, None] * wide
        taper = 1 - (1 - taper) * drop
    if stenosis or aneurysm:
        known["healthy_radius"] = packed(line, wide, window, radius_window)["radius"]
    if stenosis:
        sizes = STENOSIS_LENGTH, STENOSIS_DEGREE
        change, found = _lesion("stenosis", extra[:, 1:5], stenosis, length, size, *sizes)
        known, wide = known | found, wide * (1 - change)[:, None]
    if aneurysm:
        sizes = ANEURYSM_LENGTH, ANEURYSM_DEGREE
        change, found = _lesion("aneurysm", extra[:, 25:29], aneurysm, length, size, *sizes)
        known, wide = known | found, wide * (1 + change)[:, None]
    return {
        **packed(vessels.to_frame(line), wide, window, radius_window),
        "label": label,
        "length": length.float(),
        "tortuosity": (length / (fine[..., -1] - fine[..., 0]).norm(dim=1) - 1).float(),
        "taper": taper.float(),
        "undulation": undulation.float(),
        **known,
    }


def _between(uniform: Tensor, ends: tuple[float, float]) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * uniform


def _lesion(
    what: str,
    uniform: Tensor,
    probability: float,
    length: Tensor,
    size: int,
    lengths: tuple[float, float],
    degrees: tuple[float, float],
) -> tuple[Tensor, dict[str, Tensor]]:
    """The share (n, size) of the radius that is lost or gained, and what is known of the lesion."""
    has = uniform[:, 0] < probability
    reach = torch.minimum(_between(uniform[:, 2], lengths), STENOSIS_SHARE * length)
    margin = reach / 2 / length  # it lies within the vessel as a whole
    place = margin + (1 - 2 * margin) * uniform[:, 1]
    degree = _between(uniform[:, 3], degrees) * has
    away = (torch.linspace(0, 1, size, dtype=torch.float64) - place[:, None]) * length[:, None]
    known = {f"{what}_place": place * has, f"{what}_length": reach * has, f"{what}_degree": degree}
    change = 1 - vessels.narrowing(away, reach[:, None], degree[:, None])
    return change, {f"has_{what}": has.long(), **{key: value.float() for key, value in known.items()}}


def _branch(
    uniform: Tensor,
    probability: float,
    fine: Tensor,
    radius: Tensor,
    line: Tensor,
    length: Tensor,
    undulation: Tensor,
    windows: tuple[Window, Window],
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Where the parent forks (share of its length), what that leaves of its radius (share), and the side branch.

    ``fine`` (n, 3, PIECES + 1) and ``radius`` (n, PIECES + 1) are the parent, ``line`` the same at ``size`` points.
    The branch leaves on the side from which the parent bends away, and half-way turns back to the parent's course.
    """
    has = uniform[:, 0] < probability
    at = (_between(uniform[:, 1], BRANCH_PLACE) * PIECES).round().long()
    place = at / PIECES
    reach = _between(uniform[:, 2], BRANCH_LENGTH) * (1 - place) * length
    angle, ratio = _between(uniform[:, 3], BRANCH_ANGLE), _between(uniform[:, 4], BRANCH_RATIO)

    def point(values: Tensor, index: Tensor) -> Tensor:
        return values.gather(-1, index[:, None, None].expand(-1, 3, 1))[..., 0]

    # the directions at the fork: along the parent, and across it away from where the parent goes
    start = point(fine, at)
    ahead = torch.nn.functional.normalize(point(fine, at + 1) - point(fine, at - 1), dim=1)
    later = (torch.arange(PIECES + 1) > at[:, None])[:, None]
    rest = (fine * later).sum(-1) / later.sum(-1) - start
    aside = torch.nn.functional.normalize((rest * ahead).sum(1, keepdim=True) * ahead - rest, dim=1)
    turn = (0.7 * (2 * uniform[:, 5] - 1))[:, None]
    aside = turn.cos() * aside + turn.sin() * torch.linalg.cross(ahead, aside, dim=1)
    steep = angle[:, None]
    first, second = steep.cos() * ahead + steep.sin() * aside, steep.cos() * aside - steep.sin() * ahead
    axes = torch.stack([first, second, torch.linalg.cross(first, second, dim=1)], 2)

    pieces = PIECES // 2
    share = (torch.arange(pieces, dtype=torch.float64) + 0.5) / pieces
    back = -_between(uniform[:, 6], (0.4, 0.8)) * angle
    bell = torch.exp(-0.5 * ((share - 0.4) / 0.2) ** 2) / (0.2 * math.sqrt(2 * math.pi))
    waves = uniform[:, 8 : 8 + 2 * 2 * 3].reshape(-1, 2, 3, 2)
    cycles = reach[:, None, None] / (15 * (70 / 15) ** waves[..., 0])
    waves = torch.sin(2 * math.pi * (cycles[..., None] * share + waves[..., 1:])).sum(2)
    bending = waves * (undulation / math.sqrt(3 / 2))[:, None, None]
    bending[:, 0] += (back / reach)[:, None] * bell
    curve = start[..., None] + axes @ vessels.bend(bending, reach)

    before = radius.gather(1, at[:, None])[:, 0]
    behind, beside = vessels.daughters(before, ratio)
    along = torch.linspace(0, 1, pieces + 1, dtype=torch.float64).expand(len(has), -1)
    wide = beside[:, None] * (1 - _between(uniform[:, 7], BRANCH_TAPER)[:, None] * along)
    points = vessels.resample(torch.cat([curve, wide[:, None]], 1), along, line.shape[-1])
    turned = vessels.frame(line) @ (points[:, :3] - line[..., :1])
    there = has[:, None, None].double()
    known = {
        "branch_place": place * has,
        "branch_length": reach * has,
        "branch_angle": angle * has,
        "branch_radii": torch.stack([before, behind, beside], 1) * has[:, None],
    }
    known = {key: value.float() for key, value in known.items()}
    known |= {"has_branch": has.long(), "branch": packed(turned * there, points[:, 3:] * there, *windows)["x"]}
    return place, torch.where(has, behind / before, 1.0), known
