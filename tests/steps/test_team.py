"""How many threads share a pass: the quicker way is found, and found again when it changes."""

from __future__ import annotations

import pytest
import torch

from medusa_lib.steps import team
from medusa_lib.steps.team import KINDS, LATE, SMALL, Team, few_threads


class Machine:
    """A clock, and how long a pass takes with all threads and with one.

    share: of its time that a thread computes; it waits for its core meanwhile.
    """

    def __init__(self, all_threads, one):
        self.now, self.spent, self.share = 0.0, 0.0, 1.0
        self.seconds = {4: all_threads, 1: one}

    def clock(self):
        return self.now

    def computed(self):
        return self.spent

    def team(self):
        return Team(self.clock, self.computed)

    def run(self, decides, passes, kind="pass", work=1.0):
        """So many passes → how many of them were computed by one thread, and the seconds."""
        began, alone = self.now, 0
        for _ in range(passes):
            with decides.sharing(kind, work) as threads:
                self.now += self.seconds[threads]
                self.spent += self.share * self.seconds[threads]
            alone += threads == 1
        return alone, self.now - began


@pytest.fixture
def four(monkeypatch):
    """torch would take four threads."""
    monkeypatch.setattr(team, "all_threads", lambda: 4)


def decided(all_threads, one):
    """A machine and a team that has got to know it."""
    machine = Machine(all_threads, one)
    decides = machine.team()
    machine.run(decides, 200)
    return machine, decides


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(("all_threads", "one", "alone"), [(1e-3, 2e-3, 0), (0.2, 2e-3, 1)])
def test_the_quicker_way_is_taken(all_threads, one, alone) -> None:
    machine, decides = decided(all_threads, one)
    quicker = min(all_threads, one)
    count, seconds = machine.run(decides, 500)
    assert (count > 400) == bool(alone)
    assert seconds < 1.5 * 500 * quicker


@pytest.mark.usefixtures("four")
def test_a_load_that_begins_is_met_within_a_few_passes_and_its_end_within_seconds() -> None:
    machine, decides = decided(1e-3, 2e-3)
    machine.seconds, machine.share = {4: 0.1, 1: 4e-3}, 0.5
    assert machine.run(decides, 100)[1] < 1.2
    machine.run(decides, 2000)
    machine.seconds, machine.share = {4: 1e-3, 1: 2e-3}, 1.0
    machine.run(decides, round(3 * LATE / 2e-3))
    assert not decides.alone


@pytest.mark.usefixtures("four")
def test_while_one_thread_waits_for_its_core_all_are_not_tried() -> None:
    machine, decides = decided(1e-3, 2e-3)
    machine.seconds, machine.share = {4: 0.1, 1: 4e-3}, 0.5
    machine.run(decides, 100)
    assert machine.run(decides, 20_000) == (20_000, pytest.approx(80))


@pytest.mark.usefixtures("four")
def test_beside_a_load_that_leaves_a_core_all_threads_are_tried_ever_more_rarely() -> None:
    machine, decides = decided(1e-3, 2e-3)
    machine.seconds = {4: 0.1, 1: 2e-3}
    machine.run(decides, 100)
    alone, seconds = machine.run(decides, 20_000)
    assert 20_000 - 30 < alone < 20_000
    assert seconds < 1.1 * 20_000 * 2e-3


@pytest.mark.usefixtures("four")
def test_a_large_pass_takes_all_threads_untimed() -> None:
    machine, decides = Machine(1.0, 4.0), Team()
    assert machine.run(decides, 20, work=2 * SMALL)[0] == 0
    assert not decides.quickest


@pytest.mark.usefixtures("four")
def test_passes_of_another_kind_are_not_compared() -> None:
    machine, decides = decided(1e-3, 2e-3)
    machine.seconds = {4: 1e-2, 1: 2e-2}
    machine.run(decides, 50, kind="longer")
    assert not decides.alone


@pytest.mark.usefixtures("four")
def test_not_all_kinds_of_passes_are_remembered_for_ever() -> None:
    machine, decides = decided(1e-3, 2e-3)
    for kind in range(3 * KINDS):
        machine.run(decides, 1, kind=kind)
    assert len(decides.quickest) <= KINDS
    machine.seconds = {4: 0.2, 1: 2e-3}
    machine.run(decides, 500, kind="later")
    assert decides.alone


def test_torch_has_as_many_threads_as_before(tiny_gpt2, monkeypatch) -> None:
    before, set_to = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(team, "PASSES", Team(alone=True))
    monkeypatch.setattr(team, "CORES", 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with pytest.raises(KeyError), few_threads(tiny_gpt2, 3):
        raise KeyError
    assert set_to == [1, 4]
    monkeypatch.undo()
    assert torch.get_num_threads() == before


def test_never_more_threads_than_cores(monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10**4)
    assert team.all_threads() == team.CORES == team.cores()


@pytest.mark.usefixtures("four")
def test_a_rare_wait_and_compiling_do_not_send_all_passes_to_one_thread() -> None:
    machine = Machine(0.4, 4e-4)
    decides, alone = machine.team(), 0
    machine.run(decides, 1)  # compiles
    for _ in range(30):  # all threads take 0.31 ms in the mean, one of them 0.4
        for seconds, passes in ((2.8e-4, 199), (5.5e-3, 1)):
            machine.seconds[4] = seconds
            alone += machine.run(decides, passes)[0]
    assert alone < 0.1 * 30 * 200
