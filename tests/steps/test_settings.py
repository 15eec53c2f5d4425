import copy
import dataclasses
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from own_settings import all_alike, all_texts, generated, settings_of, some_settings
from tiny_models import small_gpt2, small_tokenizer
from transformers import GenerationConfig, SynthIDTextWatermarkingConfig, WatermarkingConfig

from medusa_lib import (
    encode,
    greedy_next,
    last_logits,
    make_generator,
    make_lm,
    medusa_loop_step,
    medusa_tiny,
    run_greedy,
    sample_next,
    speculate,
)
from medusa_lib.beyond.near_ties import NearTie
from medusa_lib.steps.loops import draft_and_verify, for_run
from medusa_lib.steps.settings import OBEYED, changed_settings, settings_for, stretch_of

ONCE = "Once upon a time"
CASES = {
    "two ends": {"eos_token_id": [0, 12]},
    "another end": {"eos_token_id": 12},
    "repetition": {"repetition_penalty": 1.3},
    "n-grams": {"no_repeat_ngram_size": 2},
    "prompt": {"encoder_repetition_penalty": 1.4, "encoder_no_repeat_ngram_size": 2},
    "bad words": {"bad_words_ids": [[450], [308, 259]]},
    "bias": {"sequence_bias": [[[308], -3.0], [[259, 438], 4.0]]},
    "suppressed": {"suppress_tokens": [450, 12], "begin_suppress_tokens": [308]},
    "forced": {"forced_bos_token_id": 5, "forced_eos_token_id": 0},
    "least length": {"min_length": 12, "eos_token_id": [12, 13]},
    "least new": {"min_new_tokens": 9, "eos_token_id": [12]},
    "decay": {"exponential_decay_length_penalty": (5, 1.2)},
    "mended": {"renormalize_logits": True, "remove_invalid_values": True, "suppress_tokens": [450]},
    "no numbers": {
        **{"exponential_decay_length_penalty": (0, 1.3), "no_repeat_ngram_size": 1},
        **{"remove_invalid_values": True, "renormalize_logits": True},
    },
    "mark": {"watermarking_config": WatermarkingConfig(bias=2.5)},
}


@pytest.mark.parametrize("name", CASES)
def test_every_decoder_writes_what_generate_does(lm, name):
    plain = generated(lm, ONCE, 20)
    with settings_of(lm, **CASES[name]) as other:
        assert all_alike(other, ONCE, 20) != plain, "vacuous: the setting changes nothing"


def test_a_second_end_stops_where_it_comes(lm):
    plain = run_greedy(lm, ONCE, 20).new_ids
    with settings_of(lm, eos_token_id=[0, 12]) as other:
        assert other.end_ids == (0, 12)
        run = run_greedy(other, ONCE, 20)
        assert run.new_ids == plain[: plain.index(12)]
        assert run.stop_reason == "eos"
        assert "EOS_ID=0, 12" in repr(other)
        for drafter in ("heads_tree", "ngram", None):
            cure = speculate(other, ONCE, drafter, 20)
            assert (cure.new_ids, cure.text, cure.stop_reason) == (run.new_ids, run.text, "eos")
            assert 12 not in cure.loops[-1].emitted


def test_an_end_that_only_the_config_names():
    tokenizer = small_tokenizer(eos=False)
    lm = make_lm(tokenizer, small_gpt2(len(tokenizer)))
    assert lm.model.config.eos_token_id == 0
    assert (lm.end_ids, lm.eos_id) == ((0,), tokenizer.eos_token_id)
    assert lm.eos_id > 0
    for prompt in ("abc", "ef g", "h"):
        all_alike(lm, prompt, 20)


def test_no_end_is_drafted_while_it_is_banned(lm):
    with settings_of(lm, eos_token_id=[12, 13, 450]) as other:
        ids, knobs = encode(other, ONCE), {"generator": make_generator(2)}
        drawn = {sample_next(other, ids, 0.01, 1.0, True, **knobs) for _ in range(4)}
        assert not drawn & {12, 13, 450}


def check_random_settings(lm, examples, count):
    """Every decoder against `generate`, for random settings over the tokens of greedy's text."""
    prompts = ["The king", "a bad face"]
    tokens = {0} | {t for p in prompts for t in run_greedy(lm, p, count).new_ids}

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(chosen=some_settings(tokens, count))
    def run(chosen):
        with settings_of(lm, **chosen) as other, warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            all_alike(other, prompts[len(chosen) % 2], count, pad_token_id=0)

    run()


def test_random_settings_of_bookworm(lm):
    check_random_settings(lm, 8, 14)


@pytest.mark.parametrize("name", ["tiny_gpt2", "tiny_llama"])
def test_random_settings_of_tiny_models(request, name):
    check_random_settings(request.getfixturevalue(name), 25, 12)


def test_ends_are_read_anew(lm):
    with settings_of(lm, eos_token_id=[0]) as other:
        assert other.end_ids == (0,)
        other.model.generation_config.eos_token_id.append(12)
        assert other.end_ids == (0, 12)
        other.model.generation_config.eos_token_id = torch.tensor([12, 13])
        assert other.end_ids == (12, 13)
        other.model.generation_config.eos_token_id = None
        assert other.end_ids == (0,)
        other.model.generation_config.eos_token_id = [10**6, -1]  # no tokens at all
        assert other.end_ids == (0,)


def test_an_end_that_was_chosen_by_hand_is_the_only_one(lm):
    other = dataclasses.replace(lm, eos_id=450)
    assert other.end_ids == (450,)
    assert run_greedy(other, ONCE, 9).new_ids == []


def test_a_run_gets_its_settings_anew(lm):
    with settings_of(lm) as other:
        plain = run_greedy(other, ONCE, 12).new_ids
        other.model.generation_config.suppress_tokens = [plain[3]]
        assert plain[3] not in run_greedy(other, ONCE, 12).new_ids
        assert plain[3] not in speculate(other, ONCE, "heads_tree", 12).new_ids
        other.model.generation_config.suppress_tokens = None
        assert speculate(other, ONCE, "heads_tree", 12).new_ids == plain


def test_without_settings_nothing_is_made(lm):
    ids = encode(lm, ONCE)
    assert changed_settings(lm.model) == ({}, {})
    assert settings_for(lm.model, ids, 9, lm.end_ids) is None
    assert for_run(lm, ONCE, 9) is lm
    assert changed_settings(torch.nn.Linear(1, 1)) == ({}, {})


def test_names_and_harmless_values_are_transformers_own():
    known, usual = GenerationConfig(), GenerationConfig._get_default_generation_params()
    for name, harmless in OBEYED.items():
        assert hasattr(known, name)
        assert usual.get(name) in harmless


@pytest.mark.parametrize("bad", [{"repetition_penalty": -1.0}, {"bad_words_ids": [[-3]]}])
def test_a_bad_setting_is_refused_before_any_pass(lm, count_passes, bad):
    with settings_of(lm, **bad) as other, count_passes(other) as passes:
        for run in (run_greedy, medusa_tiny, speculate):
            with pytest.raises(ValueError, match="penalty|bad words|bad_words"):
                run(other, ONCE)
    assert not passes


def test_what_cannot_be_obeyed_is_named_once(lm):
    mark = SynthIDTextWatermarkingConfig(keys=[1, 2], ngram_len=2)
    ignored = {"num_beams": 3, "stop_strings": ["x"], "watermarking_config": mark}
    with settings_of(lm, **ignored, max_time=9.0) as other:
        with pytest.warns(UserWarning, match="num_beams=3.*stop_strings=.*max_time=9.0") as told:
            texts = all_texts(other, ONCE, 8)
        assert len(told) == 1
        assert "watermarking_config" in str(told[0].message)
    assert set(map(tuple, texts.values())) == {tuple(run_greedy(lm, ONCE, 8).new_ids)}


def test_what_only_sampling_reads_changes_nothing(lm):
    plain = all_texts(lm, ONCE, 8)
    sampling = {"do_sample": True, "temperature": 0.3, "top_k": 3, "top_p": 0.2, "max_length": 7}
    with (
        settings_of(lm, **sampling, prompt_lookup_num_tokens=3) as other,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        assert all_texts(other, ONCE, 8) == plain


def test_draws_are_from_what_the_settings_leave(lm):
    with settings_of(lm, suppress_tokens=list(range(40, 1500))) as other:
        allowed = set(range(lm.vocab_size)) - set(range(40, 1500))
        for name in ("self", "ngram", "branches", None):
            new = speculate(other, ONCE, name, 12, temperature=1.5, seed=3).new_ids
            assert set(new) <= allowed
        generator = make_generator(1)
        ids = encode(other, ONCE)
        assert {sample_next(other, ids, 2.0, 1.0, generator=generator) for _ in range(5)} <= allowed


def test_a_single_pass_obeys_too(lm):
    best = greedy_next(lm, encode(lm, ONCE))
    with settings_of(lm, begin_suppress_tokens=[best]) as other:
        ids = encode(other, ONCE)
        assert greedy_next(other, ids) != best
        assert torch.isfinite(last_logits(other, ids)).all()
        wanted = generated(other, ONCE, 6)
        grown = draft_and_verify(other, ids, 6, lambda ids: [1, 2])
        assert grown[0, ids.shape[1] :].tolist() == wanted
        run = for_run(other, ONCE, 6)
        knobs = {"generator": make_generator(7)}
        grown, _ = medusa_loop_step(run, ids, 3, 0.9, 0.95, **knobs)
        new = grown[0, ids.shape[1] :].tolist()
        assert new == wanted[: len(new)]


def test_not_a_number_is_mended_where_the_settings_say_so(lm):
    other = dataclasses.replace(lm, model=copy.deepcopy(lm.model))
    with torch.no_grad():
        other.model.lm_head.weight = torch.nn.Parameter(other.model.lm_head.weight.clone())
        other.model.lm_head.weight[7] = float("nan")
    with pytest.raises(ValueError, match="logits must be finite"):
        run_greedy(other, ONCE, 3)
    with settings_of(other, remove_invalid_values=True) as mends:
        wanted = generated(mends, ONCE, 6)
        for drafter in (None, "ngram", "lookahead", "heads_tree"):  # which ask no model of theirs
            assert speculate(mends, ONCE, drafter, 6).new_ids == wanted
        assert run_greedy(mends, ONCE, 6).new_ids == wanted
    with settings_of(other, repetition_penalty=1.2) as still:
        for run in (run_greedy, speculate):
            with pytest.raises(ValueError, match="logits must be finite"):
                run(still, ONCE, max_new_tokens=6)


def test_the_bound_of_a_near_tie_is_stretched(lm):
    assert stretch_of({"repetition_penalty": 0.5}, 9) == 2.0
    assert stretch_of({"repetition_penalty": 1.5, "encoder_repetition_penalty": 2.0}, 9) == 3.0
    assert stretch_of({"exponential_decay_length_penalty": (3, 1.1)}, 2) == pytest.approx(1.21)
    assert stretch_of({"exponential_decay_length_penalty": (3, 99.0)}, 999) == float("inf")
    with settings_of(lm, repetition_penalty=2.0) as other:
        run = for_run(other, ONCE, 9)
        assert NearTie.of(run).bound == 2 * NearTie.of(lm).bound
        assert run.kept is other.kept
