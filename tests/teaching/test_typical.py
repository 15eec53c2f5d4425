import pytest
import torch
from matplotlib.colors import to_hex
from panels import says

from medusa_lib import encode, last_logits, make_generator
from medusa_lib.beyond.speculative import speculate
from medusa_lib.beyond.typical import Typical
from medusa_lib.steps.sampling import softmax_temp
from medusa_lib.teaching.toys.four_words import DRAFT, TARGET, text_probs, word_probs
from medusa_lib.teaching.typical import (
    Trade,
    TypicalPanel,
    bound_of,
    draft_table,
    favourites_and_surprise,
    measure_trade,
    one_loop,
    plot_bound,
    plot_trade,
    text_distance,
)


def test_distance_by_hand() -> None:
    counts, probs = torch.tensor([6.0, 2.0, 2.0]), torch.tensor([0.5, 0.5, 0.0])
    assert text_distance(counts, probs) == pytest.approx(0.3)
    assert text_distance(10 * probs, probs) == 0


def test_plain_and_exact_sampling_are_as_far_as_chance_makes_them() -> None:
    plain, exact = measure_trade(None, 800, span=0), measure_trade(None, 800)
    assert plain.tokens_per_pass == 1
    assert exact.tokens_per_pass > 2
    generator, probs = make_generator(3), text_probs(2, 1.0, 1.0)
    draws = torch.multinomial(probs.flatten().expand(200, -1), 800, True, generator=generator)
    chance = [text_distance(torch.bincount(row, minlength=16), probs.flatten()) for row in draws]
    assert plain.distance < max(chance)
    assert exact.distance < max(chance)


def test_a_rule_that_accepts_all_writes_as_the_draft() -> None:
    """Three drafts and a bonus a pass, and for two words the draft's own distribution."""
    trade = measure_trade(Typical(), 800)
    assert trade.tokens_per_pass == 4
    step = torch.stack([word_probs(DRAFT, word, 1.0, 1.0) for word in range(4)])
    drafted = step[0][:, None] * step
    expected = float((drafted - text_probs(2, 1.0, 1.0)).abs().sum() / 2)
    assert trade.distance == pytest.approx(expected, abs=0.05)


def test_typical_acceptance_buys_tokens_with_distance() -> None:
    exact = measure_trade(None, 500)
    for epsilon in (0.09, 0.15):
        trade = measure_trade(Typical(epsilon, 1.0), 500)
        assert trade.tokens_per_pass > exact.tokens_per_pass
        assert trade.distance > 3 * exact.distance
    close = measure_trade(Typical(), 500, difference=0.3)
    assert exact.distance < close.distance < measure_trade(Typical(), 500).distance


def test_a_strict_rule_writes_typical_words_only() -> None:
    """Above 0.2 only the two most probable words after each word are typical."""
    generator, last = make_generator(1), 0
    for _ in range(60):
        for word in one_loop(last, Typical(0.25, 1.0), generator):
            assert word in TARGET[last].topk(2).indices
            last = word


def test_trade_is_seeded_and_checks_its_knobs(refuses) -> None:
    assert measure_trade(Typical(), 20) == measure_trade(Typical(), 20)
    assert measure_trade(None, 20) != measure_trade(None, 20, seed=8)
    for name, value in {"trials": 0, "count": 0, "span": -1}.items():
        with refuses(name, value):
            measure_trade(None, **{"trials": 5, name: value})


def test_draft_table_goes_from_target_to_draft() -> None:
    assert torch.equal(draft_table(0.0), TARGET)
    assert torch.allclose(draft_table(1.0), DRAFT)


def test_trade_has_a_point_for_each_rule_and_the_noise(ax) -> None:
    plot_trade({"exact": Trade(2.5, 0.05), "typical": Trade(4.0, 0.4)}, 0.06, ax)
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [
        (2.5, 0.05),
        (4.0, 0.4),
    ]
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.y0, band.y1) == (pytest.approx(0), pytest.approx(0.06))
    assert ax.patches[0].get_hatch()
    assert [text.get_text() for text in ax.texts][:2] == ["exact", "typical"]
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
    assert to_hex(ax.lines[0].get_color()) != to_hex(ax.lines[1].get_color())
    assert "tokens per pass" in ax.get_xlabel()


def test_the_bound_by_hand() -> None:
    bound = bound_of(torch.tensor([0.5, 0.3, 0.1, 0.1]).double().log(), 1.0, Typical(0.2, 0.5))
    assert bound.entropy == pytest.approx(1.168, abs=1e-3)
    assert bound.least == pytest.approx(0.5 * 0.311, abs=1e-3)
    assert bound.typical.tolist() == [True, True, False, False]
    said = "entropy 1.17, bound 0.155: 2 tokens are typical, with 0.80 of the probability"
    assert bound.words == said
    one = bound_of(torch.tensor([1.0, 0.0]), 0.0, Typical(1.0, 1.0))
    assert one.words.endswith("1 token is typical, with 1.00 of the probability")


def test_bound_is_a_line_over_the_bars(ax) -> None:
    plot_bound([" a", "b"], [0.5, 0.125], [True, False], 0.25, ax)
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.125]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, True]
    assert [*ax.lines[0].get_xdata()] == [0.25, 0.25]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["·a", "b"]


@pytest.mark.parametrize("knobs", [(0.8, 0.09, 0.3), (0.0, 1.0, 1.0), (2.0, 0.0, 1.0)])
def test_panel_shows_the_sliders_values(lm, knobs) -> None:
    panel = TypicalPanel(lm, "The fox said to the crow,")
    before = panel.says
    panel.temperature.value, panel.epsilon.value, panel.delta.value = knobs
    logits = last_logits(lm, encode(lm, "The fox said to the crow,"))
    bound = bound_of(logits, knobs[0], Typical(*knobs[1:]))
    assert says(panel) == bound.words
    assert panel.view.value.count("-bar-") >= 10
    assert not panel.message.value
    assert panel.says == before == TypicalPanel(lm, "The fox said to the crow,").says
    assert before.startswith("Panel: sliders for temperature, epsilon and delta")


def test_greedy_writes_favourites_only_and_its_surprise_is_the_models(lm) -> None:
    run = speculate(lm, "The fox said to the crow,", None, 6)
    favourites, surprise = favourites_and_surprise(lm, [run, run], 0.8)
    assert favourites == 1
    taken = []
    for i, token in enumerate(run.new_ids):
        ids = torch.tensor([run.prompt_ids + run.new_ids[:i]])
        taken.append(-float(softmax_temp(last_logits(lm, ids).double(), 0.8)[token].log()))
    assert surprise == pytest.approx(sum(taken) / len(taken), abs=1e-4)
    drawn = [speculate(lm, "The fox", None, 40, temperature=1.5, seed=seed) for seed in (1, 2)]
    fewer, more = favourites_and_surprise(lm, drawn, 0.8)
    assert fewer < favourites
    assert more > surprise
