"""Pages of their own for figures that run scripts."""

from pathlib import Path

import pytest

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Figure</title>
<meta name="viewport" content="width=device-width"><style>body {{ font: 16px/1.5 sans-serif }}
@media (prefers-color-scheme: dark) {{ body {{ background: #121212; color: #ced6dd }} }}</style></head>
<body><main><h1>Page</h1>{}</main></body></html>"""


@pytest.fixture
def visit(browser, tmp_path: Path):
    """``visit(html, **context options)`` opens a page from a folder, offline; nothing may be asked for or go wrong."""
    contexts, trouble = [], []

    def open_page(html: str, **options):
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(PAGE.format(html), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 900}, "offline": True, **options})
        contexts.append(context)
        page = context.new_page()
        known = (path.as_uri(), "data:")
        page.on("request", lambda r: None if r.url.startswith(known) else trouble.append(f"request to {r.url}"))
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"script: {error}"))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not trouble, trouble
