"""Python code as nested lists in which the names that an import or a definition explains are references."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

PACKAGE = "medgan_lib"


class Reference(NamedTuple):
    """A dotted name in code that an import or a definition explains: what it leads to, and the rest of the name."""

    targets: tuple[Target, ...]
    rest: tuple[str, ...]


class Target(NamedTuple):
    """A definition ``name`` of a library module; the module itself where ``name`` is empty; else another package."""

    module: str
    name: str = ""


def canonical(
    node: Any, resolve: Callable[[str, list[str]], Any] | None = None, local: frozenset[str] = frozenset()
) -> Any:
    """A syntax tree as nested lists, without docstrings and imports; alike in all Python versions.

    ``resolve`` gets the parts of each dotted name that does not begin with a ``local`` variable, and may put
    something in its place.
    """
    if isinstance(node, list):
        kept = [item for item in node if not isinstance(item, ast.Import | ast.ImportFrom)]
        return [canonical(item, resolve, local) for item in kept]
    if not isinstance(node, ast.AST):
        return repr(node)
    if resolve and isinstance(node, ast.Name | ast.Attribute):
        first, rest = dotted(node)
        if first and first not in local and (found := resolve(first, rest)) is not None:
            return found
    fields = dict(ast.iter_fields(node))
    outside, outer = _outside(node), local
    if isinstance(node, SCOPES):
        local = local | variables(node)
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
        node, clean=False
    ) is not None:
        fields["body"] = fields["body"][1:]
    kept = {k: v for k, v in fields.items() if v is not None and v != [] and k not in ("kind", "type_comment")}
    parts = {name: canonical(value, resolve, outer if name in outside else local) for name, value in kept.items()}
    if isinstance(node, COMPREHENSIONS):  # the first iterable is not in the scope of the variables
        first = parts["generators"][0]
        first[2] = ["iter", canonical(node.generators[0].iter, resolve, outer)]
    return [type(node).__name__, *([name, value] for name, value in parts.items())]


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPES = (*FUNCTIONS, *COMPREHENSIONS)


def _outside(node: ast.AST) -> tuple[str, ...]:
    """Fields of a function that are evaluated where it stands: decorators, default values, annotations."""
    return ("decorator_list", "args", "returns") if isinstance(node, FUNCTIONS) else ()


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope itself, without those of the scopes in it, whose variables are their own."""
    waiting = [child for name, value in ast.iter_fields(scope) if name not in ("decorator_list", "returns")
               for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, COMPREHENSIONS):  # ``:=`` in it sets a variable of the function
            yield from (n.target for n in ast.walk(node) if isinstance(n, ast.NamedExpr))
        elif not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def variables(scope: ast.AST) -> frozenset[str]:
    """Arguments and variables of a function or comprehension: names in it that mean nothing of the module's."""
    found, shared = set(), set()
    for node in _inside(scope):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Global(names=names):
                shared.update(names)
    return frozenset(found - shared)


def dotted(node: ast.AST) -> tuple[str, list[str]]:
    """``a.b.c`` as "a" and ["b", "c"]; "" where it does not begin with a name."""
    rest: list[str] = []
    while isinstance(node, ast.Attribute):
        rest.append(node.attr)
        node = node.value
    return (node.id if isinstance(node, ast.Name) else ""), rest[::-1]


def given(statement: ast.stmt) -> tuple[str, ...]:
    """Names that a definition or an assignment puts into its module."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return (name,)
        case ast.Assign(targets=targets):
            return tuple(node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            return (name,)
    return ()


def acts(statement: ast.stmt, names: dict[str, tuple[Target, ...]]) -> bool:
    """Whether a statement at the top of a module does more than give its names."""
    if isinstance(statement, ast.Assign) and any(
        isinstance(node, ast.Attribute | ast.Subscript) for target in statement.targets for node in ast.walk(target)
    ):
        return True
    for decorator in getattr(statement, "decorator_list", []):
        first, rest = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if "register" in rest or any(target.module.split(".")[0] == PACKAGE for target in names.get(first, ())):
            return True
    return not given(statement)


def imported(tree: ast.AST, package: str) -> Iterator[tuple[str, Target]]:
    """What the imports anywhere in ``tree`` put into its names; ``package`` resolves relative ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole = alias.name if alias.asname else alias.name.split(".")[0]
                yield alias.asname or whole, Target(whole)
                if not alias.asname:
                    yield "", Target(alias.name)  # loads it, though under the first part's name only
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                if alias.name == "*":
                    raise ValueError(f"from {base} import *: what it brings can't be followed; name it")
                yield alias.asname or alias.name, Target(base, alias.name)


def blind(code: Any) -> Any:
    if isinstance(code, Reference):
        return ["ref"]
    return [blind(part) for part in code] if isinstance(code, list) else code


def references(code: Any) -> Iterator[Reference]:
    """All in ``code``."""
    if isinstance(code, Reference):
        yield code
    elif isinstance(code, list):
        for part in code:
            yield from references(part)


def texts(code: Any) -> Iterator[str]:
    """All texts in ``code`` that could be names."""
    return strings(code)


def strings(code: Any) -> Iterator[str]:
    """Texts in ``code`` that could be names."""
    if isinstance(code, list):
        if len(code) == 2 and code[0] == "value" and isinstance(code[1], str) and code[1][:1] in "'\"":
            if (word := ast.literal_eval(code[1])).isidentifier():
                yield word
        else:
            for part in code:
                yield from strings(part)
