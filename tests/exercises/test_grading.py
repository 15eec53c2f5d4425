import math

import pytest
import torch

from medusa_lib.exercises.grading import (
    CORRECT,
    NOT_ATTEMPTED,
    AttemptError,
    NotAttemptedError,
    as_list,
    check,
    grade,
    no_list,
    run_attempt,
    same,
)


def test_check_says_correct_or_what_is_wrong():
    assert check(lambda f: None, len) == CORRECT
    assert check(lambda f: "the sum is off", len) == "not yet: the sum is off"


def test_check_hands_the_attempt_to_the_verdict():
    assert check(lambda f: f"got {f.__name__}", len) == "not yet: got len"


def test_a_stub_is_not_attempted_whatever_the_verdict_would_say():
    assert check(lambda f: f"{run_attempt(f, 1)}", lambda x: ...) == NOT_ATTEMPTED
    with pytest.raises(NotAttemptedError):
        run_attempt(lambda: ...)


def test_an_attempt_that_raises_is_reported_not_raised():
    said = check(lambda f: run_attempt(f, 0), lambda x: 1 / x)
    assert said == "not yet: your code raised ZeroDivisionError: division by zero"
    with pytest.raises(AttemptError):
        run_attempt(lambda: 1 / 0)


def test_an_attempt_without_a_return_is_reported():
    said = check(lambda f: run_attempt(f, 0), lambda x: None)
    assert said == "not yet: your function returned None: is a `return` missing?"


def test_an_answer_that_cannot_be_compared_is_not_blamed_on_the_code():
    said = check(lambda f: math.floor(run_attempt(f)), lambda: "text")
    assert said.startswith("not yet: your answer could not be compared (")
    assert "your code raised" not in said


def test_a_stop_from_the_keyboard_goes_through():
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(run_attempt, stopped)


def test_run_attempt_passes_arguments_and_result():
    assert run_attempt(max, 3, 5) == 5
    assert run_attempt(lambda: 0) == 0
    assert run_attempt(lambda: "") == ""


def test_as_list_unpacks_tensors_only():
    assert as_list(torch.tensor([1, 2])) == [1, 2]
    assert as_list(torch.tensor(3)) == 3
    assert as_list("a") == "a"


def halves(n, label):
    """An exercise: half of n."""
    return n / 2, ((n * 2.0, f"{label}: that is the double"),)


def said_about(attempt):
    cases = ((4, "{a}"), (0, "{b}"), (6, "{c}"))
    return grade(attempt, cases, halves, at="n {}: ", otherwise="{1} {wanted:.1f}, not {answer}")


def test_grade_names_the_first_case_that_is_wrong_and_a_known_mistake_in_it():
    assert said_about(lambda n, _: n / 2) == CORRECT
    assert said_about(lambda n, _: n * 2) == "not yet: n 4: {a}: that is the double"
    assert said_about(lambda n, _: 2) == "not yet: n 0: {b} 0.0, not 2"


def test_a_tuple_of_ids_is_as_good_as_a_list():
    cases = (([1, 2],), ([3],), ([],))
    assert grade(tuple, cases, lambda ids: (ids, ())) == CORRECT
    assert grade(lambda ids: ids[:1], cases, lambda ids: (ids, ())) == (
        "not yet: it is [1, 2], yours was [1]"
    )


@pytest.mark.parametrize("wanted", [[0.5, 0.5], [True, False]])
def test_a_tuple_of_anything_else_is_refused_and_quoted_as_it_is(wanted):
    said = grade(
        tuple, ((wanted,),), lambda _: (wanted, ()), refuse=lambda answer, _: no_list(answer, "two")
    )
    assert said == f"not yet: return a list of two, yours was {tuple(wanted)!r}"


def test_a_wrong_kind_is_refused_before_the_answer_is_compared():
    refuse = {2: None, 3: "three is out"}.get
    assert grade(lambda n: 3, ((1,),), lambda n: (3, ()), refuse=lambda a, n: refuse(a)) == (
        "not yet: three is out"
    )
    assert grade(lambda n: 2, ((1,),), lambda n: (2, ()), refuse=lambda a, n: refuse(a)) == CORRECT


@pytest.mark.parametrize(
    ("answer", "value", "alike"),
    [
        (0.1 + 0.2, 0.3, True),
        (0.3001, 0.3, False),
        ([0.30001, 1.0], [0.3, 1.0], True),
        ([0.3], [0.3, 1.0], False),
        (2.0, 2, True),
        (True, 1, False),
        ([1, 0], [True, False], True),
        ([5], list, True),
        (5, list, False),
    ],
)
def test_same_is_close_for_floats_and_exact_for_all_else(answer, value, alike):
    assert same(answer, value) is alike
