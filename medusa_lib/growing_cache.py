"""A KV cache that grows in place, so that a pass copies only what it adds.

transformers' own cache copies everything it holds in every pass, and all the more slowly after
a rollback. You can skip this module: it is the same cache with some room left at its end.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

ROOM = 64  # tokens; the first room of a layer, doubled whenever it is full


class GrowingLayer(DynamicLayer):
    """One layer of keys and values `[1, heads, tokens, head_dim]`: a view of a larger tensor."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append new keys and values after those held; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.room = (key_states[..., :0, :], value_states[..., :0, :])
        if self.keys.data_ptr() != self.room[0].data_ptr():
            self.room = (self.keys, self.values)  # someone chose among the tokens held
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if end > self.room[0].shape[-2]:
            size = max(ROOM, 2 * self.room[0].shape[-2], end)
            self.room = tuple(larger(old, size, start) for old in self.room)
        for old, new in zip(self.room, (key_states, value_states), strict=True):
            old[..., start:end, :] = new
        self.keys, self.values = (tensor[..., :end, :] for tensor in self.room)
        return self.keys, self.values


def larger(old: torch.Tensor, size: int, keep: int) -> torch.Tensor:
    """A tensor with room for `size` tokens, the first `keep` of them those of `old`."""
    new = old.new_empty(*old.shape[:-2], size, old.shape[-1])
    new[..., :keep, :] = old[..., :keep, :]
    return new


def growing_cache(config: PretrainedConfig) -> DynamicCache:
    """An empty cache for a model of this config; layers of a special kind stay as they are.

    Raises ValueError for a recurrent model, whose state cannot be rolled back.
    """
    cache = DynamicCache(config=config)
    if any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers):
        kind = config.model_type
        raise ValueError(f"lm must be a model that keeps keys and values, got {kind}, a recurrence")
    cache.layers = [GrowingLayer() if type(old) is DynamicLayer else old for old in cache.layers]
    for layer in cache.layers:
        if hasattr(layer, "activate_past_recording"):
            layer.activate_past_recording()  # a sliding window can then be rolled back
    return cache


def is_growing(cache: DynamicCache) -> bool:
    """True if every layer holds all tokens in order: full attention, nothing special."""
    return all(type(layer) is GrowingLayer for layer in cache.layers)
