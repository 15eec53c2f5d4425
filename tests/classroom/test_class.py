"""A class of two, held for real: lessons, closed doors, and what happens when things break."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter

import pytest

from medusa_lib.classroom.landlock import landlock_version

NEEDS = "needs pip install -e '.[class]'"
pytest.importorskip("jupyterhub", reason=NEEDS)
pytest.importorskip("configurable_http_proxy", reason=NEEDS)
run_load, table = attrgetter("run_load", "table")(import_module("classroom.load"))


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """What two learners found who worked through STEP3 at once."""
    return run_load(tmp_path_factory.mktemp("load"), 2, ("STEP3_sampling",), "--unprepared")


def test_all_outputs_are_the_stored_ones(load) -> None:
    assert len(load.seconds["STEP3_sampling"]) == 3  # one learner learns again, see below
    assert load.differing == []


@pytest.mark.skipif(not landlock_version(), reason="needs Linux's Landlock")
def test_nobody_reaches_anothers_server_or_files(load) -> None:
    """By another's token, cookie or websocket, past the proxy, or by code in a notebook."""
    assert load.reached == []


def test_learners_see_no_trace_of_nbgrader(load) -> None:
    """Its menu, and its pages, which a learner's browser asks their own server for."""
    assert load.traces == []


def test_killed_kernel_server_and_hub_come_back_with_the_work_and_all_ends(load) -> None:
    assert load.lost == []


def test_memory_is_told_for_each_kind_of_process(load) -> None:
    assert set(load.memory) == {"hub, proxy, culler", "server", "kernel after STEP3"}
    assert "**" in table(load)
