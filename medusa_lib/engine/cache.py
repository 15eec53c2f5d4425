"""KV caches that grow in place, so that a pass copies only what it adds.

transformers' own cache copies everything it holds in every pass, and all the more slowly after
a rollback. You can skip this module: it is the same cache with some room left at its end, once as
transformers' layers for models that compute for themselves, once as arrays for the plain loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

ROOM = 64  # tokens; the first room of a layer, doubled whenever it is full
ARRAY_ROOM = 256  # the same of the plain loops' cache


class GrowingLayer(DynamicLayer):
    """One layer of keys and values `[n, heads, tokens, head_dim]`, the beginnings of two rooms.

    rooms: tensors with space for more tokens. lengths: how many tokens of each are held.
    """

    def __init__(self) -> None:
        self.rooms: list[torch.Tensor | None] = [None, None]
        self.lengths = [0, 0]
        super().__init__()

    def held(self, which: int) -> torch.Tensor | None:
        """All keys (0) or values (1) held; None before the first."""
        room = self.rooms[which]
        return None if room is None else room[..., : self.lengths[which], :]

    def hold(self, which: int, tensor: torch.Tensor | None) -> None:
        """Hold other keys (0) or values (1): someone chose among them."""
        self.rooms[which] = tensor
        self.lengths[which] = 0 if tensor is None else tensor.shape[-2]

    keys = property(lambda self: self.held(0), lambda self, tensor: self.hold(0, tensor))
    values = property(lambda self: self.held(1), lambda self, tensor: self.hold(1, tensor))

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Begin with no tokens, of the type and on the device of these."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append new keys and values after those held; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.lengths[0]
        end = start + key_states.shape[-2]
        size = min(self.rooms[0].shape[-2], self.rooms[1].shape[-2])
        if end > size:
            size = max(ROOM, 2 * size, end)
            self.rooms = [larger(old, size, start) for old in self.rooms]
        keys, values = self.rooms
        keys.narrow(-2, start, end - start).copy_(key_states)
        values.narrow(-2, start, end - start).copy_(value_states)
        self.lengths = [end, end]
        return keys.narrow(-2, 0, end), values.narrow(-2, 0, end)

    def get_seq_length(self) -> int:
        """How many tokens are held."""
        return self.lengths[0]

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; their number is given as a negative one, or 0."""
        if tokens_to_remove > 0:
            super().crop(tokens_to_remove)  # refuses it
        self.lengths = [max(0, length + tokens_to_remove) for length in self.lengths]


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


class Layer(NamedTuple):
    """Keys and values of one layer: `[1, kv_heads, tokens, size]` each."""

    keys: torch.Tensor
    values: torch.Tensor


class ArrayCache:
    """Keys and values of `length` tokens, in the strips in which attention's products read them.

    keys: `[layers, kv_heads, room / strip, size, strip]`, those of some tokens side by side.
    values: `[layers, kv_heads, size / strip, room, strip]`, some numbers of each token.
    """

    def __init__(self, layers: int, kv_heads: int, size: int, strip: int) -> None:
        rooms, strips = ARRAY_ROOM // strip, -(-size // strip)
        self.keys = np.zeros((layers, kv_heads, rooms, size, strip), np.float32)
        self.values = np.zeros((layers, kv_heads, strips, ARRAY_ROOM, strip), np.float32)
        self.strip, self.length = strip, 0

    def get_seq_length(self) -> int:
        """How many tokens are held."""
        return self.length

    def make_room(self, count: int) -> None:
        """Room for `count` more tokens; a tree's may be more than the context has places."""
        end, room = self.length + count, self.values.shape[3]
        if end > room:
            more = -(-(max(2 * room, end) - room) // ARRAY_ROOM) * ARRAY_ROOM
            none = (0, 0)
            self.keys = np.pad(self.keys, (none, none, (0, more // self.strip), none, none))
            self.values = np.pad(self.values, (none, none, none, (0, more), none))

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; their number is given as a negative one, or 0."""
        self.length = max(0, self.length + tokens_to_remove)

    def move(self, start: int, chosen: Sequence[int]) -> None:
        """Put the tokens at the chosen places into the places from `start` on."""
        old, new = np.array(chosen), np.arange(start, start + len(chosen))
        (into, at), (from_, place) = np.divmod(new, self.strip), np.divmod(old, self.strip)
        self.keys[:, :, into, :, at] = self.keys[:, :, from_, :, place]
        self.values[:, :, :, new] = self.values[:, :, :, old]

    @property
    def layers(self) -> list[Layer]:
        """A copy of what it holds, as transformers' caches show it."""
        held, size = [], self.keys.shape[3]
        for keys, values in zip(self.keys, self.values, strict=True):
            in_rows = np.swapaxes(keys, 2, 3).reshape(len(keys), -1, size)
            whole = np.swapaxes(values, 1, 2).reshape(len(values), values.shape[2], -1)
            both = (a[None, :, : self.length, :size].copy() for a in (in_rows, whole))
            held.append(Layer(*map(torch.from_numpy, both)))
        return held
