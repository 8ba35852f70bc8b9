"""A rebuilt chapter shows what it is about before anything else; measured in the page, as a reader has it."""

from pathlib import Path

import pytest

from medgan_lib.ledger import EDITION
from pipeline import chapters, edition

REBUILT = [chapter for chapter in chapters() if edition(chapter) >= EDITION]
PLACES = """
() => {
  const top = node => node.getBoundingClientRect().top + window.scrollY;
  const seen = [...document.querySelectorAll('article img, article svg[role=img]')].filter(node => node.offsetParent
    || node.getBoundingClientRect().width > 100);
  const code = [...document.querySelectorAll('article .cell_input')].filter(node => node.offsetHeight > 0
    && !node.closest('details:not([open])'));
  const wide = [...document.querySelectorAll('article .cell_input pre')].filter(node => node.offsetParent
    && !node.closest('details:not([open])') && node.scrollWidth > node.clientWidth + 1);
  return {picture: top(seen[0]), code: code.length ? top(code[0]) : Infinity,
          headings: top(document.querySelector('article section section h2')),
          wide: wide.map(node => node.innerText.split('\\n').sort((a, b) => b.length - a.length)[0])};
}
"""


@pytest.mark.parametrize("chapter", REBUILT)
@pytest.mark.parametrize(("width", "height"), [(1300, 900), (400, 800)])
def test_the_first_screen_has_a_picture_and_no_code(visit, book: Path, chapter: str, width: int, height: int) -> None:
    assert (book / "notebooks" / f"{chapter}.html").exists()
    places = visit(f"notebooks/{chapter}.html", viewport={"width": width, "height": height}).evaluate(PLACES)
    assert places["picture"] < height, "the first picture begins on the first screen"
    assert places["picture"] < places["headings"] < places["code"]


@pytest.mark.parametrize("chapter", REBUILT)
def test_no_visible_line_of_code_runs_off_the_page(visit, chapter: str) -> None:
    assert visit(f"notebooks/{chapter}.html", viewport={"width": 1300, "height": 900}).evaluate(PLACES)["wide"] == []


@pytest.mark.parametrize("chapter", REBUILT)
def test_it_speaks_of_pictures_that_are_there_without_scripts(visit, chapter: str) -> None:
    """Live views, players and the playground carry their message as still pictures where scripts are off."""
    page = visit(f"notebooks/{chapter}.html", java_script_enabled=False)
    assert page.locator("article figure img:visible, article figure svg:visible").count() >= 6


@pytest.mark.parametrize("chapter", REBUILT)
def test_a_wide_formula_begins_on_the_page_of_a_phone(visit, chapter: str) -> None:
    page = visit(f"notebooks/{chapter}.html", viewport={"width": 400, "height": 800})
    lefts = page.evaluate("() => [...document.querySelectorAll('div.math mjx-math')].map("
                          "node => node.getBoundingClientRect().left)")
    assert lefts and min(lefts) >= 0, "what lies left of the page can't be scrolled to"
