"""A trained generator in a page, opened from a folder, offline: its pixels are torch's, and everyone can move it."""

import base64
import io

import numpy as np
import pytest
import torch
from figures.generators import KINDS, trained, vectors
from PIL import Image

from medgan_lib import figures
from medgan_lib.figures import live_models, live_program
from medgan_lib.figures.pictures import as_bytes

ALT = "A 'small' <digit>"


@pytest.fixture(scope="module")
def shown() -> live_models.LiveModel:
    G, _ = trained("conditional")
    e = torch.eye(11)
    return figures.live(G, {"slant": e[0] + e[1], "light": (e[2], -0.35, 1), "class": {name: e[8 + k] for k, name in
                        enumerate("abc")}}, start=torch.zeros(11), alt=ALT, window=(-0.8, 0.9), seed=3,
                        caption="A caption.")  # fmt: skip


@pytest.fixture
def page(visit, shown):
    return visit(shown._repr_html_())


def generated(page, v: torch.Tensor) -> np.ndarray:
    return np.array(page.evaluate("v => [...document.querySelector('.medgan-live').live.generated(v)]", v.tolist()))


def pixels(page, which: int = 0) -> np.ndarray:
    """What the canvas shows, (channels, height, width), once it has drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    url = page.evaluate("which => document.querySelectorAll('canvas')[which].toDataURL()", which)
    image = np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA")).astype(int)
    assert (image[..., 3] == 255).all()
    return image[..., :3].transpose(2, 0, 1)


def wanted(view: live_models.LiveModel, values: dict, drawn: int = 0) -> np.ndarray:
    """The grey values of G itself."""
    image = as_bytes(view.images([view.vector(values, drawn)])[0], view.window)
    return np.broadcast_to(image, (3, *image.shape[1:])).astype(int)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_computes_what_torch_does(kind: str, visit) -> None:
    G, latent = trained(kind)
    view = figures.live(G, {}, start=torch.zeros(latent), noise=slice(None), alt=ALT, window=(-2, 2))
    page = visit(view._repr_html_())
    G.eval()
    for v in vectors(3, latent):
        found = generated(page, v)
        assert np.abs(found - live_program.run(view.program, v).numpy().ravel()).max() < 1e-4, "the same weights"
        with torch.no_grad():
            assert np.abs(found - G(v[None]).numpy().ravel()).max() < 0.03, "but for float16"
    assert np.abs(pixels(page) - wanted(view, {})).max() <= 2
    page.click("text='New noise'")
    assert np.abs(pixels(page) - wanted(view, {}, 1)).max() <= 3 and wanted(view, {}, 1).std() > 1


@pytest.mark.parametrize("wrong", ["weight", "channels", "shape"])
def test_a_wrong_weight_would_be_seen(page, shown, visit, wrong: str) -> None:
    """The comparison of pixels tells apart what differs little."""
    numbers = np.frombuffer(base64.b64decode(shown.program.weights), "<f2").copy()
    first = {label: move.first for label, move in shown.moves.items()}
    html = shown._repr_html_()
    if wrong == "weight":
        numbers[-2] += 0.5
    elif wrong == "channels":
        last = numbers[-1 - 2 * 9 : -1].reshape(2, 9)
        last[:] = last[::-1].copy()
    else:
        html = html.replace('"stride":[1,1],"padding":[1,1]', '"stride":[1,1],"padding":[0,1]')
        assert html != shown._repr_html_()
    html = html.replace(shown.program.weights, base64.b64encode(numbers.tobytes()).decode())
    assert np.abs(pixels(page) - wanted(shown, first)).max() <= 2
    assert np.abs(pixels(visit(html)) - wanted(shown, first)).max() > 4


def control(page, label: str):
    return page.locator(f"[data-label={label}]")


def drag(page, label: str, value: float) -> None:
    control(page, label).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
    )


def test_sliders_choice_noise_and_back(page, shown) -> None:
    """Each moves the canvas to what torch makes of the same vector; noise leaves sliders and choice as they are."""
    start = pixels(page)
    values = {"slant": 0.0, "light": 0.0, "class": "a"}
    assert np.abs(start - wanted(shown, values)).max() <= 2
    drag(page, "slant", 1.3)
    control(page, "slant").press("ArrowRight")
    values["slant"] = 1.4
    moved = pixels(page)
    assert np.abs(moved - wanted(shown, values)).max() <= 2 and np.abs(moved - start).max() > 5
    assert control(page, "slant").get_attribute("aria-valuetext") == "+1.4"
    control(page, "light").press("Home")
    values["light"] = -0.35
    assert control(page, "light").get_attribute("aria-valuetext") == "−0.35"
    control(page, "class").select_option("c")
    values["class"] = "c"
    for drawn in range(3):
        assert np.abs(pixels(page) - wanted(shown, values, drawn)).max() <= 2
        said = ALT + " (slant +1.4, light −0.35, class c" + (f", noise {drawn})" if drawn else ")")
        assert page.get_attribute("canvas", "aria-label") == said
        page.click("text='New noise'")
    page.click("text='Back to the start'")
    assert (pixels(page) == start).all() and control(page, "slant").input_value() == "0"
    assert control(page, "class").input_value() == "a" and page.inner_text("[data-told]") == ""
    page.click("text='New noise'")
    assert np.abs(pixels(page) - wanted(shown, {"slant": 0.0, "light": 0.0, "class": "a"}, 1)).max() <= 2


def test_dragging_draws_once_a_frame_what_was_asked_for_last(page, shown) -> None:
    drawn = page.evaluate("""async () => {
      const slider = document.querySelector("input[type=range]"), put = CanvasRenderingContext2D.prototype.putImageData;
      let n = 0;
      CanvasRenderingContext2D.prototype.putImageData = function (...all) { n += 1; return put.apply(this, all); };
      for (let k = 0; k < 50; k++) { slider.value = k / 10; slider.dispatchEvent(new Event("input")); }
      await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
      return n; }""")
    assert drawn == 1
    assert np.abs(pixels(page) - wanted(shown, {"slant": 3.0, "light": 0.0, "class": "a"})).max() <= 2


def test_the_keyboard_reaches_every_control(page) -> None:
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.dataset.label || document.activeElement.innerText"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert order == ["slant", "light", "class", "New noise", "Back to the start"]
    page.get_by_role("slider", name="slant", exact=True).press("End")
    page.get_by_role("combobox", name="class", exact=True).press("ArrowDown")
    assert page.get_attribute("canvas", "aria-label") == f"{ALT} (slant +3, light 0, class b)"
    assert page.get_by_role("img", name=ALT).count() == 1, "the still picture has gone"


def test_two_on_a_page_do_not_disturb_each_other(visit, shown) -> None:
    page = visit(shown._repr_html_() * 2)
    before = pixels(page, 1)
    assert (pixels(page, 0) == before).all()
    page.get_by_text("New noise").first.click()
    control(page, "slant").first.press("End")
    assert (pixels(page, 0) != before).any() and (pixels(page, 1) == before).all()
    page.get_by_text("New noise").nth(1).click()
    control(page, "slant").nth(1).press("End")
    assert (pixels(page, 0) == pixels(page, 1)).all()


def test_without_scripts_a_picture_with_words(visit, shown) -> None:
    page = visit(shown._repr_html_(), java_script_enabled=False)
    image = page.locator("img")
    assert image.is_visible() and image.get_attribute("alt") == shown.still.alt
    assert image.get_attribute("src").startswith("data:image/png;base64,")
    assert page.locator("figcaption").inner_text() == "A caption."
    assert not page.locator("button").first.is_visible() and not page.locator("canvas").first.is_visible()
    assert visit(shown._repr_html_()).locator("img").is_visible() is False


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000])
def test_accessible_on_small_and_dark_screens(visit, shown, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(shown._repr_html_(), viewport={"width": width, "height": 780}, color_scheme=scheme,
                 reduced_motion="reduce")  # fmt: skip
    page.evaluate("""() => { window.shift = 0; new PerformanceObserver(list => list.getEntries()
        .forEach(entry => { window.shift += entry.value; })).observe({ type: "layout-shift", buffered: true }); }""")
    drag(page, "slant", -2.9)
    page.click("text='New noise'")
    page.wait_for_timeout(200)
    assert page.evaluate("window.shift") < 0.01
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.getAnimations().length") == 0
    for part in page.query_selector_all("button, select, input"):
        box = part.bounding_box()
        assert box["width"] >= 44 and box["height"] >= 44, part.inner_text()
    canvas = page.query_selector("canvas").bounding_box()
    assert canvas["width"] == pytest.approx(canvas["height"], abs=1) and canvas["width"] >= 0.8 * min(width, 400)
    axe = {"preload": False, "resultTypes": ["violations"]}
    assert not Axe().run(page, options=axe).response["violations"]
