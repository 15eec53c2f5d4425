"""Heads: they begin as the output layer, draft what they say, and fit one model only."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from drafts import PROMPTS, assert_same_as_greedy

import medusa_lib
from medusa_lib import encode, load_lm, make_generator, speculate
from medusa_lib.beyond.branches import BranchesDrafter
from medusa_lib.beyond.growing_trees import GrowingDrafter, Growth, best_shares, draft_best_first
from medusa_lib.beyond.heads_files import heads_fit, load_heads, save_heads, shipped_heads
from medusa_lib.beyond.medusa_heads import (
    KINDS,
    HeadsDrafter,
    HeadsError,
    HeadsShape,
    chain_of,
    check_nodes,
    draft_chain,
    draft_tree,
    new_heads,
)
from medusa_lib.beyond.one_pass import Branch, State, one_pass
from medusa_lib.beyond.trees import parents_of, path_to

NODES = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 2)]


def random_heads(lm, kind="hydra", count=3):
    """Heads with weights that make their guesses vary."""
    width = lm.model.get_output_embeddings().weight.shape[1]
    shape = HeadsShape(kind, count, width, 24, lm.vocab_size)
    torch.manual_seed(2)
    heads = new_heads(lm, shape, torch.arange(lm.vocab_size))
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return heads.eval()


def state_after(lm, text="abcab"):
    state = State.start(lm, encode(lm, text)[0].tolist())
    logits = one_pass(state, [])
    state.ids.append(int(logits[-1].argmax()))
    return state, logits


@pytest.mark.parametrize("kind", KINDS)
def test_every_head_begins_as_the_output_layer(each_lm, kind) -> None:
    state, logits = state_after(each_lm)
    shape = HeadsShape(kind, 3, state.hidden.shape[1], 8, 9)
    vocab = torch.arange(2, 11)
    heads = new_heads(each_lm, shape, vocab)
    scores = heads(state.hidden[-1:].clone(), torch.tensor([[3, 4, 5]]))[0]
    assert scores.shape == (3, 9)
    for row in scores:
        assert torch.allclose(row, logits[-1][vocab], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_drafted_tree_holds_each_heads_best_guesses(tiny_gpt2, kind) -> None:
    """The oracle goes down each path alone and asks `forward` what the heads say."""
    heads, nodes = random_heads(tiny_gpt2, kind), check_nodes(NODES, HeadsShape(count=3))
    state, _ = state_after(tiny_gpt2)
    hidden, token = state.hidden[-1].clone(), state.ids[-1]
    tokens, parents = draft_tree(heads, hidden, token, nodes), parents_of(nodes)
    for place, node in enumerate(nodes):
        before = [tokens[i] for i in path_to(parents, place)][:-1]
        told = [token, *before, *[0] * (3 - 1 - len(before))]
        scores = heads(hidden[None], torch.tensor([told]))[0, len(node) - 1]
        assert tokens[place] == int(scores.argsort(descending=True)[node[-1]]), node


def test_a_hydra_head_sees_the_token_before_and_a_medusa_head_does_not(tiny_gpt2) -> None:
    state, _ = state_after(tiny_gpt2)
    hidden = state.hidden[-1:].clone()
    for kind in KINDS:
        heads = random_heads(tiny_gpt2, kind)
        one, other = (heads(hidden, torch.tensor([[5, token, 5]])) for token in (3, 4))
        assert torch.equal(one[:, 0], other[:, 0])
        assert torch.equal(one[:, 1], other[:, 1]) == (kind == "medusa")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nodes", [NODES, chain_of(3)], ids=["tree", "chain"])
def test_heads_of_any_kind_write_greedys_tokens(tiny_gpt2, tiny_llama, kind, nodes) -> None:
    accepted = 0
    for lm in (tiny_gpt2, tiny_llama):
        drafter = HeadsDrafter(random_heads(lm, kind), nodes)
        for prompt in ("abcab", "a", "hij.ab"):
            for span in (None, 1, 2, 9):
                accepted += assert_same_as_greedy(lm, prompt, 20, drafter=drafter, span=span)
    assert accepted > 0


def grown_by_search(heads, hidden, token, growth, depth):
    """All paths and their chances, by `forward` alone; then the likeliest that may join."""
    chances, said = {(): 1.0}, {(): token}
    for far in range(depth):
        for path in [path for path in chances if len(path) == far]:
            told = [said[path[:i]] for i in range(far + 1)]
            told += [0] * (heads.shape.count - len(told))
            scores = heads(hidden[None], torch.tensor([told]))[0, far]
            shares = torch.softmax(scores, -1)
            for rank, place in enumerate(scores.argsort(descending=True)[: growth.ranks]):
                chances[*path, rank] = chances[path] * float(shares[place].detach())
                said[*path, rank] = int(heads.vocab[place])

    def may(path):
        opened = all(chances[path[:i]] >= growth.least_open for i in range(1, len(path)))
        return path and opened and chances[path] >= growth.least

    likely = sorted(filter(may, chances), key=lambda path: -chances[path])[: growth.most]
    return [[said[path[:i]] for i in range(1, len(path) + 1)] for path in likely]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "growth",
    [Growth(9, 3, 2, 0.0, 0.0), Growth(4, 2, 3, 0.01, 0.05), Growth(9, 3, 2, 0.02, 0.2)],
)
def test_a_growing_tree_holds_the_likeliest_guesses(tiny_gpt2, kind, growth) -> None:
    heads, (state, _) = random_heads(tiny_gpt2, kind), state_after(tiny_gpt2)
    hidden, token = state.hidden[-1].clone(), state.ids[-1]
    for each in (heads, heads.fast):
        tokens, parents = draft_best_first(each, hidden, token, growth, growth.depth)
        paths = [[tokens[i] for i in path_to(parents, place)] for place in range(len(tokens))]
        expected = grown_by_search(heads, hidden, token, growth, growth.depth)
        assert sorted(paths) == sorted(expected)


def test_a_growing_tree_is_safe_and_refuses_bad_limits(tiny_gpt2, tiny_llama, refuses) -> None:
    for lm in (tiny_gpt2, tiny_llama):
        for kind in KINDS:
            drafter = GrowingDrafter(random_heads(lm, kind), Growth(9, 3, 3, 0.0, 0.0))
            for span in (None, 1, 2):
                assert_same_as_greedy(lm, "abcab", 20, drafter=drafter, span=span)
    with refuses("depth", 8):
        GrowingDrafter(random_heads(tiny_gpt2, "medusa"), Growth())
    for field, value in (("most", 0), ("depth", 0), ("ranks", 0), ("least", 2), ("least_open", -1)):
        with refuses(field, value):
            Growth(**{field: value})


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_is_the_tree_of_the_best_guesses(tiny_llama, kind) -> None:
    heads, (state, _) = random_heads(tiny_llama, kind), state_after(tiny_llama)
    told = state.hidden[-1].clone(), state.ids[-1]
    tree = draft_tree(heads, *told, tuple(chain_of(3)))
    assert draft_chain(heads, *told, 3) == draft_chain(heads.fast, *told, 3) == tree


@pytest.mark.parametrize("drafter", ["heads_chain", "heads_tree", "branches"])
def test_the_shipped_heads_write_greedys_tokens(lm, drafter) -> None:
    accepted = [assert_same_as_greedy(lm, p, 32, drafter=drafter) for p in PROMPTS]
    assert sum(accepted) > 20


def test_the_shipped_heads_cost_one_pass_a_loop_and_draft_without_any(lm, count_passes) -> None:
    with count_passes(lm) as passes:
        run = speculate(lm, PROMPTS[0], "heads_tree", 32)
    assert len(passes) == run.model_passes == run.verify_passes
    assert run.draft_passes == 0
    assert len(run.loops) < 24
    assert run.loops[0].branch == ()
    assert any(record.parents is not None for record in run.loops), "no tree had two branches"
    assert max(len(record.branch) for record in run.loops) <= Growth().most


def test_the_self_drawn_branches_cost_a_pass_for_each_token_of_the_longest(lm) -> None:
    run = speculate(lm, PROMPTS[0], "branches", 20, span=3)
    assert all(record.draft_passes == 3 for record in run.loops[:-2])
    assert max(len(record.branch) for record in run.loops) > 3, "there is more than one branch"


@pytest.mark.parametrize("drafter", ["heads_tree", "branches"])
def test_a_temperature_works_with_trees(lm, drafter) -> None:
    runs = [speculate(lm, PROMPTS[0], drafter, 20, temperature=0.8, seed=s) for s in (1, 1, 2)]
    assert runs[0].new_ids == runs[1].new_ids != runs[2].new_ids


@pytest.mark.parametrize("kind", KINDS)
def test_saved_heads_come_back(tiny_llama, kind, tmp_path) -> None:
    heads = random_heads(tiny_llama, kind)
    save_heads(heads, tiny_llama, NODES, tmp_path / "heads")
    again, nodes = load_heads(tiny_llama, tmp_path / "heads")
    assert nodes == NODES
    assert again.shape == heads.shape
    for name, tensor in heads.state_dict().items():
        assert torch.allclose(tensor.float(), again.state_dict()[name].float(), atol=1e-3), name
    assert not (set(again.state_dict()) - set(heads.state_dict()))


def test_heads_of_another_model_are_refused(tiny_gpt2, tiny_llama, tmp_path, refuses) -> None:
    folder = tmp_path / "gpt2-heads"
    save_heads(random_heads(tiny_gpt2), tiny_gpt2, NODES, folder)
    with refuses("heads", lm=tiny_llama):
        load_heads(tiny_llama, folder)
    with refuses("lm", lm=tiny_llama):
        speculate(tiny_llama, "abc", "heads_tree")
    with refuses("heads"):
        load_heads(tiny_llama, tmp_path / "nowhere")
    (folder / "heads.json").write_text("{}")
    with refuses("heads"):
        load_heads(tiny_gpt2, folder)
    assert not heads_fit(tiny_llama)


def test_heads_of_the_same_sizes_but_other_weights_are_refused(lm, tmp_path) -> None:
    other = load_lm(device="cpu")
    with torch.no_grad():
        other.model.get_output_embeddings().weight.mul_(1.2)
    with pytest.raises(HeadsError, match="must be trained for bookworm"):
        load_heads(other)
    half = load_lm(device="cpu")
    half.model.to(torch.bfloat16)
    assert load_heads(half)[0].shape == load_heads(lm)[0].shape


def test_a_model_of_another_family_is_refused(lm, refuses, monkeypatch) -> None:
    monkeypatch.setattr("medusa_lib.beyond.medusa_heads.FAMILIES", ("llama",))
    with refuses("lm"):
        load_heads(lm)


@pytest.mark.parametrize(
    "nodes", [[], [(0,), (0,)], [(0, 0)], [()], [(0,) * 4], [(9999,)], [(-1,)]]
)
def test_a_tree_that_heads_cannot_draft_is_refused(nodes, refuses) -> None:
    with refuses(""):
        check_nodes(nodes, HeadsShape(count=3, words=14))


@pytest.mark.parametrize(
    ("field", "value"), [("kind", "eagle"), ("count", 0), ("inner", 0), ("words", 0), ("width", 0)]
)
def test_a_bad_shape_is_refused(field, value, refuses) -> None:
    with refuses(field):
        HeadsShape(**{field: value})


def test_a_span_cuts_the_tree_and_without_a_pass_there_is_nothing_to_draft_from(tiny_gpt2) -> None:
    drafter = HeadsDrafter(random_heads(tiny_gpt2), NODES)
    state, _ = state_after(tiny_gpt2)
    state.hidden = state.hidden.clone()
    assert len(drafter.propose(state, 2).tokens) == 5
    assert drafter.propose(state, 1).parents == (-1, -1)
    assert drafter.propose(dataclasses.replace(state, hidden=None), 3) == Branch()
    chain = HeadsDrafter(random_heads(tiny_gpt2), chain_of(3)).propose(state, 3)
    assert (len(chain.tokens), chain.parents) == (3, None)


def test_the_shipped_heads_are_small_and_their_card_is_theirs(lm) -> None:
    folder = Path(medusa_lib.__file__).parent / "pretrained" / "bookworm_heads"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    figures = json.loads((folder / "figures.json").read_text())
    card = (folder / "README.md").read_text()
    for row in figures["top_accuracy"]["own text"]:
        assert f"{row[0]:.3f}" in card
    heads, nodes = shipped_heads(lm)
    assert figures["parameters"] == sum(p.numel() for p in heads.parameters())
    assert len(nodes) == figures["best_budget"]


def test_heads_that_do_not_fit_a_model_are_refused_before_any_pass(
    lm, tiny_gpt2, refuses, monkeypatch
) -> None:
    foreign = random_heads(tiny_gpt2)
    for drafter in (HeadsDrafter(foreign, NODES), GrowingDrafter(foreign, Growth(depth=3))):
        with refuses("heads", lm=lm):
            speculate(lm, PROMPTS[0], drafter)
    with refuses("width", 8):
        new_heads(tiny_gpt2, HeadsShape("hydra", 2, 8, 8, 4), torch.arange(4))
    with refuses("vocab"):
        new_heads(tiny_gpt2, HeadsShape("hydra", 2, 32, 8, 4), torch.arange(5))
    monkeypatch.setattr("medusa_lib.beyond.one_pass.MASKED", ())
    with refuses("lm", lm=tiny_gpt2):
        speculate(tiny_gpt2, "abc", HeadsDrafter(foreign, NODES))


def test_a_folder_whose_parts_do_not_fit_is_refused(tiny_gpt2, tmp_path, refuses) -> None:
    save_heads(random_heads(tiny_gpt2), tiny_gpt2, [(0, 0)], tmp_path)
    with refuses("heads"):
        load_heads(tiny_gpt2, tmp_path)


def test_retrained_heads_draft_anew_and_drop_the_old_twin(tiny_gpt2) -> None:
    heads, (state, _) = random_heads(tiny_gpt2), state_after(tiny_gpt2)
    told = state.hidden[-1].clone(), state.ids[-1]
    first = draft_chain(heads.fast, *told, 3)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.neg_()
    assert draft_chain(heads.fast, *told, 3) == draft_chain(heads, *told, 3) != first
    assert not heads.fast.twins


def test_interrupted_branches_begin_afresh(tiny_gpt2, monkeypatch) -> None:
    drafter = BranchesDrafter(tiny_gpt2, make_generator(1))
    state, _ = state_after(tiny_gpt2)
    drafter.propose(state, 3)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medusa_lib.beyond.branches.one_pass", interrupted)
        with pytest.raises(KeyboardInterrupt):
            drafter.propose(state, 3)
    assert drafter.model.own is None
    assert_same_as_greedy(tiny_gpt2, "abcab", 20, drafter=drafter)


def test_best_shares_are_the_likeliest_and_stop_where_too_little_is_left() -> None:
    scores = torch.tensor([0.5, 3.0, 2.0, -1.0]).numpy()
    shares = torch.softmax(torch.tensor(scores), -1)
    assert [place for place, _ in best_shares(scores, 3)] == [1, 2, 0]
    for place, share in best_shares(scores, 9, chance=0.5):
        assert share == pytest.approx(0.5 * float(shares[place]))
    assert best_shares(scores, 4, 1.0, least=0.3) == best_shares(scores, 1)
    assert best_shares(scores, 4, 0.1, least=0.3) == []


def test_heads_that_learned_between_two_runs_draft_anew(tiny_gpt2) -> None:
    heads = random_heads(tiny_gpt2)
    drafter = HeadsDrafter(heads, [(0,)])
    before = [loop.branch for loop in speculate(tiny_gpt2, "abc", drafter, 12).loops]
    with torch.no_grad():
        heads.out.weight.neg_()
    after = [loop.branch for loop in speculate(tiny_gpt2, "abc", drafter, 12).loops]
    assert before != after


def test_a_growing_drafter_refuses_what_is_not_a_growth_or_heads(lm, refuses) -> None:
    with refuses("growth"):
        GrowingDrafter(shipped_heads(lm)[0], 7)
    with refuses("heads"):
        GrowingDrafter(None)
