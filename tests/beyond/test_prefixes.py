import torch
from own_settings import settings_of

from medusa_lib import encode
from medusa_lib.beyond.near_ties import as_rows
from medusa_lib.beyond.prefixes import ObeyedRows, obeyed_rows
from medusa_lib.steps.loops import for_run


def test_without_settings_the_rows_are_the_logits(lm):
    logits = torch.rand(3, lm.vocab_size)
    assert obeyed_rows(lm, [1], [2, 3], None, logits) is logits


def test_each_row_of_a_tree_follows_its_own_ancestors(lm):
    logits = torch.ones(5, lm.vocab_size)
    text, tokens, parents = encode(lm, "The king")[0].tolist(), [40, 41, 42, 43], (-1, 0, -1, 2)
    with settings_of(lm, repetition_penalty=2.0) as other:
        run = for_run(other, "The king", 9)
        rows = obeyed_rows(run, text, tokens, parents, logits)
        assert isinstance(rows, ObeyedRows)
        assert len(rows) == 5
        for row, path in enumerate([[], [40], [40, 41], [42], [42, 43]]):
            halved = (rows[row] == 0.5).nonzero().flatten().tolist()
            assert sorted(halved) == sorted({*text, *path})
        numbers = as_rows(rows)
        assert all((numbers[i] == rows[i].numpy()).all() for i in range(5))
        assert [len(row) for row in numbers] == [lm.vocab_size] * 5
    assert bool((logits == 1).all()), "the pass's own rows stay as they are"


def test_a_branch_grows_row_by_row(lm):
    logits = torch.ones(3, lm.vocab_size)
    with settings_of(lm, no_repeat_ngram_size=1) as other:
        rows = obeyed_rows(for_run(other, "The king", 9), [5], [40, 41], None, logits)
        banned = [(row < 0).nonzero().flatten().tolist() for row in rows]
        assert banned == [[5], [5, 40], [5, 40, 41]]
