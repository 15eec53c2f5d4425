import pytest

from medusa_lib import encode, greedy_next, last_logits, medusa_tiny, run_greedy, softmax_temp
from medusa_lib.teaching.toys.pretend import pretend_lm

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
