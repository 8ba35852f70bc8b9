"""STL files."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import torch
from curves import F64, helix

from medgan_lib.files import mesh
from medgan_lib.physics import tubes


def read_stl(content: bytes) -> tuple[str, list[tuple[tuple, tuple, int]]]:
    """A reader of its own, by the format's description: 80 bytes, a number, 50 bytes a triangle, little-endian."""
    (count,) = struct.unpack_from("<I", content, 80)
    assert len(content) == 84 + 50 * count
    triangles = []
    for i in range(count):
        *numbers, attribute = struct.unpack_from("<12fH", content, 84 + 50 * i)
        triangles.append((tuple(numbers[:3]), tuple(zip(*[iter(numbers[3:])] * 3, strict=True)), attribute))
    return content[:80].decode("ascii"), triangles


def test_an_stl_is_read_back(tmp_path) -> None:
    made = tubes.surface(helix(40), torch.linspace(2, 1, 40, dtype=F64), sides=10)
    path = mesh.write_stl(tmp_path / "tube.stl", made.vertices, made.faces, "a tube, mm")
    title, triangles = read_stl(path.read_bytes())
    assert title.rstrip() == "a tube, mm" and not title.lower().startswith("solid")
    assert len(triangles) == len(made.faces) == 2 * 10 * 40
    corners = np.array([t[1] for t in triangles])
    np.testing.assert_array_equal(corners, tubes.corners(made).float().numpy())
    a, b, c = corners.transpose(1, 0, 2)
    area = np.cross(b - a, c - a)
    np.testing.assert_allclose(
        np.array([t[0] for t in triangles]), area / np.linalg.norm(area, axis=1)[:, None], atol=1e-5
    )
    assert {t[2] for t in triangles} == {0}
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6  # from the file alone
    assert volume == pytest.approx(tubes.volume(made), rel=1e-5) and volume > 0
    # stitched together by equal corners alone, as a reader has to, it is closed
    _, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    edges = {(f[i], f[(i + 1) % 3]) for f in faces for i in range(3)}
    assert len(edges) == 3 * len(faces) and {(q, p) for p, q in edges} == edges


def test_a_triangle_without_area_has_no_normal() -> None:
    _, triangles = read_stl(mesh.stl([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]))
    assert triangles[0][0] == (0, 0, 0)


POINTS = np.eye(3)


@pytest.mark.parametrize(
    "vertices, faces, title, message",
    [
        (POINTS, [[0, 1, 3]], "x", "whole numbers from 0 to 2"),
        (POINTS, [[0, 1, -1]], "x", "whole numbers from 0 to 2"),
        (POINTS, [[0.0, 1.0, 2.0]], "x", "whole numbers"),
        (POINTS, np.zeros((0, 3), int), "x", "a surface is"),
        (POINTS[:, :2], [[0, 1, 2]], "x", "a surface is"),
        (POINTS * math.nan, [[0, 1, 2]], "x", "not finite"),
        (POINTS * 1e39, [[0, 1, 2]], "x", "not finite"),
        (POINTS, [[0, 1, 2]], "Solid tube", "not begin with"),
        (POINTS, [[0, 1, 2]], "x" * 81, "at most 80"),
        (POINTS, [[0, 1, 2]], "ø", "ASCII"),
    ],
)
def test_an_stl_of_nonsense_is_refused(vertices, faces, title: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mesh.stl(vertices, faces, title)


def test_no_file_is_overwritten(tmp_path) -> None:
    path = mesh.write_stl(tmp_path / "a.stl", POINTS, [[0, 1, 2]])
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="not overwritten"):
        mesh.write_stl(path, 2 * POINTS, [[0, 1, 2]])
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"ends in \.stl"):
        mesh.write_stl(tmp_path / "a.obj", POINTS, [[0, 1, 2]])
    assert [p.name for p in tmp_path.iterdir()] == ["a.stl"]
