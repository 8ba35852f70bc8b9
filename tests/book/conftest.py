"""The rendered book in a real browser that may not leave this machine.

``MEDGAN_BOOK`` names the folder with the HTML (``make test`` sets it to the book at profile ``ci``); otherwise
``_build/ci_html``, else ``_build/html``. Without Chromium, or without a book, these tests are skipped and say so.
"""

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def find_book() -> Path | None:
    if named := os.environ.get("MEDGAN_BOOK"):
        places = [Path(named)]
    else:
        places = [ROOT / "_build" / name for name in ("ci_html", "html")]
    return next((place for place in places if (place / "index.html").exists()), None)


def page_names() -> list[str]:
    book = find_book()
    if book is None:
        return []
    pages = [*book.glob("book/*.html"), *book.glob("notebooks/*.html")]
    return sorted(str(page.relative_to(book)) for page in pages)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", page_names() or [pytest.param("none", marks=pytest.mark.skip("no rendered book"))])


@pytest.fixture(scope="session")
def book() -> Path:
    found = find_book()
    if found is None:
        if os.environ.get("MEDGAN_BOOK"):
            pytest.fail(f"MEDGAN_BOOK={os.environ['MEDGAN_BOOK']} holds no rendered book: its build failed")
        pytest.skip("no rendered book: run `make book` or `make test` first")
    return found


@pytest.fixture(scope="session")
def address(book: Path):
    """The book on a web server of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(book)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def is_error(message) -> bool:
    """Whether the console shows an error. One is let pass: Chromium refuses to preload fonts for ``file:`` pages."""
    about = message.text + message.location["url"]
    return message.type == "error" and not ("file:" in about and "font" in about)


@pytest.fixture
def visit(browser, address: str):
    """``visit(name, **context options)`` opens a page; afterwards no request may have left, no error be logged."""
    contexts, trouble = [], []

    def open_page(name: str, *, base: str = address, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)

        def route(route) -> None:
            url = route.request.url
            if url.startswith((base, "data:", "blob:")):
                route.continue_()
            else:
                trouble.append(f"request to {url}")
                route.abort()

        context.route("**/*", route)
        page = context.new_page()
        page.on("console", lambda m: trouble.append(f"console: {m.text}") if is_error(m) else None)
        page.on("pageerror", lambda error: trouble.append(f"script: {error}"))
        page.on("response", lambda r: trouble.append(f"{r.status} for {r.url}") if r.status >= 400 else None)
        page.goto(f"{base}/{name}", wait_until="load")
        page.wait_for_function("!window.MathJax || !MathJax.startup || !MathJax.startup.promise ||"
                               " MathJax.startup.promise.then(() => true)")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not trouble, trouble
