import pytest
import torch
from legends import labels
from matplotlib.colors import to_hex

from medusa_lib import make_generator
from medusa_lib.beyond.typical import Typical
from medusa_lib.teaching.toys.four_words import DRAFT, TARGET, text_probs, word_probs
from medusa_lib.teaching.typical import (
    Trade,
    draft_table,
    measure_trade,
    one_loop,
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
    assert labels(ax) == ["exact", "typical", "chance alone"]
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()
    assert to_hex(ax.lines[0].get_color()) != to_hex(ax.lines[1].get_color())
    assert "tokens per pass" in ax.get_xlabel()
