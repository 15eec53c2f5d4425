"""The forward pass of GPT-2's and Llama's families, written out as loops over arrays.

You can skip this module: nothing in a lesson depends on how it works. It is what
`model(input_ids)` computes, with a cache, one number after the other; numba makes machine code
of it. Read it from the end: `forward` is the whole pass, `block` one layer, `attend` its
attention, and `times_strip` is where nearly all of the time goes.

All compiled functions stand in this one file: numba keeps them on disk until the file changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import carray, njit, prange, types
from numba.core.cgutils import unpack_tuple
from numba.extending import intrinsic, overload

Array = np.ndarray
Four = tuple[int, int, int, int]
Part = tuple[int, int]  # the first, and the one after the last
Cached = tuple[Array, Array]  # keys and values
# Sums in any order, and no look-out for a division by 0, so that 16 numbers go at a time.
FAST = {"fastmath": True, "error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
INNER = {**FAST, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # not called from Python
WOVEN = {**FAST, "inline": "always"}  # compiled with its caller, which saves two seconds in all
TILE = 4  # rows, and keys, that attention multiplies together
FEATURES = {name for name, there in binding.get_host_cpu_features().items() if there}
# Numbers in one of the processor's vectors, and how many rows' sums it keeps without writing them
# to memory: it holds 32 vectors, or 16.
LANES, MOST_ROWS = (16, 12) if "avx512f" in FEATURES else (8, 6 if "avx2" in FEATURES else 4)
STRIP = 2 * LANES  # outputs that are computed side by side
AHEAD, LINE = 4096, 64  # bytes from here to the weights asked for, and that come at once
CHAINS = 16  # vectors of sums to have under way: an addition takes several steps
FLOAT, WHOLE, BITS = ir.FloatType(), ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, LANES)
STORED = {types.float32: FLOAT, types.uint16: ir.HalfType(), types.int16: ir.IntType(16)}
WORTH_WAKING = 2**17  # multiplications; waking other threads takes as long as half of them
ONE = np.float32(1)  # beside a float32 a plain 1 would make a float64
ZERO = np.int64(0)  # a plain 0 is a type of its own, for which all is compiled again
GELU, CUBIC = np.float32(2 * math.sqrt(2 / math.pi)), np.float32(0.044715)


class Heads(NamedTuple):
    """Attention's heads: how many, what their scores are multiplied by, rotary positions.

    shared: how many share keys and values. turns: `[2, context, head_dim / 2]`, cosines and
    sines; empty where positions are learned.
    """

    count: int
    shared: int
    scale: float
    turns: Array


class Weights(NamedTuple):
    """A model's weights as arrays.

    Matrices are float32 or, where that holds each of their numbers exactly, 16 bits: uint16 for
    half precision, int16 for bfloat16. All but `tokens` are kept `in_strips`. Biases and places
    that a family lacks are empty. norms: scale and shift. gated: SwiGLU and RMS norm, as in
    Llama; else GELU and layer norm.
    """

    tokens: Array  # [V, width]
    places: Array  # [context, width]
    output: Array  # [V, width]
    qkv: Array  # [layers, (heads + 2 · kv_heads) · head_dim, width]
    qkv_bias: Array
    mix: Array  # [layers, width, heads · head_dim]
    mix_bias: Array
    up: Array  # [layers, inner, width]; gated: [layers, 2 · inner, width]
    up_bias: Array
    down: Array  # [layers, width, inner]
    down_bias: Array
    norms: Array  # [2 · layers + 1, 2, width]
    eps: float
    gated: bool
    heads: Heads


class Fed(NamedTuple):
    """What one pass is fed: n tokens that follow `seen` cached ones.

    mask: added to attention's scores of the last k tokens, mostly the n new ones; empty: each
    token attends to all before it. threads: how many share a product.
    """

    ids: Array  # [n]
    positions: Array  # [n]
    mask: Array  # [n, k]
    seen: int
    threads: int


@intrinsic
def from_half(_context: object, _bits: types.Type):  # noqa: ANN201 - numba's own protocol
    """The number that 16 bits are in half precision; processors have an instruction for it."""

    def generate(_context, builder, _signature, args):  # noqa: ANN001, ANN202
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


def widened(stored: np.generic) -> np.float32:
    """A stored weight as a float32; only compiled code calls it."""
    raise NotImplementedError


@overload(widened)
def _widened(stored):  # noqa: ANN001, ANN202
    if stored == types.uint16:
        return lambda stored: from_half(stored)  # noqa: PLW0108 - numba needs the lambda
    if stored == types.int16:  # bfloat16: the first 16 bits of a float32
        return lambda stored: np.int32(np.int32(stored) << 16).view(np.float32)
    return lambda stored: stored


def in_strips(w: Array) -> Array:
    """A matrix `[…, out, in]` as strips of outputs, in the order in which a product reads it.

    → `[…, strips, in, STRIP]`; the last strip is filled up with zeros.
    """
    *most, outputs, inside = w.shape
    strips = -(-outputs // STRIP)
    whole = np.zeros((*most, strips * STRIP, inside), w.dtype)
    whole[..., :outputs, :] = w
    return np.swapaxes(whole.reshape(*most, strips, STRIP, inside), -1, -2).copy()


# Whole vectors, of which numba knows nothing: these functions write the processor's instructions
# by LLVM's builder `b`, and are called when `times_strip` is compiled.


def moved(b: ir.IRBuilder, pointer: ir.Value, by: ir.Value | int) -> ir.Value:
    """The place that lies some numbers further on."""
    return b.gep(pointer, [WHOLE(by) if isinstance(by, int) else by])


def stored_vector(b: ir.IRBuilder, pointer: ir.Value, kind: ir.Type) -> ir.Value:
    """The vector of weights from a pointer on, widened."""
    size = 4 if kind is FLOAT else 2
    place = b.bitcast(pointer, ir.VectorType(kind, LANES).as_pointer())
    stored = b.load(place, align=size)
    if kind == STORED[types.int16]:  # bfloat16: the first 16 bits of a float32
        bits = ir.VectorType(BITS, LANES)
        return b.bitcast(b.shl(b.zext(stored, bits), ir.Constant(bits, [16] * LANES)), VECTOR)
    return stored if kind is FLOAT else b.fpext(stored, VECTOR)


def ask_ahead(b: ir.IRBuilder, pointer: ir.Value, size: int) -> None:
    """Ask memory for the `size` bytes that lie AHEAD: beside many sums a processor asks too late.

    Nothing happens where no memory of ours lies there.
    """
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, BITS, BITS, BITS])
    ask = b.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
    for place in range(AHEAD, AHEAD + size, LINE):  # to read, for all caches, as data
        b.call(ask, [moved(b, b.bitcast(pointer, byte), place), BITS(0), BITS(3), BITS(1)])


def everywhere(b: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    """A vector of one number, again and again."""
    nothing = ir.Constant(VECTOR, ir.Undefined)
    first = b.insert_element(nothing, b.load(pointer), BITS(0))
    return b.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(BITS, LANES), [0] * LANES))


def products_at(
    b: ir.IRBuilder, rows: Sequence[ir.Value], strip: ir.Value, kind: ir.Type, i: ir.Value
) -> list[ir.Value]:
    """Place i of each row times both vectors of the strip's place i, row after row."""
    at = moved(b, strip, b.mul(i, WHOLE(STRIP)))
    ask_ahead(b, at, STRIP * (4 if kind is FLOAT else 2))
    weights = [stored_vector(b, moved(b, at, half), kind) for half in (0, LANES)]
    numbers = [everywhere(b, moved(b, row, i)) for row in rows]
    return [b.fmul(number, w, flags=("fast",)) for number in numbers for w in weights]


def met(b: ir.IRBuilder, *ways: tuple[ir.Value, ir.Block]) -> ir.PhiInstr:
    """The value that was made on the way by which one came here."""
    phi = b.phi(ways[0][0].type)
    for way in ways:
        phi.add_incoming(*way)
    return phi


def added_up(
    b: ir.IRBuilder, places: tuple[ir.Value, ir.Value], step: int, sums: list, at: Callable
) -> list[ir.Value]:
    """A loop over some places, `step` at a time, that adds what `at(place)` says → the sums."""
    (first, last), before = places, b.block
    body, after = b.append_basic_block(), b.append_basic_block()
    b.cbranch(b.icmp_signed("<", first, last), body, after)
    b.position_at_end(body)
    i, *old = (met(b, (value, before)) for value in (first, *sums))
    more = [number for k in range(step) for number in at(b.add(i, WHOLE(k)))]
    new = [b.fadd(total, number, flags=("fast",)) for total, number in zip(old, more, strict=False)]
    following, new = b.add(i, WHOLE(step)), new + old[len(new) :]
    for phi, value in zip((i, *old), (following, *new), strict=True):
        phi.add_incoming(value, body)
    b.cbranch(b.icmp_signed("<", following, last), body, after)
    b.position_at_end(after)
    return [met(b, (one, before), (other, body)) for one, other in zip(sums, new, strict=True)]


def some_rows(b: ir.IRBuilder, inside: ir.Value, at: Callable, outs: Sequence[ir.Value]) -> None:
    """Some rows times a strip: two vectors of sums a row, written when all is added."""
    each = 2 * len(outs)
    chains = max(1, CHAINS // each)
    sums = [ir.Constant(VECTOR, None)] * (each * chains)
    whole = b.mul(b.sdiv(inside, WHOLE(chains)), WHOLE(chains))
    sums = added_up(b, (WHOLE(0), whole), chains, sums, at)
    if chains > 1:
        sums = added_up(b, (whole, inside), 1, sums, at)
    for place in range(each):
        total = reduce(partial(b.fadd, flags=("fast",)), sums[place::each])
        out = moved(b, outs[place // 2], place % 2 * LANES)
        b.store(total, b.bitcast(out, VECTOR.as_pointer()), align=4)


@intrinsic
def times_strip(_context: object, x: types.Type, w: types.Type, out: types.Type, which: types.Type):  # noqa: ANN201
    """Some rows of x `[n, in]` times one strip of w → their place in out `[n, strips · STRIP]`.

    which: the first row, how many, the strip. Each weight is read once for all of these rows;
    for each number of rows there is a loop of its own.
    """

    def generate(context, b, signature, args):  # noqa: ANN001, ANN202
        kinds, (first, count, strip) = signature.args[:3], unpack_tuple(b, args[3], 3)
        x, w, out = (
            context.make_array(kind)(context, b, value)
            for kind, value in zip(kinds, args, strict=False)
        )
        width, inside, outputs = (unpack_tuple(b, array.shape)[1] for array in (x, w, out))
        kind = STORED[kinds[1].dtype]
        weights = b.bitcast(w.data, kind.as_pointer())
        weights = moved(b, weights, b.mul(strip, b.mul(inside, WHOLE(STRIP))))
        from_x = moved(b, x.data, b.mul(first, width))
        to_out = b.add(b.mul(first, outputs), b.mul(strip, WHOLE(STRIP)))
        to_out = moved(b, out.data, to_out)
        after = b.append_basic_block()
        choice = b.switch(count, after)
        for number in range(1, MOST_ROWS + 1):
            choice.add_case(WHOLE(number), b.append_basic_block())
            b.position_at_end(choice.cases[-1][1])
            rows, outs = (
                [moved(b, start, b.mul(WHOLE(row), size)) for row in range(number)]
                for start, size in ((from_x, width), (to_out, outputs))
            )
            some_rows(b, inside, partial(products_at, b, rows, weights, kind), outs)
            b.branch(after)
        b.position_at_end(after)
        return context.get_dummy_value()

    return types.void(x, w, out, which), generate


@njit(**WOVEN)
def one_output(x: Array, w: Array, out: Array, row: int, o: int) -> None:
    """One row of x `[n, in]` times one output of w `[out, in]` → its place in out `[n, out]`."""
    total = np.float32(0)
    for i in range(x.shape[1]):
        total += x[row, i] * w[o, i]
    out[row, o] = total


@njit(**WOVEN)
def tile(x: Array, w: Array, out: Array, rows: Four, outputs: Four) -> None:
    """Four rows of x times four outputs of w: each number read is used four times.

    Sixteen sums with names of their own: those of a small array would be written to memory.
    """
    (r0, r1, r2, r3), (o0, o1, o2, o3) = rows, outputs
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
    c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = np.float32(0)
    for i in range(x.shape[1]):
        x0, x1, x2, x3 = x[r0, i], x[r1, i], x[r2, i], x[r3, i]
        w0, w1, w2, w3 = w[o0, i], w[o1, i], w[o2, i], w[o3, i]
        a0, a1, a2, a3 = a0 + x0 * w0, a1 + x0 * w1, a2 + x0 * w2, a3 + x0 * w3
        b0, b1, b2, b3 = b0 + x1 * w0, b1 + x1 * w1, b2 + x1 * w2, b3 + x1 * w3
        c0, c1, c2, c3 = c0 + x2 * w0, c1 + x2 * w1, c2 + x2 * w2, c3 + x2 * w3
        d0, d1, d2, d3 = d0 + x3 * w0, d1 + x3 * w1, d2 + x3 * w2, d3 + x3 * w3
    out[r0, o0], out[r0, o1], out[r0, o2], out[r0, o3] = a0, a1, a2, a3
    out[r1, o0], out[r1, o1], out[r1, o2], out[r1, o3] = b0, b1, b2, b3
    out[r2, o0], out[r2, o1], out[r2, o2], out[r2, o3] = c0, c1, c2, c3
    out[r3, o0], out[r3, o1], out[r3, o2], out[r3, o3] = d0, d1, d2, d3


@njit(**WOVEN)
def four_from(first: int, last: int) -> Four:
    """The places first … first + 3; past the end the last one again, which does no harm."""
    return first, min(first + 1, last - 1), min(first + 2, last - 1), min(first + 3, last - 1)


@njit(**INNER)
def some_outputs(x: Array, w: Array, out: Array, first: int, last: int) -> None:
    """x `[n, in]` times the outputs `first` to `last` of w `[out, in]` → out `[n, out]`."""
    rows = len(x)
    in_tiles = (rows + 1) // TILE * TILE  # a tile pays for three rows, but not for two
    for o in range(first, last, TILE):
        for r in range(0, in_tiles, TILE):
            tile(x, w, out, four_from(r, rows), four_from(o, last))
        for r in range(in_tiles, rows):
            for place in range(o, min(o + TILE, last)):
                one_output(x, w, out, r, place)


@njit(**INNER)
def some_strips(x: Array, w: Array, out: Array, first: int, last: int) -> None:
    """x `[n, in]` times the strips `first` to `last` of w → their places in out."""
    parts = (len(x) + MOST_ROWS - 1) // MOST_ROWS
    for strip in range(first, last):
        for part in range(parts):
            row, end = part * len(x) // parts, (part + 1) * len(x) // parts
            times_strip(x, w, out, (row, end - row, strip))


@njit(parallel=True, **FAST)
def product(x: Array, w: Array, threads: int) -> Array:
    """x `[n, in]` times w, in strips → `[n, strips · STRIP]`; each thread computes some of them."""
    strips = len(w)
    out = np.empty((len(x), strips * STRIP), np.float32)
    if threads == 1 or len(x) * w.size < WORTH_WAKING:
        some_strips(x, w, out, ZERO, np.int64(strips))
        return out
    for part in prange(threads):
        first, end = part * strips // threads, (part + 1) * strips // threads
        some_strips(x, w, out, np.int64(first), np.int64(end))
    return out


@njit(error_model="numpy", nogil=True)
def exp(x: np.float32) -> np.float32:
    """e to the x to 3e-7 in sums and products, of which 16 go at a time (Cephes library).

    Below -80 it is 0: processors take a hundred times as long for numbers close to nothing.
    """
    given, x = x, min(max(x, np.float32(-87)), np.float32(88))
    whole = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    rest = x - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4) * rest + np.float32(1.3981999507e-3)
    p = p * rest + np.float32(8.3334519073e-3)
    p = p * rest + np.float32(4.1665795894e-2)
    p = p * rest + np.float32(1.6666665459e-1)
    p = p * rest + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(whole) + 127) << 23).view(np.float32)  # 2 to the whole
    return (p * rest * rest + rest + ONE) * power if given > np.float32(-80) else np.float32(0)


@njit(**WOVEN)
def silu(x: np.float32, steepness: np.float32) -> np.float32:
    """x times the sigmoid of x · steepness."""
    return x / (ONE + exp(-x * steepness))


@njit(**INNER)
def normed(x: Array, norm: Array, eps: float, centred: bool) -> Array:
    """Layer norm of rows `[n, width]`, or RMS norm if not centred → the same shape."""
    out, width = np.empty_like(x), np.float32(x.shape[1])
    for r in range(len(x)):
        mean = square = np.float32(0)
        if centred:
            for i in range(x.shape[1]):
                mean += x[r, i] / width
        for i in range(x.shape[1]):
            square += (x[r, i] - mean) * (x[r, i] - mean)
        by = ONE / np.sqrt(square / width + np.float32(eps))
        for i in range(x.shape[1]):
            out[r, i] = (x[r, i] - mean) * by * norm[0, i] + norm[1, i]
    return out


@njit(**FAST)
def add(x: Array, more: Array) -> None:
    """Add `[n, width]`, or the beginning of wider rows, to x in place."""
    for r in range(len(x)):
        for i in range(x.shape[1]):
            x[r, i] += more[r, i]


@njit(cache=True, **FAST)
def linear(x: Array, w: Array, bias: Array, threads: int) -> Array:
    """A linear layer: x `[n, in]`, w in strips, bias `[out]` or empty → `[n, strips · STRIP]`."""
    out = product(x, w, threads)
    for r in range(len(out)):
        for i in range(bias.size):
            out[r, i] += bias[i]
    return out


@njit(**FAST)
def activated(up: Array, inner: int, gated: bool) -> Array:
    """GELU of the first `inner` numbers of each row; gated: their SiLU times the next `inner`."""
    out = np.empty((len(up), inner), np.float32)
    for r in range(len(up)):
        if gated:
            for i in range(inner):
                out[r, i] = silu(up[r, i], ONE) * up[r, inner + i]
        else:
            for i in range(inner):
                x = up[r, i]
                out[r, i] = silu(x, GELU * (ONE + CUBIC * x * x))
    return out


@njit(**WOVEN)
def turn(x: Array, turns: Array, position: int) -> None:
    """Rotary positions: turn each pair of numbers (i, i + half) of x `[head_dim]` in place."""
    half = turns.shape[2]
    for i in range(half if turns.size else 0):
        a, b, cos, sin = x[i], x[half + i], turns[0, position, i], turns[1, position, i]
        x[i], x[half + i] = a * cos - b * sin, b * cos + a * sin


@njit(**INNER)
def remember(qkv: Array, heads: Heads, keys: Array, values: Array, fed: Fed) -> None:
    """Write the new tokens' keys and values into one layer's cache."""
    kv_heads, size = len(keys), keys.shape[2]
    for kv in range(kv_heads):
        key, value = (heads.count + kv) * size, (heads.count + kv_heads + kv) * size
        for r in range(len(qkv)):
            for i in range(size):
                keys[kv, fed.seen + r, i] = qkv[r, key + i]
                values[kv, fed.seen + r, i] = qkv[r, value + i]
            turn(keys[kv, fed.seen + r], heads.turns, fed.positions[r])


@njit(**WOVEN)
def softmax(scores: Array, count: int) -> None:
    """One row's scores → weights that add up to 1, for the first `count`; 0 for the rest."""
    top, total = scores[0], np.float32(0)
    for t in range(count):
        top = max(top, scores[t])
    for t in range(count):
        scores[t] = exp(scores[t] - top)
    for t in range(count):
        total += scores[t]
    for t in range(count):
        scores[t] /= total
    scores[count:] = 0


@njit(**WOVEN)
def mix(weights: Array, values: Array, out: Array) -> None:
    """Add the values `[room, size]`, each as often as its weight says, to out `[size]`."""
    whole = len(weights) // TILE * TILE
    for t in range(0, whole, TILE):
        p0, p1, p2, p3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
        v0, v1, v2, v3 = values[t], values[t + 1], values[t + 2], values[t + 3]
        for i in range(len(out)):
            out[i] += p0 * v0[i] + p1 * v1[i] + p2 * v2[i] + p3 * v3[i]
    for t in range(whole, len(weights)):
        for i in range(len(out)):
            out[i] += weights[t] * values[t, i]


@njit(**WOVEN)
def one_head(q: Array, keys: Array, values: Array, fed: Fed) -> Array:
    """One head: q `[n, size]` over keys and values `[room, size]` → `[n, size]`."""
    (rows, size), count = q.shape, fed.seen + len(q)
    unmasked = count - fed.mask.shape[1]
    scores = np.empty((rows, count), np.float32)
    out = np.zeros((rows, size), np.float32)
    some_outputs(q, keys, scores, ZERO, np.int64(count))
    for r in range(rows):
        for t in range(fed.mask.shape[1]):
            scores[r, unmasked + t] += fed.mask[r, t]
        softmax(scores[r], count if fed.mask.size else fed.seen + r + 1)
        mix(scores[r], values, out[r])
    return out


@njit(**INNER)
def some_heads(qkv: Array, heads: Heads, cached: Cached, fed: Fed, out: Array, part: Part) -> None:
    """Attention of some of the heads over the cache and the new tokens → their place in out."""
    (keys, values), (first, last), rows = cached, part, len(qkv)
    size = keys.shape[2]
    for head in range(first, last):
        q = np.empty((rows, size), np.float32)
        for r in range(rows):
            for i in range(size):
                q[r, i] = qkv[r, head * size + i] * np.float32(heads.scale)
            turn(q[r], heads.turns, fed.positions[r])
        mixed = one_head(q, keys[head // heads.shared], values[head // heads.shared], fed)
        for r in range(rows):
            for i in range(size):
                out[r, head * size + i] = mixed[r, i]


@njit(parallel=True, **INNER)
def attend(qkv: Array, heads: Heads, cached: Cached, fed: Fed) -> Array:
    """Attention of all heads, of which each thread has some: `[n, heads · size]`."""
    width, threads = heads.count * cached[0].shape[2], fed.threads
    out = np.empty((len(qkv), width), np.float32)
    for part in prange(threads):
        first, end = part * heads.count // threads, (part + 1) * heads.count // threads
        some_heads(qkv, heads, cached, fed, out, (np.int64(first), np.int64(end)))
    return out


@njit(**WOVEN)
def block(x: Array, w: Weights, layer: int, cache: Cached, fed: Fed) -> None:
    """One layer of the model: attention, then up and down again, both added to x in place."""
    keys, values, threads = cache[0][layer], cache[1][layer], fed.threads
    inside = normed(x, w.norms[2 * layer], w.eps, not w.gated)
    qkv = linear(inside, w.qkv[layer], w.qkv_bias[layer], threads)
    remember(qkv, w.heads, keys, values, fed)
    mixed = attend(qkv, w.heads, (keys, values), fed)
    add(x, linear(mixed, w.mix[layer], w.mix_bias[layer], threads))
    inside = normed(x, w.norms[2 * layer + 1], w.eps, not w.gated)
    up = linear(inside, w.up[layer], w.up_bias[layer], threads)
    up = activated(up, w.down.shape[2], w.gated)
    add(x, linear(up, w.down[layer], w.down_bias[layer], threads))


@njit(cache=True, **FAST)
def forward(w: Weights, cache: Cached, fed: Fed, hidden: Array) -> Array:
    """A pass over `fed` → logits `[rows, V]`; hidden `[rows, width]` is filled: of the last rows.

    cache: keys and values `[layers, kv_heads, room, size]` each, to which the new tokens' are
    added. Nothing is checked here. One array is returned, not two: numba would make a
    SystemError of an interrupt between them.
    """
    count, width = len(fed.ids), w.tokens.shape[1]
    x = np.empty((count, width), np.float32)
    for r in range(count):
        for i in range(width):
            x[r, i] = widened(w.tokens[fed.ids[r], i])
        if w.places.size:
            for i in range(width):
                x[r, i] += w.places[fed.positions[r], i]
    for layer in range(len(w.qkv)):
        block(x, w, layer, cache, fed)
    last = x[count - len(hidden) :].copy()
    hidden[:] = normed(last, w.norms[-1], w.eps, not w.gated)
    return product(hidden, w.output, fed.threads)


class Hydra(NamedTuple):
    """Hydra's heads as arrays: one block, and the output layer of the words that it can guess."""

    told: Array  # [V, inner], what a token adds inside the block
    up: Array  # [inner, width], in strips
    down: Array  # [width, inner], in strips
    bias: Array  # [width]
    out: Array  # [words, width], in strips
    vocab: Array  # [words], their token ids


@njit(cache=True, **FAST)
def hydra_step(before: Array, tokens: Array, h: Hydra, threads: int) -> Array:
    """What each of n guesses says from: `before` `[n, width]` and the token before it."""
    inner, out = product(before, h.up, threads), before.copy()
    for r in range(len(inner)):
        for i in range(h.told.shape[1]):
            inner[r, i] = silu(inner[r, i] + h.told[tokens[r], i], ONE)
    add(out, linear(inner, h.down, h.bias, threads))
    return out


@njit(cache=True, **FAST)
def hydra_chain(hidden: Array, token: int, h: Hydra, count: int, threads: int) -> Array:
    """The best guess of each of `count` heads, each told the one before; hidden `[1, width]`."""
    before, chain = hidden, np.array([token])
    drafted = np.empty(count, np.int64)
    for place in range(count):
        before = hydra_step(before, chain, h, threads)
        scores = product(before, h.out, threads)[0, : len(h.vocab)]
        drafted[place] = chain[0] = h.vocab[np.argmax(scores)]
    return drafted


class Limits(NamedTuple):
    """When a tree of guesses stops growing: see growing_trees.Growth."""

    most: int
    depth: int
    ranks: int
    least: float
    least_open: float
    threads: int


class Waiting(NamedTuple):
    """Guesses that wait to join a tree, and what was said on the way.

    facts: of each its token, its parent's place in the tree, its rank, its depth and the row of
    `said` that it was guessed from. counts: how many guesses there are, and how many rows.
    """

    chances: Array  # [guesses]; -1: it has joined
    facts: Array  # [guesses, 5]
    said: Array  # [rows, width]
    counts: Array  # [2]


@njit(**INNER)
def largest(numbers: Array, count: int) -> int:
    """The place of the largest of the first `count` numbers."""
    best = 0
    for i in range(1, count):
        if numbers[i] > numbers[best]:
            best = i
    return best


@njit(**INNER)
def shares_of(scores: Array, count: int) -> np.float32:
    """Scores → their softmax, but for the division by the sum that is returned."""
    top, total = scores[largest(scores, count)], np.float32(0)
    for i in range(count):
        scores[i] = exp(scores[i] - top)
    for i in range(count):
        total += scores[i]
    return total


@njit(**INNER)
def guess_on(guess: Array, chance: float, h: Hydra, limits: Limits, waiting: Waiting) -> None:
    """Ask the next head what follows a guess that has joined at place `guess[1]`."""
    at, row, words = waiting.counts[0], waiting.counts[1], len(h.vocab)
    step = hydra_step(waiting.said[guess[4] : guess[4] + 1], guess[:1], h, limits.threads)
    for i in range(step.shape[1]):
        waiting.said[row, i] = step[0, i]
    shares = product(step, h.out, limits.threads)[0]
    part, left = chance / shares_of(shares, words), chance
    for rank in range(min(limits.ranks, words)):
        place = largest(shares, words)
        share = part * shares[place]
        if left < limits.least or share < limits.least:
            break
        waiting.chances[at], facts = share, waiting.facts[at]
        facts[0], facts[1], facts[2] = h.vocab[place], guess[1], rank
        facts[3], facts[4] = guess[3] + 1, row
        shares[place], left, at = -ONE, left - share, at + 1
    waiting.counts[0], waiting.counts[1] = at, row + 1


@njit(cache=True, **FAST)
def hydra_tree(hidden: Array, first: Array, h: Hydra, limits: Limits) -> Array:
    """A tree that grows where the heads are sure → its nodes' facts `[n, 5]`.

    The likeliest guess of those waiting joins, again and again. hidden `[1, width]`; first: the
    facts of the token that it all follows.
    """
    room, size = (limits.most + 1) * limits.ranks, 0
    said = np.zeros((limits.most + 2, hidden.shape[1]), np.float32)
    facts, tree = np.empty((room, 5), np.int64), np.empty((limits.most, 5), np.int64)
    waiting = Waiting(np.empty(room), facts, said, np.ones(2, np.int64))
    waiting.counts[0] = 0
    add(said[:1], hidden)
    guess_on(first, 1.0, h, limits, waiting)
    while size < limits.most and waiting.counts[0] > 0:
        best = largest(waiting.chances, waiting.counts[0])
        guess, chance = facts[best], waiting.chances[best]
        if chance < 0:
            break
        for i in range(5):
            tree[size, i] = guess[i]
        guess[1], waiting.chances[best], size = size, -1.0, size + 1
        if guess[3] < limits.depth and chance >= limits.least_open and size < limits.most:
            guess_on(guess, chance, h, limits, waiting)
    return tree[:size]


@intrinsic
def words_from(_context: object, address: types.Type):  # noqa: ANN201 - numba's own protocol
    """The 32-bit words that lie in memory from an address on."""

    def generate(_context, builder, _signature, args):  # noqa: ANN001, ANN202
        return builder.inttoptr(args[0], BITS.as_pointer())

    return types.CPointer(types.uint32)(address), generate


@njit(parallel=True, cache=True, **FAST)
def checksums(places: Array, threads: int) -> Array:
    """Of each stretch of memory `(address, words)` a sum in which each word counts differently.

    The factors are odd, so a change of one word always changes the sum. → `[threads, n]`
    """
    sums = np.zeros((threads, len(places)), np.uint32)
    for part in prange(threads):
        for t in range(len(places)):
            size, total = places[t, 1], np.uint32(0)
            first, end = part * size // threads, (part + 1) * size // threads
            words = carray(words_from(places[t, 0]), size)[first:end]
            for i in range(len(words)):
                total += words[i] * np.uint32(2 * (first + i) + 1)
            sums[part, t] = total
    return sums
