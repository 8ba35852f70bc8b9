"""Live views by their handlers: what is shown is what was asked for, and nothing of the caller's changes."""

import copy
import inspect
import random
import re
import sys
from types import SimpleNamespace

import ipywidgets  # noqa: F401  here, and not while a test has replaced IPython's shell
import numpy as np
import pytest
import torch
from torch import nn

from medgan_lib import cohorts, figures, methods, networks
from medgan_lib.figures import live_cohorts, live_steps, live_views
from medgan_lib.objectives import OBJECTIVES

ALT = "What one sees"
RAMP = torch.linspace(-1, 1, 16).expand(16, 16)
RING = cohorts.load("ring", n=300).x
MAKER = networks.Generator((1, 16, 16), 4, 4)
TURN = {"turn": (-1, 1, 0.5), "light (HU)": (-1, 1, 0)}


def ramp(turn: float, light: float) -> torch.Tensor:
    return turn * RAMP + light


def a_game(**options) -> methods.GAN:
    torch.manual_seed(0)
    return methods.GAN(networks.MLP(2, 2, 16, 1), networks.MLP(2, 1, 16, 1), lr=1e-2, **options)


def a_stepper(method: nn.Module | None = None, **options) -> live_steps.Stepper:
    return figures.stepper(method or a_game(), RING, alt=ALT, **{"steps_shown": (0, 3), "batch_size": 32, **options})


MAKERS = {
    "sliders": lambda alt: figures.sliders(ramp, TURN, alt=alt),
    "stepper": lambda alt: figures.stepper(a_game(), RING, alt=alt, steps_shown=(0, 2), batch_size=16),
    "cohort_picker": lambda alt: figures.cohort_picker(cohorts, ["digits", "nodules"], alt=alt),
    "live": lambda alt: figures.live(MAKER, {"turn": torch.eye(4)[0]}, start=torch.zeros(4), alt=alt),
}


def random_states() -> list:
    _, numpy, *place = np.random.get_state()
    return [random.getstate(), numpy.tobytes(), place, torch.get_rng_state().numpy().tobytes()]


def weights(module: nn.Module) -> bytes:
    return b"".join(value.detach().numpy().tobytes() for value in module.state_dict().values())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_outside_of_a_kernel_a_view_is_still_and_equal_in_equal_runs(make) -> None:
    before = random_states()
    first, second = make(ALT), make(ALT)
    bundle = first._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"} and bundle == second._repr_mimebundle_()
    assert bundle["text/plain"] == f"[live view: {ALT}]"
    assert not re.search(r'(src|href)="(?!data:)', bundle["text/html"]) and ALT in bundle["text/html"]
    if "stepper" not in type(first).__name__.lower():  # its method is made with a seed here
        assert random_states() == before
    with pytest.raises(ValueError, match="alt must say"):
        make(" ")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_in_a_kernel_a_view_has_both_versions(make, monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython

    monkeypatch.setenv("MEDGAN_STATIC", "0")
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    view = make(ALT)
    bundle = view._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain", live_views.VIEW}
    assert bundle[live_views.VIEW]["model_id"] == view.widget.model_id and bundle["text/html"] == view._repr_html_()
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    assert set(view._repr_mimebundle_()) == {"text/plain", live_views.VIEW}
    monkeypatch.setenv("MEDGAN_STATIC", "1")
    assert set(view._repr_mimebundle_()) == {"text/html", "text/plain"}
    monkeypatch.setenv("MEDGAN_STATIC", "")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(view._repr_mimebundle_()) == {"text/html", "text/plain"}, "without ipywidgets"


def labelled(widget) -> list:
    """Every control below a widget."""
    below = [part for child in getattr(widget, "children", ()) for part in labelled(child)]
    return below if hasattr(widget, "children") else [widget]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_control_says_what_it_is_and_every_image_what_one_sees(make) -> None:
    parts = labelled(make(ALT).widget)
    text = [part for part in parts if type(part).__name__ == "HTML"]
    assert all(part.description for part in parts if part not in text) and len(parts) > len(text)
    images = re.findall("<img[^>]*>", "".join(part.value for part in text))
    assert images and all(f'alt="{ALT}' in image for image in images)


def test_a_slider_shows_exactly_what_draw_gives() -> None:
    view = figures.sliders(ramp, TURN, alt=ALT)
    start = view.widget and view.screen.picture
    before = random_states()
    view.controls["turn"].value = -0.7
    view.controls["light (HU)"].value = 0.2
    assert view.screen.picture.png == figures.samples(ramp(-0.7, 0.2)[None], alt=ALT).png != start.png
    assert view.screen.picture.alt == f"{ALT} (turn -0.7, light (HU) 0.2)"
    assert figures.pictures.img_tag(view.screen.picture.png, "")[:200] in view.screen.image.value.replace(
        view.screen.picture.alt, "")[:200]
    view.back.click()
    assert view.screen.picture == start and view.controls["turn"].value == 0.5 and view.values["light (HU)"] == 0
    view.controls["turn"].value = -0.7
    assert view.screen.picture.png == figures.samples(ramp(-0.7, 0)[None], alt=ALT).png, "it still listens"
    assert random_states() == before


def test_noise_in_draw_is_the_same_at_every_place_and_nobody_elses() -> None:
    def noisy(a: float) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        return a + torch.randn(4, 4) + float(np.random.rand()) + random.random()

    view = figures.sliders(noisy, {"a": (-1, 1, 0)}, alt=ALT)
    before = random_states()
    first = view.drawn({"a": 0.5})
    assert random_states() == before
    torch.rand(1), np.random.rand(), random.random()
    before = random_states()
    assert torch.equal(view.drawn({"a": 0.5}), first), "wherever the caller's random numbers have got to"
    assert not torch.equal(view.drawn({"a": 0.5}), view.drawn({"a": 0.25}))
    assert random_states() == before


def test_in_the_page_each_slider_has_a_row_with_the_others_at_their_start() -> None:
    asked = []

    def spied(turn: float, light: float) -> torch.Tensor:
        asked.append((turn, light))
        return ramp(turn, light)

    figures.sliders(spied, TURN, alt=ALT, columns=3)._repr_html_()
    assert asked == [(-1, 0), (0, 0), (1, 0), (0.5, -1), (0.5, 0), (0.5, 1)]


@pytest.mark.parametrize("kind", ["one", "colour", "batch", "figure", "picture"])
def test_draw_may_give_whatever_a_picture_can_be_made_of(kind: str) -> None:
    def figure(a: float):
        made, axis = figures.subplots()
        axis.plot([0, a], [0, 1])
        return made

    draw = {
        "one": lambda a: torch.full((1, 8, 8), a), "colour": lambda a: torch.full((3, 8, 8), a),
        "batch": lambda a: torch.full((5, 1, 8, 8), a), "figure": figure,
        "picture": lambda a: figures.samples(torch.full((1, 8, 8), a), alt="x"),
    }[kind]  # fmt: skip
    view = figures.sliders(draw, {"a": (-1, 1, 0)}, alt=ALT, cohort=SimpleNamespace(
        name="nodules", origin="embedded", spacing=(0.5, 0.5)))
    assert "Embedded data" in view._repr_html_() and "Embedded data" in view.widget.children[1].children[2].value
    assert view.screen.picture.png[:4] == b"\x89PNG"


def test_what_goes_wrong_is_told_in_the_panel_and_raised() -> None:
    view = figures.sliders(lambda a: torch.full((8, 8), a if a < 0.5 else torch.nan), {"a": (0, 1, 0)}, alt=ALT)
    assert view.widget and not view.screen.trouble.value
    with pytest.raises(ValueError, match="not finite"):
        view.controls["a"].value = 0.9
    assert "not finite" in view.screen.trouble.value and 'role="alert"' in view.screen.trouble.value
    view.controls["a"].value = 0.1
    assert not view.screen.trouble.value


@pytest.mark.parametrize(
    ("controls", "options", "message"),
    [({}, {}, "at least one"), ({"a": (1, 0, 0)}, {}, "low < high"), ({"a": (0, 1, 2)}, {}, "low < high"),
     ({"a": (0, float("inf"), 1)}, {}, "low < high"), ({"a": (0, 1, 0)}, {"columns": 1}, "at least 2")],
)  # fmt: skip
def test_sliders_that_make_no_sense_are_refused(controls, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.sliders(ramp, controls, alt=ALT, **options)


# The game


def test_buttons_update_whom_they_name() -> None:
    method = a_game()
    given, before = weights(method), random_states()
    view = a_stepper(method)
    game, start = view.widget and view.game, view.screen.picture
    g, d = weights(game.method.G), weights(game.method.D)
    view.buttons["D only"].click()
    assert weights(game.method.G) == g and weights(game.method.D) != d and game.updates == {"D": 1, "G": 0}
    assert view.screen.picture.png != start.png and "1 updates of D, 0 of G" in view.screen.picture.alt
    d = weights(game.method.D)
    view.buttons["G only"].click()
    assert weights(game.method.G) != g and weights(game.method.D) == d and game.updates == {"D": 1, "G": 1}
    view.buttons["Both"].click()
    view.buttons["10 times"].click()
    assert game.updates == {"D": 12, "G": 12} and "12 updates of D, 12 of G" in view.counter.value
    assert [len(game.losses[who]) for who in "DG"] == [12, 12]
    view.buttons["Back to the start"].click()
    assert view.screen.picture == start and game.updates == {"D": 0, "G": 0}
    assert weights(method) == given and random_states() == before, "the caller's own"


def by_hand(method: methods.GAN, steps: int, seed: int = 0) -> methods.GAN:
    """The steps as anyone would write them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(steps):
            method.step({"x": RING[torch.randint(len(RING), (32 * method.draws,))]})
    return method


@pytest.mark.parametrize("options", [{}, {"objective": "wgan-gp", "n_critic": 2}], ids=["gan", "wgan-gp"])
def test_the_copy_plays_as_the_method_itself_would(options) -> None:
    view = a_stepper(a_game(**options))
    view.game.play("both", 2)
    view.game.play("both")
    wanted = weights(by_hand(a_game(**options), 3))
    assert weights(view.game.method) == wanted
    assert view.game.updates == {"D": 3 * options.get("n_critic", 1), "G": 3}


def test_a_method_that_has_learned_goes_on_with_its_optimizers() -> None:
    method = by_hand(a_game(), 3)
    view, twin = a_stepper(method), copy.deepcopy(method)
    view.game.play("both", 2)
    assert weights(view.game.method) == weights(by_hand(twin, 2)) != weights(method)


def test_the_page_shows_the_states_of_the_same_steps() -> None:
    view = a_stepper()
    still = view.still
    assert still.labels == ("step 0", "step 3") and view.game.updates == {"D": 0, "G": 0}
    view.game.play("both", 3)
    last = figures.player([view.game.figure()] * 2, alt=ALT, labels="ab").frames[1]
    assert still.frames[1].png == last.png != still.frames[0].png


@pytest.mark.parametrize("objective", ["gan", "gan-ma", "lsgan", "wgan"])
def test_arrows_are_the_gradient_that_g_gets(objective: str) -> None:
    view = a_stepper(a_game(objective=objective))
    before = weights(view.game.method), random_states()
    points, pulls = view.game.pulled()
    x = torch.from_numpy(points).requires_grad_()
    values = view.game.method.D(x)
    # the mean's gradient is one part in n of that of a point
    (wanted,) = torch.autograd.grad(OBJECTIVES[objective].generator(values) * len(x), x)
    assert np.allclose(pulls, -wanted.numpy(), atol=1e-5) and np.abs(pulls).max() > 1e-3
    assert (weights(view.game.method), random_states()) == before
    assert np.array_equal(view.game.pulled()[0], points), "the same noise in every picture"


def test_an_unrolled_generator_answers_through_the_unrolled_discriminator() -> None:
    torch.manual_seed(0)
    method = methods.UnrolledGAN(networks.MLP(2, 2, 8, 1), networks.MLP(2, 1, 8, 1), k=2, lr=1e-2)
    view = a_stepper(method)
    assert np.isfinite(view.game.pulled()[1]).all()
    view.game.play("G")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.update_G_against_answer(RING[torch.randint(len(RING), (32,))])
    assert weights(view.game.method) == weights(method)


class Slope(nn.Module):
    """D that only looks at the first coordinate."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * x[:, :1] + x[:, 1:] / 100


@pytest.mark.parametrize(("objective", "output"), [("gan", None), ("wgan", None), ("wgan", "probability")])
def test_colours_lie_where_the_points_are(objective: str, output: str | None) -> None:
    method = a_game(objective=objective)
    view = a_stepper(method, output=output, span=2)
    view.game.method.D = Slope()
    said, axis = view.game.opinion(), np.linspace(-2, 2, live_steps.GRID)
    wanted = 3 * axis[None] + axis[:, None] / 100
    probability = output == "probability" or objective == "gan"
    assert np.allclose(said, 1 / (1 + np.exp(-wanted)) if probability else wanted, atol=1e-4)
    image = view.game.figure().axes[0].images[0]
    assert image.origin == "lower" and tuple(image.get_extent()) == (-2, 2, -2, 2)
    assert np.array_equal(image.get_array(), said)


def test_a_loss_that_is_not_finite_is_told() -> None:
    view = a_stepper()
    assert view.widget and not view.screen.trouble.value
    with torch.no_grad():
        next(view.game.method.D.parameters()).fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss of D became nan"):
        view.game.play("D")
    view.buttons["D only"].click()  # of a button ipywidgets itself shows the traceback
    assert "loss of D became nan" in view.screen.trouble.value


@pytest.mark.parametrize(
    ("options", "message"),
    [({"x": RING[:, :1]}, r"real points \(n, 2\)"), ({"batch_size": 0}, "batch_size"),
     ({"steps_shown": (3, 1)}, "must rise"), ({"steps_shown": ()}, "must rise"),
     ({"output": "logit"}, "output must be"), ({"method": nn.Linear(2, 2)}, "has no G, D, update_D")],
)  # fmt: skip
def test_games_that_make_no_sense_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.stepper(**{"method": a_game(), "x": RING, "alt": ALT, **options})


def test_a_discriminator_must_give_one_value_a_point() -> None:
    method = methods.GAN(networks.MLP(2, 2, 8, 1), networks.MLP(2, 2, 8, 1))
    with pytest.raises(ValueError, match="one value for each point"):
        a_stepper(method)._repr_html_()


# The picker


@pytest.mark.parametrize("name", list(cohorts.EMBEDDED))
def test_every_choice_of_an_embedded_cohort_loads(name: str) -> None:
    found = live_cohorts.switches(cohorts, name)
    module, function = cohorts.EMBEDDED[name]
    parameters = inspect.signature(
        getattr(__import__(f"medgan_lib.cohorts.{module}", fromlist=["x"]), function)).parameters
    for switch, values in found.items():
        assert values[0] == parameters[switch].default, f"{switch}: the first is the loader's own"
        for value in values[1:]:
            assert len(cohorts.load(name, "test", n=2, **{switch: value})) == 2
    assert {switch for switch, p in parameters.items() if isinstance(p.default, bool)} <= set(found)


def test_choices_of_real_cohorts_are_switches() -> None:
    for name, (module, function) in cohorts.REAL.items():
        loader = getattr(__import__(f"medgan_lib.cohorts.{module}", fromlist=["x"]), function)
        parameters = inspect.signature(loader).parameters
        for switch, values in live_cohorts.switches(cohorts, name).items():
            assert values[0] == parameters[switch].default
    assert set(live_cohorts.CHOICES) <= set(cohorts.names())


def test_the_picker_shows_what_its_line_of_code_loads() -> None:
    view = figures.cohort_picker(cohorts, ["digits", "heads"], alt=ALT)
    assert view.widget and view.code == "cohorts.load('digits', split='train', n=16)"
    view.name.value, view.split.value, view.n.value, view.seed.value = "heads", "test", 4, 3
    view.controls["contrasts"].value = 1
    view.controls["size"].value = 1
    assert view.code == "cohorts.load('heads', split='test', size=32, n=4, seed=3, contrasts=('t2',))"
    wanted = eval(view.code)
    assert view.cohort.digest() == wanted.digest()
    assert view.screen.picture.png == figures.samples(wanted.x, alt=ALT, cohort=wanted).png
    assert view.code in re.sub("<[^>]+>", "", view.line.value).replace("&#x27;", "'")
    assert "simulated heads (MNI152 anatomy), T2" in view.facts.value and "4×1×32×32" in view.facts.value
    view.controls["complex"].value = True
    assert "complex=True" in view.code and view.cohort.x.shape[1] == 2 and view.screen.picture
    view.name.value = "digits"
    assert set(view.controls) == {"size"} and "heads" not in view.code and view.cohort.name == "digits"


@pytest.mark.parametrize("name", ["ring", "lines", "vessels", "stacked_digits"])
def test_points_curves_and_colours_are_shown_too(name: str) -> None:
    view = figures.cohort_picker(cohorts, [name], alt=ALT)
    assert view.widget and view.screen.picture.alt == f"{ALT}: {name}" and name in view.facts.value
    assert view.still.png[:4] == b"\x89PNG"


def test_what_is_not_here_is_told_and_nothing_is_fetched(root) -> None:
    view = figures.cohort_picker(cohorts, ["digits", "mnist"], alt=ALT)
    assert "Embedded data, not patients: digits.<" in view._repr_html_()
    assert view.widget
    view.name.value = "mnist"
    assert view.cohort is None and view.screen.picture is None and view.screen.image.value == ""
    assert "make data NAMES=mnist" in view.screen.trouble.value and view.facts.value == "" and "mnist" in view.code
    assert not root.exists()
    view.name.value = "digits"
    assert view.cohort is not None and not view.screen.trouble.value


def test_a_picker_needs_known_names() -> None:
    for names in ([], ["unheard"]):
        with pytest.raises(ValueError, match="there are ring"):
            figures.cohort_picker(cohorts, names, alt=ALT)
    with pytest.raises(ValueError, match="columns"):
        figures.cohort_picker(cohorts, alt=ALT, columns=0)
    assert figures.cohort_picker(cohorts, alt=ALT).names == list(cohorts.EMBEDDED)


def test_pictures_keep_their_place_while_the_next_one_loads() -> None:
    view = figures.sliders(ramp, TURN, alt=ALT)
    assert view.widget and re.search(r"aspect-ratio:672/672", view.screen.image.value)
