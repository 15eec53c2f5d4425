"""What every exercise must hold, whichever lesson it belongs to."""

import inspect
import math
import re
from functools import partial

import pytest
import torch

from medusa_lib.exercises.grading import CORRECT, NOT_ATTEMPTED


class Graded:
    """The tests of one exercise. A class of a test file inherits them and gives

    check     the exercise's check, a static method
    solution  a right attempt, a static method
    wrong     a part of the sentence → the wrong attempt that must get it
    """

    def pytest_generate_tests(self, metafunc):
        if "said" in metafunc.fixturenames:
            metafunc.parametrize("said", self.wrong)

    @pytest.fixture
    def ask(self, lm):
        """A function: an attempt → what the check says."""
        takes_lm = "lm" in inspect.signature(self.check).parameters
        return partial(self.check, lm=lm) if takes_lm else self.check

    def test_the_solution_passes(self, ask):
        assert ask(self.solution) == CORRECT

    def test_a_wrong_answer_gets_the_sentence_that_names_the_mistake(self, ask, said):
        answer = ask(self.wrong[said])
        assert answer.startswith("not yet: ")
        assert said in answer
        assert "\n" not in answer

    def test_three_mistakes_are_tried(self):
        assert len(self.wrong) >= 3

    def test_a_stub_is_not_attempted(self, ask):
        assert ask(lambda *_: ...) == NOT_ATTEMPTED

    def test_an_attempt_that_raises_is_reported(self, ask):
        answer = ask(lambda *_: [].pop())
        assert answer == "not yet: your code raised IndexError: pop from empty list"
        assert "your code raised TypeError" in ask(lambda: 1)

    def test_a_missing_return_is_named(self, ask):
        said = "not yet: your function returned None: is a `return` missing?"
        assert ask(lambda *_: None) == said

    @pytest.mark.parametrize(
        "answer",
        [object(), "text", [], [None], [["a"]], {}, 1j, math.nan, True, torch.ones(2, 2)],
        ids=lambda answer: type(answer).__name__,
    )
    def test_answers_of_any_kind_get_a_sentence(self, ask, answer):
        assert re.match("not yet: .{10,}", ask(lambda *_: answer))

    def test_a_tensor_is_as_good_as_a_number_or_a_list(self, ask):
        def attempt(*given):
            answer = self.solution(*given)
            return answer if isinstance(answer, str) else torch.tensor(answer)

        assert ask(attempt) == CORRECT

    def test_an_attempt_may_change_its_arguments(self, ask):
        """What a check passes are copies: a later case never sees a learner's changes."""

        def careless(*given):
            answer = self.solution(*given)
            for value in given:
                if isinstance(value, list):
                    value.clear()
                elif isinstance(value, torch.Tensor):
                    value.zero_()
            return answer

        assert ask(careless) == CORRECT
