"""Panels recorded from a notebook: only the statements they need run, and the stored page holds."""

import ast
import copy
import gzip

import nbformat
import pytest
from nbconvert import HTMLExporter
from tree import ROOT

from medusa_lib.base.course import LESSONS
from medusa_lib.teaching.shared import cells
from medusa_lib.teaching.shared.cells import (
    MOST_PACKED,
    WIDGET,
    is_lesson,
    panel_output,
    put_panels,
    record_notebook,
    statements_for,
)

PANEL = """from medusa_lib.teaching.sampling_exactly import SamplingExactlyPanel

SamplingExactlyPanel(top_p=share)"""
SAYS = (
    "Panel: sliders for temperature, top-p and the draft's difference over four words. "
    "At 1.00, 0.80 and 1.00 a draft is accepted with probability 0.43; "
    "with probability 0.57 the residual takes its place"
)


def lesson(*sources, says=SAYS):
    """A notebook whose last cell shows a panel."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
    data = {WIDGET: {"model_id": "0"}, "text/plain": says}
    book.cells[-1].outputs = [nbformat.v4.new_output("display_data", data)]
    return book


def needed(*sources):
    return [ast.unparse(one) for one in statements_for(sources)]


def test_only_what_is_needed_is_kept_and_the_latest_of_it():
    said = needed("a = 1\nb = 2\nprint(b)", "a = b + 1\nc = 3", "d = a", "d")
    assert said == ["b = 2", "a = b + 1", "d = a", "d"]


def test_names_within_functions_and_comprehensions_are_seen():
    one = "import math\nk = 2\nother = 5\ndef f(x):\n    own = k\n    return math.sqrt(own * x)"
    assert needed(one, "[f(k) for k in (1, 2)]")[:2] == ["import math", "k = 2"]
    assert "other = 5" not in needed(one, "[f(k) for k in (1, 2)]")
    assert needed("k = 1", "[k for k in (1, 2)]") == ["[k for k in (1, 2)]"]


def test_a_change_of_what_is_needed_is_kept():
    said = needed("a = {}\nb = {}\na['x'] = 1\nb['x'] = 2\na['y'] += 1", "a")
    assert said == ["a = {}", "a['x'] = 1", "a['y'] += 1", "a"]


@pytest.mark.parametrize("one", LESSONS, ids=lambda one: one.name)
def test_each_lessons_panel_needs_few_lines(one):
    """No plots, no prints, no checks: what a page would wait for in vain."""
    book = nbformat.read(ROOT / "notebooks" / one.notebook, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    for i, cell in enumerate(code):
        if panel_output(cell):
            kept = needed(*(before.source for before in code[: i + 1]))
            assert len(kept) <= 20, kept
            assert not [line for line in kept if line.startswith(("print(", "plot_", "check"))]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(
        "medusa_lib.teaching.sampling_exactly.SamplingExactlyPanel.grid", {"top_p": (0.5,)}
    )


@pytest.mark.usefixtures("few")
def test_a_panel_is_recorded_from_its_own_cell_and_takes_the_widgets_place():
    book = lesson("share = 0.7", "share = 0.8\n1 / 0", PANEL)
    instead = {"text/html": '<div class="medusa-instead">its picture</div>'}
    book.cells[-1].outputs.append(nbformat.v4.new_output("display_data", instead))
    before = copy.deepcopy(book)
    recorded = record_notebook(book)
    assert book == before
    assert list(recorded) == [book.cells[-1].id]
    put_panels(book, recorded)
    (output,) = book.cells[-1].outputs
    assert set(output.data) == {"text/plain", "text/html"}
    assert f'id="panel-{book.cells[-1].id}-top_p"' in output.data["text/html"]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("sources", "says", "why"),
    [
        (("share = 0.7", PANEL), "Panel: another sentence", "panel must say 'Panel: another sen"),
        (("pass", PANEL), SAYS, "NameError"),
        (("share = 'x'", PANEL), SAYS, "Error"),
        (("%matplotlib inline", PANEL), SAYS, "SyntaxError"),
        (("share = 0.8", f"{PANEL};x = 1"), SAYS, "must end with"),
    ],
)
def test_what_cannot_be_recorded_stays_as_it_was_and_says_why(sources, says, why, capsys):
    book = lesson(*sources, says=says)
    before = copy.deepcopy(book)
    recorded = record_notebook(book)
    assert recorded == {}
    assert f"{book.cells[-1].id}: panel not recorded" in (said := capsys.readouterr().err)
    assert why in said
    put_panels(book, recorded)
    assert book == before


@pytest.mark.usefixtures("few")
def test_a_panel_that_weighs_too_much_stays_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(cells, "MOST_PACKED", 1000)
    assert record_notebook(lesson("share = 0.8", PANEL)) == {}
    assert "panel must have at most 1000 bytes with gzip, got " in capsys.readouterr().err


@pytest.fixture(scope="module")
def exporter():
    return HTMLExporter()


@pytest.mark.parametrize("one", LESSONS, ids=lambda one: one.name)
def test_each_exported_lesson_weighs_little_even_with_the_heaviest_panel(one, exporter):
    """As plain nbconvert writes it, a panel taken to weigh all that one may."""
    book = nbformat.read(ROOT / "notebooks" / one.notebook, as_version=4)
    page, _ = exporter.from_notebook_node(book)
    panels = sum(panel_output(cell) is not None for cell in book.cells)
    assert len(gzip.compress(page.encode())) + panels * MOST_PACKED <= 1_500_000


def test_foreign_notebooks_are_not_run(tmp_path):
    book = lesson("share = 0.8", PANEL, says="VBox(children=...)")
    assert record_notebook(book) == {}
    assert not is_lesson(str(tmp_path))
    assert not is_lesson(None)
    assert not is_lesson("")
    assert is_lesson(str(cells.LESSONS_FOLDER / "beyond"))
