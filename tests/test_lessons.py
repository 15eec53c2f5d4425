"""What only the lessons need: live source, the drawing of where we are, checks, pretend models."""

import inspect
import math
from pathlib import Path

import pytest
import torch
from IPython.display import Markdown

import medusa_lib
from medusa_lib import (
    encode,
    greedy_next,
    last_logits,
    medusa_tiny,
    prefix_accept_once,
    run_greedy,
    softmax_temp,
    top_p_indices,
)
from medusa_lib.base.course import LESSONS, STEPS
from medusa_lib.exercises.grading import (
    CORRECT,
    NOT_ATTEMPTED,
    AttemptError,
    NotAttemptedError,
    as_list,
    check,
    run_attempt,
)
from medusa_lib.teaching.model import parameter_parts
from medusa_lib.teaching.shared import page as under_test
from medusa_lib.teaching.shared.page import show_source, source_of, table, where_we_are
from medusa_lib.teaching.toys.pretend import pretend_lm


def long_doc(x):
    """The first line stays.

    The rest goes.
    """
    return x  # and what follows


def one_line(x):
    """One line stays."""
    return x


def undocumented(x):
    return x


class Owner:
    def method(self):
        """First line.

        More.
        """
        return "method"


def test_source_keeps_the_first_line_of_a_docstring():
    assert source_of(long_doc) == (
        'def long_doc(x):\n    """The first line stays."""\n    return x  # and what follows'
    )
    assert source_of(one_line) == 'def one_line(x):\n    """One line stays."""\n    return x'
    assert source_of(undocumented) == "def undocumented(x):\n    return x"
    assert source_of(Owner.method) == (
        'def method(self):\n    """First line."""\n    return "method"'
    )


@pytest.mark.parametrize("function", [softmax_temp, top_p_indices, medusa_tiny, run_greedy, check])
def test_source_is_the_librarys_own(function):
    live = inspect.getsource(function)
    shown = source_of(function)
    head, _, body = live.partition('"""')[2].partition('"""')
    assert shown.startswith(live.partition('"""')[0])
    assert shown.endswith(body.rstrip("\n"))
    assert head.splitlines()[0] in shown
    assert shown.count('"""') == 2
    compile(shown, "<shown>", "exec")


def test_show_source_names_where_each_function_lives():
    shown = show_source(softmax_temp, prefix_accept_once)
    assert isinstance(shown, Markdown)
    assert shown.data == (
        f"`softmax_temp` in `steps/sampling.py`\n```python\n{source_of(softmax_temp)}\n```\n\n"
        "`prefix_accept_once` in `steps/prefix_accept.py`\n"
        f"```python\n{source_of(prefix_accept_once)}\n```"
    )


@pytest.mark.parametrize("step", range(8))
def test_where_we_are_draws_and_says_the_same(step, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(under_test, "plot_pipeline", drawn.append)
    monkeypatch.setattr(under_test.plt, "show", lambda: drawn.append("shown"))
    where_we_are(step)
    lesson = STEPS[step]
    assert drawn == [step, "shown"]
    assert capsys.readouterr().out == (
        f"You are at STEP{step} of STEP0 to STEP7: {lesson.word} ({lesson.file})\n"
    )


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_each_lesson_is_a_module(lesson):
    assert __import__(f"medusa_lib.{lesson.module}")
    assert (Path(medusa_lib.__file__).parents[1] / lesson.file).exists()


def test_parameter_parts_add_up(tiny_gpt2, tiny_llama, lm):
    for each in (tiny_gpt2, tiny_llama, lm):
        parts = parameter_parts(each.model)
        assert sum(parts.values()) == sum(p.numel() for p in each.model.parameters())
        blocks = each.model.config.num_hidden_layers
        assert [p for p in parts if p.startswith("block")] == [
            f"block {i + 1}" for i in range(blocks)
        ]
        assert parts["token embeddings"] == each.model.get_input_embeddings().weight.numel()
    assert "position embeddings" in parameter_parts(tiny_gpt2.model)
    assert "position embeddings" not in parameter_parts(tiny_llama.model)


def test_table_aligns_its_columns():
    assert table(["name", "n"], [["a", 1], ["long one", 1234]]) == (
        "name         n\na            1\nlong one  1234"
    )
    assert table(["only"], [["a"], ["bc"]]) == "only\na\nbc"
    assert table(["x", "y"], []) == "x  y"


def test_table_refuses_a_row_of_another_length():
    with pytest.raises((ValueError, IndexError)):
        table(["x", "y"], [["a"]])


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


WORDS = ["a", "b", "c", "<eos>"]


def test_a_pretend_model_follows_its_rule():
    pretend = pretend_lm(WORDS, lambda ids: (ids[-1] + 1) % 4)
    assert (pretend.eos_id, pretend.vocab_size) == (3, 4)
    assert greedy_next(pretend, encode(pretend, "a b")) == 2
    run = run_greedy(pretend, "a", 9)
    assert (run.new_ids, run.stop_reason, run.text) == ([1, 2], "eos", "a b c")


def test_a_pretend_model_may_give_probabilities():
    shares = [0.5, 0.25, 0.25, 0.0]
    pretend = pretend_lm(WORDS, lambda ids: shares)
    probs = softmax_temp(last_logits(pretend, encode(pretend, "a")), 1.0)
    assert probs.tolist() == pytest.approx(shares, abs=1e-6)


def test_a_pretend_model_reads_unknown_words_and_runs_medusa():
    pretend = pretend_lm(WORDS, lambda ids: 1)
    assert encode(pretend, "a zebra b").tolist() == [[0, 0, 1]]
    run = medusa_tiny(pretend, "a", 7, span=3, temperature=1.0)
    assert run.new_ids == [1] * 7
    assert [loop.accepted for loop in run.loops] == [3, 3, 1]
