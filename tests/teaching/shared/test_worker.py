import threading
import time

import torch

from medusa_lib import ModelLoadError
from medusa_lib.teaching.shared.worker import StoppedError, Worker, elsewhere, threads_beside


def test_worker_runs_a_job_and_says_when_it_is_busy():
    worker, go, done = Worker(), threading.Event(), []
    assert not worker.busy
    assert worker.wait(1)
    worker.start(lambda stop: (go.wait(10), done.append(stop.is_set())))
    assert worker.busy
    assert not worker.wait(0.01)
    go.set()
    assert worker.wait(10)
    assert done == [False]


def test_worker_cancel_sets_the_event_of_the_running_job():
    worker, reached = Worker(), threading.Event()
    worker.start(lambda stop: (reached.set(), stop.wait(10)))
    assert reached.wait(10)
    worker.cancel()
    assert worker.wait(10)
    worker.cancel()  # with nothing to cancel it does nothing


def test_the_newest_job_wins_and_never_two_run_at_once():
    worker, lock, log, seen = Worker(), threading.Lock(), [], []

    def job(n):
        def run(stop):
            seen.append(lock.acquire(blocking=False))
            stop.wait(0.2)
            if not stop.is_set():
                log.append(n)
            lock.release()

        return run

    for n in range(20):
        worker.start(job(n))
    assert worker.wait(30)
    assert log == [19]
    assert all(seen)


def test_starts_from_many_threads_leave_one_winner():
    worker, lock, overlaps, ends = Worker(), threading.Lock(), [], []

    def job(stop):
        overlaps.append(not lock.acquire(blocking=False))
        stop.wait(0.1)
        ends.append(stop.is_set())
        lock.release()

    threads = [threading.Thread(target=worker.start, args=[job]) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.wait(30)
    assert not any(overlaps)
    assert ends.count(False) == 1


def test_worker_knows_which_job_was_overtaken():
    worker, stops = Worker(), []
    worker.start(lambda stop: (stops.append(stop), stop.wait(10)))
    while not stops:
        time.sleep(0.001)
    assert not worker.overtaken(stops[0])
    worker.start(stops.append)
    assert worker.wait(10)
    assert [worker.overtaken(stop) for stop in stops] == [True, False]


def threads_elsewhere():
    """How many threads PyTorch computes with in a thread made now."""
    return elsewhere(torch.get_num_threads)


def test_worker_computes_with_its_own_number_of_threads_and_leaves_the_others():
    usual, within = torch.get_num_threads(), []
    for threads, expected in ((1, 1), (usual + 2, usual + 2), (None, usual)):
        worker, go = Worker(threads), threading.Event()
        worker.start(lambda _stop, go=go: (within.append(torch.get_num_threads()), go.wait(10)))
        while not within:
            time.sleep(0.001)
        assert within.pop() == expected
        assert threads_elsewhere() == torch.get_num_threads() == usual, "while it runs"
        go.set()
        assert worker.wait(10)
        assert threads_elsewhere() == torch.get_num_threads() == usual


def test_a_number_of_threads_set_while_a_worker_runs_stays():
    usual, go, runs = torch.get_num_threads(), threading.Event(), threading.Event()
    worker = Worker(usual + 1)
    worker.start(lambda _stop: (runs.set(), go.wait(10)))
    assert runs.wait(10)
    try:
        torch.set_num_threads(usual + 3)
        go.set()
        assert worker.wait(10)
        assert threads_elsewhere() == torch.get_num_threads() == usual + 3
    finally:
        torch.set_num_threads(usual)


def test_workers_that_begin_at_once_keep_their_numbers():
    usual, seen = torch.get_num_threads(), []
    for _ in range(100):
        one, other = Worker(usual + 1), Worker(None)
        one.start(lambda _stop: None)
        other.start(lambda _stop: seen.append(torch.get_num_threads()))
        assert one.wait(10)
        assert other.wait(10)
    assert set(seen) == {usual}


def test_a_job_may_change_its_number_of_threads():
    usual, seen, worker = torch.get_num_threads(), [], Worker(1)

    def job(_stop):
        worker.use(usual + 1)
        seen.append(torch.get_num_threads())

    worker.start(job)
    assert worker.wait(10)
    assert seen == [usual + 1]
    assert threads_elsewhere() == torch.get_num_threads() == usual


def test_only_a_small_model_decodes_with_one_thread_beside_the_cells(lm, monkeypatch):
    assert threads_beside(lm) == 1
    monkeypatch.setattr("medusa_lib.teaching.shared.worker.SMALL_MODEL", 1_000_000)
    assert threads_beside(lm) is None


def test_stopped_is_no_error_of_the_library():
    assert not issubclass(StoppedError, ValueError | ModelLoadError)
