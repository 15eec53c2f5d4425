"""STEP0: the device that is picked, and seeds that repeat."""

import random

import bad_values as bad
import numpy as np
import pytest
import torch

from medusa_lib import make_generator, pick_device, set_seed
from medusa_lib.steps.device import check_device


@pytest.mark.parametrize(
    ("mps", "cuda", "best"),
    [(True, True, "mps"), (True, False, "mps"), (False, True, "cuda"), (False, False, "cpu")],
)
def test_priority_is_mps_then_cuda_then_cpu(monkeypatch, mps, cuda, best):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert pick_device() == torch.device(best)
    assert check_device(None) == torch.device(best)


def test_a_device_may_be_named_or_given():
    assert check_device("cpu") == check_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("value", bad.NO_DEVICE)
def test_a_device_that_is_not_here_is_refused(monkeypatch, refuses, value):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with refuses("device", value):
        check_device(value)


def test_a_device_index_must_exist(monkeypatch, refuses):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda:1") == torch.device("cuda:1")
    with refuses("device", "cuda:2"):
        check_device("cuda:2")


def three_draws():
    return random.random(), torch.rand(1).item(), torch.randn(1).item()


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1, np.int64(7)])
def test_set_seed_repeats_python_and_torch(seed):
    set_seed(seed)
    first = three_draws()
    set_seed(seed)
    assert three_draws() == first
    set_seed(8)
    assert all(a != b for a, b in zip(three_draws(), first, strict=True))


def test_set_seed_none_does_nothing():
    set_seed(7)
    first = three_draws()
    set_seed(7)
    set_seed(None)
    assert three_draws() == first


def test_set_seed_reaches_every_cuda_device(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    set_seed(7)
    assert set(seeds) == {7}


def test_a_generator_repeats_by_its_seed():
    draws = [torch.rand(4, generator=make_generator(seed)).tolist() for seed in (7, 7, 8)]
    assert draws[0] == draws[1] != draws[2]
    assert make_generator(np.int64(7)).initial_seed() == 7
    assert make_generator(7).device.type == "cpu"


def test_a_generator_without_seed_differs_each_time():
    assert make_generator(None).initial_seed() != make_generator(None).initial_seed()


def test_a_generator_leaves_the_global_state_alone():
    set_seed(7)
    first = three_draws()
    set_seed(7)
    torch.rand(4, generator=make_generator(9))
    assert three_draws() == first


@pytest.mark.parametrize("value", bad.NO_SEED)
def test_bad_seeds_are_refused(refuses, value):
    with refuses("seed", value):
        set_seed(value)
    with refuses("seed", value):
        make_generator(value)
