"""Staging and generated pages: what a reader is told must follow from runs and records, and nothing may go missing."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output
from staged_books import context, put_run, source, staged, text

import pipeline
from medgan_lib import ledger
from pipeline import UserError, pages, stage


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
    assert "not recorded yet" not in shown and "5 seeds" in shown and "0.25" in shown


def test_what_was_recorded_stands_below_the_heading_of_the_claims(root: Path) -> None:
    put_run(root)
    ids = [cell.id for cell in staged(root).cells]
    assert ids[ids.index("claims") + 1] == "recorded-result"
    result = next(cell.source for cell in staged(root).cells if cell.id == "recorded-result")
    assert "6 s" in result and "1.2 GB" in result and "Effects of" in result and "with 5 seeds" in result
    assert "First edition" not in result


def test_the_first_edition_says_so_at_the_top(root: Path) -> None:
    page = staged(root, "02_wasserstein")
    assert [cell.id for cell in page.cells].index("recorded-result") <= 2
    old = next(cell.source for cell in page.cells if cell.id == "recorded-result")
    assert "First edition" in old and "Effects of" not in old, "nothing recorded there"


def test_a_page_begins_with_its_best_picture(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell that makes it stands later in the notebook; its code is not shown up there."""
    monkeypatch.setattr(stage, "run_fingerprint", lambda *_: "same")
    folder = put_run(root, fingerprint="same")
    run = nbformat.read(folder / "notebook.ipynb", as_version=4)
    cell = next(cell for cell in run.cells if cell.id == "best")
    cell.outputs = [new_output("display_data", {"text/html": '<img alt="digits">'})]
    nbformat.write(run, folder / "notebook.ipynb")
    page = staged(root)
    assert [cell.id for cell in page.cells][:2] == ["title", "best"]
    assert page.cells[1].metadata["tags"] == ["remove-input"] and page.cells[1].outputs[0].data["text/html"]
    assert sum(cell.id == "best" for cell in page.cells) == 1


def test_where_there_is_no_picture_there_is_no_empty_place_for_it(root: Path) -> None:
    put_run(root)
    assert "best" not in [cell.id for cell in staged(root).cells]


def test_a_chapter_has_the_number_of_its_file_whatever_is_missing_before_it(root: Path) -> None:
    (root / "notebooks" / "02_wasserstein.ipynb").rename(root / "notebooks" / "23_few_labels.ipynb")
    toc = root / "_toc.yml"
    toc.write_text(toc.read_text().replace("02_wasserstein", "23_few_labels"))
    assert staged(root, "23_few_labels").cells[0].source.startswith("# 23. Wasserstein")
    assert staged(root).cells[0].source.startswith("# 1. Objectives\n")
    ledger_page = (root / "_build" / "stage" / "book" / "ledger.md").read_text()
    assert "## 23. Wasserstein" in ledger_page and ">1. Objectives</option>" in ledger_page
    assert "numbered" not in toc.read_text(), "Sphinx would count again"


def test_a_picture_without_alt_text_stops_the_build(root: Path) -> None:
    put_run(root, new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"}))
    with pytest.raises(UserError, match=r"01_objectives, code cell 6: a picture without alt text"):
        staged(root)


def test_a_chapter_without_a_run_says_so(root: Path) -> None:
    said = staged(root, "02_wasserstein").cells[1].source
    assert "{admonition} Not yet executed here" in said and "Nothing of it is recorded yet." in said
    assert "`make book CHAPTERS=02_wasserstein` executes it." in said and said.count("\n") == 3, "no wall"
    assert "Its numbers are those that were recorded; none of its pictures was." in text(staged(root))


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


def test_unknown_marks_are_named(root: Path) -> None:
    with pytest.raises(UserError, match="no generated part 'nothing'"):
        pages.fill("<!-- generated: nothing -->", context(root))


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
    for found in (page({"dataset": "heads_ct"}), page({}, 'for name in ("mnist", "heads_ct"):\n    load(name)')):
        assert "SECRET" not in found and found.count("Not published: licence of heads_ct") == 2
        assert "12 images" in found and "This run used `heads_ct`" in found and "New prose" in found


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
