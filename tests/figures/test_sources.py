"""Source in the page: the lines that ran, less the docstrings; a block that every reader of Markdown can close."""

import functools
import types

import pytest

from medgan_lib import figures
from medgan_lib.figures.sources import without_docstrings


def plain(a, b=2):
    """A docstring
that goes.
    """

    total = a + b  # a comment stays
    "a string that is no docstring"
    return total


def decorate(function):
    @functools.wraps(function)
    def wrapped(*values):
        return function(*values)

    return wrapped


class Thing:
    """Gone."""

    size: int = 3
    """What follows an attribute is no docstring."""

    @decorate
    def method(self, text="ü"):
        """Gone."""
        text = """left
        as it is"""

        def inner():
            "gone, ü"; return text  # noqa: E702

        return inner()

    @property
    def only(self):
        """Nothing but a docstring."""

    @staticmethod
    def still(): "gone"; return 1  # noqa: E702

    @classmethod
    def made(cls):
        """Gone."""  # and what is said of it
        # A comment stays.
        return cls()

    @functools.cached_property
    def cached(self):
        return 1


PLAIN = '''\
def plain(a, b=2):
    total = a + b  # a comment stays
    "a string that is no docstring"
    return total'''
METHOD = '''\
@decorate
def method(self, text="ü"):
    text = """left
        as it is"""

    def inner():
        return text  # noqa: E702

    return inner()'''
MADE = "@classmethod\ndef made(cls):\n    # A comment stays.\n    return cls()"


@pytest.mark.parametrize(
    ("thing", "code"),
    [
        (plain, PLAIN),
        (Thing.method, METHOD),
        (Thing().method, METHOD),
        (Thing.only, "@property\ndef only(self):\n    ..."),
        (Thing.still, "@staticmethod\ndef still(): return 1  # noqa: E702"),
        (Thing.made, MADE),
        (Thing.__dict__["cached"], "@functools.cached_property\ndef cached(self):\n    return 1"),
    ],
    ids=["function", "method", "bound method", "property", "static method", "class method", "cached property"],
)
def test_code_is_what_stands_in_the_file_without_docstrings(thing, code: str) -> None:
    assert repr(figures.source(thing)) == code
    compile(code, "code", "exec")


def test_a_class_keeps_what_is_no_docstring() -> None:
    code = repr(figures.source(Thing))
    assert code.startswith('class Thing:\n    size: int = 3\n    """What follows an attribute is no docstring."""\n\n')
    assert '        text = """left\n        as it is"""\n' in code and "Gone" not in code and "gone" not in code
    compile(code, "code", "exec")


def test_several_objects_stand_in_one_block() -> None:
    shown = figures.source(plain, Thing.made, caption="x_hat *and* <b> $z$")
    assert repr(shown) == f"{PLAIN}\n\n\n{MADE}\n\nx_hat *and* <b> $z$"
    block, caption = shown._repr_markdown_().split("\n```\n\n")
    assert block == f"```python\n{PLAIN}\n\n\n{MADE}" and caption == r"x\_hat \*and\* \<b\> \$z\$"
    from markdown_it import MarkdownIt

    tokens = MarkdownIt().parse(shown._repr_markdown_())
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[2].children[0].content == "x_hat *and* <b> $z$"


def test_a_fence_in_the_code_does_not_close_the_block() -> None:
    markdown = figures.source(fenced)._repr_markdown_()
    assert markdown.startswith("````python\n") and markdown.endswith("\n````")


def fenced():
    return "```"


def test_a_line_that_ends_in_no_newline_and_a_class_in_a_class() -> None:
    code = ['    class A:', '        """Gone."""', '        class B:', '            """Gone."""', '            x = 1']
    assert without_docstrings(code) == "class A:\n    class B:\n        x = 1"


@pytest.mark.parametrize(
    ("thing", "error", "message"),
    [
        (3, TypeError, "not a int"),
        (types, TypeError, "not a module"),
        (Thing(), TypeError, "not a Thing"),
        (functools.partial(plain, 1), TypeError, "not a partial"),
        (len, ValueError, "len has no Python code"),
        (int, ValueError, "int has no Python code"),
        (types.new_class("Made"), ValueError, "Made has no Python code"),
        (lambda x: x, ValueError, "a lambda"),
    ],
)
def test_what_has_no_code_is_named(thing, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        figures.source(thing)
    assert "/" not in str(caught.value), "no path"


def test_nothing_to_show_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        figures.source()


def test_the_library_shows_itself() -> None:
    from medgan_lib.methods import GAN

    code = repr(figures.source(GAN.step))
    assert code.startswith("def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:\n    ")
    assert "losses_D" in code and '"""' not in code
    assert repr(figures.source(GAN)) == repr(figures.source(GAN)), "equal runs give equal output"
