"""Random models of both families with odd sizes and every option that the engine computes."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCAB, PLACES = 37, 90
SHAKEN = 0.3  # how far norms and biases lie from where they begin


def odd_gpt2(**options):
    """A random GPT-2 of 3 heads with 5 numbers each."""
    shape = {"n_embd": 15, "n_layer": 3, "n_head": 3, "n_positions": PLACES, "vocab_size": VOCAB}
    return shaken(GPT2LMHeadModel(GPT2Config(**{**shape, **NO_IDS, **options})))


def odd_llama(**options):
    """A random Llama of 6 heads that share 2 keys and values."""
    shape = {
        "hidden_size": 18,
        "intermediate_size": 23,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "max_position_embeddings": PLACES,
        "vocab_size": VOCAB,
    }
    return shaken(LlamaForCausalLM(LlamaConfig(**{**shape, **NO_IDS, **options})))


NO_IDS = {"bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.4}


def rope(kind, **settings):
    """Rotary positions of another type."""
    return {"rope_type": kind, "rope_theta": 10_000.0, **settings}


@torch.no_grad()
def shaken(model):
    """The same model with norms and biases that matter, for evaluation."""
    generator = torch.Generator().manual_seed(2)
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.add_(SHAKEN * torch.randn(weight.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def rounded(model, dtype):
    """The same model with weights that a narrower type of number holds exactly."""
    for weight in model.parameters():
        weight.copy_(weight.to(dtype).float())
    return model


MODELS = {
    "gpt2": odd_gpt2,
    "gpt2 untied": lambda: odd_gpt2(tie_word_embeddings=False),
    "gpt2 without scaling": lambda: odd_gpt2(scale_attn_weights=False),
    "gpt2 tanh": lambda: odd_gpt2(activation_function="gelu_pytorch_tanh", layer_norm_epsilon=0.1),
    "gpt2 wide inside": lambda: odd_gpt2(n_inner=41),
    "gpt2 in half": lambda: rounded(odd_gpt2(), torch.float16),
    "llama": odd_llama,
    "llama tied": lambda: odd_llama(tie_word_embeddings=True),
    "llama with biases": lambda: odd_llama(attention_bias=True, mlp_bias=True),
    "llama one key for all": lambda: odd_llama(num_key_value_heads=1),
    "llama a key for each": lambda: odd_llama(num_key_value_heads=6, rms_norm_eps=0.1),
    "llama in bfloat16": lambda: rounded(odd_llama(), torch.bfloat16),
    "llama linear": lambda: odd_llama(rope_parameters=rope("linear", factor=3.0)),
    "llama yarn": lambda: odd_llama(
        rope_parameters=rope("yarn", factor=2.0, original_max_position_embeddings=45)
    ),
    "llama 3": lambda: odd_llama(
        rope_parameters=rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=30,
        )
    ),
}
