"""Staging and generated pages: what a reader is told must follow from runs and records, and nothing may go missing."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import pipeline
from medgan_lib import ledger
from pipeline import UserError, pages, stage

CLAIMS = """
01-loss-equals-formula:
  {section: "2.1", row: 1, chapter: 01_objectives, claim: Eq. 1 equals the formula., metric: largest error,
   kind: at_most, smallest_effect: 1.0e-6, seeds: 3}
02-does-not-saturate:
  {section: "2.1", row: 2, chapter: 01_objectives, claim: Eq. 2 keeps its gradient., metric: gradient, unit: per logit,
   kind: greater, smallest_effect: 0.5, control: Eq. 1, seeds: 3}
08-people-like-it:
  {section: "2.1", row: 8, chapter: 02_wasserstein, claim: People like it., testable: needs readers}
"""
RECORD = {
    "chapter": "01_objectives", "profile": "cpu", "seeds": [0, 1, 2], "seconds": [5, 6, 7], "fingerprint": "abc",
    "parameters": {}, "environment": {"device": "cpu", "cpu": "A processor", "gpu": None, "threads": 1,
                                      "torch": "9.9.9", "python": "3.11", "memory_mb": 1234, "commit": "abc+",
                                      "requirements": "d1, d2"},
    "claims": {"01-loss-equals-formula": {"value": [1e-7] * 3, "control": None, "verdict": "supported"},
               "02-does-not-saturate": {"value": [0.9, 1.0, 1.1], "control": [0, 0, 0], "verdict": "supported"}},
}


def source() -> nbformat.NotebookNode:
    return new_notebook(cells=[
        new_markdown_cell("# Objectives\n\nNew prose, {number}`02-does-not-saturate:value`.", id="title"),
        new_code_cell("import medgan_lib", id="setup", metadata={"tags": ["setup"]}),
        new_code_cell('profile = "gpu"\nsteps = 100', id="scale", metadata={"tags": ["parameters"]}),
        new_code_cell("6 * 7", id="work"),
    ])


def executed(*outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    notebook = source()
    notebook.cells[0].source = "# Objectives\n\nOld prose."
    injected = new_code_cell('# Parameters\nsteps = 3\ncheckpoints = "checkpoints/abc"', id="injected",
                             metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(3, injected)
    notebook.cells[-1].outputs = list(outputs) or [new_output("execute_result", {"text/plain": "42"})]
    return notebook


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with the book's own prose and configuration, two small chapters, three claims and one record."""
    shutil.copy(pipeline.ROOT / "_config.yml", tmp_path / "_config.yml")
    contents = (pipeline.ROOT / "_toc.yml").read_text()
    contents = re.sub(r" *- file: notebooks/(?!01_|02_).*\n", "", contents)
    empty = r"  - caption: .*\n(?:    numbered: true\n)?    chapters:\n(?=  - caption|\Z)"
    (tmp_path / "_toc.yml").write_text(re.sub(empty, "", contents))
    shutil.copytree(pipeline.ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("reference", "profiles"))
    (tmp_path / "book" / "claims.yml").write_text(CLAIMS)
    (tmp_path / "book" / "reference" / "cpu").mkdir(parents=True)
    (tmp_path / "book" / "reference" / "cpu" / "01_objectives.json").write_text(json.dumps(RECORD))
    (tmp_path / "notebooks").mkdir()
    nbformat.write(source(), tmp_path / "notebooks" / "01_objectives.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Wasserstein\n\nText.", id="t")]),
                   tmp_path / "notebooks" / "02_wasserstein.ipynb")
    return tmp_path


def put_run(root: Path, *outputs: nbformat.NotebookNode, fingerprint: str = "old") -> Path:
    folder = root / "_build" / "runs" / "cpu" / "01_objectives" / "seed0"
    folder.mkdir(parents=True)
    nbformat.write(executed(*outputs), folder / "notebook.ipynb")
    results = {"chapter": "01_objectives", "profile": "cpu", "seed": 0, "fingerprint": fingerprint, "seconds": 12.3,
               "environment": RECORD["environment"], "parameters": {},
               "claims": {"01-loss-equals-formula": {"value": 1e-7, "control": None},
                          "02-does-not-saturate": {"value": 0.25, "control": 0.0}}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def context(root: Path) -> pages.Context:
    runs = {name: root / "_build/runs/cpu" / name / "seed0" for name in ("01_objectives", "02_wasserstein")}
    return pages.Context("cpu", 0, runs, root)


def staged(root: Path, chapter: str = "01_objectives") -> nbformat.NotebookNode:
    return nbformat.read(stage.stage("cpu", root=root) / "notebooks" / f"{chapter}.ipynb", as_version=4)


def text(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def test_prose_comes_from_the_source_and_outputs_from_the_run(root: Path) -> None:
    put_run(root)
    page = staged(root)
    assert "New prose, 1 per logit." in text(page) and "Old prose" not in text(page)
    assert page.cells[-1].outputs[0].data["text/plain"] == "42"


def test_outputs_of_other_code_are_not_shown(root: Path) -> None:
    put_run(root)
    changed = source()
    changed.cells[-1].source = "6 * 8"
    nbformat.write(changed, root / "notebooks" / "01_objectives.ipynb")
    page = staged(root)
    assert page.cells[-1].source == "6 * 8" and page.cells[-1].outputs == []
    assert "earlier version" in text(page)


def test_an_up_to_date_page_has_no_notice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "run_fingerprint", lambda *_: "same")
    put_run(root, fingerprint="same")
    assert "earlier version" not in text(staged(root))


def test_injected_parameters_become_a_folded_note(root: Path) -> None:
    put_run(root)
    page = staged(root)
    assert not any("injected-parameters" in cell.metadata.get("tags", []) for cell in page.cells)
    note = next(cell for cell in page.cells if cell.id == "parameters-of-this-run")
    assert "steps = 3" in note.source and "dropdown" in note.source and "checkpoints" not in note.source


def test_debris_is_dropped_and_output_kept(root: Path) -> None:
    put_run(
        root,
        new_output("stream", name="stderr", text="100%|####| 3/3 [00:00, 9it/s]\nUserWarning: x"),
        new_output("stream", name="stdout", text="  0%| | 0/3\r100%|###| 3/3\rdone\n"),
        new_output("stream", name="stdout", text="50%|## | [00:01<00:01, 2.0it/s]\n"),
        new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "bar"}),
        new_output("display_data", {"text/html": "<b>table</b>", "application/vnd.other+json": {"a": 1}}),
    )
    outputs = staged(root).cells[-1].outputs
    assert [output.get("text") or dict(output.data) for output in outputs] == ["done\n", {"text/html": "<b>table</b>"}]


def test_the_table_of_claims_shows_the_record_of_today(root: Path) -> None:
    values = {"02-does-not-saturate": {"value": 0.25, "control": 0.0}}
    old = {"text/html": "not recorded yet", "text/plain": "", "application/vnd.medgan.claims+json": values}
    put_run(root, new_output("execute_result", old))
    shown = staged(root).cells[-1].outputs[0].data["text/html"]
    assert "not recorded yet" not in shown and "3 seeds" in shown and "0.25" in shown


def test_a_chapter_opens_with_what_was_recorded(root: Path) -> None:
    put_run(root)
    page = staged(root)
    opening = next(cell.source for cell in page.cells if cell.id == "recorded-result")
    assert "6 s" in opening and "1.2 GB" in opening and "Effects of" in opening
    assert "recorded-result" not in [cell.id for cell in staged(root, "02_wasserstein").cells], "nothing recorded there"


def test_a_picture_without_alt_text_stops_the_build(root: Path) -> None:
    put_run(root, new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"}))
    with pytest.raises(UserError, match=r"01_objectives, code cell 4: a picture without alt text"):
        staged(root)


def test_a_chapter_without_a_run_says_so(root: Path) -> None:
    page = staged(root, "02_wasserstein")
    assert "was not executed at profile `cpu`" in page.cells[1].source
    assert "CHAPTERS=02_wasserstein" in page.cells[1].source


def test_a_failed_chapter_names_its_log(root: Path) -> None:
    folder = root / "_build/runs/cpu/02_wasserstein/seed0"
    folder.mkdir(parents=True)
    (folder / "failed.ipynb").write_text("{}")
    notice = staged(root, "02_wasserstein").cells[1].source
    assert "failed at profile `cpu`" in notice and "runs/cpu/02_wasserstein/seed0/log.txt" in notice
    assert str(root) not in notice, "no machine's path in the book"
    assert "**failed**" in pages.status(context(root))


def test_a_missing_notebook_is_named(root: Path) -> None:
    (root / "notebooks" / "02_wasserstein.ipynb").unlink()
    with pytest.raises(UserError, match="02_wasserstein"):
        stage.stage("cpu", root=root)


def test_numbers_in_prose_come_from_the_record(root: Path) -> None:
    about = context(root)
    assert pages.number("02-does-not-saturate", "value", about) == "1 per logit"
    assert pages.number("02-does-not-saturate", "control", about) == "0 per logit"
    assert pages.number("02-does-not-saturate", "verdict", about) == "supported"
    assert "95 % interval" in pages.number("02-does-not-saturate", "effect", about)
    assert pages.number("01-loss-equals-formula", "control", about) == "(none)"
    with pytest.raises(UserError, match="unknown claim '09-none'; there are: 01-loss"):
        pages.number("09-none", "value", about)
    with pytest.raises(UserError, match="there are value, control, effect and verdict"):
        pages.number("02-does-not-saturate", "colour", about)


def test_unknown_marks_are_named(root: Path) -> None:
    with pytest.raises(UserError, match="no generated part 'nothing'"):
        pages.fill("<!-- generated: nothing -->", context(root))


def test_the_ledger_shows_every_claim_with_value_beside_control(root: Path) -> None:
    put_run(root)
    page = pages.ledger_pages(context(root))
    for claim in ("01-loss-equals-formula", "02-does-not-saturate", "08-people-like-it"):
        assert f"(claim-{claim})=" in page
    row = next(line for line in page.splitlines() if line.startswith("| `cpu`, 3 seeds") and "supported" in line
               and "per logit" in line)
    assert "| 1 per logit | 0 per logit |" in row
    assert "needs readers" in page and "not testable here" in page
    assert "criterion not met (one seed is no verdict)" in page, "this run's 0.25 is under the criterion"


def test_stale_marks_follow_the_fingerprint(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.pages.context.record_fingerprint", lambda *_: "abc")
    assert 'class="stale"' not in pages.ledger_pages(context(root)) + pages.verdicts(context(root))
    monkeypatch.setattr("pipeline.pages.context.record_fingerprint", lambda *_: "other")
    for part in (pages.ledger_pages, pages.verdicts, pages.status):
        assert 'class="stale"' in part(context(root)), part


def test_the_criterion_changed_after_the_record_is_said(root: Path) -> None:
    (root / "book" / "claims.yml").write_text(CLAIMS.replace("smallest_effect: 0.5", "smallest_effect: 5"))
    assert "criterion changed since" in pages.ledger_pages(context(root))


def test_the_cover_counts_verdicts(root: Path) -> None:
    cover = pages.verdicts(context(root))
    assert re.search(r"Objectives.*\| 2 \|.*supported</span> 2 \(3 seeds at `cpu`\)", cover)
    assert re.search(r"Wasserstein.*\| 1 \|.*not testable here</span> 1 \(not recorded yet\)", cover)
    assert "1 supported" in pages.forest(context(root)), "bounds have no place on a scale of effects"


def test_the_cover_shows_the_last_player(root: Path) -> None:
    assert pages.cover_player(context(root)) == ""
    put_run(root, new_output("display_data", {"text/html": '<figure class="medgan-player" data-x="1"></figure>'}))
    assert 'data-x="1"' in pages.cover_player(context(root))


def test_images_of_a_data_set_that_may_not_be_published_stay_out_of_the_book(root: Path) -> None:
    picture = '<figure class="medgan-player"><img src="data:image/png;base64,SECRET" alt="a head"></figure>'
    (root / "data").mkdir()
    (root / "data" / "registry.yml").write_text("heads_ct: {publish: false}\nmnist: {licence: free}")
    run = put_run(
        root, new_output("display_data", {"text/html": picture}), new_output("stream", text="12 images"),
        new_output("display_data", {"image/png": "SECRET", "text/plain": "<Figure>"}),
        new_output("execute_result", {"text/html": "<table>", "text/plain": "x", ledger.MIME: {}}),
    )
    results, notebook = json.loads((run / "results.json").read_text()), nbformat.read(run / "notebook.ipynb", 4)
    code = notebook.cells[-1].source

    def page(parameters: dict, code: str = code) -> str:
        (run / "results.json").write_text(json.dumps({**results, "parameters": parameters}))
        notebook.cells[-1].source = code
        nbformat.write(notebook, run / "notebook.ipynb")
        changed = source()
        changed.cells[-1].source = code
        changed.cells[-1].metadata["mystnb"] = {"image": {"alt": "a head"}}
        nbformat.write(changed, root / "notebooks" / "01_objectives.ipynb")
        stage_dir = stage.stage("cpu", root=root)
        return "".join(path.read_text() for path in stage_dir.rglob("*") if path.suffix in (".ipynb", ".md"))

    for allowed in ({"dataset": "mnist"}, {}):
        assert "SECRET" in page(allowed) and "licence of" not in page(allowed)
    assert "SECRET" in page({"dataset": "mnist"}, 'shown = dataset == "heads_ct"')
    for text in (page({"dataset": "heads_ct"}), page({}, 'for name in ("mnist", "heads_ct"):\n    load(name)')):
        assert "SECRET" not in text and text.count("Not published: licence of heads_ct") == 2
        assert "12 images" in text and "This run used `heads_ct`" in text and "New prose" in text


def test_status_gives_time_memory_and_machine(root: Path) -> None:
    put_run(root)
    page = pages.status(context(root))
    assert "| done | 12 s | 1.2 GB | A processor, 1 thread, torch 9.9.9, Python 3.11 | `abc+`, `d1`, `d2` |" in page
    assert "| 01_objectives | `cpu`" in page and "6 s (longest 7 s)" in page
    assert "not executed" in page


def test_deviations_are_measured() -> None:
    page = pages.deviations(context(pipeline.ROOT))
    assert "at output −20: −0.171 instead of −1" in re.search(r".*1e-8 is added.*", page)[0]
    assert "at output −30: −0.0936 instead of −1" in re.search(r".*sigmoid is rounded before.*", page)[0]
    assert "equal at the outputs tried" not in page and "off by 0 %" not in page
    assert not re.search(r"penalty of a nearly 1-Lipschitz critic: (\S+) instead of \1 ", page)


def test_slips_have_their_numbers(root: Path) -> None:
    page = pages.slips(context(root))
    assert "0.250 two-sided and 0 one-sided" in page


def test_data_cards_are_demoted_and_escaped(root: Path) -> None:
    (root / "data" / "cards").mkdir(parents=True)
    (root / "data" / "cards" / "ring.md").write_text("# Ring\n\nEight modes.\n\n## Units\n\nNone.")
    (root / "data" / "cards" / "mnist.md").write_text("Digits.")
    (root / "data" / "registry.yml").write_text(f"mnist: {{licence: CC | BY, files: [{{url: x}}], sha256: {'a' * 64}}}")
    page = pages.data_cards(context(root))
    assert page.index("## Ring") < page.index("## mnist"), "embedded cohorts first"
    assert "### Units" in page and r"CC \| BY" in page and f"`{'a' * 64}`" in page


def test_figures_of_data_cards_are_there_and_say_what_one_sees(root: Path) -> None:
    (root / "data" / "cards").mkdir(parents=True)
    card, figures = root / "data" / "cards" / "ring.md", root / "book" / "_static" / "cards"
    card.write_text("# Ring\n\n![Eight\nspots.](../../book/_static/cards/ring-modes.webp)")
    with pytest.raises(UserError, match=r"ring.md shows ring-modes.webp, which .*figures.py has not made"):
        pages.data_cards(context(root))
    figures.mkdir(parents=True, exist_ok=True)
    (figures / "ring-modes.webp").write_bytes(b"RIFF")
    assert "![Eight\nspots.](../_static/cards/ring-modes.webp){.dark-light}" in pages.data_cards(context(root))
    card.write_text("# Ring\n\n![ ](../../book/_static/cards/ring-modes.webp)")
    with pytest.raises(UserError, match=r"ring.md: a figure without alt text \(ring-modes.webp\)"):
        pages.data_cards(context(root))


def test_every_mark_on_the_prose_pages_is_known() -> None:
    for path in (pipeline.ROOT / "book").glob("*.md"):
        for mark in re.findall(r"<!-- generated: ([\w-]+) -->", path.read_text(encoding="utf-8")):
            assert mark in pages.GENERATED, f"{path.name}: {mark}"


def test_the_old_book_stays_until_the_new_one_is_complete(root: Path) -> None:
    html = root / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("the old book")
    sources = stage.stage("cpu", root=root)
    with (sources / "book" / "intro.md").open("a") as file:
        file.write("\n{doc}`nowhere`\n")
    with pytest.raises(UserError, match=r"(?s)was not built.*nowhere"):
        stage.build(sources, html)
    assert (html / "index.html").read_text() == "the old book"
