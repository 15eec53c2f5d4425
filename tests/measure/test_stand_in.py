from dataclasses import replace

import pytest

from medusa_lib.base.metrics import mean_accepted_length
from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.medusa_heads import HeadsDrafter
from medusa_lib.beyond.one_pass import FAMILIES
from medusa_lib.beyond.speculative import speculate
from medusa_lib.measure.stand_in import dear_model, fastest_runs, stand_in_seconds
from medusa_lib.measure.stopwatch import pass_seconds

PROMPT = "Once upon a time there was a"


@pytest.fixture(scope="module")
def tree(lm):
    return HeadsDrafter(shipped_heads(lm)[0], [(0,), (1,), (0, 0)])


def test_a_stand_in_makes_each_pass_but_for_the_first(lm, tree, count_passes) -> None:
    runs = [speculate(lm, PROMPT, tree, 12), speculate(lm, PROMPT, None, 12)]
    with count_passes(lm) as passes:
        seconds = stand_in_seconds(lm, {"both": runs, "one": runs[:1], "none": []}, rounds=3)
    assert len(passes) == 3 * (2 * len(runs[0].loops) + len(runs[1].loops))
    assert seconds["both"] > seconds["one"] > seconds["none"] == 0
    assert stand_in_seconds(lm, {}) == {}


def test_runs_that_do_not_fit_the_stand_in_are_refused(lm, tiny_gpt2) -> None:
    run = speculate(lm, PROMPT, None, 2)
    with pytest.raises(ValueError, match="each id of runs must be < "):
        stand_in_seconds(tiny_gpt2, {"a": [replace(run, new_ids=[tiny_gpt2.vocab_size])]})
    with pytest.raises(ValueError, match="runs must fit into"):
        stand_in_seconds(lm, {"a": [replace(run, new_ids=[1] * lm.context_length)]})


def test_the_fastest_run_of_each_prompt_is_kept(lm, tree) -> None:
    prompts = [PROMPT, "The king said"]
    found = fastest_runs(lm, {"none": None, "tree": tree}, prompts, 8, rounds=2)
    assert list(found) == ["none", "tree"]
    for name, runs in found.items():
        assert [run.new_ids for run in runs] == [run.new_ids for run in found["none"]], name
    assert mean_accepted_length(found["none"][0].loops) == 1
    with pytest.raises(ValueError, match="rounds must be"):
        fastest_runs(lm, {}, [], rounds=0)


def test_a_dear_pass_takes_longer(lm) -> None:
    dear = dear_model(lm)
    assert dear.model.config.model_type in FAMILIES
    cheap, slow = (pass_seconds(model, (1,), 8, 3)[1] for model in (lm, dear))
    assert slow > 2 * cheap
