"""A runner on dask.distributed: processes of this machine, or of any that join a scheduler."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from concurrent import futures
from functools import partial
from itertools import islice

from medusa_lib.sweep.extra import MissingExtraError, needed
from medusa_lib.sweep.tasks import Do, Failure, Made, Runner, Task, TaskError, attempt, in_process

AHEAD = 2  # batches that a worker's thread has before it, the one that it works at included
CONNECT_SECONDS = 10.0  # to wait for a scheduler
WORKER_SECONDS = 60.0  # to wait for its first worker
LOST = ("cancelled", "lost")  # what a future is whose scheduler is gone
GONE = "the scheduler is gone; what was done is kept"
CANCELLED = (asyncio.CancelledError, futures.CancelledError)  # two kinds, by where it shows
ASK_SECONDS = 1.0  # between two looks at whether the scheduler still answers
# Ctrl-C reaches every process of a terminal. The command alone decides what becomes of it.
# They also have nothing to say that the command does not say shorter.
LOGGERS = ("", ".client", ".core", ".nanny", ".scheduler", ".worker", ".worker.state_machine")
DEAF_AND_MUTE = f"""
import logging, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
for part in {LOGGERS}:
    logging.getLogger("distributed" + part).setLevel(logging.CRITICAL)
"""


class ClusterError(RuntimeError):
    """The scheduler or its workers cannot be reached; the message says what to do."""


SWEEP_ERRORS = (ClusterError, MissingExtraError, TaskError)  # that a command says in one line


@contextlib.contextmanager
def cluster_runner(
    scheduler: str | None = None, processes: int | None = None, batch: int = 1
) -> Iterator[Runner]:
    """A runner for run_tasks on the workers of a scheduler, `tcp://…`.

    scheduler None: a cluster of its own, one process a core or `processes`, one thread each.
    batch: how many tasks travel together. Raises MissingExtraError, or ClusterError where no
    scheduler or no worker answers.
    """
    distributed = needed("distributed")
    for part in LOGGERS:
        logging.getLogger(f"distributed{part}").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        address = scheduler or stack.enter_context(local_cluster(processes)).scheduler_address
        try:
            client = stack.enter_context(distributed.Client(address, timeout=CONNECT_SECONDS))
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"no worker answers at {address} ({type(error).__name__}); start some: "
                f"dask scheduler, dask worker {address}"
            ) from None
        yield partial(run_on, client, batch)


@contextlib.contextmanager
def any_runner(scheduler: str | None, processes: int | None) -> Iterator[Runner]:
    """A runner on a cluster if either is given, else the one in this process."""
    if scheduler is None and processes is None:
        yield in_process
    else:
        with cluster_runner(scheduler, processes) as runner:
            yield runner


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """--scheduler and --processes of a command."""
    about = "tcp://… of a dask scheduler whose workers share the work"
    parser.add_argument("--scheduler", help=about)
    about = "of this machine that share the work; it stays in this one if not given"
    parser.add_argument("--processes", type=int, help=about)


def local_cluster(processes: int | None) -> object:
    """Processes of this machine with one thread each, restarted where one is killed."""
    return needed("distributed").LocalCluster(
        n_workers=processes or os.cpu_count(),
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",  # any free port: two sweeps may run at a time
        preload=[DEAF_AND_MUTE],
        memory_limit=0,  # the limits of the machine are enough
    )


def attempt_all(do: Do, tasks: list[Task]) -> list[Made]:
    """Do a batch of tasks; runs on a worker."""
    return [attempt(do, task) for task in tasks]


def run_on(client: object, batch: int, do: Do, tasks: Iterable[Task]) -> Iterator[Made]:
    """The runner: never more batches under way than keep every worker busy.

    A batch whose worker was killed is done again by another. Raises ClusterError when the
    scheduler is gone.
    """
    left, running = iter(tasks), {}
    parts = iter(lambda: list(islice(left, batch)), [])
    try:
        while True:
            room = AHEAD * threads_of(client) - len(running)
            for part in islice(parts, max(0, room)):
                running[client.submit(attempt_all, do, part, pure=False)] = part
            if not running:
                return
            for future in finished(client, running):
                yield from results_of(future, running.pop(future))
    except (OSError, *CANCELLED):
        raise ClusterError(GONE) from None
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            client.cancel(list(running), force=True)


def threads_of(client: object) -> int:
    """Threads of all workers that are there now, at least one."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return max(1, sum(worker["nthreads"] for worker in workers))


def finished(client: object, running: Iterable[object]) -> list[object]:
    """The futures that are done, as soon as one is. Raises ClusterError."""
    while True:
        done = [future for future in running if future.status != "pending"]
        if client.status != "running" or any(one.status in LOST for one in done):
            raise ClusterError(GONE)
        if done:
            return done
        with contextlib.suppress(TimeoutError):
            waiting = {"timeout": ASK_SECONDS, "return_when": "FIRST_COMPLETED"}
            needed("distributed").wait(list(running), **waiting)


def results_of(future: object, part: list[Task]) -> list[Made]:
    """What a batch made; a Failure for each of its tasks if it was the end of several workers."""
    if future.status == "error":
        error = future.exception()
        return [(task.key, Failure(f"{type(error).__name__}: {error}")) for task in part]
    return future.result()
