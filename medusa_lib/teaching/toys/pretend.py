"""Models that follow a rule, small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from medusa_lib.steps.model import LM

Rule = Callable[[list[int]], int | list[float]]  # ids so far → one token, or V probabilities


class PretendModel(torch.nn.Module):
    """A model whose next token follows a rule: see pretend_lm."""

    def __init__(self, rule: Rule, vocab_size: int) -> None:
        super().__init__()
        self.rule, self.embedding = rule, torch.nn.Embedding(vocab_size, 1)

    def get_input_embeddings(self) -> torch.nn.Embedding:
        """As every model of transformers; its size is the vocabulary's."""
        return self.embedding

    def forward(self, input_ids: torch.Tensor, **_options: object) -> CausalLMOutput:
        """Ids `[1, T]` → logits `[1, 1, V]` of the next token."""
        logits = torch.full((1, 1, self.embedding.num_embeddings), -20.0)
        wanted = self.rule(input_ids[0].tolist())
        if isinstance(wanted, int):
            logits[0, 0, wanted] = 20.0
        else:
            logits[0, 0] = torch.tensor(wanted).log().clamp(min=-20)
        return CausalLMOutput(logits=logits)


def pretend_lm(words: Sequence[str], rule: Rule) -> LM:
    """An LM over a handful of words; `rule(ids so far)` says what comes next.

    The rule returns one token id, which is then all but certain, or the probabilities of all
    words, 0 for impossible ones. The last word is EOS. For worked examples small enough to
    follow, and for edge cases that a real model shows only rarely.
    """
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=words[-1])
    model = PretendModel(rule, len(words))
    return LM("pretend", tokenizer, model, torch.device("cpu"), len(words) - 1, 64)
