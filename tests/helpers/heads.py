"""Random heads, and a state to draft from."""

import torch
from drafts import ids_of

from medusa_lib.beyond.medusa_heads import HeadsShape, new_heads
from medusa_lib.beyond.one_pass import State, one_pass

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
    """The text and greedy's next token → (state, logits of the pass over the text)."""
    state = State.start(lm, ids_of(lm, text))
    logits = one_pass(state, [])
    state.ids.append(int(logits[-1].argmax()))
    return state, logits
