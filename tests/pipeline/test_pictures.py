"""Pictures of recorded runs: which they are, how small, what is said about them, and how a page shows them."""

import base64
import hashlib
import io
import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from checkouts import edit, finished
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from torch import nn

import pipeline
from medgan_lib import figures, ledger
from pipeline import Run, UserError, pages, pictures, stage
from pipeline.record import record

RUN = Run("full", "01_good", 0)


def uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def figure(alt: str, width: int = 4, caption: str = "") -> str:
    caption = f'<figcaption style="x">{caption}</figcaption>' if caption else ""
    return (f'<figure class="medgan-figure" style="y"><img class="dark-light" src="{uri(Image.new("L", (width, 3)))}"'
            f' alt="{alt}" style="z">{caption}</figure>')


def cell(*html: str, tags: tuple[str, ...] = (), **data) -> nbformat.NotebookNode:
    outputs = [new_output("display_data", {"text/html": one, **data}) for one in html]
    return new_code_cell("show()", outputs=outputs, metadata={"tags": list(tags)})


def live_model() -> figures.LiveView:
    G = nn.Sequential(nn.Linear(4, 64), nn.Unflatten(1, (1, 8, 8)), nn.Tanh())
    return figures.live(G, {"a": torch.ones(4)}, start=torch.zeros(4), alt="Grey & white", caption="Moves.")


@pytest.fixture
def recordable(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    claims = ledger.load_claims(checkout / "book" / "claims.yml")
    monkeypatch.setattr("medgan_lib.ledger.records.load_claims", lambda: claims)
    return checkout


def written(checkout: Path) -> dict:
    return json.loads(record("full", "01_good", [0]).read_text())


def place(checkout: Path) -> Path:
    return checkout / "book" / "reference" / "full" / "01_good"


def test_without_tags_it_is_the_last_six_that_are_no_ledger() -> None:
    cells = [cell(figure(f"number {i}")) for i in range(8)]
    cells.append(cell(figure("the ledger"), **{ledger.MIME: {}}))
    cells.append(new_markdown_cell(figure("prose")))
    found = pictures.figures(new_notebook(cells=[*cells, cell("<table></table>")]))
    assert [one["alt"] for one in found] == [f"number {i}" for i in range(2, 8)]


def test_tags_choose() -> None:
    cells = [cell(figure(f"number {i}"), figure(f"other {i}"), tags=("picture",) if i % 2 else ()) for i in range(9)]
    found = pictures.figures(new_notebook(cells=cells))
    assert [one["alt"] for one in found] == ["number 1", "other 1", "number 3", "other 3", "number 5", "other 5"]


def test_of_a_player_it_is_the_last_frame_and_captions_are_plain_text() -> None:
    frames = np.stack([np.full((1, 1, 8, 8), value) for value in (-1.0, 0.0, 1.0)])
    player = figures.player(list(frames), labels=["start", "then", "the end"], alt="Grey & <white>",
                            caption="A < B.")
    words = '<strong>Title</strong> Embedded\n data, &quot;not&quot; <span title="n">patients</span>.'
    found = pictures.figures(new_notebook(cells=[cell(player._repr_html_()), cell(figure("a", caption=words))]))
    assert found[0]["alt"] == "Grey & <white> (the end)" and found[0]["caption"] == "A < B."
    assert found[1]["caption"] == 'Title Embedded data, "not" patients.'
    last = Image.open(io.BytesIO(base64.b64decode(found[0]["uri"].partition(",")[2])))
    assert np.asarray(last.convert("L")).min() == 255


def test_of_a_live_model_it_is_the_still_picture() -> None:
    model = live_model()
    (found,) = pictures.figures(new_notebook(cells=[cell(model._repr_html_(), tags=("picture",))]))
    assert (found["alt"], found["caption"]) == (model.still.alt, "Moves.") and "new noise, a." in found["alt"]
    assert base64.b64decode(found["uri"].partition(",")[2]) == model.still.png


def test_the_weights_of_a_live_model_are_withheld_as_pictures_are() -> None:
    """A network may remember what it was trained on."""
    model = live_model()
    made = cell(model._repr_html_())
    stage.withhold(made, ["heads_ct"])
    assert model.program.weights not in str(made) and "Not published: licence of heads_ct" in str(made)
    made = cell(model._repr_html_())
    stage.tidy(made, "here")
    assert made.outputs[0].data["text/html"] == model._repr_html_()


@pytest.mark.parametrize("size", [(40, 30), (700, 500), (2600, 1900)], ids=str)
def test_each_is_small_and_no_smaller_than_needed(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    content, shown = pictures.small(Image.fromarray(noise))
    assert len(content) <= 80_000 and content[8:12] == b"WEBP" and Image.open(io.BytesIO(content)).size == shown
    assert (shown == size) is (size[0] < 700)
    plain, shown = pictures.small(Image.new("RGBA", (2600, 1900)))
    assert shown == (2600, 1900) and len(plain) < 80_000


def test_a_record_says_what_each_shows(recordable: Path) -> None:
    finished(RUN, figure("one", 40, "Caption."), figure("two", 50))
    made = written(recordable)
    assert pictures.problem(made, recordable / "book" / "reference") is None
    prints = [hashlib.sha256((place(recordable) / name).read_bytes()).hexdigest()[:16] for name in ("1.webp", "2.webp")]
    assert [entry.pop("sha256") for entry in made["pictures"]] == prints
    assert [entry.pop("cell") for entry in made["pictures"]] == ["cell-1", "cell-2"]
    assert made["pictures"] == [
        {"file": "1.webp", "alt": "one", "caption": "Caption.", "width": 40, "height": 3},
        {"file": "2.webp", "alt": "two", "caption": "", "width": 50, "height": 3},
    ]
    assert "pictures_withheld" not in made
    assert sorted(path.name for path in place(recordable).parent.rglob("*")) == [
        "01_good", "01_good.json", "1.webp", "2.webp"]


def test_at_cpu_those_of_rebuilt_chapters_are_kept(recordable: Path) -> None:
    run = Run("cpu", "01_good", 0)
    finished(run, figure("one", 40))
    assert "pictures" not in json.loads(record("cpu", "01_good", [0]).read_text()), "first edition"
    path = recordable / "notebooks" / "01_good.ipynb"
    source = nbformat.read(path, as_version=4)
    source.metadata["edition"] = 2
    nbformat.write(source, path)
    made = json.loads(record("cpu", "01_good", [0]).read_text())
    assert [(entry["alt"], entry["cell"]) for entry in made["pictures"]] == [("one", "cell-1")]
    assert (recordable / "book" / "reference" / "cpu" / "01_good" / "1.webp").is_file()


def test_what_may_not_be_published_gives_none_and_removes_older_ones(recordable: Path) -> None:
    finished(RUN, figure("one"))
    written(recordable)
    (recordable / "data").mkdir()
    (recordable / "data" / "registry.yml").write_text("lungs: {publish: false}\n")
    finished(RUN, figure("one"), parameters={"dataset": "lungs"})
    made = written(recordable)
    assert made["pictures"] == [] and made["pictures_withheld"] == ["lungs"] and not place(recordable).exists()


def test_nothing_half_written_stays(recordable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(RUN, figure("one", 40), figure("two", 40))
    before = written(recordable)
    path = place(recordable).with_suffix(".json")
    path.write_text(json.dumps({**before, "fingerprint": "old"}))
    (place(recordable).parent / ".01_good.new").mkdir()  # of an execution that was killed
    finished(RUN, figure("one", 60), figure("two", 60))

    def stored(entry: dict, file: Path) -> dict:
        if file.name == "2.webp":
            raise OSError("disk full")
        return real(entry, file)

    real = pictures._stored
    monkeypatch.setattr(pictures, "_stored", stored)
    with pytest.raises(OSError, match="disk full"):
        written(recordable)
    monkeypatch.setattr(pictures, "_stored", real)
    with pytest.raises(ValueError, match="without a claim"):
        finished(RUN, figure("one", 60), figure("two", 60), claims={"09-none": {"value": 1}})
        written(recordable)
    assert json.loads(path.read_text()) == {**before, "fingerprint": "old"}
    assert Image.open(place(recordable) / "1.webp").size == (40, 3)
    assert sorted(file.name for file in place(recordable).parent.iterdir()) == ["01_good", "01_good.json"]
    finished(RUN, figure("one", 60))
    assert [entry["width"] for entry in written(recordable)["pictures"]] == [60]
    assert [file.name for file in place(recordable).iterdir()] == ["1.webp"]


def page(checkout: Path) -> tuple[nbformat.NotebookNode, Path]:
    made = new_notebook(cells=[new_markdown_cell(text) for text in ("# Title", "## One", "Text.", "## In short")])
    static = checkout / "static"
    pages.add_full_scale(made, "01_good", pages.Context("cpu", 0, {}, checkout, static))
    return made, static


def test_a_page_shows_them_before_its_last_section(recordable: Path) -> None:
    assert len(page(recordable)[0].cells) == 4, "nothing is recorded"
    finished(RUN, figure("a &lt;b&gt; &quot;c&quot;", 40, "1 &lt; 2"), seconds=200,
             environment={"gpu": "NVIDIA G", "memory_mb": 900, "threads": 1, "torch": "2.0"})
    written(recordable)
    made, static = page(recordable)
    assert [cell.source.split("\n")[0] for cell in made.cells[2:]] == ["Text.", "## At full scale", "## In short"]
    text = made.cells[3].source
    assert ("Recorded at profile `full` with seed 0, 3 min for a seed, on NVIDIA G, 1 thread, torch 2.0. The pictures "
            "are those of seed 0.") in text and "stale" not in text
    assert 'src="../_static/recorded/full/01_good/1.webp" alt="a &lt;b&gt; &quot;c&quot;" width="40" height="3"' in text
    assert ">1 &lt; 2</figcaption>" in text and (static / "recorded" / "full" / "01_good" / "1.webp").is_file()
    assert "| {ref}`It is so. <claim-01-starts-over>` | 2 |" in text
    assert "no verdict</span> |" in text and "|\n\nWith 1 seed there is no verdict." in text


def test_a_page_hides_those_of_a_data_set_that_was_withdrawn_later(recordable: Path) -> None:
    finished(RUN, figure("one"))
    written(recordable)
    (recordable / "data").mkdir()
    (recordable / "data" / "registry.yml").write_text("lungs: {publish: false}\n")
    made, static = page(recordable)
    assert "not published: licence of `lungs`" in made.cells[3].source and "<img" not in made.cells[3].source
    assert not static.exists()


@pytest.mark.parametrize(("harm", "words"), [
    (lambda folder: (folder / "1.webp").unlink(), "full/01_good/1.webp is missing, which the record of 01_good lists"),
    (lambda folder: (folder / "1.webp").write_bytes((folder / "1.webp").read_bytes()[:-20]), "1.webp is damaged"),
    (lambda folder: (folder / "1.webp").write_bytes(b""), "1.webp is damaged"),
    (lambda folder: (folder / "1.webp").write_bytes((folder / "2.webp").read_bytes()), "1.webp is damaged, or not"),
    (lambda folder: edit(folder.with_suffix(".json"), '"1.webp"', '"../01_good/1.webp"'), "a file of its own such as"),
    (lambda folder: edit(folder.with_suffix(".json"), '"2.webp"', '"1.webp"'), "a file of its own such as 1.webp"),
    (lambda folder: edit(folder.with_suffix(".json"), '"width"', '"depth"'), "each picture needs file, cell, alt,"),
    (lambda folder: pipeline.write_atomic(folder.with_suffix(".json"), json.dumps(
        {key: value for key, value in json.loads(folder.with_suffix(".json").read_text()).items()
         if key != "pictures"})), "full/01_good.json lists no pictures"),
], ids=["missing", "truncated", "empty", "another", "elsewhere", "twice", "no width", "not listed"])
def test_a_picture_that_is_not_in_order_is_named(recordable: Path, harm, words: str) -> None:
    finished(RUN, figure("one", 40), figure("two", 50))
    written(recordable)
    harm(place(recordable))
    with pytest.raises(UserError) as refused:
        page(recordable)
    assert words in str(refused.value)
    assert str(refused.value).endswith("make reference PROFILE=full CHAPTERS=01_good makes it anew")
    written(recordable)
    assert "<img" in page(recordable)[0].cells[3].source
