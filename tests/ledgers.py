"""Criteria, entries and records for tests of the ledger."""

import numpy as np
import torch

from medgan_lib.ledger import Claim, Ledger

CLAIMS = """
07-more-modes:
  source: review
  place: Sec. 2.1, Eq. 4
  protocol: {cpu: simulated, full: public data}
  row: 7
  chapter: 02_wasserstein
  claim: The penalty keeps more modes than <clipping>.
  metric: modes covered
  unit: modes
  kind: greater
  smallest_effect: 3
  control: clipping
  gate: trained-enough
  seeds: 5
08-loss-tracks-quality:
  source: paper
  place: arjovsky2017, Fig. 3
  protocol: simulated
  row: 8
  chapter: 02_wasserstein
  claim: The estimate follows quality.
  metric: Spearman's rho
  unit:
  kind: at_least
  scale: correlation
  bound: 0.7
  control: null
  seeds: 5
  testable: true
  history: [The wording of 2024-01-01 was another.]
  profiles: [cpu]
09-scanners:
  source: ours
  place: Sec. 3
  row: 9
  chapter: 02_wasserstein
  claim: It works on every scanner.
  testable: nobody lent us all scanners
10-other-chapter:
  source: review
  place: Sec. 2.2
  protocol: simulated
  row: 10
  chapter: 03_mode_collapse
  claim: Less distance.
  metric: Fréchet distance
  kind: less
  effect: ratio
  smallest_effect: 1.25
  control: plain GAN
  seeds: 5
"""
GATES = """
trained-enough:
  question: Are the samples better than noise?
  fails: The samples are noise.
  metric: distance over that of noise
  at_most: 0.5
game-is-on:
  question: Does D know some?
  fails: D knows nothing or all.
  metric: accuracy of D
  unit: "%"
  between: [55, 95]
"""

T4 = 2.7764451051977934  # Student's t at 97.5 %, four degrees of freedom (tables)


def criterion(kind, smallest=1.0, effect="difference", scale="mean", margin=0.0, **more):
    """A claim with control where ``kind`` compares; ``smallest`` is the bound where it doesn't."""
    compares = kind in ("greater", "less")
    asked = {"smallest_effect": smallest, "control": "control"} if compares else {"bound": smallest, "margin": margin}
    return Claim(id="01-x", row=1, chapter="01_x", claim="…", place="Sec. 2", protocol="simulated", metric="metric",
                 unit="mm", kind=kind, effect=effect, scale=scale, seeds=5, **asked, **more)


def record_of(entries, seeds=5, profile="cpu", **changes):
    record = {"chapter": "02_wasserstein", "profile": profile, "edition": 2, "seeds": list(range(seeds)),
              "seconds": [1.5] * seeds, "fingerprint": "abc", "parameters": {"steps": 10},
              "environment": {"device": "cpu"}, "claims": entries}
    return record | changes


def entries(seeds=5):
    return {"07-more-modes": {"value": [8.0, 7.0, 8.0, 8.0, 7.0][:seeds], "control": [3.0, 2.0, 4.0, 3.0, 3.0][:seeds]},
            "08-loss-tracks-quality": {"value": [0.9, 0.8, 0.85, 0.95, 0.9][:seeds], "control": None},
            "trained-enough": {"value": [0.1, 0.2, 0.1, 0.3, 0.1][:seeds], "control": None}}


def full(book, profile="cpu"):
    run = Ledger("02_wasserstein", profile=profile, claims=book / "claims.yml")
    run.gate("trained-enough", 0.25)
    run.record("07-more-modes", torch.tensor(8), control=np.float32(3))
    run.record("08-loss-tracks-quality", 0.5)
    return run
