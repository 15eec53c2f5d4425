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
    run_attempt,
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
