"""What heads learn from: the right labels at the right places, and that they do learn."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from heads import random_heads

from medusa_lib import encode, make_generator, run_greedy
from medusa_lib.beyond.heads_training import (
    DECAY,
    NOT_GUESSED,
    RANKS,
    SOFT,
    Joint,
    Texts,
    Training,
    Writing,
    examples_of,
    fitted_heat,
    frequent,
    heads_loss,
    is_fresh,
    joined,
    make_heads,
    openings,
    places_in,
    rank_accuracy,
    read_texts,
    right_ranks,
    self_distilled,
    soft_loss,
    top_accuracy,
    train_steps,
    write_texts,
)
from medusa_lib.beyond.medusa_heads import HeadsShape

PROMPT = "Once upon a time"


def test_written_texts_are_greedys_own(lm) -> None:
    prompt = encode(lm, PROMPT).cpu()
    texts = write_texts(lm, prompt.repeat(2, 1), 12, 0.0, make_generator(1))
    greedy = run_greedy(lm, PROMPT, 12)
    assert texts.start == prompt.shape[1]
    assert texts.ids[0].tolist() == greedy.prompt_ids + greedy.new_ids
    assert texts.choices[0, texts.start - 1 : -1].tolist() == greedy.new_ids
    read = read_texts(lm, texts.ids)
    assert torch.equal(read.choices, texts.choices)
    assert torch.allclose(read.hidden.float(), texts.hidden.float(), atol=0.02)


def test_at_a_temperature_the_texts_differ_and_repeat_by_seed(tiny_gpt2) -> None:
    prompts = torch.tensor([[2, 3, 4]] * 3)
    one, same, other = (
        write_texts(tiny_gpt2, prompts, 10, 1.0, make_generator(seed)).ids for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    assert openings(tiny_gpt2, 4, 7, make_generator(1)).shape == (4, 7)


def test_labels_are_what_the_model_chose_after_the_tokens_told() -> None:
    ids = torch.arange(20)[None]
    texts = Texts(ids, ids[..., None].half(), ids + 100, start=4)
    examples = examples_of(texts, 3)
    assert len(examples) == 14
    assert examples.hidden[:, 0].tolist() == list(range(3, 17))
    assert examples.tokens[0].tolist() == [4, 5, 6]
    assert examples.labels[0].tolist() == [104, 105, 106]
    assert examples.labels[-1].tolist() == [117, 118, 119]
    assert len(joined([examples, examples])) == 28


def test_repetitions_teach_nothing() -> None:
    phrase = list(range(7))
    assert is_fresh(torch.tensor([phrase * 2]))[0].tolist() == [True] * 12 + [False] * 2
    assert is_fresh(torch.tensor([[1, 2, 3]])).all()
    ids = torch.tensor([phrase * 3])
    texts = Texts(ids, torch.zeros(1, 21, 2).half(), ids, start=1)
    assert len(examples_of(texts, 2)) == 12


def test_only_frequent_tokens_are_guessed() -> None:
    labels = torch.tensor([[5, 5], [3, 5], [3, 9]])
    vocab = frequent(labels, 2, 12)
    assert vocab.tolist() == [3, 5]
    assert places_in(vocab, labels, 12).tolist() == [[1, 1], [0, 1], [0, NOT_GUESSED]]
    assert len(frequent(labels, 99, 12)) == 12


def test_the_loss_weighs_heads_by_the_papers_powers() -> None:
    scores = torch.randn(5, 2, 4, generator=make_generator(3))
    places = torch.tensor([[0, 1], [2, NOT_GUESSED], [3, 3], [1, 0], [2, 2]])
    known = places[:, 1] >= 0
    one = F.cross_entropy(scores[:, 0], places[:, 0])
    two = F.cross_entropy(scores[known, 1], places[known, 1])
    assert torch.allclose(heads_loss(scores, places), one + DECAY * two)
    assert heads_loss(scores, torch.full((5, 2), NOT_GUESSED)) == 0


def test_the_soft_loss_is_least_where_heads_say_what_the_model_says() -> None:
    wanted = torch.randn(6, 2, 5, generator=make_generator(3))
    by_hand = sum(
        DECAY**head * t * float(torch.distributions.Categorical(logits=each / t).entropy().mean())
        for t in SOFT
        for head, each in enumerate(wanted.unbind(dim=1))
    )
    least = float(soft_loss(wanted + 3, wanted))  # a number added to all changes no distribution
    assert least == pytest.approx(by_hand, rel=1e-5)
    for seed in range(20):
        other = wanted + 0.3 * torch.randn(6, 2, 5, generator=make_generator(seed))
        assert float(soft_loss(other, wanted)) > least


def test_what_the_model_had_ahead_stands_where_the_guesses_belong() -> None:
    ids = torch.arange(20)[None]
    texts = Texts(ids, ids[..., None].half(), ids + 100, start=4)
    examples = joined([examples_of(texts, 3)] * 2)
    chosen = torch.tensor([0, 13, 14, 27])
    ahead = examples.ahead(chosen)[..., 0]
    assert torch.equal(ahead + 100, examples.labels[chosen].half())


def overlaps(heads, lm, examples) -> float:
    """How often a guess drawn from the heads would hold at temperature 0.8, the mean of all."""
    scores = heads(examples.hidden.float(), examples.tokens)
    said = examples.ahead(torch.arange(len(examples))).float()
    said = said @ lm.model.get_output_embeddings().weight[heads.vocab].t()
    q, p = (torch.softmax(each / 0.8, dim=-1) for each in (scores, said))
    return float(torch.minimum(p, q).sum(dim=-1).mean())


@torch.no_grad()
def test_softly_taught_heads_overlap_more_with_the_model(tiny_gpt2) -> None:
    examples = self_distilled(tiny_gpt2, 2000, 3, make_generator(5), Writing(64, 6, 16, 1.0))
    found = {}
    for soft in (False, True):
        training = Training(steps=120, batch=128, lr=0.01, soft=soft)
        shape = HeadsShape("hydra", 3, examples.states.shape[1], 32, 99)
        learner = make_heads(tiny_gpt2, shape, examples, training)
        with torch.enable_grad():
            list(train_steps(learner, examples, training, tiny_gpt2.vocab_size))
        found[soft] = overlaps(learner.heads, tiny_gpt2, examples)
    assert found[True] > found[False] + 0.05


@pytest.mark.parametrize("heat", [0.3, 0.5, 1.0])
def test_the_heat_is_that_of_the_models_choices(tiny_gpt2, heat) -> None:
    """Labels drawn from the heads' own distributions at a temperature give that temperature."""
    heads, generator = random_heads(tiny_gpt2), make_generator(4)
    examples = self_distilled(tiny_gpt2, 2000, 3, generator, Writing(64, 6, 16, 1.0))
    probs = torch.softmax(heads(examples.hidden.float(), examples.tokens).detach() / heat, dim=-1)
    drawn = torch.multinomial(probs.flatten(0, 1), 1, generator=generator)
    labels = heads.vocab[drawn].view_as(examples.labels)
    found = fitted_heat(heads, dataclasses.replace(examples, labels=labels), tiny_gpt2.vocab_size)
    assert abs(found - heat) <= 0.1


def test_heads_learn_what_a_tiny_model_says(tiny_gpt2, tiny_llama) -> None:
    """On text of its own: both kinds do far better than before, hydra better than medusa."""
    for lm in (tiny_gpt2, tiny_llama):
        examples = self_distilled(lm, 2000, 3, make_generator(5), Writing(64, 6, 16, 1.0))
        width, training = examples.hidden.shape[1], Training(steps=120, batch=128, lr=0.01)
        right = {}
        for kind in ("medusa", "hydra"):
            learner = make_heads(lm, HeadsShape(kind, 3, width, 32, 99), examples, training)
            before = right_ranks(learner.heads, examples, lm.vocab_size)
            losses = [loss for _, loss in train_steps(learner, examples, training, lm.vocab_size)]
            after = right_ranks(learner.heads, examples, lm.vocab_size)
            assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
            for head in range(3):
                first, last = (top_accuracy(ranks)[head][0] for ranks in (before, after))
                assert last > first, (kind, head)
            right[kind] = top_accuracy(after)[2][0]
        assert right["hydra"] > right["medusa"]


def test_training_is_the_same_in_one_go_and_resumed(tiny_gpt2) -> None:
    examples = self_distilled(tiny_gpt2, 500, 2, make_generator(5), Writing(32, 4, 8, 1.0))
    shape = HeadsShape("hydra", 2, 32, 8, 9)
    training = Training(steps=8, batch=16)
    whole = make_heads(tiny_gpt2, shape, examples, training)
    for _ in train_steps(whole, examples, training, tiny_gpt2.vocab_size):
        pass
    parts = make_heads(tiny_gpt2, shape, examples, training)
    for step, _ in train_steps(parts, examples, training, tiny_gpt2.vocab_size):
        if step == 3:
            break
    for step, _ in train_steps(parts, examples, training, tiny_gpt2.vocab_size):
        assert step > 3
    for one, other in zip(whole.heads.parameters(), parts.heads.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_model_itself_is_not_trained(tiny_gpt2) -> None:
    before = [p.clone() for p in tiny_gpt2.model.parameters()]
    examples = self_distilled(tiny_gpt2, 300, 2, make_generator(5), Writing(32, 4, 8, 1.0))
    training = Training(steps=3, batch=8)
    learner = make_heads(tiny_gpt2, HeadsShape("medusa", 2, 32), examples, training)
    list(train_steps(learner, examples, training, tiny_gpt2.vocab_size))
    after = list(tiny_gpt2.model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)


def test_ranks_and_joint_chances_by_hand() -> None:
    ranks = torch.tensor([[0, 0], [0, 1], [1, 0], [0, RANKS]])
    assert top_accuracy(ranks, 2) == [[0.75, 1.0], [0.5, 0.75]]
    assert rank_accuracy(ranks)[0][:2] == [0.75, 0.25]
    joint = Joint(ranks)
    assert joint((0,)) == 0.75
    assert joint((0, 0)) == 0.25
    assert joint((0, 1)) == 0.25
    assert joint((1, 1)) == 0


def test_bad_values_are_refused(tiny_gpt2, refuses) -> None:
    for field, value in (("steps", 0), ("batch", 0), ("lr", 0.0), ("lr", float("nan"))):
        with refuses(field, value):
            Training(**{field: value})
    with refuses("new_tokens", 0, tiny_gpt2):
        write_texts(tiny_gpt2, torch.tensor([[1]]), 0, 0.0, make_generator(1))
    with refuses("tokens", 0, tiny_gpt2):
        self_distilled(tiny_gpt2, 0, 2, make_generator(1))
