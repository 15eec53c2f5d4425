"""Each check lets good values through and says in one line what a bad one must be."""

import math
from fractions import Fraction

import bad_values as bad
import numpy as np
import pytest
import torch

from medusa_lib.base import checks

CASES = [
    (lambda v: checks.check_int("x", v, 0), bad.NO_COUNT),
    (lambda v: checks.check_int("x", v, 1), bad.NO_POSITIVE),
    (lambda v: checks.check_bool("x", v), bad.NO_BOOL),
    (lambda v: checks.check_text("x", v), bad.NO_TEXT),
    (lambda v: checks.check_callable("x", v), bad.NO_FUNCTION),
    (lambda v: checks.check_function("x", v), [*bad.NO_FUNCTION, None]),
    (lambda v: checks.check_number("x", v), bad.NO_TEMPERATURE),
    (lambda v: checks.check_top_p("x", v), bad.NO_TOP_P),
    (lambda v: checks.check_seed("x", v), bad.NO_SEED),
]
TENSORS = [
    (lambda v: checks.check_ids("x", v), bad.NO_IDS),
    (lambda v: checks.check_vector("x", v), bad.NO_VECTOR),
    (lambda v: checks.check_probs("x", v), bad.NO_PROBS),
]


def pairs(cases):
    return [(check, value) for check, values in cases for value in values]


@pytest.mark.parametrize(("check", "value"), pairs(CASES))
def test_a_bad_value_is_refused_by_name_and_quoted(refuses, check, value):
    with refuses("x", value):
        check(value)


@pytest.mark.parametrize(("check", "value"), pairs(TENSORS))
def test_a_bad_tensor_is_refused_by_name(refuses, check, value):
    with refuses("x"):
        check(value)


@pytest.mark.parametrize("value", bad.NO_GENERATOR)
def test_a_generator_off_the_cpu_is_refused(refuses, value):
    with refuses("generator", value):
        checks.check_generator("generator", value)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_any_kind_of_int_is_an_int(value):
    assert checks.check_int("x", value, 3) == 3
    assert type(checks.check_int("x", value, 3)) is int


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.5), Fraction(1, 2)])
def test_any_kind_of_real_number_is_a_number(value):
    for checked in (checks.check_number("x", value), checks.check_top_p("x", value)):
        assert type(checked) is float
        assert checked == value


def test_top_p_and_seed_may_be_none():
    assert checks.check_top_p("x", None) is None
    assert checks.check_seed("x", None) is None


def test_the_ends_of_each_range_are_in():
    assert checks.check_seed("x", 0) == 0
    assert checks.check_seed("x", 2**63 - 1) == 2**63 - 1
    assert checks.check_top_p("x", 0) == 0
    assert checks.check_top_p("x", 1) == 1
    assert checks.check_top_p("x", 7, high=math.inf) == 1


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_good_ids_come_back_as_they_are(dtype):
    ids = torch.ones(1, 3, dtype=dtype)
    assert checks.check_ids("x", ids) is ids


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_of_any_precision_pass(dtype):
    probs = torch.softmax(torch.arange(50, dtype=torch.float32) / 9, -1).to(dtype)
    assert checks.check_probs("x", probs) is probs


def test_callable_or_none_passes():
    assert checks.check_callable("x", None) is None
    assert checks.check_callable("x", print) is print


@pytest.mark.parametrize("value", [None, 7, "half", Fraction])
def test_what_is_of_another_kind_is_refused(refuses, value):
    with refuses("x", value):
        checks.check_kind("x", value, Fraction)


@pytest.mark.parametrize("value", [None, 7, {}, [Fraction(1)], {"a": 7}, {"": None}, {7: None}])
def test_names_for_another_kind_are_refused(refuses, value):
    with refuses("x"):
        checks.check_named("x", value, Fraction)


def test_what_is_of_the_kind_comes_back_as_it_is():
    half = Fraction(1, 2)
    named = {"half": half}
    assert checks.check_kind("x", half, Fraction) is half
    assert checks.check_named("x", named, Fraction) is named


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_numbers_whose_sum_is_infinite_are_finite(dtype) -> None:
    large = torch.full((8,), torch.finfo(dtype).max, dtype=dtype)
    assert checks.check_vector("x", large) is large
