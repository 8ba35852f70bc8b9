"""The library's own code in the page, highlighted: what a chapter explains is what ran."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, repr=False)
class Source:
    """Python code with a line of text below it; shows itself as a block of Markdown, which pages highlight."""

    code: str
    caption: str = ""

    def _repr_markdown_(self) -> str:
        longest = max((len(run) for run in re.findall("`+", self.code)), default=0)
        fence = "`" * max(3, longest + 1)  # a fence in the code must not close the block
        return f"{fence}python\n{self.code}\n{fence}" + (f"\n\n{_plain(self.caption)}" if self.caption else "")

    def __repr__(self) -> str:
        return self.code + (f"\n\n{self.caption}" if self.caption else "")


def source(*objects: Callable[..., Any] | type | property, caption: str | None = None) -> Source:
    """The code of functions, methods and classes, one after the other, without docstrings.

    ``objects``: functions, methods (bound or not), properties or classes written in Python. Comments, decorators and
    line breaks stay as they are in the file; the indentation of a method goes. ``caption``: plain text below.
    Raises TypeError for other objects, ValueError for none at all and for what has no Python code to show.
    """
    if not objects:
        raise ValueError("source needs at least one function, method or class")
    return Source("\n\n\n".join(_code(thing) for thing in objects), caption or "")


def _code(thing: Any) -> str:
    if isinstance(thing, property):
        thing = thing.fget
    elif isinstance(thing, functools.cached_property):
        thing = thing.func
    if not (inspect.isroutine(thing) or inspect.isclass(thing)):
        raise TypeError(f"source shows functions, methods and classes, not a {type(thing).__name__}")
    name = getattr(thing, "__qualname__", type(thing).__name__)
    if name.endswith("<lambda>"):
        raise ValueError("a lambda has no code of its own to show: give it a name with def")
    try:
        lines = inspect.getsource(thing).rstrip().split("\n")
    except (OSError, TypeError):
        raise ValueError(f"{name} has no Python code to show: it is built in, or was made while running") from None
    return without_docstrings(lines)


def without_docstrings(lines: list[str]) -> str:
    """The code of one definition, moved to the left margin, without its docstring and those of what is inside it."""
    margin = len(lines[0]) - len(lines[0].lstrip())
    # Indented code is only Python below something; the line put above it makes line n of the tree lines[n - 2].
    tree = ast.parse("\n".join(["if True:" if margin else "", *lines]))
    kept: dict[int, str] = dict(enumerate(lines, 2))
    for text, filler in _docstrings(tree):
        last = text.end_lineno or text.lineno
        before = _cut(kept[text.lineno], text.col_offset)[0]
        after = _cut(kept[last], text.end_col_offset or 0)[1]
        for n in range(text.lineno, last + 1):
            del kept[n]
        if before.strip() or after.strip()[:1] == ";" or filler:  # it shares its line, or something must stand there
            kept[text.lineno] = (before + filler + (after if filler else after.lstrip("; "))).rstrip()
        elif not kept.get(last + 1, "more").strip():
            del kept[last + 1]
    inside = set(_string_lines(tree))
    return "\n".join(
        line[margin:] if n not in inside and line[:margin].isspace() else line for n, line in sorted(kept.items())
    )


def _docstrings(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Each docstring with what must take its place."""
    for node in ast.walk(tree):
        if isinstance(node, Definition) and ast.get_docstring(node, clean=False) is not None:
            yield node.body[0], "..." if len(node.body) == 1 else ""


def _string_lines(tree: ast.AST) -> Iterator[int]:
    """Lines that begin inside a string: moving them would change what the string says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))):
            yield from range(node.lineno + 1, node.end_lineno + 1)


def _cut(line: str, byte: int) -> tuple[str, str]:
    data = line.encode()  # the tree counts bytes
    return data[:byte].decode(), data[byte:].decode()


def _plain(text: str) -> str:
    """Text as Markdown that shows it letter by letter."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|$~&])", r"\\\1", " ".join(text.split()))
