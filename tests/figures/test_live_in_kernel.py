"""Live views in a real kernel: moved from Python, running beside cells, and still where the environment says so."""

import asyncio
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
VIEW = "application/vnd.jupyter.widget-view+json"
PREPARE = """\
import asyncio, torch
from medgan_lib import cohorts, figures, methods, networks
torch.set_num_threads(1)
torch.manual_seed(0)
ramp = torch.linspace(-1, 1, 16).expand(16, 16)
net = networks.Generator((1, 16, 16), 4, 4)
game = methods.GAN(networks.MLP(2, 2, 16, 1), networks.MLP(2, 1, 16, 1), lr=1e-2)
ring = cohorts.load("ring", n=200).x
def weights(module):
    return b"".join(value.numpy().tobytes() for value in module.state_dict().values())
given, drawn = weights(game), torch.get_rng_state()"""
SHOW = [
    'view = figures.sliders(lambda a, b: a * ramp + b, {"a": (-1, 1, 0.5), "b": (-1, 1, 0)}, alt="A ramp")\nview',
    'panel = figures.stepper(game, ring, alt="Clouds", steps_shown=(0, 2), batch_size=16)\npanel',
    'picker = figures.cohort_picker(cohorts, ["digits"], alt="Samples")\npicker',
    'model = figures.live(net, {"turn": torch.eye(4)[0]}, start=torch.zeros(4), alt="Stains")\nmodel',
]
DRIVE = [
    """\
view.controls["a"].value = -0.25
assert view.screen.picture.png == figures.samples((-0.25 * ramp)[None], alt="x").png
shown = view.screen.image.value
view.back.click()
assert view.screen.image.value != shown and view.controls["a"].value == 0.5""",
    """\
before = weights(panel.game.method.G), weights(panel.game.method.D), panel.screen.image.value
panel.buttons["D only"].click()
assert weights(panel.game.method.G) == before[0] and weights(panel.game.method.D) != before[1]
assert panel.screen.image.value != before[2]
panel.run.value = True""",
    """\
# The kernel answers while it runs: this cell, and buttons.
for _ in range(200):
    await asyncio.sleep(0.05)
    if panel.game.updates["G"] >= 10:
        break
assert panel.game.updates["G"] >= 10 and panel.run.value and panel.run.description == "Stop"
panel.run.value = False
await asyncio.sleep(0.2)
stopped = panel.game.updates["G"]
assert panel.run.description == "Run" and panel.task.done() and not panel.task.exception()""",
    """\
await asyncio.sleep(0.3)
assert panel.game.updates["G"] == stopped
assert weights(game) == given and torch.equal(torch.get_rng_state(), drawn)
model.controls["turn"].value = 1.5
assert model.screen.picture.png == model.picture({"turn": 1.5}).png
shown = model.screen.image.value
model.noise_button.click()
assert model.screen.image.value != shown
picker.n.value = 4
assert len(picker.cohort) == 4 and picker.code.endswith("n=4)")""",
]


def executed(cells: list[str], static: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    for name, value in {"MEDGAN_STATIC": static, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    asyncio.run(client.async_execute())
    return notebook


def test_widgets_answer_and_leave_the_callers_own_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = executed([PREPARE, *SHOW, *DRIVE], "0", tmp_path, monkeypatch)
    for cell in notebook.cells[1 : 1 + len(SHOW)]:
        (output,) = cell.outputs
        assert set(output.data) == {"text/html", "text/plain", VIEW}
    assert not any(cell.outputs for cell in notebook.cells[1 + len(SHOW) :]), "no traceback, nothing printed"
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    shown = notebook.cells[1 : 1 + len(SHOW)]
    assert {output.data[VIEW]["model_id"] for cell in shown for output in cell.outputs} <= set(states)


def test_where_the_environment_says_so_views_are_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (executed([PREPARE, *SHOW], "1", tmp_path, monkeypatch) for _ in range(2))
    assert [cell.outputs for cell in first.cells] == [cell.outputs for cell in second.cells]
    assert all(set(output.data) == {"text/html", "text/plain"} for cell in first.cells for output in cell.outputs)
    assert "widgets" not in first.metadata
