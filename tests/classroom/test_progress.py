"""Who has solved what, read from notebooks as learners leave them."""

import csv
import importlib
import inspect
import json
import os
from pathlib import Path

import pytest
from attempted import NOTEBOOKS, STEP3, attempt_in, exercise_cells, read, save, solutions
from drawing import draw
from graded import Graded
from nbformat.v4 import new_code_cell, new_notebook, new_output

from medusa_lib.base.course import LESSONS
from medusa_lib.classroom import __main__ as command
from medusa_lib.classroom import progress
from medusa_lib.classroom.attempts import (
    STATES,
    Attempt,
    course_exercises,
    learner_folders,
    printable,
    read_cells,
    read_learner,
    run_cells,
)
from medusa_lib.exercises.grading import CORRECT, NOT_ATTEMPTED

EXERCISES = course_exercises()
MISTAKE = "the logits were multiplied by the temperature; divide by it"
SAID = {"softmax_by_hand": f"not yet: {MISTAKE}", "standard_nucleus": CORRECT}
RIGHT = {"standard_nucleus": solutions(STEP3)["standard_nucleus_size"]}
EXIT = "import os\nos._exit(1)"
FILE = "notebooks/STEP3_sampling.ipynb"


def step3(folder):
    """STEP3's two attempts of a learner: state, what is wrong, file."""
    found = read_learner("anna", folder, EXERCISES).attempts
    return [(e.state, e.said, e.file) for e in found if e.exercise.lesson == "STEP3"]


def class_of(folder):
    """Three learners: one has begun STEP3, one has touched nothing, one has an empty folder."""
    save(attempt_in(STEP3, {}, SAID), folder / "anna" / FILE)
    save(read(STEP3), folder / "ben" / FILE)
    (folder / "cleo").mkdir()
    return folder


def test_every_exercise_of_the_course_is_known_and_marked_in_its_lesson():
    marked = [
        (lesson.name, name)
        for lesson in LESSONS
        for name in exercise_cells(read(NOTEBOOKS / lesson.notebook))
    ]
    assert [(each.lesson, each.name) for each in EXERCISES] == marked
    assert len(marked) >= 29


def test_the_courses_own_notebooks_are_not_attempted(capsys):
    own = progress.read_progress([NOTEBOOKS])
    assert {each.state for each in own.attempts} == {"not attempted"}
    assert not own.unread
    assert command.main(["progress", str(NOTEBOOKS)]) == 0
    assert f"solved: 0/{len(EXERCISES)}" in capsys.readouterr().out


def graded_classes():
    for each in sorted((Path(__file__).parents[1] / "exercises").glob("test_*.py")):
        module = importlib.import_module(f"exercises.{each.stem}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Graded) and kind is not Graded:
                yield kind


@pytest.mark.parametrize("kind", list(graded_classes()), ids=lambda kind: kind.__name__)
def test_every_known_mistake_of_every_exercise_is_read_as_it_was_said(kind, lm, tmp_path):
    name = kind.check.__name__
    more = {"lm": lm} if "lm" in inspect.signature(kind.check).parameters else {}
    for attempt, state in [(kind.solution, "correct"), *((f, None) for f in kind.wrong.values())]:
        said = kind.check(attempt, **more)
        printed = new_output("stream", name="stdout", text=f"of my own\n{said}\n")
        cell = new_code_cell(f"print({name}(f))", outputs=[printed])
        save(new_notebook(cells=[cell]), tmp_path / "renamed.ipynb")
        found = read_learner("anna", tmp_path, EXERCISES).attempts
        [one] = [each for each in found if each.exercise.name == name.removeprefix("check_")]
        expected = ("correct", "") if state else ("not yet", said.removeprefix("not yet: "))
        assert (one.state, one.said) == expected


def test_a_class_is_a_table_with_the_mistakes_below(tmp_path, capsys):
    assert progress.main([str(class_of(tmp_path))]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "✗✓" in rows["anna"]
    assert rows["anna"].split()[-1] == f"1/{len(EXERCISES)}"
    assert "··" in rows["ben"]
    assert not {"✓", "✗", "·"} & set(rows["cleo"])
    assert "✗ not yet" in out
    assert f"STEP3  softmax_by_hand anna     {MISTAKE}" in out


def test_what_most_learners_have_comes_first():
    one, two = EXERCISES[:2]
    said = [("a", two, "x"), ("a", one, "rare"), ("b", one, "often"), ("c", one, "often")]
    attempts = [Attempt(who, which, "not yet", what) for who, which, what in said]
    assert progress.mistakes(sorted(attempts, key=lambda each: each.exercise is two)) == [
        (one, "often", ["b", "c"]),
        (one, "rare", ["a"]),
        (two, "x", ["a"]),
    ]


def test_csv_has_a_row_for_each_learner_and_exercise(tmp_path):
    target = tmp_path / "table.csv"
    assert progress.main([str(class_of(tmp_path / "all")), "--csv", str(target)]) == 0
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(EXERCISES)
    assert list(rows[0]) == list(progress.COLUMNS)
    assert {row["state"] for row in rows} <= set(STATES)
    [row] = [r for r in rows if (r["learner"], r["exercise"]) == ("anna", "softmax_by_hand")]
    assert (row["state"], row["what is wrong"], row["file"]) == ("not yet", MISTAKE, FILE)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_written(tmp_path, ending):
    target = tmp_path / f"class.{ending}"
    assert progress.main([str(class_of(tmp_path / "all")), "--picture", str(target)]) == 0
    assert target.stat().st_size > 5000


def test_the_picture_tells_states_by_more_than_colour(ax):
    one = EXERCISES[0]
    progress.plot_progress([Attempt(state, one, state) for state in STATES], ax)
    assert ax.get_legend_handles_labels()[1] == [state for state in STATES if state != "missing"]
    shapes = [each.get_paths()[0].vertices.round(3).tolist() for each in ax.collections]
    sizes = [each.get_sizes()[0] for each in ax.collections]
    assert len({(str(shape), size) for shape, size in zip(shapes, sizes, strict=True)}) == 5
    assert [text.get_text() for text in ax.get_yticklabels()] == list(STATES)
    draw(ax)


def test_the_best_of_copies_counts_and_the_table_says_where_it_was_found(tmp_path):
    save(read(STEP3), tmp_path / FILE)
    copy = "notebooks/STEP3_sampling-Copy1.ipynb"
    save(attempt_in(STEP3, {}, SAID), tmp_path / copy)
    assert step3(tmp_path) == [("not yet", MISTAKE, copy), ("correct", "", copy)]


def test_checkpoints_and_hidden_folders_are_passed_over(tmp_path):
    save(read(STEP3), tmp_path / FILE)
    for hidden in (".ipynb_checkpoints/STEP3_sampling-checkpoint.ipynb", ".trash/STEP3.ipynb"):
        save(attempt_in(STEP3, {}, SAID), tmp_path / "notebooks" / hidden)
    assert step3(tmp_path) == [("not attempted", "", FILE)] * 2


BROKEN = {
    "empty": (b"", "is not JSON"),
    "text": (b"<<<<<<< HEAD", "is not JSON"),
    "binary": (b"\x00\xff\xfe", "is not JSON"),
    "deep": (b"[" * 100_000, "is not JSON"),
    "list": (b"[1, 2]", "has no cells"),
    "no cells": (b'{"cells": 5}', "has no cells"),
    "old": (b'{"worksheets": [], "nbformat": 3}', "has no cells"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_notebook_has_its_mark(kind, tmp_path, capsys):
    content, why = BROKEN[kind]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / FILE).write_bytes(content)
    assert [state for state, *_ in step3(tmp_path)] == ["unreadable"] * 2
    assert progress.main([str(tmp_path)]) == 0
    assert f"! {tmp_path.name}: {FILE} {why}" in capsys.readouterr().out


def test_what_is_no_plain_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "STEP3_sampling.ipynb")
    (tmp_path / "STEP4_drafter.ipynb").symlink_to(tmp_path / "gone")
    (tmp_path / "STEP5_prefix_accept.ipynb").mkdir()
    found = read_learner("anna", tmp_path, EXERCISES)
    assert [each.why for each in found.unread] == ["is no file"] * 2
    with pytest.raises(ValueError, match="is no file"):
        read_cells(tmp_path)


@pytest.mark.parametrize(
    "cell",
    [
        {},
        {"source": 5, "outputs": "x", "metadata": []},
        {"source": ["print(check_alpha(f))"], "outputs": [5, {"output_type": "stream"}]},
        {"source": "check_alpha(f)", "outputs": [{"output_type": "execute_result", "data": []}]},
        {"metadata": {"nbgrader": {"grade_id": 7}}},
    ],
)
def test_cells_that_no_notebook_has_raise_nothing(cell, tmp_path):
    text = json.dumps({"cells": ["x", {"cell_type": "code", **cell}]})
    (tmp_path / "odd.ipynb").write_text(text)
    states = {each.state for each in read_learner("anna", tmp_path, EXERCISES).attempts}
    assert states <= {"missing", "not run"}


def outputs_of(tmp_path, *outputs, source="print(check_alpha(alpha))", **more):
    """State and mistake of one exercise whose check has these outputs."""
    save(
        new_notebook(cells=[new_code_cell(source, outputs=list(outputs), **more)]),
        tmp_path / "a.ipynb",
    )
    found = read_learner("anna", tmp_path, EXERCISES).attempts
    return [(each.state, each.said) for each in found if each.exercise.name == "alpha"][0]


def test_half_run_changed_and_failed_cells(tmp_path):
    def printed(text):
        return new_output("stream", name="stdout", text=text)

    error = new_output("error", ename="NameError", evalue="name 'alpha' is not defined")
    failed = ("not yet", "the cell raised NameError: name 'alpha' is not defined")
    value = new_output("execute_result", {"text/plain": "'not yet: too low'"})
    assert outputs_of(tmp_path) == ("not run", "")
    assert outputs_of(tmp_path, error) == failed
    assert outputs_of(tmp_path, printed("correct\n"), error) == failed
    assert outputs_of(tmp_path, printed("correct\nnot yet: no\n")) == ("not yet", "no")
    assert outputs_of(tmp_path, printed("correct?\n")) == ("not run", "")
    assert outputs_of(tmp_path, value, source="check_alpha(alpha)") == ("not yet", "too low")
    assert outputs_of(tmp_path, printed("not attempted yet: an older text\n"))[0] == "not attempted"
    mark = {"nbgrader": {"grade_id": "check_alpha"}}
    assert outputs_of(tmp_path, printed("correct\n"), source="x", metadata=mark)[0] == "correct"
    refused = new_output("error", ename="NoPointsError", evalue=NOT_ATTEMPTED)
    assert outputs_of(tmp_path, refused) == ("not attempted", "")  # as nbgrader stores it


def test_two_checks_in_one_cell_have_their_reports_in_turn(tmp_path):
    printed = new_output("stream", name="stdout", text="mine\nnot yet: no\ncorrect\n")
    both = "print(check_loop_passes(f))\nprint(check_alpha(g))"
    assert outputs_of(tmp_path, printed, source=both) == ("correct", "")


def test_a_stub_that_ran_after_its_check_is_not_judged_by_it(tmp_path):
    notebook = attempt_in(STEP3, {}, SAID)
    stub, check = exercise_cells(notebook)["standard_nucleus"]
    stub.execution_count = check.execution_count + 1
    save(notebook, tmp_path / FILE)
    assert step3(tmp_path)[1] == ("not run", "its stub ran again after it", FILE)


def test_who_a_learner_is(tmp_path):
    for name in ("hub/anna/notebooks", "hub/ben/STEP", "hub/.lock", "other/anna/beyond", "lone"):
        (tmp_path / name).mkdir(parents=True)
    save(read(STEP3), tmp_path / "lone" / "x.ipynb")

    def names(*given):
        return [name for name, _ in learner_folders([tmp_path / each for each in given])]

    assert names("hub") == ["anna", "ben"]
    assert names("hub/anna") == names("hub/anna/notebooks") == ["anna"]
    assert names("lone", "other/anna") == ["lone", "anna"]
    assert names("hub", "other") == ["hub/anna", "ben", "other/anna"]


def test_names_and_mistakes_cannot_steer_the_terminal(tmp_path, capsys):
    assert printable("a\x1b[31m\nb\udcff") == "a\\x1b[31m\\nb\\udcff"
    for name in ("an[red]na\x1b[2J", os.fsdecode(b"be\xff")):
        text = {"softmax_by_hand": "not yet: \x1b[31m[bold]x"}
        save(attempt_in(STEP3, {}, text), tmp_path / "all" / name / FILE)
    files = ["--csv", str(tmp_path / "c.csv"), "--picture", str(tmp_path / "p.png")]
    assert progress.main([str(tmp_path / "all"), *files]) == 0
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert "\x1b[2J" not in out
    assert "an[red]na\\x1b[2J" in out


def test_errors_take_a_line(tmp_path, capsys):
    assert progress.main([str(tmp_path / "none")]) == 1
    assert progress.main([str(tmp_path)]) == 1
    assert progress.main([str(NOTEBOOKS), "--csv", str(tmp_path / "no" / "x.csv")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize("bad", [["--picture", "x.docx"], ["--seconds", "0"], ["--seconds", "x"]])
def test_a_bad_option_is_refused_before_anything_is_read(bad, capsys):
    with pytest.raises(SystemExit):
        progress.main(["nowhere", *bad])
    assert bad[1] in capsys.readouterr().err


def test_run_anew_tells_what_is_so_now_and_changes_no_file(tmp_path, capfd):
    """The stored outputs say the contrary."""
    said = {"softmax_by_hand": CORRECT, "standard_nucleus": "not yet: x"}
    notebook = attempt_in(STEP3, {"softmax_by_hand": "return [1.0]", **RIGHT}, said)
    cells = [cell for pair in exercise_cells(notebook).values() for cell in pair]
    notebook.cells = [*cells, new_code_cell("open('left behind', 'w').close()")]
    path = save(notebook, tmp_path / "anna" / FILE)
    before = path.read_bytes()
    assert progress.main([str(tmp_path), "--run"]) == 0
    out, err = capfd.readouterr()
    assert "return a list of 3 probabilities, yours was [1.0]" in out
    assert "solved: 1/" in out
    assert err == ""
    assert path.read_bytes() == before
    assert not list(tmp_path.rglob("left behind"))


ENDLESS = """
import time
while True:
    try:
        time.sleep(99)
    except BaseException:
        pass
"""


def test_cells_that_hang_or_kill_their_kernel_end(tmp_path, capfd):
    """The checks are pretended ones, so that kernels start in no time."""
    pretend = "check_softmax_by_hand = check_standard_nucleus = lambda f: 'correct'"
    for name, code in {"anna": ENDLESS, "ben": "while True: pass", "cleo": EXIT}.items():
        calls = [f"{code}\nprint(check_softmax_by_hand(1))", "print(check_standard_nucleus(1))"]
        cells = [new_code_cell(source) for source in (pretend, *calls)]
        save(new_notebook(cells=cells), tmp_path / name / FILE)
    assert progress.main([str(tmp_path), "--run", "--seconds", "3"]) == 0
    out, err = capfd.readouterr()
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "✗✗" in rows["anna"]  # nothing interrupts it
    assert "✗✓" in rows["ben"]
    assert "??" in rows["cleo"]
    assert "the cell raised TimeoutError: no answer within 3 s" in out
    assert f"! cleo: {FILE} stopped: DeadKernelError" in out
    assert err == ""


def test_cells_without_metadata_or_source_can_be_run(tmp_path):
    assert run_cells([{}, {"source": 5, "metadata": [1]}], tmp_path, 20)[1] == ""


def test_what_comes_after_the_last_check_is_not_run(tmp_path):
    [cell], stopped = run_cells([new_code_cell("open('left behind', 'w').close()")], tmp_path, 20)
    assert (cell.outputs, stopped) == ([], "")
    assert not list(tmp_path.iterdir())
