"""The forward pass of GPT-2's and Llama's families, written out as loops over arrays.

You can skip this module: nothing in a lesson depends on how it works. It is what
`model(input_ids)` computes, with a cache, one number after the other; numba makes machine code
of it. Read it from the end: `forward` is the whole pass, `one_thread` what each thread does of it,
`attention` and `network` the halves of a layer, and `times_strip` is where nearly all of the time
goes.

All compiled functions stand in this one file: numba keeps them on disk until the file changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import carray, njit, prange, typeof, types
from numba.core.cgutils import alloca_once_value, unpack_tuple
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic, overload

Array = np.ndarray
Part = tuple[int, int]  # the first, and the one after the last
Cached = tuple[Array, Array]  # keys and values
# Sums in any order, and no look-out for a division by 0, so that 16 numbers go at a time.
FAST = {"fastmath": True, "error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True}
INNER = {**FAST, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # not called from Python
BARE = {**INNER, "_nrt": False}  # what makes no array need not count who holds one
WOVEN = {**FAST, "inline": "always"}  # compiled with its caller, which saves two seconds in all
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
ONE = np.float32(1)  # beside a float32 a plain 1 would make a float64
HIDDEN = np.float32(-1e30)  # the score of a token that another does not attend to
APART = 8  # numbers from one that threads count with to the next: each has a line of the cache
PATIENCE = 2000  # looks at what the others do, before taking a part of theirs
ROUNDS = 24  # of halving, which find a share to a float's last digit
KINDS = types.int64, types.int64, types.TypeRef(types.int64)  # of what a thread's work is given
STEPS = 4  # of a block, each of which the threads end together
GELU, CUBIC = np.float32(2 * math.sqrt(2 / math.pi)), np.float32(0.044715)


class Weights(NamedTuple):
    """A model's weights as arrays.

    Matrices are float32 or, where that holds each of their numbers exactly, 16 bits: uint16 for
    half precision, int16 for bfloat16. All but `tokens` are kept `in_strips`. A layer is cut into
    pieces that one thread computes (as Megatron-LM's are, Shoeybi et al. 2019): a head for keys
    and values with the heads that share it, and some of the network's inner numbers. Biases and
    places that a family lacks are empty. norms: scale and shift. gated: SwiGLU and RMS norm, as in
    Llama; else GELU and layer norm. scale: what scores are multiplied by. turns: rotary positions,
    cosines and sines.
    """

    tokens: Array  # [V, width]
    places: Array  # [context, width]
    output: Array  # [V, width]
    qkv: Array  # [layers, kv_heads, (shared + 2) · size, width]
    qkv_bias: Array
    mix: Array  # [layers, kv_heads, width, shared · size]
    mix_bias: Array
    up: Array  # [layers, pieces, inner, width]
    up_bias: Array
    gate: Array  # [layers, pieces, inner, width]
    gate_bias: Array
    down: Array  # [layers, pieces, width, inner]
    down_bias: Array
    norms: Array  # [2 · layers + 1, 2, width]
    eps: float
    gated: bool
    shared: int
    scale: float
    turns: Array  # [2, context, size / 2]


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


class Desk(NamedTuple):
    """Where the threads of a pass leave numbers for each other, a row for each token."""

    x: Array  # [n, width], to which each layer adds
    pieces: Array  # [pieces, n, strips · STRIP], what each piece of a layer would add
    hidden: Array  # [rows, width], of the last tokens
    logits: Array  # [rows, strips · STRIP]
    board: Array  # see Crew


class Own(NamedTuple):
    """What each thread of a pass has for itself: `[threads, n, …]`, a row for each token.

    All of it is asked for before the threads start: one that got no memory would be waited for.
    """

    inside: Array  # [threads, n, width], what a layer is given
    qkv: Array
    q: Array  # [threads, n, size]
    scores: Array  # [threads, n, seen + n, rounded up to whole strips]
    mixed: Array
    heads: Array  # [threads, n, shared · size]
    up: Array
    gate: Array
    inner: Array


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

    which: the first row, how many, the strip, and how many numbers of a row count. Each weight is
    read once for all of these rows; for each number of rows there is a loop of its own.
    """

    def generate(context, b, signature, args):  # noqa: ANN001, ANN202
        kinds, (first, count, strip, inside) = signature.args[:3], unpack_tuple(b, args[3], 4)
        x, w, out = (
            context.make_array(kind)(context, b, value)
            for kind, value in zip(kinds, args, strict=False)
        )
        width, room, outputs = (unpack_tuple(b, array.shape)[1] for array in (x, w, out))
        kind = STORED[kinds[1].dtype]
        weights = b.bitcast(w.data, kind.as_pointer())
        weights = moved(b, weights, b.mul(strip, b.mul(room, WHOLE(STRIP))))
        from_x = moved(b, x.data, b.mul(first, width))
        to_out = b.add(b.mul(first, outputs), b.mul(strip, WHOLE(STRIP)))
        to_out = moved(b, out.data, to_out)
        b.function.attributes.add("noinline")  # once is enough, and takes long to compile
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


def place_in(
    context: object, b: ir.IRBuilder, kind: types.Type, array: ir.Value, at: ir.Value
) -> ir.Value:
    """The place of one number of an array."""
    return moved(b, context.make_array(kind)(context, b, array).data, at)


@intrinsic
def counted(_context: object, board: types.Type, at: types.Type):  # noqa: ANN201
    """Add 1 to a number that several threads count with → what it was before."""

    def generate(context, b, signature, args):  # noqa: ANN001, ANN202
        place = place_in(context, b, signature.args[0], *args)
        return b.atomic_rmw("add", place, WHOLE(1), "acq_rel")

    return types.int64(board, at), generate


@intrinsic
def seen_at(_context: object, board: types.Type, at: types.Type):  # noqa: ANN201
    """Such a number, and with it all that was written before it was counted."""

    def generate(context, b, signature, args):  # noqa: ANN001, ANN202
        return b.load_atomic(place_in(context, b, signature.args[0], *args), "acquire", 8)

    return types.int64(board, at), generate


@njit(**BARE)
def some_strips(x: Array, w: Array, out: Array, part: Part, inside: int) -> None:
    """The first `inside` numbers of each row of x times some strips of w → their places in out."""
    first, last = part
    turns = (len(x) + MOST_ROWS - 1) // MOST_ROWS
    for strip in range(first, last):
        for turn in range(turns):
            row, end = turn * len(x) // turns, (turn + 1) * len(x) // turns
            times_strip(x, w, out, (row, end - row, strip, inside))


@intrinsic
def kept_for_now(_context: object, given: types.Type):  # noqa: ANN201 - numba's own protocol
    """Keep something in memory until the function that asks for it returns → its address."""

    def generate(_context, b, _signature, args):  # noqa: ANN001, ANN202
        return b.ptrtoint(alloca_once_value(b, args[0]), WHOLE)

    return types.int64(given), generate


@intrinsic
def kept_at(_context: object, address: types.Type, kind: types.Type):  # noqa: ANN201
    """What is kept there, of that kind."""

    def generate(context, b, signature, args):  # noqa: ANN001, ANN202
        found = signature.return_type
        place = b.inttoptr(args[0], context.get_value_type(found).as_pointer())
        return impl_ret_borrowed(context, b, found, b.load(place))

    return kind.instance_type(address, kind), generate


@intrinsic
def call_at(_context: object, code: types.Type, me: types.Type, given: types.Type):  # noqa: ANN201
    """Call the work of thread `me`, compiled by `work_at`, by its address; it returns nothing."""

    def generate(context, b, _signature, args):  # noqa: ANN001, ANN202
        convention, values = context.call_conv, [*args[1:], context.get_dummy_value()]
        pointer = convention.get_function_type(types.none, KINDS).as_pointer()
        code = b.inttoptr(args[0], pointer)
        status, _ = convention.call_function(b, code, types.none, KINDS, values)
        with b.if_then(status.is_error, likely=False):
            convention.return_status_propagate(b, status)
        return context.get_dummy_value()

    return types.void(code, me, given), generate


def work_at(work: Callable, *given: object) -> int:
    """Where the machine code of a thread's work lies, for what it finds kept in memory.

    work: (which thread, where that is kept, of what kind). What it is given later must be of the
    same types.
    """
    kinds = (*KINDS[:2], types.TypeRef(typeof(given)))
    work.compile(kinds)
    made = work.overloads[kinds]
    return made.library.get_pointer_to_function(made.fndesc.llvm_func_name)


@njit(parallel=True, **INNER)
def by_all(code: int, threads: int, given: int) -> None:
    """The threads' start: numba lets each of them have one number of the range."""
    for me in prange(threads):
        call_at(code, me, given)


class Crew(NamedTuple):
    """The threads of one pass, which all run the same code, and which of them this one is.

    A step's work is cut into `parts`. board: for each step how many of its parts are done, and of
    each part how many threads wanted it. at: `[1]`, this thread's step: at the board's end.
    """

    me: int
    parts: int
    board: Array
    at: Array


@njit(**WOVEN)
def crew_of(me: int, parts: int, board: Array) -> Crew:
    """Thread `me` before the first step."""
    at = len(board) - (me + 1) * APART
    return Crew(np.int64(me), np.int64(parts), board, board[at : at + 1])


@njit(**WOVEN)
def board_for(steps: int, parts: int) -> Array:
    """A board on which nothing is done yet, with room for each thread's step at its end."""
    return np.zeros((steps * (1 + parts) + parts) * APART, np.int64)


@njit(**BARE)
def parts_for(crew: Crew, count: int) -> Iterator[Part]:
    """This thread's parts of a step's `count` things; ends when all the others' are done, too.

    Its own part, and after a while any that nobody has taken: one that sleeps holds up nobody. What
    a late one has read in vain may be out of date, but then no part of that step is left for it.
    """
    start, parts = crew.at[0] * (1 + crew.parts) * APART, crew.parts
    for turn in range(parts):
        part = (crew.me + turn) % parts
        patience = PATIENCE if turn else 0
        while patience > 0 and seen_at(crew.board, start) < parts:
            patience -= 1
        if seen_at(crew.board, start) < parts and (
            counted(crew.board, start + (1 + part) * APART) == 0
        ):
            yield part * count // parts, (part + 1) * count // parts
            counted(crew.board, start)
    while seen_at(crew.board, start) < parts:
        pass
    crew.at[0] += 1


@njit(**BARE)
def add(x: Array, more: Array) -> None:
    """Add numbers to those of x, which may be fewer."""
    for i in range(len(x)):
        x[i] += more[i]


@njit(**BARE)
def copy(x: Array, to: Array) -> None:
    """Write numbers elsewhere: `to[:] = x` would be compiled with its error messages."""
    for i in range(len(x)):
        to[i] = x[i]


@njit(**WOVEN)
def room_for(rows: int, w: Array) -> Array:
    """Room for what a linear layer says of some rows."""
    return np.empty((rows, len(w) * STRIP), np.float32)


@njit(**WOVEN)
def all_strips(w: Array) -> Part:
    """All strips of a matrix."""
    return np.int64(0), len(w)  # a plain 0 is a type of its own: all would be compiled twice


@njit(**BARE)
def some_linear(x: Array, w: Array, bias: Array, out: Array, part: Part) -> None:
    """Some strips of a linear layer: x `[n, in]`, bias or none → out `[n, strips · STRIP]`."""
    first, end = part[0] * STRIP, min(part[1] * STRIP, bias.size)
    some_strips(x, w, out, part, w.shape[1])
    for r in range(len(x)):
        add(out[r, first:end], bias[first:end])


@njit(cache=True, **FAST)
def linear(x: Array, w: Array, bias: Array) -> Array:
    """A whole linear layer: x `[n, in]`, w in strips, bias or none → `[n, strips · STRIP]`."""
    out = room_for(len(x), w)
    some_linear(x, w, bias, out, all_strips(w))
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


@njit(**BARE)
def normed(x: Array, norm: Array, eps: float, centred: bool, out: Array) -> None:
    """Layer norm of rows `[n, width]`, or RMS norm if not centred → out."""
    width = np.float32(x.shape[1])
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


@njit(**FAST)
def activated(up: Array, gate: Array, gated: bool, out: Array) -> None:
    """GELU of some numbers; gated: the SiLU of the gate's, times them."""
    for i in range(len(out)):
        if gated:
            out[i] = silu(gate[i], ONE) * up[i]
        else:
            out[i] = silu(up[i], GELU * (ONE + CUBIC * up[i] * up[i]))


@njit(**WOVEN)
def network_piece(at: Part, w: Weights, own: Own, out: Array) -> None:
    """What one piece of a layer's network adds → out `[n, strips · STRIP]`.

    at: the layer and the piece.
    """
    up, down = w.up[at], w.down[at]
    some_linear(own.inside, up, w.up_bias[at], own.up, all_strips(up))
    if w.gated:
        some_linear(own.inside, w.gate[at], w.gate_bias[at], own.gate, all_strips(up))
    for r in range(len(out)):
        activated(own.up[r], own.gate[r], w.gated, own.inner[r])
    some_strips(own.inner, down, out, all_strips(down), down.shape[1])


@njit(**BARE)
def turn(x: Array, turns: Array, position: int) -> None:
    """Rotary positions: turn each pair of numbers (i, i + half) of x `[head_dim]` in place."""
    half = turns.shape[2]
    for i in range(half if turns.size else 0):
        a, b, cos, sin = x[i], x[half + i], turns[0, position, i], turns[1, position, i]
        x[i], x[half + i] = a * cos - b * sin, b * cos + a * sin


@njit(**WOVEN)
def remember(qkv: Array, w: Weights, keys: Array, values: Array, fed: Fed) -> None:
    """Write the new tokens' keys and values into the cache of one head, see ArrayCache."""
    size = keys.shape[1]
    key, value = w.shared * size, (w.shared + 1) * size
    for r in range(len(qkv)):
        turned, at = qkv[r, key : key + size], fed.seen + r
        turn(turned, w.turns, fed.positions[r])
        for i in range(size):
            keys[at // STRIP, i, at % STRIP] = turned[i]
            values[i // STRIP, at, i % STRIP] = qkv[r, value + i]


@njit(**BARE)
def softmax(scores: Array) -> None:
    """Scores → weights that add up to 1."""
    top, total = scores[0], np.float32(0)
    for t in range(len(scores)):
        top = max(top, scores[t])
    for t in range(len(scores)):
        scores[t] = exp(scores[t] - top)
    for t in range(len(scores)):
        total += scores[t]
    for t in range(len(scores)):
        scores[t] /= total


@njit(**WOVEN)
def one_head(q: Array, keys: Array, values: Array, fed: Fed, scores: Array, out: Array) -> None:
    """One head: q `[n, size]` times keys, softmax, times values → out `[n, strips · STRIP]`.

    keys `[room / STRIP, size, STRIP]` and values `[size / STRIP, room, STRIP]` lie in strips.
    scores: room for those, `[n, seen + n]`, rounded up to whole strips.
    """
    count, room = fed.seen + len(q), scores.shape[1]
    unmasked = count - fed.mask.shape[1]
    some_strips(q, keys, scores, all_strips(keys[: room // STRIP]), q.shape[1])
    for r in range(len(q)):
        for t in range(fed.mask.shape[1]):
            scores[r, unmasked + t] += fed.mask[r, t]
        for t in range(count if fed.mask.size else fed.seen + r + 1, room):
            scores[r, t] = HIDDEN
        softmax(scores[r])
    some_strips(scores, values, out, all_strips(values), count)


@njit(**WOVEN)
def attention_piece(at: Part, w: Weights, cache: Cached, fed: Fed, own: Own, out: Array) -> None:
    """What the heads that share keys and values add → out `[n, strips · STRIP]`.

    at: the layer, and the head for keys and values.
    """
    keys, values, size, mix = cache[0][at], cache[1][at], own.q.shape[1], w.mix[at]
    some_linear(own.inside, w.qkv[at], w.qkv_bias[at], own.qkv, all_strips(w.qkv[at]))
    remember(own.qkv, w, keys, values, fed)
    for head in range(w.shared):
        for r in range(len(out)):
            for i in range(size):
                own.q[r, i] = own.qkv[r, head * size + i] * np.float32(w.scale)
            turn(own.q[r], w.turns, fed.positions[r])
        one_head(own.q, keys, values, fed, own.scores, own.mixed)
        for r in range(len(out)):
            copy(own.mixed[r, :size], own.heads[r, head * size :])
    some_strips(own.heads, mix, out, all_strips(mix), mix.shape[1])


@njit(**BARE)
def add_pieces(desk: Desk, count: int, bias: Array, crew: Crew) -> None:
    """Add what the first `count` pieces of a layer say, and a bias, to x in place."""
    x, width = desk.x, desk.x.shape[1]
    for part in parts_for(crew, desk.pieces.shape[2] // STRIP):
        first, end = part[0] * STRIP, min(part[1] * STRIP, width)
        for r in range(len(x)):
            for piece in range(count):
                add(x[r, first:end], desk.pieces[piece, r, first:end])
            add(x[r, first : min(end, bias.size)], bias[first:])


@njit(**INNER)
def desk_for(w: Weights, fed: Fed, hidden: Array) -> Desk:
    """A desk on which the fed tokens' embeddings lie."""
    count, width = len(fed.ids), w.tokens.shape[1]
    x, pieces = np.empty((count, width), np.float32), max(w.qkv.shape[1], w.up.shape[1])
    for r in range(count):
        for i in range(width):
            x[r, i] = widened(w.tokens[fed.ids[r], i])
        if w.places.size:
            add(x[r], w.places[fed.positions[r]])
    said = np.empty((pieces, count, w.down.shape[2] * STRIP), np.float32)
    board = board_for(STEPS * len(w.qkv) + 1, fed.threads)
    return Desk(x, said, hidden, room_for(len(hidden), w.output), board)


@njit(**INNER)
def room_of(w: Weights, cache: Cached, fed: Fed) -> Own:
    """Room for all threads."""
    threads, rows, width, size = fed.threads, len(fed.ids), w.tokens.shape[1], cache[0].shape[3]
    strips = -(-(fed.seen + rows) // STRIP)
    return Own(
        np.empty((threads, rows, width), np.float32),
        np.empty((threads, rows, w.qkv.shape[2] * STRIP), np.float32),
        np.empty((threads, rows, size), np.float32),
        np.empty((threads, rows, strips * STRIP), np.float32),
        np.empty((threads, rows, cache[1].shape[2] * STRIP), np.float32),
        np.empty((threads, rows, w.mix.shape[3]), np.float32),
        np.empty((threads, rows, w.up.shape[2] * STRIP), np.float32),
        np.empty((threads, rows, w.gate.shape[2] * STRIP), np.float32),
        np.empty((threads, rows, w.down.shape[3]), np.float32),
    )


@njit(**WOVEN)
def part_of(own: Own, me: int) -> Own:
    """A thread's own part of the room: `[n, …]`."""
    first = own.inside[me], own.qkv[me], own.q[me], own.scores[me], own.mixed[me], own.heads[me]
    return Own(*first, own.up[me], own.gate[me], own.inner[me])


@njit(**WOVEN)
def attention(
    layer: int, w: Weights, cache: Cached, fed: Fed, own: Own, all_of: tuple[Desk, Crew]
) -> None:
    """The first half of a layer: this thread's part of the heads, added to x."""
    desk, crew = all_of
    normed(desk.x, w.norms[2 * layer], w.eps, not w.gated, own.inside)
    for first, last in parts_for(crew, w.qkv.shape[1]):
        for head in range(first, last):
            attention_piece((layer, head), w, cache, fed, own, desk.pieces[head])
    add_pieces(desk, w.qkv.shape[1], w.mix_bias[layer], crew)


@njit(**WOVEN)
def network(layer: int, w: Weights, own: Own, desk: Desk, crew: Crew) -> None:
    """The second half: this thread's part of a small network for each row alone, added to x."""
    normed(desk.x, w.norms[2 * layer + 1], w.eps, not w.gated, own.inside)
    for first, last in parts_for(crew, w.up.shape[1]):
        for piece in range(first, last):
            network_piece((layer, piece), w, own, desk.pieces[piece])
    add_pieces(desk, w.up.shape[1], w.down_bias[layer], crew)


@njit(cache=True, **BARE)
def one_thread(me: int, given: int, kind: types.TypeRef) -> None:
    """What each thread does in a pass: all of it, but of each step its part only."""
    w, cache, fed, rooms, desk = kept_at(given, kind)
    own, crew = part_of(rooms, me), crew_of(me, fed.threads, desk.board)
    for layer in range(len(w.qkv)):
        attention(layer, w, cache, fed, own, (desk, crew))
        network(layer, w, own, desk, crew)
    last = desk.x[len(desk.x) - len(desk.hidden) :]
    said = own.inside[: len(last)]
    normed(last, w.norms[-1], w.eps, not w.gated, said)
    for r in range(len(last) if crew.me == 0 else 0):
        copy(said[r], desk.hidden[r])
    for part in parts_for(crew, len(w.output)):
        some_strips(said, w.output, desk.logits, part, w.output.shape[1])


@njit(cache=True, **FAST)
def forward(code: int, w: Weights, cache: Cached, fed: Fed, hidden: Array) -> Array:
    """A pass over `fed` → logits `[rows, V]`; hidden `[rows, width]` is filled: of the last rows.

    code: work_at one_thread. cache: keys and values, see ArrayCache, to which the new tokens' are
    added. Nothing is checked here. One array is returned, not two: numba would make a SystemError
    of an interrupt between them.
    """
    given = w, cache, fed, room_of(w, cache, fed), desk_for(w, fed, hidden)
    by_all(code, fed.threads, kept_for_now(given))
    return given[4].logits  # so that all of it is there until now


class Hydra(NamedTuple):
    """Hydra's heads as arrays: one block, and the output layer of the words that it can guess."""

    told: Array  # [V, inner], what a token adds inside the block
    up: Array  # [inner, width], in strips
    down: Array  # [width, inner], in strips
    bias: Array  # [width]
    out: Array  # [words, width], in strips
    vocab: Array  # [words], their token ids


@njit(**WOVEN)
def mix_in(inner: Array, told: Array) -> None:
    """SiLU of what the guess before and the token add up to."""
    for i in range(len(told)):
        inner[i] = silu(inner[i] + told[i], ONE)


@njit(**WOVEN)
def step_on(before: Array, tokens: Array, h: Hydra, inner: Array, said: Array, crew: Crew) -> None:
    """What each of n guesses says from: `before` `[n, width]` and the token before it → said."""
    for part in parts_for(crew, len(h.up)):
        some_strips(before, h.up, inner, part, h.up.shape[1])
        for r in range(len(tokens)):
            told = h.told[tokens[r], part[0] * STRIP : part[1] * STRIP]
            mix_in(inner[r, part[0] * STRIP :], told)
    for part in parts_for(crew, len(h.down)):
        some_linear(inner, h.down, h.bias, said, part)
        for r in range(len(tokens)):
            add(
                said[r, part[0] * STRIP : min(part[1] * STRIP, len(h.bias))],
                before[r, part[0] * STRIP :],
            )


@njit(cache=True, **FAST)
def hydra_step(before: Array, tokens: Array, h: Hydra) -> Array:
    """What each of n guesses says from, computed by one thread."""
    inner, said = room_for(len(before), h.up), room_for(len(before), h.down)
    step_on(before, tokens, h, inner, said, crew_of(0, 1, board_for(2, 1)))
    return said[:, : before.shape[1]].copy()


class Rows(NamedTuple):
    """Where threads that ask heads leave numbers for each other: a row a guess, written once.

    said: what guess i is made from stands in row i + 1; in row 0 stands what they all follow.
    board: see Crew.
    """

    inner: Array
    said: Array
    scores: Array
    board: Array


class Asking(NamedTuple):
    """What a thread needs to guess."""

    heads: Hydra
    rows: Rows
    crew: Crew


@njit(**INNER)
def rows_for(hidden: Array, h: Hydra, guesses: int, threads: int) -> Rows:
    """Room for some guesses that follow hidden `[1, width]`."""
    said, board = room_for(guesses + 1, h.down), board_for(3 * guesses, threads)
    copy(hidden[0], said[0])
    return Rows(room_for(guesses, h.up), said, room_for(guesses, h.out), board)


@njit(**INNER)
def guess(at: int, row: int, token: int, g: Asking) -> Array:
    """The scores `[words]` of guess `at`, after a token and what stands in that row of `said`."""
    h, (inner, said, scores, _) = g.heads, g.rows
    before, new, scores = said[row : row + 1], said[at + 1 : at + 2], scores[at : at + 1]
    step_on(before, np.array([token]), h, inner[at : at + 1], new, g.crew)
    for part in parts_for(g.crew, len(h.out)):
        some_strips(new, h.out, scores, part, h.out.shape[1])
    return scores[0, : len(h.vocab)]


@njit(**BARE)
def largest(numbers: Array, count: int) -> int:
    """The place of the largest of the first `count` numbers, of equal ones the first."""
    top = numbers[0]
    for i in range(count):  # without places, so that 16 numbers go at a time
        top = max(top, numbers[i])
    for i in range(count):
        if numbers[i] == top:
            return i
    return 0


@njit(cache=True, **INNER)
def chain_by(me: int, given: int, kind: types.TypeRef) -> None:
    """The best guess of each head, each told the one before → this thread's row of drafted."""
    token, h, rows, drafted = kept_at(given, kind)
    asking = Asking(h, rows, crew_of(me, len(drafted), rows.board))
    for place in range(drafted.shape[1]):
        scores = guess(place, place, token, asking)
        token = h.vocab[largest(scores, len(scores))]
        drafted[me, place] = token


@njit(cache=True, **FAST)
def hydra_chain(code: int, token: int, h: Hydra, hidden: Array, drafted: Array) -> Array:
    """The best guess of each head, each told the one before, from hidden `[1, width]`.

    code: work_at chain_by. drafted: `[threads, heads]`, room for the guesses.
    """
    threads, count = drafted.shape
    given = token, h, rows_for(hidden, h, count, threads), drafted
    by_all(code, threads, kept_for_now(given))
    return given[3][0]


@njit(**BARE)
def shares_of(scores: Array, temperature: float) -> np.float32:
    """Scores → their softmax, but for the division by the sum that is returned."""
    top, total = scores[largest(scores, len(scores))], np.float32(0)
    for i in range(len(scores)):
        scores[i] = exp((scores[i] - top) / np.float32(temperature))
    for i in range(len(scores)):
        total += scores[i]
    return total


class Drawing(NamedTuple):
    """How a chain is drawn: a random number in [0, 1) for each guess, and room for what results.

    probs: the distributions that the tokens are drawn from, 0 everywhere at first.
    """

    chances: Array  # [heads]
    temperature: float
    top_p: float
    probs: Array  # [heads, V]
    drafted: Array  # [threads, heads]


@njit(**BARE)
def keep_nucleus(shares: Array, top_p: float) -> None:
    """Make 0 of all but the largest shares that hold top_p of the whole together."""
    low, high, whole = np.float32(0), shares[largest(shares, len(shares))], shares.sum()
    for _ in range(ROUNDS):
        middle, held = (low + high) / np.float32(2), np.float32(0)
        for i in range(len(shares)):
            held += shares[i] if shares[i] >= middle else np.float32(0)
        low, high = (middle, high) if held >= top_p * whole else (low, middle)
    for i in range(len(shares)):
        shares[i] = shares[i] if shares[i] >= low else np.float32(0)


@njit(**BARE)
def place_of_chance(shares: Array, part: float) -> int:
    """Where the running sum of some shares passes a part of their whole."""
    passed = 0.0
    for i in range(len(shares)):
        passed += shares[i]
        if passed > part:
            return i
    return largest(shares, len(shares))  # rounding alone leads here


@njit(cache=True, **INNER)
def drawn_by(me: int, given: int, kind: types.TypeRef) -> None:
    """A chain as chain_by's, each token drawn from what its head says at a temperature."""
    token, h, rows, drawing = kept_at(given, kind)
    asking = Asking(h, rows, crew_of(me, len(drawing.drafted), rows.board))
    for place in range(len(drawing.chances)):
        shares = guess(place, place, token, asking).copy()
        shares_of(shares, drawing.temperature)
        if drawing.top_p < 1:
            keep_nucleus(shares, drawing.top_p)
        whole = 0.0
        for i in range(len(shares)):
            whole += shares[i]
        token = h.vocab[place_of_chance(shares, drawing.chances[place] * whole)]
        drawing.drafted[me, place] = token
        for i in range(len(shares) if me == 0 else 0):
            drawing.probs[place, h.vocab[i]] = shares[i] / whole


@njit(cache=True, **FAST)
def hydra_drawn(code: int, token: int, h: Hydra, hidden: Array, drawing: Drawing) -> Array:
    """A chain of drawn guesses from hidden `[1, width]`; drawing.probs is filled.

    code: work_at drawn_by.
    """
    threads, count = drawing.drafted.shape
    given = token, h, rows_for(hidden, h, count, threads), drawing
    by_all(code, threads, kept_for_now(given))
    return given[3].drafted[0]


class Limits(NamedTuple):
    """When a tree of guesses stops growing: see growing_trees.Growth."""

    most: int
    depth: int
    ranks: int
    least: float
    least_open: float
    heat: float


class Waiting(NamedTuple):
    """Asking that wait to join a tree.

    facts: of each its token, its parent's place in the tree, its rank, its depth and the row of
    Rows.said that it was made from. counts: how many wait, and how often heads were asked.
    """

    chances: Array  # [guesses]; -1: it has joined
    facts: Array  # [guesses, 5]
    counts: Array  # [2]


@njit(**INNER)
def guess_on(after: Array, chance: float, limits: Limits, waiting: Waiting, g: Asking) -> None:
    """Ask the next head what follows a guess that has joined at place `after[1]`."""
    waits, asked = waiting.counts
    shares = guess(asked, after[4], after[0], g).copy()
    part, left = chance / shares_of(shares, limits.heat), chance
    for rank in range(min(limits.ranks, len(shares))):
        place = largest(shares, len(shares))
        share = part * shares[place]
        if left < limits.least or share < limits.least:
            break
        waiting.chances[waits], facts = share, waiting.facts[waits]
        facts[0], facts[1], facts[2] = g.heads.vocab[place], after[1], rank
        facts[3], facts[4] = after[3] + 1, asked + 1
        shares[place], left, waits = -ONE, left - share, waits + 1
    waiting.counts[0], waiting.counts[1] = waits, asked + 1


@njit(cache=True, **INNER)
def grow(me: int, given: int, kind: types.TypeRef) -> None:
    """The likeliest guess of those waiting joins, again and again → this thread's tree.

    first: the facts of the token that all follow. A tree's size stands after its nodes.
    """
    first, limits, h, rows, trees = kept_at(given, kind)
    room, size, tree = (limits.most + 1) * limits.ranks, 0, trees[me]
    waiting = Waiting(np.empty(room), np.empty((room, 5), np.int64), np.zeros(2, np.int64))
    g = Asking(h, rows, crew_of(me, len(trees), rows.board))
    guess_on(first, 1.0, limits, waiting, g)
    while size < limits.most and waiting.counts[0] > 0:
        best = largest(waiting.chances, waiting.counts[0])
        after, chance = waiting.facts[best], waiting.chances[best]
        if chance < 0:
            break
        copy(after, tree[size])
        after[1], waiting.chances[best], size = size, -1.0, size + 1
        if after[3] < limits.depth and chance >= limits.least_open and size < limits.most:
            guess_on(after, chance, limits, waiting, g)
    tree[limits.most, 0] = size


@njit(cache=True, **FAST)
def hydra_tree(
    code: int, first: Array, limits: Limits, h: Hydra, hidden: Array, trees: Array
) -> Array:
    """A tree that grows where the heads are sure, from hidden `[1, width]` → its nodes' facts.

    code: work_at grow. trees: `[threads, most + 1, 5]`, room for them.
    """
    given = first, limits, h, rows_for(hidden, h, limits.most + 1, len(trees)), trees
    by_all(code, len(trees), kept_for_now(given))
    return given[4][0, : trees[0, limits.most, 0]]


@intrinsic
def words_from(_context: object, address: types.Type):  # noqa: ANN201 - numba's own protocol
    """The 32-bit words that lie in memory from an address on."""

    def generate(_context, builder, _signature, args):  # noqa: ANN001, ANN202
        return builder.inttoptr(args[0], BITS.as_pointer())

    return types.CPointer(types.uint32)(address), generate


@njit(cache=True, **INNER)
def sums_by(me: int, given: int, kind: types.TypeRef) -> None:
    """This thread's part of each checksum."""
    places, sums = kept_at(given, kind)
    for t in range(len(places)):
        size, total = places[t, 1], np.uint32(0)
        first, end = me * size // len(sums), (me + 1) * size // len(sums)
        words = carray(words_from(places[t, 0]), size)[first:end]
        for i in range(len(words)):
            word, place = words[i], np.uint32(first + i)
            place ^= place >> np.uint32(12)
            total += (word ^ (word >> np.uint32(15))) * (np.uint32(2) * place + np.uint32(1))
        sums[me, t] = total


@njit(cache=True, **FAST)
def checksums(code: int, places: Array, threads: int) -> Array:
    """Of each stretch of memory `(address, words)` a sum in which each word counts differently.

    The factors are odd, so a change of one word always changes the sum. The first bits of words and
    of their places count further down, too: else all numbers could change their sign, or two change
    places from far apart, and nothing would be seen. code: work_at sums_by. → `[threads, n]`
    """
    given = places, np.zeros((threads, len(places)), np.uint32)
    by_all(code, threads, kept_for_now(given))
    return given[1]
