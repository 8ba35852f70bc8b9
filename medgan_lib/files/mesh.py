"""Surfaces as STL files, which programs for flow simulation, 3-D printing and viewing read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from .atomic import atomic

HEADER = 80
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])  # 50 bytes


def stl(vertices: ArrayLike, faces: ArrayLike, title: str = "medgan_lib, mm") -> bytes:
    """The bytes of a binary STL of ``faces`` (f, 3), indices into ``vertices`` (v, 3).

    80 bytes of text, the number of triangles (4 bytes), and for each its unit normal, by the right-hand rule, its three
    corners and two bytes 0, all little-endian. STL knows no units, so the text names them. A triangle without an
    area gets the normal 0, which readers take for "work it out". ValueError: other shapes, indices that no
    vertex has, values that are not finite (also as float32), a title that is not ASCII, too long, or begins with
    "solid", by which readers know the text form.
    """
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise ValueError(f"a surface is vertices (v, 3) and faces (f, 3), not {vertices.shape} and {faces.shape}")
    if not np.issubdtype(faces.dtype, np.integer) or faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"faces must be whole numbers from 0 to {len(vertices) - 1}, the vertices that there are")
    if not title.isascii() or len(title) > HEADER or title.lower().startswith("solid"):
        raise ValueError(f'title {title!r} must be ASCII, at most {HEADER} characters, and not begin with "solid"')
    with np.errstate(over="ignore"):
        corners = vertices[faces].astype("<f4")
    if not np.isfinite(corners).all():
        raise ValueError("a surface has values that are not finite")
    a, b, c = corners.astype(float).transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    size = np.linalg.norm(normal, axis=1, keepdims=True)
    triangles = np.zeros(len(faces), TRIANGLE)
    triangles["normal"] = np.divide(normal, size, out=np.zeros_like(normal), where=size > 0)
    triangles["corners"] = corners
    return title.encode().ljust(HEADER) + np.uint32(len(faces)).astype("<u4").tobytes() + triangles.tobytes()


def write_stl(path: str | Path, vertices: ArrayLike, faces: ArrayLike, title: str = "medgan_lib, mm") -> Path:
    """Write `stl` to ``path``, whole or not at all; returns it.

    ValueError: as `stl`, and a name without ".stl". FileExistsError: the file is there already.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != ".stl":
        raise ValueError(f"{path.name}: the name of an STL file ends in .stl")
    content = stl(vertices, faces, title)
    if path.exists():
        raise FileExistsError(f"{path} is there already and is not overwritten; choose another name or folder")
    with atomic(path) as file:
        file.write(content)
    return path
