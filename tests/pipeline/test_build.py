"""From the first pages to the last: quick builds in between, nothing stale at the end, nothing half-written ever."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat.v4 import new_output
from staged_books import put_run

import pipeline
from pipeline import Run, UserError, book, build, publish, stage, updates
from pipeline.build import build_pages
from pipeline.updates import Updates, pause

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def buildable(root: Path) -> None:
    """Leave only pages that link to nothing that is not in the small checkout."""
    book = root / "book"
    for page in set(book.glob("*.md")) - {book / f"{name}.md" for name in ("ledger", "status", "references")}:
        page.unlink()
    for name, text in {"intro": "Text, [a link](../notebooks/01_objectives.ipynb).", "how_to_read": "Text.",
                       "glossary": "```{glossary}\nSample\n  What a generator makes.\n```"}.items():
        (book / f"{name}.md").write_text(f"# {name.title()}\n\n{text}\n")
    pages = [f"book/{name}" for name in ("how_to_read", "ledger", "status", "glossary", "references")]
    pages += ["notebooks/01_objectives", "notebooks/02_wasserstein"]
    parts = "".join(f"      - file: {name}\n" for name in pages)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/intro\nparts:\n  - chapters:\n{parts}")


def test_the_last_build_leaves_what_one_from_scratch_makes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between, only pages that changed are made anew; a page that is open stays there, whole, all the time."""
    monkeypatch.setattr(pipeline, "ROOT", root)
    buildable(root)
    html, page = root / "_build" / "html", "notebooks/01_objectives.html"
    assert build_pages("cpu", 0, html, last=False) and not build_pages("cpu", 0, html, last=False)
    first = tree(html)
    assert b"Not yet executed here" in first[page]
    kept = (html / "notebooks" / "02_wasserstein.html").stat().st_mtime_ns

    run = put_run(root, new_output("display_data", {"text/html": '<div><img alt="a" src="data:,"></div>'}))
    assert not build_pages("cpu", 0, html, False, lambda: True) and tree(html) == first, "its end has come"
    assert build_pages("cpu", 0, html, last=False)
    log = (root / "_build" / "sphinx.log").read_text()
    assert " 0 added, 3 changed, 0 removed" in log, "the chapter, the ledger, the status"
    second = tree(html)
    assert b"Not yet executed here" not in second[page] and b'alt="a"' in second[page]
    assert (html / "notebooks" / "02_wasserstein.html").stat().st_mtime_ns == kept
    assert build_pages("cpu", 0, html), "the last one is always from scratch"
    assert not build_pages("cpu", 0, html) and not build_pages("cpu", 0, html, last=False)
    last = tree(html)
    shutil.rmtree(root / "_build" / "stage")
    shutil.rmtree(html)
    build_pages("cpu", 0, html)
    assert tree(html) == last, "the same as without all that came before"

    shutil.rmtree(run)
    assert build_pages("cpu", 0, html)
    assert b"Not yet executed here" in tree(html)[page]


def test_the_old_book_stays_until_the_new_one_is_complete(root: Path) -> None:
    buildable(root)
    html = root / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("the old book")
    sources = stage.stage("cpu", root=root)
    with (sources / "book" / "intro.md").open("a") as file:
        file.write("\n{doc}`nowhere`\n")
    with pytest.raises(UserError, match=r"(?s)was not built.*nowhere"):
        build.build(sources, html)
    assert (html / "index.html").read_text() == "the old book"


def test_files_take_the_place_of_others_whole_and_pages_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for name, text in {"a.html": "1", "z.png": "2", "deep/same.txt": "3", "left/out.js": "4"}.items():
        pipeline.write_atomic(new / name, text)
    for name, text in {"a.html": "0", "deep/same.txt": "3", "gone/away.png": "5", ".a.html.part": "killed"}.items():
        pipeline.write_atomic(old / name, text)
    kept, order = (old / "deep" / "same.txt").stat().st_mtime_ns, []
    real = os.replace
    monkeypatch.setattr(publish.os, "replace", lambda a, b: (order.append(Path(b).name), real(a, b)))
    assert publish.sync(new, old, ["left"])
    assert order == ["z.png", "a.html"]
    assert tree(old) == {"a.html": b"1", "z.png": b"2", "deep/same.txt": b"3"} and not (old / "gone").exists()
    assert (old / "deep" / "same.txt").stat().st_mtime_ns == kept
    assert not publish.sync(new, old, ["left"])


def test_sphinx_does_not_go_on_from_what_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor from other sources."""
    pipeline.write_atomic(tmp_path / "stage" / "_toc.yml", "root: intro")
    went_on = []

    def run(command: list[str], **_: object) -> object:
        out = Path(command[-1])
        went_on.append(out.exists())
        out.mkdir(parents=True, exist_ok=True)
        if fails:
            raise KeyboardInterrupt
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(build.subprocess, "run", run)
    for made_of in ("a", "a", "a fails", "a", "b", "", "b"):
        fails = made_of.endswith("fails")
        try:
            build.build(tmp_path / "stage", tmp_path / "html", made_of[:1])
        except KeyboardInterrupt:
            assert fails
    assert went_on == [False, True, True, False, False, False, False]


def test_a_build_follows_each_chapter_unless_it_takes_long() -> None:
    assert pause(29) == 0 and pause(60) == 540, "at most a tenth of the time"


def test_builds_beside_the_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on, built, ended = threading.Event(), threading.Event(), [], []

    def slow(stop: Callable[[], bool]) -> None:
        built.append(stop())
        began.set()
        go_on.wait(10)
        ended.append(stop())
        raise ValueError("such as a chapter that just begins anew")

    with Updates(slow) as beside:
        assert beside.due(Run("cpu", "01_good", 0)) == ()
        assert began.wait(10), "what is due begins at once, and the caller goes on"
        began.clear()
        beside.due()
        beside.due()
        assert len(built) == 1, "one at a time"
        go_on.set()
        assert began.wait(10), "one for both that came meanwhile, whatever became of the first"
    assert built == [False, False]
    with Updates(slow) as beside:
        go_on.clear()
        began.clear()
        beside.due()
        assert began.wait(10)
        threading.Timer(0.3, go_on.set).start()
    assert ended[-1] is True, "a build that nobody needs any more can tell"
    built.clear()
    monkeypatch.setattr(updates, "QUICK", 0)
    monkeypatch.setattr(updates, "SHARE", 1e-6)
    with Updates(lambda stop: built.append(0)) as beside:
        beside.due()
        time.sleep(0.2)
        beside.due()
        time.sleep(0.2)
    assert len(built) == 1, "the end waits for no pause"


@pytest.fixture
def events(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `book.book` does in a checkout without Sphinx; the execution finishes every run."""
    seen: list[str] = []

    def pages(profile: str, seed: int, html: Path, last: bool = True, stop: object = None) -> bool:
        pipeline.write_atomic(html / "index.html", "")
        seen.append("last pages" if last else "pages")
        return True

    def execute(runs: list[Run], jobs: int, threads: int | None, finished: object = None) -> book.Outcome:
        seen.append(f"execute {len(runs)}")
        for run in runs if finished else ():
            finished(run)
            time.sleep(0.3)
        return book.Outcome([], [])

    for name, what in {"check": lambda: None, "ROOT": checkout, "build_pages": pages, "execute_all": execute,
                       "stale": lambda runs: runs, "verdict_summary": lambda runs: ""}.items():
        monkeypatch.setattr(book, name, what)
    (checkout / "_build").mkdir()
    return seen


def test_there_is_something_to_read_before_anything_is_executed(
    checkout: Path, events: list[str], capsys: pytest.CaptureFixture
) -> None:
    html = checkout / "_build" / "html"
    assert book.book("cpu", "all", 0, 2, html) == 0
    assert events == ["pages", "execute 2", "pages", "pages", "last pages"]
    assert f"The book can be read now: {html / 'index.html'}\nChapters follow" in capsys.readouterr().out
    events.clear()
    book.book("cpu", "all", 0, 2, html)
    assert events[0] == "execute 2" and events[-1] == "last pages", "a book is there: nothing waits for its pages"
    assert "pages" in events
    for one in ("01_good", "all"):
        events.clear()
        book.book("cpu", one, 0, 2, html, early=one != "all")
        assert events == [f"execute {1 + (one == 'all')}", "last pages"]
