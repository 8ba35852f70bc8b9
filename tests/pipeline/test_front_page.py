"""The front page: tiles of what is recorded and of nothing else, and a route to every chapter."""

import re
from pathlib import Path

import pytest
import yaml
from staged_books import RECORD, add_pictures, context

import pipeline
from medgan_lib import ledger
from pipeline import UserError, pages, stage

TILE = {"chapter": "01_objectives", "picture": "work",
        "text": "A <slope> of {claim}`02-does-not-saturate:value`, not {claim}`02-does-not-saturate:control`."}


def choose(root: Path, *entries: object) -> str:
    (root / "book" / "highlights.yml").write_text(yaml.safe_dump(list(entries)))
    return pages.strip(context(root))


def test_a_tile_has_picture_sentence_and_link(root: Path) -> None:
    add_pictures(root, "cpu", "other", "work")
    shown = choose(root, {**TILE, "focus": "bottom"}, {**TILE, "picture": "1.webp"})
    assert '<div class="medgan-strip" style="--row:2">' in shown and shown.count("medgan-tile") == 2
    assert shown.count('href="../notebooks/01_objectives.html"') == 2
    assert "<span>A &lt;slope&gt; of 1 per logit, not 0 per logit.</span>" in shown
    assert 'src="../_static/recorded/cpu/01_objectives/2.webp" alt="A &quot;picture&quot; of work"' in shown
    assert shown.count('style="object-position:bottom"') == 1 and "cpu/01_objectives/1.webp" in shown
    stage.stage("cpu", root=root)
    assert (root / "_build/stage/_static/recorded/cpu/01_objectives/2.webp").is_file()
    assert "medgan-tile" in (root / "_build/stage/book/intro.md").read_text()


def test_what_is_not_recorded_is_left_out(root: Path) -> None:
    assert choose(root, TILE) == "", "a record without pictures"
    add_pictures(root, "cpu", "work")
    never = TILE["text"].replace("02-does-not-saturate", "08-people-like-it")
    others = {"picture": "best"}, {"chapter": "02_wasserstein"}, {"text": never}
    shown = choose(root, *({**TILE, **other} for other in others), TILE)
    assert shown.count("medgan-tile") == 1
    assert choose(root) == ""


def test_a_gate_that_shuts_takes_a_tile_away(root: Path) -> None:
    claims = {**RECORD["claims"], "game-is-on": {"value": [0.99] * 5, "control": None, "verdict": "did not hold"}}
    add_pictures(root, "cpu", "work", claims=claims)
    assert choose(root, TILE) == "" and choose(root, {**TILE, "text": "No number."}) != ""


def test_the_record_of_the_builds_profile_comes_first(root: Path) -> None:
    add_pictures(root, "full", "work")
    assert "recorded/full/" in choose(root, TILE)
    add_pictures(root, "cpu", "work")
    assert "recorded/cpu/" in choose(root, TILE)


@pytest.mark.parametrize(("entry", "words"), [
    ({**TILE, "chapter": "99_none"}, "entry 1: there is no chapter '99_none'"),
    ({**TILE, "picture": "wrok"}, "entry 1: picture 'wrok' is no cell of 01_objectives and no file such as 1.webp"),
    ({**TILE, "text": "{claim}`03-none:value`"}, "entry 1: there is no claim '03-none' in book/claims.yml"),
    ({**TILE, "text": "{claim}`02-does-not-saturate`"}, "a part is needed, one of value, control, effect, verdict"),
    ({"chapter": "01_objectives"}, "entry 1: needs the texts chapter, picture, text; may have focus"),
    ({**TILE, "focus": "50% 1px;x"}, "entry 1: focus is made of left, right, top, bottom, center, not '50% 1px;x'"),
    ("text", "entry 1: needs the texts"),
], ids=["chapter", "picture", "claim", "part", "keys", "focus", "no mapping"])
def test_a_mistake_is_named_before_anything_runs(root: Path, entry: object, words: str) -> None:
    (root / "book" / "highlights.yml").write_text(yaml.safe_dump([entry]))
    claims = ledger.load_claims(root / "book" / "claims.yml")
    found = pages.highlight_problems(root, claims, {"01_objectives": {"work"}})
    assert len(found) == 1 and found[0].startswith("book/highlights.yml") and words in found[0]


def test_a_file_that_is_no_list_is_named(root: Path) -> None:
    (root / "book" / "highlights.yml").write_text("text: [")
    assert len(pages.highlight_problems(root, {}, {})) == 1
    (root / "book" / "highlights.yml").write_text("chapter: 01_objectives\n")
    with pytest.raises(UserError, match="entry 1: needs"):
        pages.strip(context(root))


def test_every_chapter_is_on_a_route() -> None:
    front = (pipeline.ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", front))
    assert linked == set(stage.toc_chapters(pipeline.ROOT)), "book/intro.md"
