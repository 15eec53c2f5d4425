"""How many threads share a pass just now: as many as pay, as measured while decoding.

Threads of one product wait for each other. Where another program takes a core, one of them sleeps
for milliseconds in each of a pass's dozens of products, and the others wait. So small passes are
timed, now with all threads, now with one, and the quicker way is taken for a while. You can skip
this module: no text depends on it, and no lesson on how it works.
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
SLOW = 2.5  # times its usual time, and a pass has probably waited
SOON, LATE = 0.5, 8.0  # seconds until the other way is tried again: at first, at most
TRIES = 3  # passes; their mean speaks for a way
SHARE = 0.02  # of a usual time that a new measurement makes up; a rare wait must not decide


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
class Usual:
    """The mean time of a kind of pass, of which the last fifty or so count most.

    A pass waits now and then also on an idle machine, where two threads happen to share a core;
    all threads may be quicker all the same. The very first pass counts for nothing: it compiles.
    """

    seconds: float = 0.0
    count: int = 0

    def add(self, seconds: float) -> None:
        """Count one more pass."""
        self.count += 1
        self.seconds += max(SHARE, 1 / max(1, self.count - 1)) * (seconds - self.seconds)


@dataclass
class Team:
    """Decides how many threads compute a pass: all, or one.

    usual: the time of a pass by its kind and by whether one thread computes it. alone: one thread
    is the quicker way at the moment. Each trial that changes nothing makes the next come later.
    """

    clock: Callable[[], float] = time.perf_counter
    alone: bool = False
    usual: dict[tuple[object, bool], Usual] = field(default_factory=dict)
    trial: list[float] = field(default_factory=list)
    trying: object = None
    pause: float = 0.0
    due: float = 0.0

    def threads(self) -> int:
        """How many threads compute what is not timed: as the last passes have shown."""
        return 1 if self.alone else all_threads()

    @contextlib.contextmanager
    def sharing(self, kind: object, work: float) -> Iterator[int]:
        """A pass of some kind and some multiplications → its threads; it is timed, if small."""
        most = all_threads()
        if most == 1 or work > SMALL:
            yield most
            return
        alone = self.alone ^ self.tries(kind)
        began = self.clock()
        yield 1 if alone else most
        self.note(kind, alone, self.clock() - began)

    def tries(self, kind: object) -> bool:
        """True if the next pass of this kind is to be computed the other way, to compare."""
        if self.trying is None and self.clock() >= self.due and self.usual_of(kind).count > TRIES:
            self.trying, self.trial = kind, []
        return self.trying == kind

    def usual_of(self, kind: object) -> Usual:
        """What a kind of pass takes the way that all go just now."""
        return self.usual.setdefault((kind, self.alone), Usual())

    def note(self, kind: object, alone: bool, seconds: float) -> None:
        """Note how long a pass took, and go over to the other way if that was clearly quicker."""
        if alone != self.alone:
            self.trial.append(seconds)
            self.judge(kind)
            return
        usual = self.usual_of(kind)
        if seconds > SLOW * usual.seconds and not alone:  # one thread has nobody to wait for
            self.due, self.pause = 0.0, 0.0  # they have waited: try the other way at once
        usual.add(seconds)

    def judge(self, kind: object) -> None:
        """After a trial's pass: go over, wait for its next pass, or stay."""
        mean, usual = sum(self.trial) / len(self.trial), self.usual_of(kind).seconds
        if mean > SLOW * usual or len(self.trial) >= TRIES:
            better = mean < CLEARLY * usual
            if better:  # what the other way once took, at another moment, counts no more
                self.alone, self.usual = not self.alone, {}
            self.pause = SOON if better else min(LATE, max(SOON, 2 * self.pause))
            self.trying, self.due = None, self.clock() + self.pause


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
