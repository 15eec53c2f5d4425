"""The stored notebooks: one clean run each, all of it compared, readable without running."""

from __future__ import annotations

import ast
import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import refresh
import torch
from minutes import is_unseen
from nbconvert import HTMLExporter

from medusa_lib.base import course

FOLDER = Path(__file__).parents[1] / "notebooks"
LESSONS = [FOLDER / lesson.notebook for lesson in course.LESSONS]
LOOSE_TAGS = {"nbval-ignore-output", "raises-exception", "nbval-raises-exception"}
SKIP_TAGS = {"nbval-skip", "skip"}
MAGIC = re.compile(r"#\s*(NBVAL_\w+|PYTEST_VALIDATE_\w+)")
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|opt|work|Users|private)/\w|[A-Z]:\\\\")

lessons = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def is_loose(cell: nbformat.NotebookNode) -> bool:
    return bool(tags(cell) & LOOSE_TAGS) or bool(MAGIC.search(cell.source))


def is_stub(cell: nbformat.NotebookNode) -> bool:
    """An exercise's stub shows nothing: the cell below it, its check, does."""
    return cell.metadata.get("nbgrader", {}).get("solution", False)


def has_checked_output(cell: nbformat.NotebookNode) -> bool:
    """True if nbval has something to compare: pixels and widget models are not compared."""
    return any(
        output.get("text") or set(output.get("data", {})) & {"text/plain", "text/markdown"}
        for output in cell.outputs
    )


def test_every_notebook_is_a_lesson() -> None:
    assert sorted(FOLDER.rglob("*.ipynb")) == sorted(LESSONS)


@lessons
def test_stored_run_is_one_clean_run(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    streams = {output.get("name") for cell in cells for output in cell.outputs}
    assert "stderr" not in streams


@lessons
def test_no_cell_is_skipped_and_each_loose_one_says_why(path: Path) -> None:
    for cell in code_cells(path):
        assert not tags(cell) & SKIP_TAGS, cell.source
        assert not MAGIC.search(cell.source), "use a tag, so that one place lists them"
        if is_loose(cell):
            assert re.match(r"# \w.{20}", cell.source), f"no reason in: {cell.source}"


def test_nearly_all_cells_are_compared() -> None:
    unshown = (is_stub, is_unseen)
    cells = [c for path in LESSONS for c in code_cells(path) if not any(is_(c) for is_ in unshown)]
    loose = [cell for cell in cells if is_loose(cell)]
    compared = [cell for cell in cells if not is_loose(cell) and has_checked_output(cell)]
    share = len(compared) / len(cells)
    print(f"{len(compared)} of {len(cells)} code cells compared ({share:.0%}), {len(loose)} loose")
    assert share >= 0.9
    assert len(loose) <= 10


@lessons
def test_readable_without_running(path: Path) -> None:
    """Each picture has its numbers in checked text; each panel has a picture or text below."""
    cells = code_cells(path)
    for i, cell in enumerate(cells):
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if "image/png" in kinds:
            assert any(o.output_type == "stream" and o.text.strip() for o in cell.outputs)
        if "application/vnd.jupyter.widget-view+json" in kinds:
            below = [o for later in cells[i + 1 : i + 3] for o in later.outputs]
            assert any("text" in o or "image/png" in o.get("data", {}) for o in below)


@lessons
def test_what_only_a_last_line_shows_is_a_last_line(path: Path) -> None:
    """Such as the source that `show_source` returns: in the middle of a cell nobody sees it."""
    for cell in code_cells(path):
        unseen = [
            ast.unparse(line)
            for line in ast.parse(cell.source).body[:-1]
            if isinstance(line, ast.Expr) and not may_be_unseen(line.value)
        ]
        assert not unseen, (cell.id, unseen)


def may_be_unseen(value: ast.expr) -> bool:
    """True for a call that is not made for what it returns, as far as its name tells."""
    called = [ast.unparse(part.func) for part in ast.walk(value) if isinstance(part, ast.Call)]
    return bool(called) and not any(name.endswith(("show_source", "Panel")) for name in called)


@lessons
def test_exported_page_shows_every_picture(path: Path) -> None:
    page, _ = HTMLExporter().from_filename(str(path))
    pictures = [o for c in code_cells(path) for o in c.outputs if "image/png" in o.get("data", {})]
    assert page.count('src="data:image/png') == len(pictures) > 0
    assert f"You are at {path.stem.split('_')[0]}" in page


@lessons
def test_nothing_of_the_machine_is_stored(path: Path) -> None:
    notebook = read(path)
    assert not MACHINE.search(path.read_text(encoding="utf-8"))
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))


@lessons
def test_follows_the_template(path: Path) -> None:
    notebook = read(path)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for wanted in (f"# {path.stem.split('_')[0]}", "**Goal.**", "## Predict", "What can go wrong"):
        assert wanted in prose, wanted
    for wanted in ("## Recap", "**Words learned:**", "minutes"):
        assert wanted in prose, wanted
    for link in re.findall(r"\]\(([\w./]+\.ipynb)\)", prose):
        assert (path.parent / link).exists(), link
    at = LESSONS.index(path)
    series = course.STEPS if course.LESSONS[at] in course.STEPS else course.BEYOND
    names = [FOLDER / lesson.notebook for lesson in series]
    place = names.index(path)
    for neighbour in names[max(0, place - 1) : place] + names[place + 1 : place + 2]:
        assert f"({neighbour.name})" in prose
    for cell in code_cells(path):
        assert cell.source.count("\n") < 25, cell.source


def validate(paths: list[Path], **environment: str) -> subprocess.CompletedProcess:
    """Strict nbval on notebooks in a fresh process, with these environment variables."""
    arguments = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "", *map(str, paths)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_refreshing_stores_a_clean_run_and_a_failing_one_changes_nothing(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.ipynb", tmp_path / "bad.ipynb"
    cells = ["import ipywidgets\nipywidgets.IntSlider()", "print(1)\nprint(2)"]
    for path, sources in ((good, cells), (bad, [*cells, "1 / 0"])):
        new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
        new.metadata["kernelspec"] = read(LESSONS[0]).metadata.kernelspec
        new.cells[0].metadata["tags"] = ["kept"]
        nbformat.write(new, path)
    before = bad.read_text(encoding="utf-8")
    refresh.main([str(good)])
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        refresh.main([str(bad)])
    assert bad.read_text(encoding="utf-8") == before
    stored = read(good)
    assert [output.text for output in stored.cells[1].outputs] == ["1\n2\n"]
    assert stored.cells[0].metadata == {"tags": ["kept"]}
    test_stored_run_is_one_clean_run(good)
    test_nothing_of_the_machine_is_stored(good)


def test_a_wrong_stored_output_fails_validation(tmp_path: Path) -> None:
    notebook = copy.deepcopy(read(LESSONS[0]))
    streams = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code" and not is_loose(cell)
        for output in cell.outputs
        if output.output_type == "stream"
    ]
    streams[-1].text = streams[-1].text + "one line that no cell prints\n"
    nbformat.write(notebook, tmp_path / "mutated.ipynb")
    result = validate([tmp_path / "mutated.ipynb"])
    assert result.returncode == 1, result.stdout[-3000:]
    assert "1 failed" in result.stdout
    assert "one line that no cell prints" in result.stdout


CAPABILITIES = ["default", "avx2"] + ["avx512"] * (torch.cpu._is_avx512_supported())
OTHER_PROCESSORS = [
    *(
        {"ATEN_CPU_CAPABILITY": level, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        for level in CAPABILITIES
        for threads in ("1", "2")
    ),
    {"MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"AGAIN": "1"},
    {"AGAIN": "2"},
    {"AGAIN": "3"},
    {"REVERSED": "1"},
]


@pytest.mark.portability
@pytest.mark.parametrize(
    "environment", OTHER_PROCESSORS, ids=lambda e: "-".join(f"{k}={v}" for k, v in e.items())
)
def test_notebooks_hold_elsewhere(environment: dict[str, str]) -> None:
    """The stored outputs hold under other instruction sets, thread counts, orders and again."""
    paths = LESSONS[::-1] if "REVERSED" in environment else LESSONS
    result = validate(paths, **environment)
    assert result.returncode == 0, result.stdout[-6000:]
