"""House rules that no linter knows: short parameter lists, one name for one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from tree import ROOT

import medusa_lib

FILES = sorted((ROOT / "medusa_lib").rglob("*.py"))
MOST = 6
PRODUCES_AN_END = {"token >= lm.eos_id"}  # any token but EOS, drawn at random
COMMANDS = {"main", "parse"}  # each command has its own


def functions(file: Path) -> list[tuple[str, ast.FunctionDef]]:
    """Every function and method of a file; a method's name begins with its class's."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        inner = getattr(node, "body", [])
        if isinstance(inner, list):
            found += [(owner + f.name, f) for f in inner if isinstance(f, ast.FunctionDef)]
    return found


def decides_an_end(node: ast.AST) -> bool:
    """True for a comparison such as `token == lm.eos_id` or `token in lm.end_ids`."""
    if not isinstance(node, ast.Compare):
        return False
    parts = [part for side in (node.left, *node.comparators) for part in ast.walk(side)]
    named = {getattr(p, "id", "") for p in parts} | {getattr(p, "attr", "") for p in parts}
    return bool(named & {"eos_id", "end_ids"})


def test_only_is_end_decides_where_a_text_ends() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {ast.unparse(node)}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if decides_an_end(node) and ast.unparse(node) not in PRODUCES_AN_END
    ]
    assert found == ["medusa_lib/steps/model.py: token in self.end_ids"]


def is_entry(name: str) -> bool:
    """True for what a user calls by its keywords: the public functions, and panels."""
    return name in medusa_lib.__all__ or name.endswith("Panel.__init__")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_parameter_list_is_longer_than_six(file: Path) -> None:
    for name, function in functions(file):
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        own = [one.arg for one in given if one.arg not in ("self", "cls")]
        assert is_entry(name) or len(own) <= MOST, (name, own)


def test_no_two_public_functions_or_classes_share_a_name() -> None:
    places = defaultdict(list)
    for file in FILES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file.relative_to(ROOT)))
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert not {name: files for name, files in twice.items() if name not in COMMANDS}


def test_types_have_one_name_each() -> None:
    """A name for a type, such as Rule, means one thing in the whole package."""
    places = defaultdict(list)
    for file in FILES:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                for target in node.targets:
                    name = ast.unparse(target)
                    if name.isidentifier() and name[0].isupper() and not name.isupper():
                        places[name].append(str(file.relative_to(ROOT)))
    assert places
    assert not {name: files for name, files in places.items() if len(files) > 1}
