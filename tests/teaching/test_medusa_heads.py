import re

import pytest
import torch
from panels import Reader, says

from medusa_lib.beyond.heads_files import shipped_heads
from medusa_lib.beyond.medusa_heads import chain_of, draft_tree
from medusa_lib.beyond.speculative import speculate
from medusa_lib.teaching.medusa_heads import (
    Guesses,
    GuessesPanel,
    greedy_examples,
    guesses_of,
    guesses_rows,
    guesses_words,
    plot_top_guesses,
    read_greedily,
)

PROMPTS = ["In the middle of the forest stood", "The fox said to the crow,"]


def test_greedy_examples_are_those_of_the_text(lm) -> None:
    """From the end of the prompt on each label is the token that the text goes on with."""
    examples = greedy_examples(lm, PROMPTS, 14, 3)
    first = 0
    for prompt in PROMPTS:
        new = speculate(lm, prompt, None, 14).new_ids
        rows = range(len(new) - 2)
        tokens, labels = (
            values[first : first + len(rows)].tolist()
            for values in (examples.tokens, examples.labels)
        )
        assert tokens == [new[i : i + 3] for i in rows]
        assert labels[:-1] == [new[i + 1 : i + 4] for i in rows[:-1]]
        assert labels[-1][:-1] == new[-2:], "what the model would go on with is not known here"
        first += len(rows)
    assert len(examples) == first
    assert examples.hidden.dtype == torch.float32
    said = lm.model.get_output_embeddings()(examples.hidden).argmax(-1)
    assert not examples.hidden.is_inference(), "so that heads can be trained on them"
    assert said.tolist() == examples.tokens[:, 0].tolist()


def test_top_guesses_have_a_line_and_a_band_for_each_kind_of_text(ax) -> None:
    plot_top_guesses({"own": [[0.5, 0.75], [0.25, 0.5]], "books": [[0.25, 0.5]]}, ax)
    assert [[*line.get_ydata()] for line in ax.lines] == [[0.375, 0.625], [0.25, 0.5]]
    assert sorted(text.get_text() for text in ax.texts) == ["books", "own"]
    corners = {tuple(corner) for corner in ax.collections[0].get_paths()[0].vertices}
    assert {(1.0, 0.25), (1.0, 0.5), (2.0, 0.5), (2.0, 0.75)} <= corners


@pytest.mark.parametrize(
    ("best", "held"), [((1, 2, 3), 3), ((1, 9, 3), 1), ((9, 2, 3), 0), ((1, 2, 9), 2)]
)
def test_guesses_hold_up_to_the_first_wrong_one(best, held) -> None:
    guesses = Guesses(best, (9, 2, 9), (1, 2, 3))
    assert guesses.held == held
    written = "1 token" if held == 0 else f"{held + 1} tokens"
    assert guesses_words(guesses).endswith(f"the next pass writes {written}")


def test_rows_say_what_became_of_each_guess(lm) -> None:
    rows = guesses_rows(lm, Guesses((5, 6, 7), (8, 9, 9), (5, 9, 7)))
    assert [row[-1] for row in rows] == ["holds", "second holds", "after a wrong one"]
    assert [row[0] for row in rows] == ["head 1", "head 2", "head 3"]
    assert guesses_rows(lm, Guesses((5,), (8,), (6,)))[0][-1] == "wrong"


@pytest.fixture(scope="module")
def panel(lm):
    return GuessesPanel(lm, PROMPTS[0], tokens=24)


@pytest.mark.parametrize(("place", "count"), [(0, 6), (5, 1), (17, 3)])
def test_panel_shows_what_a_chain_of_heads_drafts(lm, panel, place, count) -> None:
    panel.place.value, panel.count.value = place, count
    heads, _ = shipped_heads(lm)
    run = speculate(lm, PROMPTS[0], None, 24)
    texts = read_greedily(lm, PROMPTS[0], 24)
    assert texts.ids[0].tolist() == run.prompt_ids + run.new_ids
    at = texts.start + place
    hidden, chosen = texts.hidden[0, at - 1], run.new_ids[place]
    drafted = draft_tree(heads, hidden, chosen, tuple(chain_of(count)))
    guesses = panel.current()
    assert list(guesses.best) == drafted
    assert list(guesses.wrote) == run.new_ids[place + 1 : place + 1 + count]
    assert guesses == guesses_of(heads, hidden, [chosen, *guesses.wrote])
    assert says(panel) == guesses_words(guesses)
    shown = Reader(panel.view.value).text
    for row in guesses_rows(lm, guesses):
        assert "".join(row) in shown


def test_panel_has_a_fixed_text_and_names(lm, panel) -> None:
    assert panel.says == GuessesPanel(lm, PROMPTS[0], tokens=24).says
    assert re.fullmatch(r"Panel: .{20,}", panel.says)
    assert panel.place.description == "place"
    assert panel.count.description == "heads"
    assert torch.is_tensor(panel.texts.hidden)
