"""A newcomer adds a drafter, a lesson, a panel and an exercise: three files each at most.

In a copy of the project, in the way that the page in `medusa_lib/__init__.py` says.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from refresh import title
from tree import copy_tree, lend_compiled, run_with

from medusa_lib.base.course import BEYOND

LAST = BEYOND[-1]
NAME = f"BEYOND{LAST.number + 1}"
NOTEBOOK = f"notebooks/beyond/{NAME}_echo.ipynb"
PYTHON = Path(sys.executable)
IMPORT = "from medusa_lib.beyond.again import AgainDrafter"


def replace(file: Path, old: str, new: str) -> None:
    """Put `new` in the only place where `old` stands."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def write(file: Path, text: str) -> None:
    file.write_text(text.lstrip("\n"), encoding="utf-8")


def add_drafter(root: Path) -> None:
    beyond = root / "medusa_lib/beyond"
    write(
        beyond / "again.py",
        '''
"""A drafter that bets on the last two tokens again."""

from medusa_lib.beyond.one_pass import Branch, State


class AgainDrafter:
    """Costs nothing, and is right where a text stammers."""

    span = 4

    def propose(self, state: State, span: int) -> Branch:
        """The last two tokens, over and over."""
        return Branch((state.ids[-2:] * span)[:span])
''',
    )
    named, table = beyond / "named_drafters.py", "DRAFTERS: dict[str, Callable[..., Drafter]] = {\n"
    row = '    "again": lambda lm, temperature, top_p, generator: AgainDrafter(),\n'
    replace(
        named, "\nfrom medusa_lib.beyond.branches", f"\n{IMPORT}\nfrom medusa_lib.beyond.branches"
    )
    replace(named, table, table + row)
    controls, names = root / "medusa_lib/teaching/shared/controls.py", "MORE_DRAFTER_NAMES = (\n"
    replace(controls, names, f'{names}    ("the last two tokens", "again"),\n')
    write(
        root / "tests/beyond/test_again.py",
        '''
"""The text is greedy's, and some of the bets are won."""

from drafts import assert_same_as_greedy

from medusa_lib.beyond.named_drafters import DRAFTERS
from medusa_lib.teaching.shared.controls import MORE_DRAFTER_NAMES


def test_it_decodes_by_its_name(lm) -> None:
    assert assert_same_as_greedy(lm, "la la la la", 24, drafter="again") > 0


def test_the_panels_offer_it() -> None:
    assert {name for _, name in MORE_DRAFTER_NAMES} == set(DRAFTERS)
''',
    )


def add_lesson(root: Path) -> None:
    row = '    ("echo", "beyond.echo", "to say the last words once more"),\n'
    end = ")\nLESSONS = "
    replace(root / "medusa_lib/base/course.py", end, row + end)
    write(
        root / "medusa_lib/beyond/echo.py",
        '''
"""A text that says its last words once more."""


def echo(ids: list[int], count: int) -> list[int]:
    """The ids, and the last `count` of them once more."""
    return [*ids, *ids[-count:]]
''',
    )
    previous = f"[{title(LAST)}]({Path(LAST.notebook).name})"
    about = f"← {previous} · about 5 minutes · code: `medusa_lib/beyond/echo.py`"
    where = "from medusa_lib.teaching.shared.page import where_we_are_beyond\n\n"
    cells = [
        new_markdown_cell(f"# {NAME} · Echo\n\n**Goal.** Say something twice.\n\n{about}"),
        new_code_cell(f"{where}where_we_are_beyond({LAST.number + 1})"),
        new_markdown_cell("## Predict\n\nWhat do the ids 1, 2, 3 become with an echo of 2?"),
        new_code_cell("from medusa_lib.beyond.echo import echo\n\nprint(echo([1, 2, 3], 2))"),
        new_markdown_cell("## What can go wrong\n\nAn echo of 0 repeats everything:"),
        new_code_cell("print(echo([1, 2, 3], 0))"),
        new_markdown_cell("## Recap\n\n- Said twice.\n\n**Words learned:** echo."),
    ]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), root / NOTEBOOK)
    write(
        root / "tests/beyond/test_echo.py",
        '''
"""An echo."""

from medusa_lib.beyond.echo import echo


def test_by_hand() -> None:
    assert echo([1, 2, 3], 2) == [1, 2, 3, 2, 3]
''',
    )


def add_cell(notebook: Path, source: str) -> None:
    """Put a cell before the part on what can go wrong."""
    lesson = nbformat.read(notebook, as_version=4)
    lesson.cells.insert(4, new_code_cell(source))
    nbformat.write(lesson, notebook)


def add_panel(root: Path) -> None:
    write(
        root / "medusa_lib/teaching/echo.py",
        '''
"""The echo's room: how sure a choice of two is."""

import torch

from medusa_lib.steps.sampling import softmax_temp
from medusa_lib.teaching.shared.controls import observe, temperature_slider
from medusa_lib.teaching.shared.panel import Panel


class EchoPanel(Panel):
    """A slider for the temperature, above the share of the better of two tokens."""

    def __init__(self) -> None:
        self.temperature = temperature_slider(0.5)
        super().__init__([self.temperature], height="60px")
        observe(self.update, self.temperature)
        self.update()
        self.says = f"Panel: a slider for the temperature. At 0.50 the share is {self.share():.2f}"

    def share(self) -> float:
        """Of the better one of the logits 2 and 1."""
        return float(softmax_temp(torch.tensor([2.0, 1.0]), self.temperature.value)[0])

    def update(self) -> None:
        """Redraw for the slider's value."""
        self.redraw(lambda: f'<p class="says">share: {self.share():.2f}</p>')
''',
    )
    source = "from medusa_lib.teaching.echo import EchoPanel\n\nEchoPanel()"
    add_cell(root / NOTEBOOK, source)
    write(
        root / "tests/teaching/test_echo.py",
        '''
"""The panel draws, follows its slider, and has its text form."""

from panels import move, says

from medusa_lib.teaching.echo import EchoPanel


def test_it_draws_and_follows_its_slider() -> None:
    panel = EchoPanel()
    assert says(panel) == "share: 0.88"
    move(panel, temperature=2.0)
    assert says(panel) == "share: 0.62"
    assert panel.message.value == ""


def test_its_text_form_says_what_it_shows() -> None:
    assert EchoPanel()._repr_mimebundle_()["text/plain"].endswith("At 0.50 the share is 0.88")
''',
    )


def add_exercise(root: Path) -> None:
    write(
        root / "medusa_lib/exercises/echo.py",
        '''
"""The echo's exercise."""

from collections.abc import Callable

from medusa_lib.exercises.grading import check, run_attempt


def check_twice(attempt: Callable) -> str:
    """attempt(ids) → the ids said twice."""

    def verdict(f: Callable) -> str | None:
        answer = run_attempt(f, [1, 2, 3])
        if answer == [1, 1, 2, 2, 3, 3]:
            return "each id was doubled; say the whole once more"
        return None if answer == [1, 2, 3, 1, 2, 3] else f"yours was {answer!r}"

    return check(verdict, attempt)
''',
    )
    importing = "from medusa_lib.exercises.echo import check_twice"
    add_cell(root / NOTEBOOK, f"{importing}\n\nprint(check_twice(twice))")
    add_cell(root / NOTEBOOK, "def twice(ids):\n    return ...")  # above it
    write(
        root / "tests/exercises/test_echo.py",
        '''
"""The grader says what is right, what is wrong, and what was not tried."""

from medusa_lib.exercises.echo import check_twice


def test_it_says_what_is_so() -> None:
    assert check_twice(lambda ids: ids + ids) == "correct"
    assert check_twice(lambda ids: ...).startswith("not attempted yet")
    doubled = check_twice(lambda ids: sorted(ids * 2))
    assert doubled == "not yet: each id was doubled; say the whole once more"
''',
    )


ADDITIONS: tuple[Callable[[Path], None], ...] = (add_drafter, add_lesson, add_panel, add_exercise)


def digests(root: Path) -> dict[str, str]:
    """A digest of each file that is read, not made."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not {"__pycache__", ".pytest_cache"} & set(path.parts)
    }


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The files that are new, gone or other than before."""
    return {name for name, _ in before.items() ^ after.items()}


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> tuple[Path, dict[str, set[str]]]:
    """The copy after all additions, and the files that each of them touched."""
    root, touched = copy_tree(tmp_path_factory.mktemp("copy")), {}
    lend_compiled(root)
    for add in ADDITIONS:
        before = digests(root)
        add(root)
        touched[add.__name__] = changed(before, digests(root))
    before = digests(root)
    for files in ([], [NOTEBOOK]):
        ran = run_with(root, PYTHON, "tests/refresh.py", *files, cwd=root)
        assert ran.returncode == 0, ran.stderr[-3000:]
    touched["refresh"] = changed(before, digests(root))
    return root, touched


@pytest.mark.parametrize("name", [add.__name__ for add in ADDITIONS])
def test_an_addition_touches_three_files_at_most_and_brings_its_test(extended, name) -> None:
    files = extended[1][name]
    tests = {file for file in files if file.startswith("tests/")}
    assert tests
    assert 0 < len(files - tests) <= 3, files


def test_the_command_writes_what_follows_from_the_list_of_lessons(extended) -> None:
    """No more than README's table and the lesson before, which links to the new one."""
    root, touched = extended
    assert touched["refresh"] == {NOTEBOOK, f"notebooks/{LAST.notebook}", "README.md"}
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert f"| [{NAME} echo]({NOTEBOOK}) | to say the last words once more | " in readme


def test_all_of_it_passes_the_projects_own_tests(extended) -> None:
    root, _ = extended
    own = [f"tests/{folder}/test_echo.py" for folder in ("beyond", "teaching", "exercises")]
    common = ["tests/test_layout.py", "tests/base/test_course.py", "tests/test_notebooks.py"]
    which = f"echo or again or {NAME} or layout or every_notebook or (template and {LAST.name})"
    options = ["-q", "-n0", "-rA", "-p", "no:cacheprovider", "-k", which]
    files = ["tests/beyond/test_again.py", *own, *common, NOTEBOOK]
    ran = run_with(root, PYTHON, "-m", "pytest", *options, *files, cwd=root)
    assert ran.returncode == 0, ran.stdout[-5000:]
    passed = re.findall(r"^PASSED (\S+?)::", ran.stdout, re.M)
    assert set(passed) >= set(files), ran.stdout[-5000:]


def test_the_lesson_shows_the_panel_in_words_and_the_exercise_untouched(extended) -> None:
    stored = (extended[0] / NOTEBOOK).read_text(encoding="utf-8")
    assert "Panel: a slider for the temperature. At 0.50 the share is 0.88" in stored
    assert "not attempted yet" in stored
    assert '"grade_id": "check_twice"' in stored


def test_imports_point_down_still_and_a_folder_without_a_floor_is_noticed(extended) -> None:
    root, _ = extended
    command = [PYTHON.with_name("lint-imports"), "--no-cache"]
    ran = run_with(root, *command, cwd=root)
    assert ran.returncode == 0, ran.stdout[-3000:]
    attic = root / "medusa_lib/attic"
    attic.mkdir()
    write(attic / "__init__.py", "")
    ran = run_with(root, *command, cwd=root)
    (attic / "__init__.py").unlink()
    attic.rmdir()
    assert ran.returncode != 0
    assert "attic" in ran.stdout
