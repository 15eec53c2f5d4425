"""Beside a busy process on every core a run takes at most three times as long as alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

MOST = 3.0
TIMED = """
import sys, time
from medusa_lib import load_lm, medusa_tiny, run_greedy, speculate
lm = load_lm(device="cpu")

def work():
    began = time.perf_counter()
    run_greedy(lm, "In a distant future, ", 60), medusa_tiny(lm, "In a distant future, ", 30)
    for drafter in (None, "ngram", "heads_tree"):
        for prompt in ("Once upon a time", "The old witch", "In the middle of the forest"):
            speculate(lm, prompt, drafter, 120)
    return time.perf_counter() - began

for line in sys.stdin:  # one run for each line that comes, the first of them to get ready
    print(work(), flush=True)
"""


@pytest.fixture
def program():
    """A process of its own, with as many threads as there are cores; ask it for its seconds."""
    usual = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", TIMED]
    with subprocess.Popen(
        command, env=usual, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def seconds(runs):
            took = []
            for _ in range(runs):
                process.stdin.write("go\n")
                process.stdin.flush()
                took.append(float(process.stdout.readline()))
            return min(took)

        yield seconds
        process.stdin.close()


@pytest.mark.busy
def test_a_busy_machine_costs_its_share_and_no_more(program) -> None:
    program(2)
    alone = program(3)
    spinning = [sys.executable, "-c", "while True: pass"]
    load = [subprocess.Popen(spinning) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(0.5)
        beside = program(3)
    finally:
        for process in load:
            process.kill()
            process.wait()
    print(f"alone {alone:.2f} s, beside {len(load)} busy processes {beside:.2f} s")
    assert beside <= MOST * alone
