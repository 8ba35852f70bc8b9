"""Every page of the rendered book, as a reader meets it: no kernel, no network, small and dark screens."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from medgan_lib.ledger import EDITION
from pipeline import chapters, edition

# What jumps into the eye of a reader as debris of the machinery.
DEBRIS = re.compile(r"Traceback \(most recent call last\)|\d+%\|.*\||it/s\]|<medgan_lib\.|object at 0x|<!-- generated")

CONTRAST = """
() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const bad = [];
  for (const node of document.querySelectorAll('.bd-article p, .bd-article li, .bd-article td, .bd-article th,' +
      ' .bd-article figcaption, .bd-article h1, .bd-article h2, .bd-article output, .bd-article summary')) {
    if (!node.innerText || !node.innerText.trim() || !node.offsetParent) continue;
    let box = node, back = [0, 0, 0, 0];
    while (box && (back.length === 4 && back[3] === 0)) { back = parse(getComputedStyle(box).backgroundColor);
      box = box.parentElement; }
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(node.innerText.slice(0, 60) + ' ' + ratio.toFixed(1));
  }
  return bad;
}
"""


def test_page_is_whole(name: str, visit, book: Path) -> None:
    """No console error, no request that leaves, pictures with alt text, rendered maths, no debris, sound links."""
    page = visit(name)
    text = page.inner_text("article")
    assert len(text) > 100, "the page is empty"
    assert not DEBRIS.search(text), DEBRIS.search(text)
    for image in page.query_selector_all("img"):
        alt = image.get_attribute("alt") or ""
        assert alt.strip() and not re.search(r"^\S*(/\S*|\.png|\.svg|\.jpe?g)$", alt.strip()), f"alt text {alt!r}"
        loaded = "i => i.naturalWidth > 0 || i.loading === 'lazy' || i.src.endsWith('.svg')"
        assert image.evaluate(loaded), f"picture not shown: {alt}"
    formulas = page.query_selector_all(".math")
    assert all(formula.query_selector("mjx-container") for formula in formulas), "unrendered formulas"
    assert not page.query_selector("mjx-merror"), page.query_selector("mjx-merror").inner_text()
    assert not page.query_selector(".problematic, .system-message"), "Sphinx left an error on the page"
    for link in page.query_selector_all("article a[href]"):
        check_link(link.get_attribute("href"), book / name)


def check_link(href: str, page: Path) -> None:
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        assert parts.scheme in ("http", "https", "mailto"), href
        return
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    assert target.exists(), f"{page.name} links to {href}, which does not exist"
    if parts.fragment and target.suffix == ".html":
        identifier = re.escape(unquote(parts.fragment))
        html = target.read_text(encoding="utf-8")
        assert re.search(rf'id="{identifier}"', html), f"{page.name} links to {href}: no such place"


def test_no_sideways_scrolling_on_a_phone(name: str, visit) -> None:
    page = visit(name, viewport={"width": 400, "height": 800})
    width = page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
    outside = "[...document.querySelectorAll('.bd-article *')].filter(e => e.getBoundingClientRect().right > 401)"
    wide = page.evaluate(f"{outside}.slice(0, 5).map(e => e.outerHTML.slice(0, 120))")
    assert width <= 400, (width, wide)


def test_readable_and_accessible(name: str, visit) -> None:
    """Light and dark: text contrast of at least 4.5, and no serious or critical finding of axe-core."""
    from axe_playwright_python.sync_playwright import Axe

    page = visit(name, color_scheme="dark")
    assert page.get_attribute("html", "data-theme") == "dark", "the page does not follow the system's preference"
    for theme in ("dark", "light"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.wait_for_timeout(300)  # colours fade
        assert not page.evaluate(CONTRAST), theme
        # preload: axe would fetch imported style sheets again, relative to the wrong folder.
        findings = Axe().run(page, options={"preload": False, "resultTypes": ["violations"]}).response["violations"]
        serious = [
            (finding["id"], finding["help"], [node["html"][:200] for node in finding["nodes"][:3]])
            for finding in findings if finding["impact"] in ("serious", "critical")
        ]
        assert not serious, (theme, serious)


def players(visit, book: Path):
    """A page with a player, opened; there is one as soon as a chapter was executed."""
    for path in sorted(book.glob("notebooks/*.html")):
        if "data-player=" in path.read_text(encoding="utf-8"):
            page = visit(f"notebooks/{path.name}")
            return page, page.query_selector_all(".medgan-player")
    pytest.skip("no executed chapter in this book has a player")


def shown(player) -> tuple[str, str, str, str]:
    """What a player presents: its visible picture, that picture's alt text, the label, and what is announced."""
    images = [image for image in player.query_selector_all("img") if image.is_visible()]
    assert len(images) == 1, f"{len(images)} pictures at once"
    slider = player.query_selector("input[type=range]")
    return (images[0].get_attribute("src"), images[0].get_attribute("alt"),
            player.query_selector("output").inner_text(), slider.get_attribute("aria-valuetext"))


def test_dragging_the_slider_changes_picture_and_label(visit, book: Path) -> None:
    page, found = players(visit, book)
    for player in found:
        player.scroll_into_view_if_needed()
        before, others = shown(player), [shown(other) for other in found if other is not player]
        box = player.query_selector("input[type=range]").bounding_box()
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] - 8, y)
        page.mouse.down()
        page.mouse.move(box["x"] + 4, y, steps=8)
        page.mouse.up()
        after = shown(player)
        assert after[0] != before[0] or after[1] != before[1]
        assert after[2] != before[2]
        assert after[3] == after[2]
        assert [shown(other) for other in found if other is not player] == others, "players are not independent"


def test_the_keyboard_works(visit, book: Path) -> None:
    page, found = players(visit, book)
    slider = found[0].query_selector("input[type=range]")
    slider.focus()
    last = shown(found[0])
    page.keyboard.press("Home")
    first = shown(found[0])
    page.keyboard.press("ArrowRight")
    second = shown(found[0])
    page.keyboard.press("End")
    assert len({first[2], second[2], last[2]}) == min(3, int(slider.get_attribute("max")) + 1)
    assert shown(found[0]) == last


def test_play_runs_to_the_end_and_pauses(visit, book: Path) -> None:
    page, found = players(visit, book)
    player = found[0]
    button = player.query_selector("button")
    end = shown(player)
    assert button.get_attribute("aria-label") == "Play"
    button.focus()
    page.keyboard.press("Enter")  # on the last frame: starts over
    assert button.get_attribute("aria-label") == "Pause"
    assert shown(player)[2] != end[2]
    stopped = "player => player.querySelector('button').getAttribute('aria-label') === 'Play'"
    button.click()
    page.wait_for_function(stopped, arg=player, timeout=30000)  # a click returns before the page has handled it
    paused = shown(player)
    page.wait_for_timeout(700)
    assert shown(player) == paused
    button.click()
    page.wait_for_function(stopped, arg=player, timeout=30000)
    assert shown(player) == end


def test_a_quiz_asks_counts_and_starts_again(visit, book: Path) -> None:
    """All answers right, then all wrong: every image is asked for once, and the score is that of the answers."""
    pages = [path for path in sorted(book.glob("notebooks/*.html")) if "data-quiz=" in path.read_text(encoding="utf-8")]
    if not pages:
        pytest.skip("no executed chapter in this book has a quiz")
    page = visit(f"notebooks/{pages[0].name}")
    quiz = page.query_selector(".medgan-quiz")
    real = json.loads(quiz.get_attribute("data-real"))
    button = {text: quiz.query_selector(f"button:text-is('{text}')") for text in ("Real", "Generated", "Start again")}
    said = quiz.query_selector("output")
    assert not quiz.query_selector("details").is_visible(), "the answers are in sight"
    for right in (True, False):
        seen = set()
        for number, answer in enumerate(real, 1):
            images = [image for image in quiz.query_selector_all("img") if image.is_visible()]
            assert len(images) == 1 and f"Image {number} of {len(real)}" in said.inner_text()
            seen.add(images[0].get_attribute("src"))
            button["Real" if answer == right else "Generated"].focus()
            page.keyboard.press("Enter")
            assert said.inner_text().startswith("Right" if right else "Wrong")
        assert len(seen) == len(real)
        score = said.inner_text()
        assert f"{len(real) if right else 0} of {len(real)} right" in score
        assert ("better than" if right else "worse than") in score
        made = len(real) - sum(real)
        assert f"You took {0 if right else made} of {made} generated images for real" in score
        assert all(image.is_visible() for image in quiz.query_selector_all("img"))
        again = "button => button === document.activeElement"
        assert button["Start again"].evaluate(again) and not button["Real"].is_visible()
        page.keyboard.press("Enter")


def test_live_models_are_light(name: str, book: Path) -> None:
    weights = re.findall(r'data-weights="([^"]*)"', (book / name).read_text(encoding="utf-8"))
    assert sum(map(len, weights)) <= 300_000, "all of a chapter together"


def test_a_live_model_moves(visit, book: Path) -> None:
    pages = [path for path in sorted(book.glob("notebooks/*.html"))
             if "data-live-model=" in path.read_text(encoding="utf-8")]
    if not pages:
        pytest.skip("no executed chapter in this book has a live model")
    page = visit(f"notebooks/{pages[0].name}", base=book.as_uri())
    for model in page.query_selector_all(".medgan-live"):
        canvas = model.query_selector("canvas")
        assert canvas.is_visible() and not model.query_selector("img").is_visible()
        first, said = canvas.evaluate("canvas => canvas.toDataURL()"), canvas.get_attribute("aria-label")
        for slider in model.query_selector_all("input[type=range]"):
            slider.focus()
            page.keyboard.press("End")
            page.wait_for_function("([canvas, before]) => canvas.toDataURL() !== before", arg=[canvas, first])
            assert canvas.get_attribute("aria-label") != said
            model.query_selector("[data-do=back]").click()
            page.wait_for_function("([canvas, before]) => canvas.toDataURL() === before", arg=[canvas, first])


@pytest.mark.parametrize("width", [1200, 390])
def test_the_ledgers_filters_work_without_a_kernel(visit, width: int) -> None:
    page = visit("book/ledger.html", viewport={"width": width, "height": 900})
    claims = page.locator(".medgan-claim")
    every = claims.count()
    said = page.locator(".medgan-filters output")
    assert every > 200 and said.inner_text() == f"{every} of {every} claims and checks"

    def visible() -> list[str]:
        names = "all => all.filter(claim => claim.offsetParent).map(claim => claim.className)"
        return page.eval_on_selector_all(".medgan-claim", names)

    page.select_option(".medgan-filters [name=source]", label="the paper of the method")
    some = visible()
    assert 0 < len(some) < every and all("source-paper" in one for one in some)
    assert said.inner_text() == f"{len(some)} of {every} claims and checks"
    page.select_option(".medgan-filters [name=verdict]", label="contradicted")
    fewer = visible()
    assert 0 < len(fewer) < len(some) and all("verdict-contradicted" in one for one in fewer)
    headings = page.eval_on_selector_all("section h2", "all => all.filter(h => h.offsetParent).length")
    assert headings == len({one.split("chapter-")[1] for one in fewer}), "headings without a claim are hidden"
    assert "verdict=verdict-contradicted" in page.url and "source=source-paper" in page.url
    page.fill(".medgan-filters [name=words]", "no claim has these words")
    assert visible() == [] and said.inner_text().startswith("0 of")
    page.reload()
    assert page.locator(".medgan-filters [name=words]").input_value() == "no claim has these words", "a link keeps them"
    page.click(".medgan-filters button")
    assert len(visible()) == every and "?" not in page.url
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0


def test_a_link_to_a_claim_finds_it_whatever_is_chosen(visit) -> None:
    page = visit("book/ledger.html?verdict=verdict-contradicted")
    target = page.eval_on_selector(".medgan-claim[hidden]", "claim => claim.id || claim.previousElementSibling.id")
    page.evaluate("id => { location.hash = id; }", target)
    shown = "id => document.getElementById(id).closest('[hidden]') === null"
    page.wait_for_function(shown, arg=target)
    assert page.locator(".medgan-filters [name=verdict]").input_value() == ""
    again = visit(f"book/ledger.html?verdict=verdict-contradicted#{target}")
    again.wait_for_function(shown, arg=target)


def test_every_page_of_the_first_edition_says_so(visit, book: Path) -> None:
    marked = [path.name for path in book.glob("notebooks/*.html")
              if "First edition" in path.read_text(encoding="utf-8")]
    assert sorted(marked) == [f"{name}.html" for name in chapters() if edition(name) < EDITION]


def test_chapters_have_the_numbers_of_their_files(visit, book: Path) -> None:
    """In their titles, the sidebar, and at the foot of the page before."""
    names = sorted(path.stem for path in book.glob("notebooks/*.html"))
    page = visit(f"notebooks/{names[-2]}.html")
    assert page.inner_text("article h1").startswith(f"{int(names[-2][:2])}. ")
    assert page.inner_text("a.right-next").split("\n")[-1].startswith(f"{int(names[-1][:2])}. ")
    links = page.eval_on_selector_all(".bd-sidebar-primary a[href*='_']", "all => all.map(a => [a.href, a.innerText])")
    shown = {Path(href).stem: text for href, text in links if Path(href.rstrip("#")).stem in names}
    assert all(text.startswith(f"{int(name[:2])}. ") for name, text in shown.items())
    assert len(shown) >= len(names) - 1


def test_search_works_offline(visit) -> None:
    page = visit("search.html?q=saturation")
    page.wait_for_selector("#search-results li a", timeout=10000)
    assert any("glossary" in link.get_attribute("href") for link in page.query_selector_all("#search-results li a"))


def test_the_book_opens_from_a_folder(visit, book: Path) -> None:
    """Double-clicking index.html is how most will open it: maths and players work without a server."""
    page = visit("index.html", base=book.as_uri())
    page.wait_for_url("**/book/intro.html")
    chapter = sorted(path.name for path in book.glob("notebooks/*.html"))[0]
    page.goto(f"{book.as_uri()}/notebooks/{chapter}")
    page.wait_for_selector("mjx-container")
