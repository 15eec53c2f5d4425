"""Tokenizers of other kinds than bookworm's, each with a tiny random model."""

from tiny_models import CONTEXT, small_gpt2, small_llama
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

from medusa_lib import make_lm

CHAT = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}bot:{% endif %}"
)


def byte_tokenizer():
    """One token a byte, as GPT-2's before its merges: an emoji is four tokens."""
    texts = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return wrapped(raw, eos_token="<|endoftext|>")


def metaspace_tokenizer(*, bos=True):
    """As Llama's: words begin with ▁, what is unknown falls back to bytes, BOS comes first."""
    pieces = ["▁", *"abcdefghij.東", "▁the", "▁a", "ab"]
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    merges = [("a", "b"), ("▁", "a")]
    vocab = {text: i for i, text in enumerate(texts)}
    raw = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pieces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence([*pieces, decoders.Strip(" ", 1, 0)])
    raw.add_special_tokens([AddedToken(text, special=True) for text in ("<unk>", "<s>", "</s>")])
    if bos:
        begins = {"single": "<s> $A", "special_tokens": [("<s>", 1)]}
        raw.post_processor = processors.TemplateProcessing(**begins)
    return wrapped(raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def wrapped(raw, **named):
    """A raw tokenizer as transformers has it."""
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=CONTEXT, **named)


def bos_lm(**options):
    """A tiny Llama whose tokenizer begins each text with BOS."""
    tokenizer = metaspace_tokenizer(**options)
    model = small_llama(len(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return make_lm(tokenizer, model, "tiny-llama with BOS")


def byte_lm(spare=0):
    """A tiny GPT-2 over bytes, its table `spare` tokens larger than the tokenizer's."""
    tokenizer = byte_tokenizer()
    return make_lm(tokenizer, small_gpt2(len(tokenizer) + spare), "tiny-gpt2 over bytes")
