"""nbgrader grades the course as it is: the commands that a teacher types, on real lessons."""

import importlib
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import refresh
from attempted import NOTEBOOKS, STEP3, attempt_in, exercise_cells, read, save, solutions
from traitlets.config import PyFileConfigLoader
from tree import ROOT, run_with

from medusa_lib.base.course import LESSONS
from medusa_lib.classroom import __main__ as command
from medusa_lib.classroom import nbgrader_course
from medusa_lib.classroom.attempts import course_exercises, read_learner
from medusa_lib.exercises.grading import NOT_ATTEMPTED
from medusa_lib.exercises.sampling import check_softmax_by_hand

REASON = "needs pip install -e '.[class]'"
MULTIPLIED = """weights = [math.exp(z * temperature) for z in logits]
return [weight / sum(weights) for weight in weights]"""
WARNS = "\n    import warnings\n    warnings.warn('not my fault')\n"
NO_EXERCISE = "STEP0_device"
TESTED = "STEP3_sampling"


@pytest.fixture(scope="module")
def nbgrader():
    """nbgrader's own modules; they need its programs on the path, and so does the test."""
    pytest.importorskip("nbgrader", reason=REASON)
    names = {
        "Gradebook": "nbgrader.api",
        "NbGraderAPI": "nbgrader.apps",
        "MetadataValidator": "nbgrader.nbgraderformat",
    }
    parts = {name: getattr(importlib.import_module(at), name) for name, at in names.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        yield SimpleNamespace(**parts)


def attempted(kind):
    """STEP3 as a learner hands it in; what warns must cost nothing."""
    right = {name.replace("_size", ""): code for name, code in solutions(STEP3).items()}
    right["softmax_by_hand"] = right["softmax_by_hand"].replace("\n", WARNS, 1)
    attempts = {
        "solved": right,
        "wrong": right | {"softmax_by_hand": MULTIPLIED},
        "deleted": right,
    }
    notebook = attempt_in(STEP3, attempts.get(kind, {}))
    _, check = exercise_cells(notebook)["softmax_by_hand"]
    if kind == "cheat":
        check.source = "print('correct')"
    if kind == "deleted":
        notebook.cells.remove(check)
    return notebook


def exercises_alone(kind):
    """The same without the lesson around the exercises, which takes its time."""
    notebook = attempted(kind)
    notebook.cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    return notebook


LEARNERS = dict.fromkeys(("solved", "untouched"), attempted)
LEARNERS |= dict.fromkeys(("wrong", "cheat", "deleted"), exercises_alone)


def teacher(course, *words):
    """A command of nbgrader, typed in the course's folder; it must not fail."""
    ran = run_with(ROOT, sys.executable, "-m", "nbgrader", *words, cwd=course)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout + ran.stderr


def api_of(nbgrader, course):
    """nbgrader's own API with a course's settings: what its commands do, without their starts."""
    settings = PyFileConfigLoader("nbgrader_config.py", str(course)).load_config()
    settings.CourseDirectory.root = str(course)
    return nbgrader.NbGraderAPI(config=settings)


def done(made):
    """It must not have failed."""
    assert made["success"], made["log"][-3000:]


@pytest.fixture(scope="module")
def course(nbgrader, tmp_path_factory):
    """A course with STEP3 handed in by all kinds of learners, and a lesson without exercises."""
    course = tmp_path_factory.mktemp("course")
    for kind, made in LEARNERS.items():
        save(made(kind), course / "hub" / kind / "notebooks" / f"{TESTED}.ipynb")
    arguments = [str(course), "--lessons", str(NOTEBOOKS), "--learners", str(course / "hub")]
    assert command.main(["nbgrader", *arguments]) == 0
    for folder in ("source", "submitted/solved"):
        name = f"{NO_EXERCISE}.ipynb"
        save(read(NOTEBOOKS / name), course / folder / NO_EXERCISE / name)
    teacher(course, "generate_assignment", TESTED)
    return course


@pytest.fixture(scope="module")
def graded(nbgrader, course):
    """The same course after autograding."""
    teacher(course, "autograde", TESTED)
    api = api_of(nbgrader, course)
    done(api.generate_assignment(NO_EXERCISE))
    done(api.autograde(NO_EXERCISE, "solved"))
    return course


def scores(nbgrader, course, lesson):
    """Learner → points by grade id."""
    with nbgrader.Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        return {
            one.student_id: {g.name: g.score for n in one.notebooks for g in n.grades}
            for one in book.find_assignment(lesson).submissions
        }


def test_a_solved_a_wrong_and_an_untouched_copy_get_their_points(nbgrader, graded):
    both = ("check_softmax_by_hand", "check_standard_nucleus")
    expected = {"solved": (1, 1), "wrong": (0, 1), "untouched": (0, 0)}
    # A check that a learner changed or deleted is nbgrader's own again.
    expected |= {"cheat": (0, 0), "deleted": (1, 1)}
    found = scores(nbgrader, graded, TESTED)
    assert found == {who: dict(zip(both, points, strict=True)) for who, points in expected.items()}


def test_nobody_has_to_be_graded_by_hand(nbgrader, graded):
    with nbgrader.Gradebook(f"sqlite:///{graded}/gradebook.db") as book:
        for one in book.find_assignment(TESTED).submissions:
            assert not one.needs_manual_grade
            assert one.max_score == 2


def test_a_lesson_without_exercises_is_worth_nothing_and_does_no_harm(nbgrader, graded):
    assert scores(nbgrader, graded, NO_EXERCISE) == {"solved": {}}


def test_every_cell_of_a_graded_notebook_has_run(graded):
    """An exercise that is not solved stops nothing."""
    notebook = read(graded / "autograded" / "untouched" / TESTED / f"{TESTED}.ipynb")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    errors = [o for cell in code for o in cell.outputs if o.output_type == "error"]
    assert [(e.ename, e.traceback) for e in errors] == [("NoPointsError", [NOT_ATTEMPTED])] * 2


def test_feedback_names_the_mistake_and_shows_no_line_of_a_grader(graded):
    teacher(graded, "generate_feedback", TESTED)
    page = (graded / "feedback" / "wrong" / TESTED / f"{TESTED}.html").read_text(encoding="utf-8")
    assert "the logits were multiplied by the temperature; divide by it" in page
    assert "grading.py" not in page


def test_progress_reads_what_nbgrader_has_graded(graded):
    for who, states in {
        "solved": ["correct", "correct"],
        "wrong": ["not yet", "correct"],
        "untouched": ["not attempted"] * 2,
    }.items():
        found = read_learner(who, graded / "autograded" / who, course_exercises()).attempts
        assert [each.state for each in found if each.state != "missing"] == states


def test_what_learners_get_has_hints_and_stubs_and_no_solution(course):
    released, own = read(course / "release" / TESTED / f"{TESTED}.ipynb"), read(STEP3)
    text = "\n".join(cell.source for cell in released.cells)
    assert "<summary>Hint</summary>" in text
    assert "<summary>Solution</summary>" not in text
    assert "def softmax_by_hand(logits, temperature):\n    return ..." in text
    assert len(released.cells) == len(own.cells)
    assert [c.source for c in released.cells if c.cell_type == "code"] == [
        c.source for c in own.cells if c.cell_type == "code"
    ]


def test_a_teacher_may_keep_the_solutions(nbgrader, course, tmp_path):
    settings = course / "nbgrader_config.py"
    text = settings.read_text(encoding="utf-8")
    assert text.count("c.LeaveOutSolutions.enabled = True") == 1
    changed = text.replace("LeaveOutSolutions.enabled = True", "LeaveOutSolutions.enabled = False")
    (tmp_path / settings.name).write_text(changed, encoding="utf-8")
    save(read(STEP3), tmp_path / "source" / TESTED / f"{TESTED}.ipynb")
    done(api_of(nbgrader, tmp_path).generate_assignment(TESTED))
    released = (tmp_path / "release" / TESTED / f"{TESTED}.ipynb").read_text(encoding="utf-8")
    assert "<summary>Solution</summary>" in released


def test_validate_says_what_is_wrong(course, tmp_path):
    kinds = ("solved", "wrong", "untouched")
    files = [str(save(exercises_alone(kind), tmp_path / f"{kind}.ipynb")) for kind in kinds]
    said = teacher(course, "validate", *files)
    solved, wrong, untouched = re.split(r"(?m)^(?=Success!|VALIDATION FAILED)", said)[1:]
    assert "Success! Your notebook passes all the tests." in solved
    assert "VALIDATION FAILED ON 1 CELL(S)" in wrong
    assert "not yet: the logits were multiplied" in wrong
    assert "VALIDATION FAILED ON 2 CELL(S)" in untouched
    assert untouched.count("not attempted yet") == 2


def test_assignments_of_the_whole_course_are_generated(nbgrader, course):
    interface = api_of(nbgrader, course)
    worth = {}
    for name in sorted(os.listdir(course / "source")):
        done(interface.generate_assignment(name))
        released = read(course / "release" / name / f"{name}.ipynb")
        for _, check in exercise_cells(released).values():
            worth[name] = worth.get(name, 0) + check.metadata.nbgrader.points
        assert "<summary>Solution" not in "".join(cell.source for cell in released.cells)
    expected = [each.notebook for each in course_exercises()]
    assert worth == {name: expected.count(name) for name in set(expected)}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_exercise_has_its_metadata(lesson):
    """Also without nbgrader: stable names, one point, a stub above its check."""
    notebook = read(NOTEBOOKS / lesson.notebook)
    before = [cell.metadata for cell in notebook.cells]
    refresh.mark_exercises(notebook)
    assert [cell.metadata for cell in notebook.cells] == before
    names = [each.name for each in course_exercises() if each.lesson == lesson.name]
    pairs = exercise_cells(notebook)
    assert list(pairs) == names
    for name, (stub, check) in pairs.items():
        assert refresh.STUB.search(stub.source)
        assert check.source.endswith(")")
        assert re.search(rf"^print\(check_{name}\(", check.source, re.M)
        assert notebook.cells.index(check) == notebook.cells.index(stub) + 1


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_learners_who_do_not_use_it_see_no_trace(lesson):
    notebook = read(NOTEBOOKS / lesson.notebook)
    text = "\n".join(cell.source for cell in notebook.cells).lower()
    assert not re.search(r"nbgrader|(begin|end) solution", text)
    for cell in notebook.cells:
        assert not {"deletable", "editable"} & set(cell.metadata)


def test_nbgraders_own_validator_takes_the_metadata(nbgrader):
    for lesson in LESSONS:
        nbgrader.MetadataValidator().validate_nb(read(NOTEBOOKS / lesson.notebook))


def test_a_check_raises_under_nbgrader_only(monkeypatch, capsys):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)

    def warns(logits, temperature):
        print("a warning", file=sys.stderr)
        return ...

    assert check_softmax_by_hand(warns) == NOT_ATTEMPTED
    assert capsys.readouterr() == ("", "a warning\n")
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(Exception, match="not attempted yet") as raised:
        check_softmax_by_hand(warns)
    assert type(raised.value).__name__ == "NoPointsError"
    assert capsys.readouterr() == ("a warning\n", "")  # nbgrader takes stderr for a failure


def test_a_course_is_made_once_and_a_teachers_changes_stay(tmp_path):
    new = nbgrader_course.make_course(tmp_path, NOTEBOOKS)
    assert len(new) == len({each.notebook for each in course_exercises()}) + 1
    settings = tmp_path / "nbgrader_config.py"
    settings.write_text("# mine", encoding="utf-8")
    new[0].unlink()
    assert nbgrader_course.make_course(tmp_path, NOTEBOOKS) == new[:1]
    assert settings.read_text(encoding="utf-8") == "# mine"


def test_a_missing_lesson_is_named(tmp_path, capsys):
    assert command.main(["nbgrader", str(tmp_path), "--lessons", str(tmp_path)]) == 1
    assert "got none named STEP2_utilities" in capsys.readouterr().err


def test_collecting_takes_the_lessons_own_file_or_else_the_newest_copy(tmp_path):
    hub, course = tmp_path / "hub", tmp_path / "course"
    lesson, copy, older = (
        save(attempt_in(STEP3, {"softmax_by_hand": f"return {i}"}), hub / "anna" / name)
        for i, name in enumerate(("STEP3_sampling.ipynb", "a/STEP3 (1).ipynb", "a/mine.ipynb"))
    )
    (hub / "anna" / "STEP4_drafter.ipynb").write_text("no notebook")
    os.utime(older, (1e9, 1e9))
    [got] = nbgrader_course.collect(course, [hub])
    assert got == course / "submitted" / "anna" / TESTED / f"{TESTED}.ipynb"
    assert got.read_bytes() == lesson.read_bytes()
    lesson.unlink()
    os.utime(copy, (2e9, 2e9))
    nbgrader_course.collect(course, [hub])
    assert got.read_bytes() == copy.read_bytes()
    stamp = got.with_name("timestamp.txt").read_text(encoding="utf-8")
    assert stamp == "2033-05-18 03:33:20.000000 UTC\n"
    assert nbformat.read(got, 4)
