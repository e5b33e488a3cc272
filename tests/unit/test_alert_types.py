"""Every alert that the code can raise is described in docs/alerts.md, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("actors", "alerts", "app", "chain", "domain", "grpc_server", "identity", "indexer", "storage", "ws_bridge")
DOCUMENT = Path("docs/alerts.md")
ROW = re.compile(r"^\| `(\w+)` \| ([A-Z, ]+) \|", re.MULTILINE)
SEVERITIES = {"CRITICAL", "HIGH", "MEDIUM", "LOW"}


def described() -> dict[str, set[str]]:
    """The types and their severities in the document."""
    table = DOCUMENT.read_text("utf-8").partition("## Every alert")[2]
    return {name: set(severities.split(", ")) for name, severities in ROW.findall(table)}


def raised() -> Iterator[tuple[str, str | None, str]]:
    """Type, severity if it stands there literally, and place of every alert in the code."""
    for package in PACKAGES:
        for path in Path(package).rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            for call in _calls(tree, "AlertNote"):
                if not isinstance(call.args[0], ast.Attribute):  # a copy of one that is known
                    yield from _meant(tree, call, f"{path}:{call.lineno}")


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def _meant(tree: ast.Module, call: ast.Call, place: str) -> Iterator[tuple[str, str | None, str]]:
    kind, severity = call.args[0], call.args[1]
    if isinstance(kind, ast.Constant):
        yield str(kind.value), _text(severity), place
        return
    assert isinstance(kind, ast.Name), f"{place}: write the alert's type as a literal, a constant or a parameter"
    constants = [
        str(node.value.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == kind.id
        and isinstance(node.value, ast.Constant)
    ]
    handed_in = list(_handed_in(tree, call, kind.id, severity))
    assert constants or handed_in, f"{place}: nobody can say which types {kind.id} may be"
    yield from ((name, _text(severity), place) for name in constants)
    yield from ((name, grade, place) for name, grade in handed_in)


def _handed_in(tree: ast.Module, call: ast.Call, name: str, severity: ast.expr) -> Iterator[tuple[str, str | None]]:
    """The types that the function around the call is called with."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or call not in ast.walk(function):
            continue
        names = [argument.arg for argument in function.args.args]
        if name in names:
            at = names.index(name)
            graded = names.index(severity.id) if isinstance(severity, ast.Name) and severity.id in names else None
            for caller in _calls(tree, function.name):
                yield str(_text(caller.args[at])), None if graded is None else _text(caller.args[graded])


def _text(node: ast.expr) -> str | None:
    return str(node.value) if isinstance(node, ast.Constant) else None


def test_every_alert_is_described_and_none_besides() -> None:
    names = {name for name, _, _ in raised()}
    assert len(names) > 10, "the look finds them"
    assert names == set(described())


def test_every_severity_is_the_one_described() -> None:
    table = described()
    assert set().union(*table.values()) <= SEVERITIES
    wrong = [place for name, severity, place in raised() if severity and severity not in table.get(name, ())]
    assert wrong == []
