"""The uninterrupted runs that others must equal."""

import pytest
from trainable import SETTINGS, Tiny, images

from medgan_lib.training import Run, fit


@pytest.fixture(scope="session")
def whole() -> dict[str, Run]:
    return {p: fit(Tiny(), images(), precision=p, **SETTINGS) for p in ("float32", "bfloat16")}
