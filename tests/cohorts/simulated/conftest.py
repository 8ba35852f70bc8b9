"""A cache of their own for tests of simulations."""

import os

import pytest

from medgan_lib.cohorts.simulated import heads


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Nothing of this machine's cache is used or changed, nor what the process still holds of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MEDGAN_PROGRESS", os.devnull)
        heads._atlas.cache_clear()
        yield
