"""Pages of chapters that were not executed here: pictures and claims of their records, in the places of their cells."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_output
from staged_books import add_pictures, put_run, source, staged, text

from pipeline import UserError, stage


def with_ledger(root: Path) -> None:
    made = source()
    made.cells += [new_code_cell("L = Ledger('01_objectives')\n6 * 7", id="made"),
                   new_code_cell("x = 1\nL.show()", id="end")]
    nbformat.write(made, root / "notebooks" / "01_objectives.ipynb")


def images(page: nbformat.NotebookNode) -> dict[str, str]:
    """The HTML that shows pictures, by cell."""
    found = {cell.id: cell.source + "".join(output.get("data", {}).get("text/html", "")
                                            for output in cell.get("outputs", [])) for cell in page.cells}
    return {name: html for name, html in found.items() if "_static/recorded/" in html}


def test_pictures_stand_where_their_cells_show_them(root: Path) -> None:
    add_pictures(root, "cpu", "work", "no-such-cell")
    page = staged(root)
    shown = images(page)
    assert list(shown) == ["recorded-pictures", "work"], "that of a cell which is no more stands below the title"
    assert 'src="../_static/recorded/cpu/01_objectives/1.webp" alt="A &quot;picture&quot; of work"' in shown["work"]
    assert 'width="21" height="10"' in shown["work"] and "1 &lt; 2</figcaption>" in shown["work"]
    assert (root / "_build/stage/_static/recorded/cpu/01_objectives/2.webp").is_file()
    assert "{admonition} Not yet executed here" in text(page)
    assert "Pictures and numbers are those that were recorded at profile `cpu`" in text(page)


def test_a_run_shows_its_own(root: Path) -> None:
    add_pictures(root, "cpu", "work")
    put_run(root)
    page = staged(root)
    assert images(page) == {} and "Not yet executed" not in text(page)
    assert not (root / "_build/stage/_static/recorded").exists()


def test_the_table_of_claims_stands_in_its_place(root: Path) -> None:
    with_ledger(root)
    cells = {cell.id: cell for cell in staged(root).cells}
    assert "supported" in cells["end"].outputs[0].data["text/html"] and cells["made"].outputs == []


def test_pictures_of_full_scale_stand_on_a_page_once(root: Path) -> None:
    add_pictures(root, "full", "work", "no-such-cell")
    page = staged(root)
    assert [html.count("<img") for html in images(page).values()] == [1, 1] and "## At full scale" in text(page)
    (root / "book" / "reference" / "full" / "01_objectives.json").rename(root / "full.json")
    add_pictures(root, "cpu", "work")
    (root / "full.json").rename(root / "book" / "reference" / "full" / "01_objectives.json")
    both = images(staged(root))
    assert "recorded/cpu" in both["work"] and both["full-scale"].count("recorded/full") == 2
    put_run(root)
    assert list(images(staged(root))) == ["full-scale"]


def test_what_may_not_be_published_stays_away(root: Path) -> None:
    add_pictures(root, "cpu", "work", parameters={"dataset": "heads_ct"})
    (root / "data").mkdir()
    (root / "data" / "registry.yml").write_text("heads_ct: {publish: false}\n")
    page = staged(root)
    assert images(page) == {} and "none of its pictures was" in text(page)


def test_a_failed_chapter_says_so_and_shows_what_was_recorded(root: Path) -> None:
    add_pictures(root, "cpu", "work")
    folder = root / "_build/runs/cpu/01_objectives/seed0"
    folder.mkdir(parents=True)
    (folder / "failed.ipynb").write_text("{}")
    page = staged(root)
    assert list(images(page)) == ["work"] and "This chapter failed" in text(page)
    assert "Not yet executed" not in text(page)


def test_a_damaged_picture_is_named(root: Path) -> None:
    add_pictures(root, "cpu", "work")
    (root / "book/reference/cpu/01_objectives/1.webp").write_bytes(b"RIFF")
    try:
        stage.stage("cpu", root=root)
    except UserError as error:
        assert "book/reference/cpu/01_objectives/1.webp is damaged" in str(error)
        assert "PROFILE=cpu" in str(error)
    else:
        raise AssertionError("not refused")


def test_an_output_of_a_run_is_not_mixed_with_recorded_ones(root: Path) -> None:
    add_pictures(root, "cpu", "work")
    put_run(root, new_output("execute_result", {"text/plain": "42"}))
    changed = source()
    next(cell for cell in changed.cells if cell.id == "work").source = "6 * 8"  # so that its own output is not shown
    nbformat.write(changed, root / "notebooks" / "01_objectives.ipynb")
    assert images(staged(root)) == {}
