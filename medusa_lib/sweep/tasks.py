"""Pieces of work by key: what is done is kept and never done again, wherever it is done.

Three use it: sweeps, the numerics of the bench, and the texts from which heads learn. A runner
says where the work is done, in this process or on a cluster; a keeper says where what was made
stays. Neither knows the other.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """One piece of work: the key that it is known by for good, and what is asked."""

    key: str
    asked: object


@dataclass(frozen=True)
class Failure:
    """What an attempt said that made nothing; it is not kept, so it will be tried again."""

    said: str


class TaskError(RuntimeError):
    """Tasks failed that all had to be done."""


class Keeper(Protocol):
    """Where what was made stays."""

    def has(self, key: str) -> bool:
        """True if the work of that key is done."""

    def keep(self, key: str, made: object) -> None:
        """Keep what was made."""


Do = Callable[[object], object]  # what is asked → what is made; picklable where it travels
Made = tuple[str, object]  # a task's key, and what was made or a Failure
Runner = Callable[[Do, Iterable[Task]], Iterator[Made]]  # in any order


@dataclass
class InMemory:
    """A keeper for one process: `made` by key."""

    made: dict[str, object] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        """True if the work of that key is done."""
        return key in self.made

    def keep(self, key: str, made: object) -> None:
        """Keep what was made."""
        self.made[key] = made

    def rows(self) -> dict[str, object]:
        """What was made, by key."""
        return self.made


@dataclass
class TaskCounts:
    """How a run went: tasks made now, known before, and what the failed ones said.

    stopped: it was asked to stop before its end.
    """

    made: int = 0
    known: int = 0
    failures: list[str] = field(default_factory=list)
    stopped: bool = False

    @property
    def seen(self) -> int:
        """Tasks that are over, in whichever way."""
        return self.made + self.known + len(self.failures)

    def check(self) -> TaskCounts:
        """Itself. Raises TaskError with the first failure if there is one."""
        if self.failures:
            raise TaskError(f"{len(self.failures)} tasks failed, the first: {self.failures[0]}")
        return self


def attempt(do: Do, task: Task) -> Made:
    """Do one task → (its key, what was made or a Failure)."""
    try:
        return task.key, do(task.asked)
    except Exception as error:  # one bad task must not end a million others
        return task.key, Failure(f"{type(error).__name__}: {error}")


def in_process(do: Do, tasks: Iterable[Task]) -> Iterator[Made]:
    """The runner that does everything here, one after the other."""
    for task in tasks:
        yield attempt(do, task)


def run_tasks(
    do: Do,
    tasks: Iterable[Task],
    keeper: Keeper,
    runner: Runner = in_process,
    on_task: Callable[[TaskCounts], object] = lambda tally: None,
    stopped: Callable[[], bool] = lambda: False,
) -> TaskCounts:
    """Do each task that the keeper does not have, and keep what it makes.

    tasks may be endless in number: they are read as they are needed. on_task(tally) is called
    after each; what `stopped` says is asked after each.
    """
    tally, claimed = TaskCounts(), set()

    def missing() -> Iterator[Task]:
        for task in tasks:
            if keeper.has(task.key) or task.key in claimed:
                tally.known += 1
            else:
                claimed.add(task.key)
                yield task

    with contextlib.closing(runner(do, missing())) as made:
        for key, result in made:
            keep_or_note(key, result, keeper, tally)
            claimed.discard(key)
            on_task(tally)
            if stopped():
                tally.stopped = True
                break
    return tally


def keep_or_note(key: str, result: object, keeper: Keeper, tally: TaskCounts) -> None:
    """Keep a result, or note its failure."""
    if isinstance(result, Failure):
        tally.failures.append(result.said)
    else:
        keeper.keep(key, result)
        tally.made += 1


@contextlib.contextmanager
def catch_interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that the running step ends whole; a second one raises.

    A step torn in two could not be resumed exactly.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals reach the main thread only
        return

    def on_signal(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
