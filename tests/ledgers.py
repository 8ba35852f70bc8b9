"""Criteria, entries and records for tests of the ledger."""

import math

import numpy as np
import torch

from medgan_lib.ledger import Claim, Ledger

# Student's t at 97.5 % has a closed form for two degrees of freedom.
CLAIMS = """
07-more-modes:
  section: "2.1"
  row: 7
  chapter: 02_wasserstein
  claim: The penalty keeps more modes than <clipping>.
  metric: modes covered
  unit: modes
  kind: greater
  smallest_effect: 3
  control: clipping
  seeds: 5
08-loss-tracks-quality:
  section: "2.1"
  row: 8
  chapter: 02_wasserstein
  claim: The estimate follows quality.
  metric: Spearman's rho
  unit:
  kind: at_least
  smallest_effect: 0.7
  control: null
  seeds: 5
  testable: true
  history: [{date: 2024-01-01, note: first wording}]
  profiles: [cpu]
09-scanners:
  section: "3"
  row: 9
  chapter: 02_wasserstein
  claim: It works on every scanner.
  testable: nobody lent us all scanners
10-other-chapter:
  section: "2.2"
  row: 10
  chapter: 03_mode_collapse
  claim: Less distance.
  metric: Fréchet distance
  kind: less
  effect: ratio
  smallest_effect: 1.25
  control: plain GAN
  seeds: 3
"""

T2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)


def criterion(kind, smallest=1.0, effect="difference"):
    control = "control" if kind in ("greater", "less") else None
    return Claim("01-x", "2", 1, "01_x", "…", "metric", "mm", kind, smallest, effect, control, 5)


def record_of(entries, seeds=5, profile="cpu", **changes):
    record = {"chapter": "02_wasserstein", "profile": profile, "seeds": list(range(seeds)), "seconds": [1.5] * seeds,
              "fingerprint": "abc", "parameters": {"steps": 10}, "environment": {"device": "cpu"}, "claims": entries}
    return record | changes


def entries(seeds=5):
    return {"07-more-modes": {"value": [8.0, 7.0, 8.0, 8.0, 7.0][:seeds], "control": [3.0, 2.0, 4.0, 3.0, 3.0][:seeds]},
            "08-loss-tracks-quality": {"value": [0.9, 0.8, 0.85, 0.95, 0.9][:seeds], "control": None}}


def full(book, profile="cpu"):
    run = Ledger("02_wasserstein", profile=profile, claims=book / "claims.yml")
    run.record("07-more-modes", torch.tensor(8), control=np.float32(3))
    run.record("08-loss-tracks-quality", 0.5)
    return run
