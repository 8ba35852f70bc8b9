"""Runs of unpaired translation resume with what they have seen, and nonsense is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from translation_oracles import blobs, cycle_players, small_net

from medgan_lib import training
from medgan_lib.methods.cyclegan import Buffer, CycleGAN, DualGAN
from medgan_lib.methods.translation import Pix2Pix, SelfRegularisedGAN
from medgan_lib.networks.translators import (
    PatchCritic,
)


def test_the_buffer_and_the_learning_rate_go_on_in_a_second_leg(tmp_path):
    """Of a run that fills the buffer and lowers the rate in the first one."""

    def run(steps, seed=0, **more):
        torch.manual_seed(seed)
        players = small_net(2), small_net(2), PatchCritic(width=2, stages=1), PatchCritic(width=2, stages=1)
        method = CycleGAN(*players, identity=0.5, buffer=(6, 1, 16, 16), decay=(2, 9))
        data = {"y": blobs(20, 0), "x": -blobs(20, 1)}
        return training.fit(method, data, steps=steps, batch_size=4, seed=3, **more)

    whole = run(7)
    run(4, checkpoint=tmp_path / "run.pt")
    legs = run(7, seed=1, checkpoint=tmp_path / "run.pt")
    ours, theirs = whole.method.state_dict(), legs.method.state_dict()
    assert not [key for key, value in ours.items() if not torch.equal(theirs[key], value)]
    assert theirs["seen_B.filled"] == 6 and theirs["seen_B.images"].any()
    for run in (whole, legs):
        assert run.method.opt_G.param_groups[0]["lr"] == pytest.approx(2e-4 * 2 / 7)


NET = nn.Identity()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pix2Pix(NET, NET, "gaan"), "unknown objective 'gaan'; there are gan, "),
        (lambda: Pix2Pix(NET, NET, lambda1=-1.0), "must be 0 or more and not both 0, not -1.0 and 100.0"),
        (lambda: Pix2Pix(NET, NET, lambda1=0.0, lambda2=0.0), "not both 0, not 0.0 and 0.0"),
        (lambda: Pix2Pix(NET, None), "needs a D"),
        (lambda: SelfRegularisedGAN(NET, NET, "gaan"), "unknown objective 'gaan'"),
        (lambda: SelfRegularisedGAN(NET, NET, lam=-1.0), "lam must be 0 or more, not -1.0"),
        (lambda: CycleGAN(NET, NET, NET, NET, "gaan"), "unknown objective 'gaan'"),
        (lambda: CycleGAN(NET, NET, NET, NET, identity=-1.0), "lam and identity must be 0 or more, not 10.0 and -1.0"),
        (lambda: CycleGAN(NET, NET, NET, NET, decay=(5, 5)), r"the first before the last, not \(5, 5\)"),
        (lambda: CycleGAN(*cycle_players(), buffer=(5, 1)), r"must be \(capacity, channels, \*size\), not \(5, 1\)"),
        (lambda: DualGAN(*cycle_players(), clip=0.0), "clip above 0, not 3 and 0.0"),
        (lambda: Buffer((2, 1, 4))(torch.zeros(3, 1, 4)), "a buffer of 2 images cannot take a batch of 3"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
