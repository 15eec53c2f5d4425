"""Fixtures of the rooms' tests."""

import threading

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from medusa_lib import compare, medusa_tiny

mpl.use("Agg")


@pytest.fixture
def hold(monkeypatch):
    """Make every run wait at its first loop until it is let go: hold.reached, hold.go."""

    class Hold:
        reached, go = threading.Event(), threading.Event()

    real = medusa_tiny, compare

    def waiting(on_loop):
        def first(record):
            Hold.reached.set()
            assert Hold.go.wait(30)
            return on_loop(record)

        return first

    def slow_tiny(*args, on_loop, **knobs):
        return real[0](*args, on_loop=waiting(on_loop), **knobs)

    def slow_compare(lm, prompt, cfg, on_loop, drafter):
        return real[1](lm, prompt, cfg, waiting(on_loop), drafter)

    monkeypatch.setattr("medusa_lib.teaching.loops.medusa_tiny", slow_tiny)
    monkeypatch.setattr("medusa_lib.teaching.demo.compare", slow_compare)
    return Hold


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.fixture(autouse=True)
def _no_figure_left():
    yield
    plt.close("all")


@pytest.fixture(autouse=True)
def _callbacks_print_nothing(capsys):
    """Not a word on stdout or stderr, not even a traceback of a thread."""
    yield
    assert tuple(capsys.readouterr()) == ("", "")
