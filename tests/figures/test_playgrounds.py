"""The GAN that trains in a page: it is torch's training, it learns, and everyone can use it."""

import re

import pytest

from medgan_lib import figures
from medgan_lib.figures import playgrounds

ALT = 'A small GAN learns "eight" clouds'
PARAMETERS = """
figure => Object.fromEntries(["D", "G"].map(key =>
  [key, figure.playground.state()[key].flatMap(({ W, b }) => [[...W], [...b]])]))
"""


@pytest.fixture(scope="module")
def shown() -> figures.Playground:
    return figures.playground(alt=ALT, caption="A caption.")


@pytest.fixture
def page(visit, shown):
    return visit(shown._repr_html_())


def steps(page, who: str, n: int, which: int = 0) -> None:
    page.evaluate(
        "([who, n, which]) => { const p = document.querySelectorAll('.medgan-playground')[which].playground;"
        " for (let k = 0; k < n; k++) { p.step[who](); } p.show(); }", [who, n, which],
    )  # fmt: skip


def reached(page) -> tuple[int, int]:
    found = re.search(r"near real ones: (\d+)\s%, at (\d+) of \d+ places", page.inner_text("output"))
    return int(found[1]), int(found[2])


@pytest.mark.parametrize(("objective", "data", "d_steps"), [
    ("gan", "one blob", 1), ("gan-ma", "ring of 8", 1), ("lsgan", "two moons", 1), ("wgan", "line", 5),
    ("wgan-gp", "two moons", 5),
])  # fmt: skip
def test_a_training_is_the_same_in_torch(page, objective: str, data: str, d_steps: int) -> None:
    """The same random numbers, batches and steps: the picture for pages without scripts shows this very training."""
    page.select_option("[data-choice=data]", data)
    page.select_option("[data-choice=objective]", objective)
    page.select_option("[data-choice=d_steps]", str(d_steps))
    page.fill("[data-choice=seed]", "7")
    page.keyboard.press("Tab")
    steps(page, "d", 2)
    steps(page, "both", 10)
    twin = playgrounds.Twin(data, objective, 0.01, 0.003, d_steps, 7)
    for step in [twin.step_d] * 2 + [twin.step_both] * 10:
        losses = step()
    found = page.query_selector(".medgan-playground").evaluate(PARAMETERS)
    for key, net in (("D", twin.D), ("G", twin.G)):
        for values, parameter in zip(found[key], net.parameters(), strict=True):
            assert values == pytest.approx(parameter.detach().flatten().tolist(), rel=1e-6, abs=1e-9), key
    state = page.query_selector(".medgan-playground").evaluate("f => f.playground.state().losses")
    assert state == pytest.approx(losses, rel=1e-6)
    share, places = twin.reached()
    assert reached(page) == (int(100 * share + 0.5), places)


@pytest.mark.parametrize(("data", "least"), [("ring of 8", 60), ("one blob", 80), ("line", 80)])
def test_it_learns(page, data: str, least: int) -> None:
    page.select_option("[data-choice=data]", data)
    before, _ = reached(page)
    steps(page, "both", 1600)
    later = []
    for _ in range(5):  # the two players chase each other: a single look may meet a bad moment
        steps(page, "both", 100)
        later.append(reached(page))
    assert before < least / 2 and sorted(share for share, _ in later)[2] >= least
    assert sorted(places for _, places in later)[2] >= 0.75 * len(playgrounds.DATA[data]["centres"])


def test_what_goes_wrong_goes_wrong(page) -> None:
    """Weights clipped to 0.01 leave no slope to follow; with a large learning rate G's points gather at few places."""
    page.select_option("[data-choice=objective]", "wgan")
    steps(page, "both", 300)
    slope = float(re.search(r"∂x: ([\d.e-]+)\.", page.inner_text("output"))[1])
    assert slope < 1e-3 and reached(page)[0] < 40
    page.select_option("[data-choice=objective]", "gan-ma")
    page.select_option("[data-choice=lr_g]", "0.1")
    places = []
    for _ in range(4):
        steps(page, "both", 100)
        places.append(reached(page)[1])
    assert sorted(places)[1] <= 4


def picture(page, which: int = 0) -> str:
    return page.evaluate("which => document.querySelectorAll('canvas[role=img]')[2 * which].toDataURL()", which)


def generated(page, which: int = 0) -> list[float]:
    """Where the shown points are, by G's parameters and the noise."""
    return page.evaluate(
        "which => { const { G, shownZ } = document.querySelectorAll('.medgan-playground')[which].playground.state();"
        " return [...window.medganPlayground.forward(G, shownZ)[3]]; }", which,
    )  # fmt: skip


def test_one_player_moves_the_other_stays(page) -> None:
    points, before = generated(page), picture(page)
    for _ in range(3):
        page.click("text='D: one step'")
    assert generated(page) == points and picture(page) != before
    assert "Steps: D 3, G 0." in page.inner_text("output")
    d = page.query_selector(".medgan-playground").evaluate(PARAMETERS)["D"]
    page.click("text='G: one step'")
    assert generated(page) != points
    assert page.query_selector(".medgan-playground").evaluate(PARAMETERS)["D"] == d
    page.click("text='Both: one step'")
    assert "Steps: D 4, G 2." in page.inner_text("output")


def test_equal_seeds_give_equal_pictures(page) -> None:
    start = picture(page)
    steps(page, "both", 30)
    later = picture(page)
    page.click("text='Start again'")
    assert page.input_value("[data-choice=seed]") == "2" and picture(page) not in (start, later)
    page.fill("[data-choice=seed]", "1")
    page.keyboard.press("Tab")
    assert picture(page) == start
    steps(page, "both", 30)
    assert picture(page) == later


def test_it_runs_and_stops_by_keyboard_alone(page) -> None:
    page.wait_for_timeout(300)
    assert "Steps: D 0, G 0." in page.inner_text("output"), "it started by itself"
    focus = "() => [document.activeElement.innerText, getComputedStyle(document.activeElement).outlineStyle]"
    page.keyboard.press("Tab")
    assert page.evaluate(focus)[0] == "Run" and page.evaluate(focus)[1] != "none"
    label = page.get_attribute("canvas", "aria-label")
    page.keyboard.press("Enter")
    page.wait_for_function("() => / G [1-9]/.test(document.querySelector('output').innerText)")
    assert page.get_attribute("output", "aria-live") == "off" and page.evaluate(focus)[0] == "Stop"
    assert page.get_attribute("canvas", "aria-label") == label, "the picture's text changes while it runs"
    page.keyboard.press("Space")
    assert page.get_attribute("output", "aria-live") == "polite" and page.evaluate(focus)[0] == "Run"
    said = page.inner_text("output")
    assert said in page.evaluate("document.querySelector('canvas').getAttribute('aria-label')")
    page.wait_for_timeout(300)
    assert page.inner_text("output") == said
    order = []
    for _ in range(10):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.dataset.do || document.activeElement.dataset.choice"))
        assert page.evaluate(focus)[1] != "none"
    assert order == ["both", "d", "g", "again", "data", "objective", "lr_d", "lr_g", "d_steps", "seed"]
    page.focus("[data-choice=data]")
    page.keyboard.press("ArrowDown")
    assert page.input_value("[data-choice=data]") == "one blob"
    assert "Steps: D 0, G 0." in page.inner_text("output") and "of 1 places" in page.inner_text("output")


def test_less_motion_means_one_picture_a_second(visit, shown) -> None:
    page = visit(shown._repr_html_(), reduced_motion="reduce")
    page.evaluate("""() => { window.changes = 0; new MutationObserver(() => { window.changes++; })
        .observe(document.querySelector("output"), { childList: true }); }""")
    page.click("text=Run")
    page.wait_for_timeout(3500)
    page.click("text=Stop")
    assert 2 <= page.evaluate("window.changes") <= 2 + 4  # two clicks, and three or four pictures
    assert int(re.search(r"G (\d+)", page.inner_text("output"))[1]) > 3


def test_two_on_a_page_do_not_disturb_each_other(visit, shown) -> None:
    page = visit(shown._repr_html_() * 2)
    first, second = page.query_selector_all(".medgan-playground")
    assert picture(page, 0) == picture(page, 1)
    still = picture(page, 1), second.query_selector("output").inner_text()
    first.query_selector("[data-do=run]").click()
    page.wait_for_function("() => / G [1-9]/.test(document.querySelector('output').innerText)")
    first.query_selector("[data-choice=lr_d]").select_option("0.1")
    first.query_selector("[data-do=run]").click()
    assert (picture(page, 1), second.query_selector("output").inner_text()) == still
    steps(page, "both", 5, which=1)
    after = picture(page, 1)
    second.query_selector("[data-choice=seed]").fill("1")
    second.query_selector("[data-choice=data]").select_option("line")
    second.query_selector("[data-choice=data]").select_option("ring of 8")
    steps(page, "both", 5, which=1)
    assert picture(page, 1) == after


def test_without_scripts_a_picture_with_words(visit, shown) -> None:
    page = visit(shown._repr_html_(), java_script_enabled=False)
    image = page.locator("img")
    assert image.is_visible() and image.get_attribute("alt") == f"{ALT}. {shown.words}"
    assert not page.locator("button").first.is_visible() and not page.locator("canvas").first.is_visible()
    assert visit(shown._repr_html_()).locator("img").is_visible() is False


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000])
def test_accessible_on_small_and_dark_screens(visit, shown, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(shown._repr_html_(), viewport={"width": width, "height": 780}, color_scheme=scheme,
                 device_scale_factor=2)  # fmt: skip
    page.evaluate("""() => { window.shift = 0; new PerformanceObserver(list => list.getEntries()
        .forEach(entry => { window.shift += entry.value; })).observe({ type: "layout-shift", buffered: true }); }""")
    steps(page, "both", 20)
    page.click("text=Run")
    page.wait_for_timeout(400)
    page.click("text=Stop")
    assert page.evaluate("window.shift") < 0.01
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for part in page.query_selector_all("button, select, input"):
        box = part.bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44, part.inner_text()
    size = page.evaluate("[document.querySelector('canvas').width, document.querySelector('canvas').clientWidth]")
    assert size[0] == 2 * size[1]
    axe = {"preload": False, "resultTypes": ["violations"]}
    assert not Axe().run(page, options=axe).response["violations"]


def test_numbers_that_overflow_are_told_and_stop_it(page) -> None:
    page.evaluate("document.querySelector('.medgan-playground').playground.state().G[0].b.fill(NaN)")
    page.click("[data-do=run]")
    page.wait_for_function("() => document.querySelector('output').innerText.includes('overflowed')")
    page.wait_for_function("() => document.querySelector('[data-do=run]').innerText === 'Run'")
    page.click("text='Start again'")
    assert "overflowed" not in page.inner_text("output")


def test_html_is_the_same_twice_small_and_on_its_own(shown) -> None:
    html = shown._repr_html_()
    playgrounds._still.cache_clear()
    again = figures.playground(alt=ALT, caption="A caption.")
    assert again._repr_html_() == html and repr(again) == repr(shown) == f"[playground: {ALT}]"
    assert len(html.encode()) < 80_000
    assert not re.search(r'(src|href)="(?!data:)|https?://|eval\(|fetch\(|import\(', html)
    assert 'alt="A small GAN learns &quot;eight&quot; clouds. Three pictures' in html and "A caption." in html


@pytest.mark.parametrize("wrong", [
    {"data": "three blobs"}, {"objective": "hinge"}, {"lr": (0.02, 0.003)}, {"lr": (0.01, 1)}, {"d_steps": 2},
    {"seed": -1}, {"seed": 10000}, {"alt": " "},
])  # fmt: skip
def test_what_the_controls_do_not_have_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"alt must say|^no (data|objective|lr of [DG]|d_steps|seed) .*; there is "):
        figures.playground(**{"alt": ALT, **wrong})
