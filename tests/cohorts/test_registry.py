"""The registry and the cards."""

import re

from medgan_lib import cohorts
from medgan_lib.cohorts import fetch
from medgan_lib.cohorts.cache import CHECKOUT, data_root
from medgan_lib.cohorts.registry import registry


def test_every_entry_of_the_registry_is_complete():
    for name, about in registry().items():
        assert set(about) >= {
            "title",
            "content",
            "licence",
            "citation",
            "homepage",
            "embedded",
            "download_mb",
            "arrays",
        }
        assert about["embedded"] in cohorts.names() and name in cohorts.names() and name in fetch.CONVERTERS
        for file in about["files"]:
            assert len(file.get("sha256") or about.get("manifest_sha256", "")) == 64 or len(file["md5"]) == 32
            assert all(url.startswith("https://") for url in file["urls"])


def test_every_figure_of_a_card_is_small_and_every_file_is_shown():
    cards = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "data" / "cards").glob("*.md"))
    shown = re.findall(r"!\[([^\]]*)\]\(\.\./\.\./book/_static/cards/([^)]+)\)", cards)
    assert len(shown) == cards.count("!["), "a figure of a card that is not in book/_static/cards"
    assert all(len(alt) > 30 for alt, _ in shown)
    files = {path.name: path.stat().st_size for path in (CHECKOUT / "book" / "_static" / "cards").iterdir()}
    assert sorted(name for _, name in shown) == sorted(files)
    assert max(files.values()) <= 40_000


def test_every_cohort_has_a_card():
    cards = {path.stem for path in (CHECKOUT / "data" / "cards").glob("*.md")}
    assert cards >= {*cohorts.names(), "toys"} - {"ring", "grid", "lines"}


def test_the_data_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDGAN_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("MEDGAN_DATA")
    assert data_root() == CHECKOUT / "data" / "cache"
