"""Minibatches: every sample once a pass, whole, in the layout that convolutions like; and random crops."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from trainable import SETTINGS, CountSyncs, Line, Tiny, assert_same_run, images, interrupt_at, points

from medgan_lib import networks
from medgan_lib.training import fit
from medgan_lib.training import sampler as samplers
from medgan_lib.training.sampler import Sampler, fits, storage_for, take_crops


def test_every_sample_is_drawn_once_a_pass_and_stays_whole():
    method = Line()
    fit(method, points(10), steps=10, batch_size=7)
    labels = torch.cat([batch["label"] for batch in method.seen])
    assert all(labels[i : i + 10].sort().values.tolist() == list(range(10)) for i in range(0, 70, 10))
    assert len({tuple(labels[i : i + 10].tolist()) for i in range(0, 70, 10)}) == 7
    for batch in method.seen:
        assert torch.equal(batch["x"], points(10)["x"][batch["label"]])


def test_batches_longer_than_the_cohort_and_methods_with_several_draws():
    method = Line()
    method.draws = 3
    fit(method, points(4), steps=2, batch_size=5)
    assert [len(batch["x"]) for batch in method.seen] == [15, 15]
    counts = Counter(torch.cat([batch["label"] for batch in method.seen]).tolist())
    assert max(counts.values()) - min(counts.values()) <= 1


def test_images_come_channels_last_and_unchanged():
    method = Tiny()
    cohort = images(12)
    seen = []
    method.step = lambda batch: seen.append(batch["x"]) or {"loss": torch.zeros(())}
    fit(method, cohort, steps=1, batch_size=12)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert method.D[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert sorted(seen[0].flatten(1).sum(1).tolist()) == pytest.approx(sorted(cohort["x"].flatten(1).sum(1).tolist()))


def numbered(n: int, *shape: int) -> torch.Tensor:
    """Samples (n, *shape) in which no two values are equal."""
    return torch.arange(n * torch.Size(shape).numel(), dtype=torch.float64).view(n, *shape)


@pytest.mark.parametrize("size", [(30,), (12, 17), (7, 9, 8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_cut_out_of_the_samples_at_the_same_place_in_all_tensors(size, channels):
    n, crop, per = 6, tuple(s - 3 - i for i, s in enumerate(size)), 400
    x = numbered(n, channels, *size)
    cohort = {"x": x, "y": -x[:, :1], "mask": x[:, 0] > 40, "label": torch.arange(n), "vector": numbered(n, 5)}
    if len(size) == 1:
        del cohort["mask"]  # would be a vector
    torch.manual_seed(0)
    batch = Sampler(cohort, per, torch.device("cpu"), crop).draw()
    assert batch["x"].shape == (per, channels, *crop) and batch["y"].shape == (per, 1, *crop)
    places = Counter()
    for i in range(per):
        whole = x[batch["label"][i]]
        offset = int(batch["x"][i].flatten()[0] - whole.flatten()[0])
        corner = [int(part) for part in torch.unravel_index(torch.tensor(offset), size)]
        window = tuple(slice(c, c + s) for c, s in zip(corner, crop, strict=True))
        assert torch.equal(batch["x"][i], whole[(slice(None), *window)])
        assert torch.equal(batch["y"][i], -batch["x"][i, :1])
        if "mask" in cohort:
            assert torch.equal(batch["mask"][i], batch["x"][i, 0] > 40)
        places |= dict.fromkeys(enumerate(corner), 1)
    assert torch.equal(batch["vector"], cohort["vector"][batch["label"]])
    room = [s - c + 1 for s, c in zip(size, crop, strict=True)]
    assert places.keys() == {(axis, c) for axis, r in enumerate(room) for c in range(r)}  # the last place, too


def test_every_place_is_equally_likely_and_each_sample_has_its_own():
    torch.manual_seed(0)
    sampler = Sampler({"x": numbered(1, 1, 6, 6)}, 5000, torch.device("cpu"), (3, 3))
    corners = Counter(sampler.draw()["x"][:, 0, 0, 0].int().tolist())
    assert len(corners) == 16 and min(corners.values()) > 230 and max(corners.values()) < 395  # 312 +- 17


def test_crops_are_channels_last_and_nothing_whole_is_copied():
    x = torch.rand(4, 3, 40, 50).contiguous(memory_format=torch.channels_last)
    corner = [torch.tensor([0, 31]), torch.tensor([40, 3])]
    with CountSyncs() as mode:
        cut = take_crops(x, torch.tensor([2, 0]), corner, (9, 10))
    assert cut.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(cut[0], x[2, :, :9, 40:50]) and torch.equal(cut[1], x[0, :, 31:40, 3:13])
    assert mode.syncs == 0 and not {"clone", "_to_copy", "copy_", "contiguous"} & mode.counts.keys()


def large() -> dict[str, torch.Tensor]:
    return {"x": torch.rand(50, 2, 9, 7, generator=torch.Generator().manual_seed(1)) * 2 - 1}


def test_a_run_on_crops_goes_on_bit_for_bit(tmp_path, monkeypatch):
    whole = fit(Tiny(), large(), precision="float32", crop=4, **SETTINGS)
    path = tmp_path / "run.pt"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_at(9, patch)
        fit(Tiny(), large(), precision="float32", crop=4, checkpoint=path, **SETTINGS)
    assert_same_run(fit(Tiny(), large(), precision="float32", crop=(4, 4), checkpoint=path, **SETTINGS), whole)
    with pytest.raises(ValueError, match=r"another run(?s:.*)crop: \(4, 4\) in the file, None here"):
        fit(Tiny(), large(), precision="float32", checkpoint=path, **SETTINGS)


def test_a_crop_of_the_whole_image_is_the_image():
    method = Line()
    method.step = lambda batch: method.seen.append(batch) or {"loss": torch.zeros(())}
    cohort = images(5)
    fit(method, cohort | {"i": torch.arange(5)}, steps=1, batch_size=5, crop=(4, 4))
    assert torch.equal(method.seen[0]["x"], cohort["x"][method.seen[0]["i"]])


@pytest.mark.parametrize(
    ("cohort", "crop", "message"),
    [
        (images(), 5, r"crop \(5, 5\) is larger than the images, which are \(4, 4\)"),
        (images(), (4, 5), r"crop \(4, 5\) is larger"),
        (images(), (2, 2, 2), r"crop is \(2, 2, 2\), but must be a whole number or 2 of them"),
        (images(), 0, "crop is 0, but must be"),
        (images(), (2, 1.5), r"crop is \(2, 1.5\)"),
        (points(), 1, "crop needs images 'x'"),
        ({"u": torch.zeros(4, 1, 4, 4)}, 2, "crop needs images 'x'"),
        (images(4) | {"y": torch.zeros(4, 1, 2, 2)}, 2, r"x has the size \(4, 4\), but \{'y': \(2, 2\)\}"),
    ],
)
def test_crops_that_make_no_sense(cohort, crop, message):
    with pytest.raises(ValueError, match=message):
        fit(Line(), cohort, steps=2, crop=crop)


@pytest.mark.parametrize("norm", [networks.InstanceNorm, nn.InstanceNorm2d, lambda width: nn.GroupNorm(1, width)])
def test_networks_that_see_whole_images_have_to_be_applied_to_tiles(norm, recwarn):
    method = Tiny()
    method.D.insert(1, norm(8))
    with pytest.warns(UserWarning, match=r"Tiny has networks.*crops of \(4, 4\): apply them to tiles"):
        fit(method, large(), steps=1, crop=4)
    recwarn.clear()
    fit(method, images(), steps=1, crop=4)  # the crop is the image
    fit(Tiny(), large(), steps=1, crop=4)
    fit(method, images(), steps=1)
    assert not [str(w.message) for w in recwarn if "tiles" in str(w.message)]


CPU, OTHER = torch.device("cpu"), torch.device("cpu:0")  # one and the same, but not for a sampler


@pytest.mark.parametrize("crop", [None, (4, 3)])
def test_a_cohort_on_the_host_gives_the_samples_of_one_on_the_device(crop):
    n, size = 10, 7
    cohort = large() | {"mask": torch.rand(50, 9, 7) > 0.5, "label": torch.arange(50)}
    cohort = {name: tensor[:n] for name, tensor in cohort.items()}
    drawn = []
    for storage in (OTHER, CPU):  # the second lies elsewhere
        torch.manual_seed(3)
        sampler = Sampler(cohort, size, OTHER, crop, storage)
        drawn.append([sampler.draw() for _ in range(5)])
        after = Sampler(cohort, size, OTHER, crop, storage)
        after.restore(sampler.state())
        drawn[-1].append(after.draw())
    for ours, theirs in zip(*drawn, strict=True):
        assert ours.keys() == theirs.keys() == cohort.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert all(ours[name].stride() == theirs[name].stride() for name in ours)


@pytest.mark.parametrize("crop", [None, (4, 3)])
def test_only_minibatches_go_from_the_host_to_the_device(crop, monkeypatch):
    meta, sent = torch.device("meta"), []
    plain = samplers.sent
    monkeypatch.setattr(samplers, "sent", lambda tensor, device: sent.append(len(tensor)) or plain(tensor, device))
    # Device "meta" has no values to bring back: the order is drawn elsewhere.
    monkeypatch.setattr(torch, "randperm", lambda n, device: torch.arange(n))
    sampler = Sampler(large() | {"label": torch.arange(50)}, 7, meta, crop, CPU)
    batch = sampler.draw()
    assert sent == [7, 7] and {tensor.device for tensor in sampler.tensors.values()} == {CPU}
    assert {part.device for part in batch.values()} == {meta}
    assert batch["x"].shape == (7, 2, *(crop or (9, 7))) and batch["label"].shape == (7,)


def test_what_takes_more_than_half_of_the_free_memory_stays_on_the_host(monkeypatch):
    assert fits(50, 100) and not fits(51, 100)
    cohort = {"x": torch.zeros(10, 25), "label": torch.zeros(10, dtype=torch.int64)}  # 1080 bytes
    gpu, free = torch.device("cuda"), {}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free["bytes"], 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    for free["bytes"], storage in ((1960, gpu), (1959, CPU)):
        assert storage_for(cohort, gpu) == storage
    assert storage_for(cohort, CPU) == CPU
