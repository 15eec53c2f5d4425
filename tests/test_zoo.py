"""Any causal architecture decodes as `generate` does, or is refused by name before any pass."""

from __future__ import annotations

import pytest
import zoo
from zoo import NAMES, judged, kept, tiny

from medusa_lib import compare, run_greedy, speculate

# Full attention with and without given positions; a window; places after the padding's; two
# streams; a recurrence; experts; a decoder without its encoder.
SAMPLE = (
    "bloom",
    "camembert",
    "cpmant",
    "gemma2",
    "hunyuan_v1_moe",
    "hy_v4",
    "mamba",
    "opt",
    "whisper",
    "xlnet",
)
CRASH = "it crashed or took more than"


def test_the_list_has_every_architecture_and_none_writes_another_text() -> None:
    found = kept()
    assert list(found) == NAMES
    assert [name for name, outcome in found.items() if outcome.startswith("different")] == []
    assert zoo.table(found) in zoo.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_does_what_the_list_says(name) -> None:
    assert judged(name) == kept()[name]


@pytest.mark.zoo
@pytest.mark.parametrize("name", NAMES)
def test_each_does_what_the_list_says(name) -> None:
    found, wanted = zoo.apart(name), kept()[name]
    assert found == wanted or CRASH in wanted


@pytest.mark.parametrize("name", ["mamba", "cpmant"])
def test_compare_refuses_before_any_pass_over_the_text(name, monkeypatch) -> None:
    lm = tiny(name)
    passes = []
    monkeypatch.setattr("medusa_lib.demo.run_greedy", lambda *_: passes.append(1))
    with pytest.raises(ValueError, match=f"^lm must be a model .* got {name}"):
        compare(lm, zoo.PROMPT)
    assert not passes


def test_a_refusal_is_remembered_and_costs_no_second_trial(count_passes) -> None:
    lm = tiny("cpmant")
    for decode in (run_greedy, speculate):
        with pytest.raises(ValueError, match="cpmant"):
            decode(lm, zoo.PROMPT)
    with count_passes(lm) as passes, pytest.raises(ValueError, match="cpmant"):
        run_greedy(lm, zoo.PROMPT)
    assert not passes
