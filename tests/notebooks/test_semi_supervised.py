"""What the chapter on few labels defines itself."""

from __future__ import annotations

import ast
import math

import nbformat
import pytest
import torch
from few_labels_parts import cases
from torch.nn import functional as F

from medgan_lib.methods import semi_supervised as ssl
from pipeline import ROOT


def from_chapter(*names: str, **namespace):
    """Functions and classes that the notebook defines, without running its cells."""
    notebook = nbformat.read(ROOT / "notebooks" / "23_semi_supervised.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            for node in ast.parse(cell.source).body:
                if getattr(node, "name", None) in names:
                    exec(ast.unparse(node), namespace)
    return [namespace[name] for name in names]


def test_augmentation_moves_image_and_mask_alike() -> None:
    (moved,) = from_chapter("moved", torch=torch, F=F, math=math)
    mask = torch.zeros(32, 1, 32, 48)
    mask[..., 11:21, 16:32] = 1
    torch.manual_seed(0)
    x, turned = moved(2 * mask - 1, mask, degrees=20.0, flips=True)
    assert float(((x > 0).float() - turned).abs().mean()) < 0.01, "an outline at most"
    assert set(turned.unique().tolist()) == {0.0, 1.0} and len(turned.unique(dim=0)) == 32
    area = turned.sum((1, 2, 3)) / mask[0].sum()
    assert float(area.min()) > 0.95 and float(area.max()) < 1.05, "a turn, also where images are no squares"
    same = moved(2 * mask - 1, degrees=0.0, shift=0.0)
    assert torch.allclose(same, 2 * mask - 1, atol=1e-5)


def test_augmentation_mirrors_only_where_asked() -> None:
    (moved,) = from_chapter("moved", torch=torch, F=F, math=math)
    ramp = torch.linspace(-0.9, 0.9, 32).expand(64, 1, 32, 32)
    for flips in (False, True):
        torch.manual_seed(0)
        rising = moved(ramp, degrees=10.0, flips=flips)[:, 0, 16].diff(dim=1).mean(1) > 0
        assert bool(rising.all()) is not flips and bool(rising.any())


def test_the_softmax_of_the_chapter_is_the_loss_of_the_library() -> None:
    as_softmax, written_out = from_chapter("as_softmax", "written_out", torch=torch, F=F)
    for _, _, real, fake in cases():
        assert as_softmax(real, fake).item() == pytest.approx(ssl.unsupervised_loss(real, fake).item(), rel=1e-12)
    assert not written_out(cases()[-1][2].float(), cases()[-1][3].float()).isfinite()
