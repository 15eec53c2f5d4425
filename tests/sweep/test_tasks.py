"""Tasks by key: done once, kept, resumed; failures are noted and tried again."""

from __future__ import annotations

from itertools import count, islice

import pytest

from medusa_lib.sweep.tasks import (
    Failure,
    InMemory,
    Task,
    TaskCounts,
    TaskError,
    attempt,
    in_process,
    run_tasks,
)


def tasks(*numbers):
    return [Task(str(n), n) for n in numbers]


def test_each_task_is_done_once_and_kept() -> None:
    keeper, asked = InMemory(), []

    def double(n):
        asked.append(n)
        return 2 * n

    assert run_tasks(double, tasks(1, 2, 1), keeper) == TaskCounts(made=2, known=1)
    assert run_tasks(double, tasks(2, 3), keeper) == TaskCounts(made=1, known=1)
    assert keeper.made == {"1": 2, "2": 4, "3": 6}
    assert asked == [1, 2, 3]


def test_tasks_are_read_as_they_are_needed_and_it_stops_when_asked() -> None:
    keeper, read = InMemory(), []
    endless = (read.append(n) or Task(str(n), n) for n in count())
    tally = run_tasks(abs, endless, keeper, stopped=lambda: len(keeper.made) == 3)
    assert tally == TaskCounts(made=3, stopped=True)
    assert read == [0, 1, 2]


def test_a_failure_is_noted_and_tried_again() -> None:
    keeper, seen = InMemory(), []
    tally = run_tasks(lambda n: 1 // n, tasks(0, 1), keeper, on_task=lambda t: seen.append(t.seen))
    assert tally.failures == ["ZeroDivisionError: integer division or modulo by zero"]
    assert (seen, list(keeper.made)) == ([1, 2], ["1"])
    with pytest.raises(TaskError, match="1 tasks failed, the first: ZeroDivisionError"):
        tally.check()
    assert run_tasks(lambda n: n, tasks(0, 1), keeper).check() == TaskCounts(made=1, known=1)


def test_a_runner_may_answer_in_any_order() -> None:
    def backwards(do, given):
        yield from reversed([attempt(do, task) for task in given])

    keeper = InMemory()
    run_tasks(abs, tasks(-1, -2), keeper, backwards)
    assert keeper.made == {"-2": 2, "-1": 1}


def test_in_process_is_lazy() -> None:
    assert list(islice(in_process(abs, (Task("", -n) for n in count())), 2)) == [("", 0), ("", 1)]
    assert attempt(len, Task("a", 3)) == (
        "a",
        Failure("TypeError: object of type 'int' has no len()"),
    )
