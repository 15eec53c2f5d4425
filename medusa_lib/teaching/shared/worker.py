"""Work of more than a moment on a thread, which can be cancelled and is overtaken by newer work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from medusa_lib.base.checks import checked
from medusa_lib.steps.model import LM

SETTING_THREADS = threading.Lock()  # their number is one for the whole process, see compute_with
SMALL_MODEL = 20_000_000  # parameters; a larger one gains from several threads wherever it runs


class StoppedError(Exception):
    """A run ended before its time; the text, if any, says so."""


@checked
def threads_beside(lm: LM) -> int | None:
    """How many threads a job beside the cells should compute with: 1, or None for PyTorch's own.

    The cells' threads already fill the processor. A second team of them sleeps and wakes at every
    small product, so that a small model takes several times as long as with one thread.
    """
    return 1 if sum(p.numel() for p in lm.model.parameters()) < SMALL_MODEL else None


def elsewhere(call: Callable[..., object], *given: object) -> object:
    """What a call returns in a thread of its own, which ends with it."""
    returned: list[object] = []
    other = threading.Thread(target=lambda: returned.append(call(*given)))
    other.start()
    other.join()
    return returned[0]


def compute_with(threads: int | None) -> None:
    """Let PyTorch compute with so many threads in the thread that asks; None: as in a new one.

    set_num_threads also sets what threads begin with that are made later. So another thread gives
    that number back at once.
    """
    with SETTING_THREADS:
        usual, own = elsewhere(torch.get_num_threads), torch.get_num_threads()
        if own != (threads or usual):
            torch.set_num_threads(threads or usual)
            elsewhere(torch.set_num_threads, usual)


class Worker:
    """Runs the newest job on a thread; a newer job, or cancel(), overtakes the one that runs.

    A job is called with an Event and must stop soon after it is set. threads: that PyTorch
    computes with in a job, see threads_beside; the cells' own number stays as it is.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._lock = threading.Lock()  # callbacks may come on any thread
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """True while a job runs or waits to run."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, job: Callable[[threading.Event], None]) -> None:
        """Cancel what runs, then run `job(event)`; never two at once."""
        stop = threading.Event()

        def run(before: threading.Thread | None) -> None:
            if before is not None:
                before.join()
            if not stop.is_set():
                compute_with(self._threads)
                job(stop)

        with self._lock:
            self._stop.set()
            self._stop = stop
            self._thread = threading.Thread(target=run, args=[self._thread], daemon=True)
            self._thread.start()

    def use(self, threads: int | None) -> None:
        """From now on compute with that many threads, in the job that asks as well."""
        self._threads = threads
        if threading.current_thread() is self._thread:
            compute_with(threads)

    def overtaken(self, stop: threading.Event) -> bool:
        """True if a newer job took the place of the one that was given this event."""
        return stop is not self._stop

    def cancel(self) -> None:
        """Ask the job that runs, if any, to stop after its current loop."""
        with self._lock:
            self._stop.set()

    def wait(self, timeout: float = 60) -> bool:
        """Wait up to `timeout` seconds; True if nothing runs any more."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.busy
