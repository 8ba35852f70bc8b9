"""A small file of claims, and one of gates."""

import pytest
from ledgers import CLAIMS, GATES

from medgan_lib import ledger


@pytest.fixture
def book(tmp_path):
    (tmp_path / "claims.yml").write_text(CLAIMS, encoding="utf-8")
    (tmp_path / "gates.yml").write_text(GATES, encoding="utf-8")
    return tmp_path


@pytest.fixture
def claims(book):
    return ledger.load_claims(book / "claims.yml")


@pytest.fixture
def gates(book):
    return ledger.load_gates(book / "gates.yml")
