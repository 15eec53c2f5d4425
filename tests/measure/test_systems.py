import inspect
import re
from importlib.metadata import version

import pytest
from loops_by_hand import PROMPT
from transformers import GenerationConfig, GenerationMixin

from medusa_lib import make_generator, run_greedy, speculate
from medusa_lib.beyond.drafters import ModelDrafter, draft_lm
from medusa_lib.measure.peers import generate
from medusa_lib.measure.systems import (
    NONE,
    SETTINGS,
    SYSTEMS,
    WORDS,
    assistant,
    names_by_word,
    setting_for,
)


def test_each_system_has_each_word_once() -> None:
    places = [(row.system, row.word) for row in SETTINGS]
    assert sorted(places) == sorted((system, word) for system in SYSTEMS for word in WORDS)


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: f"{row.system}-{row.word}")
def test_each_row_has_a_source_and_a_day(row) -> None:
    assert re.match(r"https://[\w.]+/\S+$", row.source)
    assert re.search(r".+, 2026-\d\d-\d\d$", row.seen)
    assert row.promise
    assert (row.setting == NONE) <= (row.default == "")


def test_every_setting_of_transformers_exists_in_the_installed_version() -> None:
    config, arguments = GenerationConfig(), inspect.signature(GenerationMixin.generate).parameters
    rows = [row for row in SETTINGS if row.system == "transformers" and row.setting != NONE]
    assert len(rows) >= 8
    for row in rows:
        assert hasattr(config, row.setting) or row.setting in arguments, row.setting
        assert row.seen.startswith(version("transformers")), "look again, and note the version"


def test_defaults_of_transformers_are_those_of_the_installed_version() -> None:
    config = GenerationConfig()
    defaults = {**config.to_dict(), **GenerationConfig._get_default_generation_params()}
    for word in ("span", "unsure", "adaptive span", "same output", "n-gram"):
        row = setting_for("transformers", word)
        assert str(defaults.get(row.setting)) == row.default, word


def test_names_are_a_row_for_each_word() -> None:
    rows = names_by_word(("vLLM", "SGLang"))
    assert [row[0] for row in rows] == list(WORDS)
    assert rows[WORDS.index("span")][1:] == ["num_speculative_tokens", "--speculative-num-steps"]


def test_an_unknown_system_or_word_is_refused() -> None:
    with pytest.raises(ValueError, match="system must be one of transformers"):
        setting_for("ollama", "span")
    with pytest.raises(ValueError, match="word must be one of draft model"):
        setting_for("vLLM", "gamma")


def test_assisted_generation_has_the_loops_of_ours(lm) -> None:
    draft = draft_lm(lm)
    before = draft.model.generation_config.to_dict()
    theirs = generate(lm, PROMPT, 24, assistant_model=assistant(draft, 4))
    assert draft.model.generation_config.to_dict() == before
    drafter = ModelDrafter(draft, 0.0, 1.0, make_generator(7))
    ours = speculate(lm, PROMPT, drafter, 24, span=4)
    assert list(theirs["ids"]) == ours.new_ids == run_greedy(lm, PROMPT, 24).new_ids
    assert theirs["verify_passes"] == len(ours.loops)
    assert theirs["draft_passes"] == sum(loop.draft_passes for loop in ours.loops)


def test_assistant_checks_its_span(lm, refuses) -> None:
    with refuses("span", 0, lm):
        assistant(draft_lm(lm), 0)
