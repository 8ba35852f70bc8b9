"""Live views in a real JupyterLab: a reader moves a slider, presses a button, and the picture follows."""

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
CELLS = [
    """\
import torch
from medgan_lib import cohorts, figures, methods, networks
torch.set_num_threads(1)
ramp = torch.linspace(-1, 1, 16).expand(16, 16)
figures.sliders(lambda turn, light: turn * ramp + light, {"turn": (-1, 1, 0.5), "light": (-1, 1, 0)}, alt="A ramp")""",
    """\
torch.manual_seed(0)
game = methods.GAN(networks.MLP(2, 2, 16, 1), networks.MLP(2, 1, 16, 1), lr=1e-2)
panel = figures.stepper(game, cohorts.load("ring", n=200).x, alt="Eight clouds", steps_shown=(0, 2), batch_size=32)
panel""",
    """figures.cohort_picker(cohorts, ["digits", "mnist"], alt="Samples")""",
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory):
    """The address of a JupyterLab with one notebook in an empty folder, which asks nothing of the network."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    home = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, home / "live.ipynb")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home}",
        "--ServerApp.terminals_enabled=False", "--LabApp.extension_manager=readonly", "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--LabApp.user_settings_dir={home}/settings", f"--LabApp.workspaces_dir={home}/workspaces",
    ]  # fmt: skip
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "RUNTIME", "DATA")}
    env = {**os.environ, **folders, "HOME": str(home), "PYTHONPATH": str(ROOT), "MEDGAN_STATIC": "0",
           "MEDGAN_DATA": str(home / "data"), "OMP_NUM_THREADS": "1"}
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(command, env=env, cwd=home, stdout=log, stderr=subprocess.STDOUT)
    try:
        about = home / "runtime" / f"jpserver-{server.pid}.json"
        for _ in range(300):
            if about.exists() and about.stat().st_size:
                break
            assert server.poll() is None, (home / "log.txt").read_text()
            time.sleep(0.1)
        yield f"{json.loads(about.read_text())['url']}lab/tree/live.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def notebook(browser, lab: str):
    """The notebook in JupyterLab, all cells run. Afterwards no request may have left this machine."""
    left = []
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    base = lab.partition("/lab/")[0]

    def route(route) -> None:
        if route.request.url.startswith((base, "data:", "blob:")):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", route)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(lab)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    page.get_by_label("cohort").wait_for()
    yield page
    context.close()
    assert not left, left


def source(page, alt: str) -> str:
    return page.locator(f'.jp-Cell img[alt^="{alt}"]').get_attribute("src")


def changed(page, alt: str, before: str) -> str:
    """The new address of an image's pixels, once it is another."""
    page.wait_for_function(
        "([alt, before]) => [...document.querySelectorAll(`.jp-Cell img[alt^=\"${alt}\"]`)]"
        ".some(image => image.src !== before && image.naturalWidth > 0)", arg=[alt, before])
    return source(page, alt)


def test_a_slider_moved_by_keys_draws_anew_and_a_button_brings_it_back(notebook) -> None:
    start = source(notebook, "A ramp (turn 0.5, light 0)")
    notebook.locator(".noUi-handle").first.focus()
    notebook.keyboard.press("ArrowRight")
    moved = changed(notebook, "A ramp", start)
    assert moved != start and "(turn 0.52, light 0)" in notebook.locator('img[alt^="A ramp"]').get_attribute("alt")
    notebook.get_by_role("button", name="Back to the start").first.click()
    assert changed(notebook, "A ramp", moved) == start


def test_buttons_step_the_game_and_run_stops(notebook) -> None:
    start = source(notebook, "Eight clouds (0 updates of D, 0 of G")
    notebook.get_by_role("button", name="D only").click()
    one = changed(notebook, "Eight clouds (1 updates of D, 0 of G", start)
    notebook.get_by_role("button", name="10 times").click()
    changed(notebook, "Eight clouds (11 updates of D, 10 of G", one)
    notebook.get_by_role("button", name="Run", exact=True).click()
    # Said in words too; images may be replaced between two looks.
    told = "document.querySelector('.medgan-counter').textContent"
    notebook.wait_for_function(f"Number(/(\\d+) of G/.exec({told})[1]) >= 20")
    notebook.get_by_role("button", name="Stop", exact=True).click()
    notebook.get_by_role("button", name="Run", exact=True).wait_for()


def test_the_picker_shows_a_cohort_or_says_what_is_missing(notebook) -> None:
    assert source(notebook, "Samples: digits").startswith("data:image/png")
    notebook.get_by_label("cohort").select_option("mnist")
    notebook.get_by_text("make data NAMES=mnist").first.wait_for()
    assert notebook.get_by_text("Traceback").count() == 0
    notebook.get_by_label("cohort").select_option("digits")
    notebook.locator('img[alt="Samples: digits"]').wait_for()
    if folder := os.environ.get("MEDGAN_SCREENSHOTS"):
        notebook.screenshot(path=f"{folder}/lab.png")
