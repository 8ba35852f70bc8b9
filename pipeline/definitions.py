"""The library as a graph of definitions: what a piece of code can reach, and a hash of each that no move changes.

A *definition* is a function, class or constant at the top of a module of ``medgan_lib``. What code refers to is
followed through imports and re-exports, statically: ``metrics.frechet``, ``sets.frechet`` and ``frechet`` mean the
same once they are resolved. So a hash says what a definition computes and whom it calls, and nothing about the names
and places of either: comments, docstrings, line breaks, order, a renamed or moved module change none.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.syntax import PACKAGE, Reference, Target, acts, blind, canonical, given, imported, references, strings

# How far a hash looks along references: two definitions that only differ in what they call a few calls further on
# are told apart; what is called counts by itself anyway.
DEPTH = 4


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Definition(NamedTuple):
    """A statement at the top of a module: the names it gives, and its code with `Reference`s in it.

    One that ``acts`` does something by itself, and counts for whoever imports the module: it gives no name, changes
    what another name leads to (``deep.SCALE = 3``), or is registered by a decorator. ``modules`` are those
    that the statement itself imports, when it runs; ``references`` and ``words`` are the names and texts in ``code``.
    """

    gives: tuple[str, ...]
    code: Any
    modules: frozenset[str]
    references: tuple[Reference, ...]
    words: frozenset[str]
    acts: bool = False


class Module(NamedTuple):
    """``names``: where a local name leads. ``imports``: modules that importing this one loads."""

    definitions: tuple[Definition, ...]
    names: dict[str, tuple[Target, ...]]
    imports: frozenset[str]


class Reached(NamedTuple):
    """Hashes by definition (``module.name``, one that gives no name by its place), and every module that may load."""

    hashes: dict[str, str]
    modules: frozenset[str]


class Library:
    """The definitions of ``medgan_lib`` below ``root``, read as they are asked for.

    ``left_out`` are modules (with what lies below them) whose definitions count for nothing: they are named in code,
    but neither hashed nor followed. ``tables`` are definitions, ``module.name``, that are left out likewise.
    """

    def __init__(self, root: Path, left_out: tuple[str, ...] = (), tables: tuple[str, ...] = ()):
        self.root, self.left_out, self.tables = root, left_out, tables
        self._modules: dict[str, Module | None] = {}
        self._hashes: dict[tuple[str, int, int], str] = {}
        self._ends: dict[tuple[Target, tuple[str, ...]], list[Reference]] = {}

    # --- modules

    def file(self, name: str) -> Path | None:
        """File of the module ``name``, or None if it is none (a class, another package)."""
        if name.split(".")[0] != PACKAGE:
            return None
        path = self.root.joinpath(*name.split("."))
        return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)

    def module(self, name: str) -> Module | None:
        if name not in self._modules:
            self._modules[name] = None
            if (path := self.file(name)) is not None:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                self._modules[name] = self.read(path.read_text(encoding="utf-8"), name, package)
        return self._modules[name]

    def read(self, source: str, name: str, package: str) -> Module:
        """The definitions in ``source``. Left out are those that no number depends on.

        These are docstrings, ``__all__``, what only a type checker reads, and ``tables``.
        """
        tree = ast.parse(source)
        names: dict[str, tuple[Target, ...]] = {}
        for key, target in imported(tree, package):
            names[key] = tuple(dict.fromkeys((*names.get(key, ()), target)))
        kept = []
        for node in tree.body:
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            checker = isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) in (
                "TYPE_CHECKING", "typing.TYPE_CHECKING")
            imports = isinstance(node, ast.Import | ast.ImportFrom)
            table = {f"{name}.{key}" for key in given(node)} & set(self.tables)
            if not (text or checker or imports or table or "__all__" in given(node)):
                kept.append(node)
        for node in kept:
            for key in given(node):
                names[key] = tuple(dict.fromkeys((*names.get(key, ()), Target(name, key))))
        loads = self._loaded(target for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
                             for _, target in imported(node, package))
        definitions = []
        for node in kept:
            code, inside = self.code(node, names), self._loaded(target for _, target in imported(node, package))
            words = frozenset(word for word in strings(code) if word in names)
            definitions.append(Definition(given(node), code, inside, tuple(references(code)), words, acts(node, names)))
        return Module(tuple(definitions), names, loads)

    def _loaded(self, targets: Iterable[Target]) -> frozenset[str]:
        """Modules that imports of ``targets`` load: ``from a import b`` may mean a module a.b."""
        names = {name for target in targets for name in (target.module, f"{target.module}.{target.name}")}
        return frozenset(name for name in names if self.file(name) is not None)

    def code(self, node: ast.AST | list[ast.AST], names: dict[str, tuple[Target, ...]]) -> Any:
        """`canonical` with `Reference`s, and without the node's own names."""

        def resolve(first: str, rest: list[str]) -> Reference | None:
            return Reference(names[first], tuple(rest)) if first in names else None

        tree = canonical(node, resolve)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            tree = [part for part in tree if part[0] != "name"]
        return tree

    # --- references

    def follow(self, target: Target, rest: tuple[str, ...] = ()) -> list[Reference]:
        """What a name leads to in the end: a definition, a whole module, or (as one dotted name) another package.

        One target each, with what is left of the name. Several where a name is imported from several places.
        """
        if (target, rest) not in self._ends:
            self._ends[target, rest] = self._follow(target, rest)
        return self._ends[target, rest]

    def _follow(self, target: Target, rest: tuple[str, ...]) -> list[Reference]:
        module = self.module(target.module)
        if module is None:
            whole = ".".join([target.module, *([target.name] if target.name else []), *rest])
            return [Reference((Target(whole),), ())]
        if not target.name:
            return self.follow(Target(target.module, rest[0]), rest[1:]) if rest else [Reference((target,), ())]
        if self._places(target):
            return [Reference((target,), rest)]
        ends = [end for other in module.names.get(target.name, ()) if other != target
                for end in self.follow(other, rest)]
        if not ends and self.file(inside := f"{target.module}.{target.name}") is not None:
            return self.follow(Target(inside), rest)
        if not ends and self._places(lazy := Target(target.module, "__getattr__")):
            return [Reference((lazy,), (target.name, *rest))]
        return ends

    def counts(self, module: str) -> bool:
        return not any(module == name or module.startswith(f"{name}.") for name in self.left_out)

    # --- hashes

    def render(self, code: Any, depth: int) -> Any:
        """``code`` with a hash for each reference to a definition, and the full name of anything else."""
        if isinstance(code, Reference):
            ends = [end for target in code.targets for end in self.follow(target, code.rest)]
            return ["ref", *([self._shown(end.targets[0], depth), *end.rest] for end in ends)]  # the last import wins
        return [self.render(part, depth) for part in code] if isinstance(code, list) else code

    def _shown(self, target: Target, depth: int) -> str:
        if not target.name:  # a module of the library as a value (its place does not matter), or another package
            return "module" if self.file(target.module) is not None else target.module
        if not self.counts(target.module):
            return "left out"
        places = self._places(target)
        return "|".join(f"{self.hash(target.module, place, depth - 1)}:{at}" for place, at in places)

    def _places(self, target: Target) -> list[tuple[int, int]]:
        """Which statements of its module give the name, and as which of their names."""
        module = self.module(target.module)
        return [(i, one.gives.index(target.name)) for i, one in enumerate(module.definitions)
                if target.name in one.gives]

    def hash(self, module: str, place: int, depth: int = DEPTH) -> str:
        key = (module, place, depth)
        if key not in self._hashes:
            code = self.module(module).definitions[place].code
            self._hashes[key] = digest(self.render(code, depth) if depth > 0 else blind(code))
        return self._hashes[key]

    # --- what is reached

    def reach(self, codes: Iterable[Any], modules: Iterable[str], names: Iterable[Target] = ()) -> Reached:
        """What ``codes`` refer to, directly or not, together with the definitions ``names``.

        ``modules`` are those that are imported to begin with. A module that is used as a value, as in
        ``getattr(module, name)``, may be asked for anything: all of it counts. A string that is the name of a
        definition of its module counts as that name.
        """
        hashes: dict[str, str] = {}
        loaded: set[str] = set()
        seen: set[tuple[str, int]] = set()
        waiting = [reference for code in codes for reference in references(code)]

        def load(found: Iterable[str]) -> None:
            todo = list(found)
            while todo:
                name = todo.pop()
                if name in loaded or (module := self.module(name)) is None:
                    continue
                loaded.add(name)
                todo += [*module.imports, name.rpartition(".")[0]]  # importing a.b runs a/__init__.py, too
                acting = [i for i, one in enumerate(module.definitions) if one.acts]
                for i in acting:
                    take(name, i)
                if len(acting) > 1 and self.counts(name):
                    hashes[f"{name}.order"] = digest([self.hash(name, i) for i in acting])

        def take(name: str, place: int) -> None:
            if (name, place) in seen or not self.counts(name):
                return
            seen.add((name, place))
            one = self.module(name).definitions[place]
            hashes[f"{name}.{'+'.join(one.gives) or place}"] = self.hash(name, place)
            load(one.modules)
            waiting.extend([*one.references, *(Reference(self.module(name).names[word], ()) for word in one.words)])

        def refer(target: Target, rest: tuple[str, ...]) -> None:
            for end in (end.targets[0] for end in self.follow(target, rest)):
                if (module := self.module(end.module)) is None:
                    continue
                load([end.module])
                whole = range(len(module.definitions))
                for place in [place for place, _ in self._places(end)] if end.name else whole:
                    take(end.module, place)

        load(modules)
        for name in names:
            refer(name, ())
        while waiting:
            targets, rest = waiting.pop()
            for target in targets:
                refer(target, rest)
        return Reached(hashes, frozenset(loaded))


@cache
def _library(root: Path, left_out: tuple[str, ...], tables: tuple[str, ...], stamp: tuple) -> Library:
    return Library(root, left_out, tables)


def library(root: Path, left_out: tuple[str, ...] = (), tables: tuple[str, ...] = ()) -> Library:
    """The `Library` below ``root`` as it is on the disk now."""
    files = sorted((root / PACKAGE).rglob("*.py"))
    return _library(root, left_out, tables, tuple((file, file.stat().st_mtime_ns) for file in files))
