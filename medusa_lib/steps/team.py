"""How many threads share a pass just now: as many as pay, as measured while decoding.

Threads of one pass wait for each other. Where another program takes a core, one of them sleeps for
milliseconds in many of the pass's dozens of steps, and the others wait. So small passes are
timed, now with all threads, now with one, and the quicker way is taken for a while. While one
thread has to wait for its core, all are not tried: that would take a hundred times as long. You
can skip this module: no text depends on it, and no lesson on how it works.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from medusa_lib.steps.model import LM

SMALL = 1e9  # multiplications in a pass; one thread needs about a tenth of a second for them
CLEARLY = 0.9  # of the other way's time, to be taken
CHANGED = 1.5  # times as slow, or as quick, as when last compared: so compare again at once
SOON, LATE = 0.25, 8.0  # seconds from one trial of the other way to the next: at first, at most
WINDOW = 0.03  # seconds of passes that are compared: ten turns of two programs on one core
TRIES = 3  # passes at least
KINDS = 500  # of passes, that are remembered
OURS = 0.9  # of a pass that one thread spent computing, not waiting for a core


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def all_threads() -> int:
    """The most threads that a pass takes: those that torch was told, but one a core."""
    return min(torch.get_num_threads(), CORES)


CORES = cores()


@dataclass
class Quickest:
    """The least seconds that a kind of pass took; the first one compiles and does not count."""

    seconds: float = 0.0
    count: int = -1

    def add(self, seconds: float) -> None:
        """Count one more pass."""
        self.count += 1
        if self.count > 0:
            self.seconds = seconds if self.count == 1 else min(seconds, self.seconds)


@dataclass
class Window:
    """Some passes in a row: how many, their seconds, and the least that they could take.

    computed: the seconds that the calling thread computed; it may have waited for its core.
    """

    count: int = 0
    seconds: float = 0.0
    computed: float = 0.0
    least: float = 0.0

    def add(self, seconds: float, computed: float, least: float) -> None:
        """Count one more pass."""
        self.count += 1
        self.seconds += seconds
        self.computed += computed
        self.least += least

    @property
    def slowness(self) -> float:
        """How many times the least that they could take, so that kinds of passes may be mixed."""
        return self.seconds / max(self.least, 1e-9)

    def lasts(self, seconds: float) -> bool:
        """True if there were enough passes: two threads have luck for a few milliseconds."""
        return self.count >= TRIES and self.seconds >= seconds


@dataclass
class Team:
    """Decides how many threads compute a pass: all, or one.

    quickest: of each kind of pass. alone: one thread is the quicker way at the moment. window: the
    last passes; trial: those of the other way, to compare. slowness: when last compared. Each trial
    that changes nothing makes the next come later.
    """

    clock: Callable[[], float] = time.perf_counter
    computed: Callable[[], float] = time.thread_time
    alone: bool = False
    quickest: dict[object, Quickest] = field(default_factory=dict)
    window: Window = field(default_factory=Window)
    trial: Window | None = None
    slowness: float = 0.0
    pause: float = SOON
    tried: float = -LATE

    def threads(self) -> int:
        """How many threads compute what is not timed: as the last passes have shown."""
        return 1 if self.alone else all_threads()

    @contextlib.contextmanager
    def sharing(self, kind: object, work: float) -> Iterator[int]:
        """A pass of some kind and some multiplications → its threads; it is timed, if small."""
        threads, began = self.begin(work)
        yield threads
        self.end(kind, began)

    def begin(self, work: float) -> tuple[int, tuple[float, float] | None]:
        """A pass of some multiplications → its threads, and what `end` asks for."""
        most = all_threads()
        if most == 1 or work > SMALL:
            return most, None
        alone = self.alone ^ (self.trial is not None)
        return 1 if alone else most, (self.clock(), self.computed())

    def end(self, kind: object, began: tuple[float, float] | None) -> None:
        """After a pass of some kind: note how long it took, if it was small."""
        if began is not None:
            self.note(kind, self.clock() - began[0], self.computed() - began[1])

    def note(self, kind: object, seconds: float, computed: float) -> None:
        """Note how long a pass took, and compare both ways now and then."""
        quickest, trial = self.quickest.get(kind), self.trial
        if quickest is None:
            if len(self.quickest) >= KINDS:  # of models that are no more, mostly
                self.quickest.clear()
            quickest = self.quickest.setdefault(kind, Quickest())
        quickest.add(seconds)
        if quickest.count <= TRIES:  # what is not known yet is not compared
            return
        (trial or self.window).add(seconds, computed, quickest.seconds)
        if trial is not None:  # as it was: another caller's pass may have ended it meanwhile
            self.judge(trial)
        elif self.window.lasts(SOON if self.alone else WINDOW):
            if self.is_due():
                self.trial = Window()
            else:
                self.window = Window()

    def is_due(self) -> bool:
        """True if the other way is to be tried: it is long since, or the machine has changed.

        Not while one thread has to wait for its core: all of them would wait for each other.
        """
        if self.alone and self.window.computed < OURS * self.window.seconds:
            return False
        change = self.window.slowness / max(self.slowness, 1e-9)
        changed = not 1 / CHANGED < change < CHANGED
        return self.clock() - self.tried >= (SOON if changed else self.pause)

    def judge(self, trial: Window) -> None:
        """After a trial's pass: go over to the other way, wait for the next pass, or stay."""
        now = self.window.slowness
        enough = trial.count >= TRIES or trial.seconds >= WINDOW
        if trial.lasts(WINDOW) or (enough and trial.slowness > 2 * now):
            better = trial.slowness < CLEARLY * now
            self.alone ^= better
            self.slowness = min(trial.slowness, now) if better else now
            self.pause = SOON if better else min(LATE, 2 * self.pause)
            self.window, self.trial, self.tried = Window(), None, self.clock()


PASSES, LOOPS = Team(), Team()  # of models by torch, and of the engine's loops


@contextlib.contextmanager
def few_threads(lm: LM, count: int) -> Iterator[None]:
    """Compute a pass over `count` tokens by as many of torch's threads as pay.

    Afterwards it has as many as before. Elsewhere than on a processor nothing happens.
    """
    if lm.device.type != "cpu":
        yield
        return
    if "numbers" not in lm.kept:
        lm.kept["numbers"] = sum(weight.numel() for weight in lm.model.parameters())
    before, kind = torch.get_num_threads(), (id(lm.model), count.bit_length())
    with PASSES.sharing(kind, count * lm.kept["numbers"]) as threads:
        if threads == before:
            yield
            return
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
