"""A small file of claims."""

import pytest
from ledgers import CLAIMS

from medgan_lib import ledger


@pytest.fixture
def book(tmp_path):
    (tmp_path / "claims.yml").write_text(CLAIMS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def claims(book):
    return ledger.load_claims(book / "claims.yml")
