"""Live views on their way into a book: still where the pipeline executes, without widgets where it stages."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_output

import pipeline.execute
from pipeline import Run
from pipeline.stage import tidy

VIEW = "application/vnd.jupyter.widget-view+json"


def test_of_a_view_with_html_the_html_stays_and_a_bare_widget_goes() -> None:
    bundle = {VIEW: {"model_id": "a"}, "text/html": "<b>still</b>", "text/plain": "[live view]"}
    cell = new_code_cell("view", outputs=[new_output("display_data", dict(bundle)),
                                          new_output("display_data", {VIEW: {}, "text/plain": "bar"})])
    tidy(cell, "here")
    del bundle[VIEW]
    assert [dict(output.data) for output in cell.outputs] == [bundle]


def test_the_pipeline_executes_still_versions(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGAN_STATIC", "0")
    monkeypatch.setattr(Run, "folder", tmp_path)
    source = (
        "from medgan_lib import figures\n"
        "figures.sliders(lambda a: [[a, 0.0]], {'a': (-1, 1, 0)}, alt='Two pixels')"
    )
    notebook = nbformat.v4.new_notebook(cells=[new_code_cell(source)])
    run = Run("ci", "01_objectives", 0)
    failure, _ = pipeline.execute._run_cells(notebook, run, pipeline.execute.Progress(run, 1))
    assert failure is None
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {"text/html", "text/plain"} and output.data["text/html"].startswith("<figure")
    assert "widgets" not in notebook.metadata
