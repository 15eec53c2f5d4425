"""Interrupting a cell that runs: a clear message, and the notebook goes on."""

from __future__ import annotations

import signal
import time

import pytest
from jupyter_client.manager import start_new_kernel

SET_UP = "from medusa_lib import load_lm, medusa_tiny; lm = load_lm(device='cpu'); print('ready')"
LONG = """
print('running', flush=True)
for seed in range(10_000):
    medusa_tiny(lm, 'Once upon a time', 200, seed=seed)
"""


@pytest.fixture
def kernel():
    # A process whose parent ignores Ctrl-C inherits that; the kernel here must not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    manager, client = start_new_kernel()
    yield manager, client
    signal.signal(signal.SIGINT, before)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client, message_id: str, until: str) -> list[dict]:
    """Messages of one cell up to the first of kind `until`."""
    seen: list[dict] = []
    while not seen or seen[-1]["msg_type"] != until:
        message = client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") == message_id:
            seen.append(message)
    return seen


def test_interrupt_says_how_far_it_came_and_leaves_the_kernel_usable(kernel) -> None:
    manager, client = kernel
    client.execute_interactive(SET_UP, timeout=120, output_hook=lambda _message: None)
    running = client.execute(LONG)
    outputs(client, running, "stream")
    time.sleep(1)  # somewhere in the middle of a run
    manager.interrupt_kernel()
    error = outputs(client, running, "error")[-1]["content"]
    assert error["ename"] == "KeyboardInterrupt"
    assert "new tokens; run it again" in error["evalue"]
    outputs(client, running, "status")  # idle: what is sent before that would be aborted
    after = client.execute("print(len(medusa_tiny(lm, 'Once upon a time', 5).new_ids))")
    assert outputs(client, after, "stream")[-1]["content"]["text"] == "5\n"
