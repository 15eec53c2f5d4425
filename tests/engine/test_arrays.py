"""The engine's cache, and what the call of a pass refuses or shares."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading

import numba
import pytest
import torch
from heads import random_heads

from medusa_lib import run_greedy, speculate
from medusa_lib.engine.arrays import LOOPS, QuickHydra, QuickLinear, sums_of
from medusa_lib.engine.twin import quick


def test_nothing_is_written_beyond_the_context(tiny_gpt2, refuses) -> None:
    twin = quick(tiny_gpt2)
    cache = twin.new_cache()
    twin.read(cache, [2] * (twin.context - 1))
    with refuses("positions"):
        twin.read(cache, [2, 3])
    assert cache.get_seq_length() == twin.context - 1


@pytest.mark.parametrize("ids", [[-1], [2, 10_000]])
def test_ids_that_the_model_lacks_are_refused(tiny_llama, refuses, ids) -> None:
    twin = quick(tiny_llama)
    with refuses("ids"):
        twin.read(twin.new_cache(), ids)


@pytest.mark.parametrize("positions", [[0], [0, 1, 2], [0, -1], [39, 40]])
def test_positions_that_the_model_lacks_are_refused(tiny_llama, refuses, positions) -> None:
    twin = quick(tiny_llama)
    with refuses("positions"):
        twin(twin.new_cache(), [2, 3], None, torch.tensor(positions), 1)


def test_a_mask_of_another_size_is_refused_and_one_for_all_is_spread(tiny_llama) -> None:
    twin, positions = quick(tiny_llama), torch.arange(3)
    for wrong in (torch.zeros(1, 1, 3, 4), torch.zeros(3, 4), torch.zeros(4, 3)):
        with pytest.raises(RuntimeError, match="expand"):
            twin(twin.new_cache(), [2, 3, 4], wrong, positions, 3)
    one, all_of_them = (
        twin(twin.new_cache(), [2, 3, 4], torch.zeros(1, 1, *size), positions, 3)[0]
        for size in ((1, 1), (3, 3))
    )
    assert torch.equal(one, all_of_them)


@pytest.mark.parametrize("token", [-1, 10_000])
def test_tokens_that_the_heads_lack_are_refused(tiny_llama, refuses, token) -> None:
    heads = random_heads(tiny_llama)
    quick_heads, hidden = QuickHydra(heads), torch.zeros(1, heads.shape.width)
    with refuses("tokens"):
        quick_heads(hidden, token)
    with refuses("tokens"):
        quick_heads.chain(hidden[0], token, 3)
    with refuses("hidden states"):
        quick_heads.chain(hidden, 0, 3)


def test_torchs_number_of_threads_stays_as_it_was() -> None:
    code = """
import torch
for threads in (1, 2):
    torch.set_num_threads(threads)
    from medusa_lib import load_lm, speculate
    speculate(load_lm(device="cpu"), "Once", "heads_tree", 4)
    assert torch.get_num_threads() == threads, torch.get_num_threads()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_threads_at_once_write_what_each_would_alone(lm) -> None:
    """A panel's run goes on while a cell runs: numba's threads must not mix them up."""
    prompts, said = ("The king", "In the forest", "Once upon a time"), {}
    models = {prompt: copy.copy(lm) for prompt in prompts}
    before = torch.get_num_threads()

    def run(prompt):
        torch.set_num_threads(2)
        said[prompt] = speculate(models[prompt], prompt, "heads_tree", 30).new_ids

    threads = [threading.Thread(target=run, args=(prompt,)) for prompt in prompts]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert said == {prompt: run_greedy(lm, prompt, 30).new_ids for prompt in prompts}


def test_no_more_rows_than_were_fed_come_back(tiny_llama) -> None:
    twin = quick(tiny_llama)
    logits, hidden = twin(twin.new_cache(), [2, 3], None, torch.arange(2), 3)
    assert len(logits) == len(hidden) == 2


def test_numbers_of_another_width_are_refused(tiny_llama, refuses) -> None:
    heads = random_heads(tiny_llama)
    loops = QuickHydra(heads)
    with refuses("hidden states"):
        loops.chain(torch.zeros(1, heads.shape.width + 1), 3, 2)
    with refuses("tokens"):
        loops(torch.zeros(3, heads.shape.width), 3)
    with refuses("hidden states"):
        QuickLinear(torch.zeros(4, 5))(torch.zeros(2, 6))


def test_heads_whose_words_the_table_lacks_are_left_to_themselves(tiny_llama) -> None:
    heads = random_heads(tiny_llama)
    heads.vocab[:] = 10**6
    assert heads.fast is heads


def test_numbas_number_of_threads_stays_as_it_was(lm) -> None:
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        speculate(lm, "Once", None, 2)
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1001])
def test_a_change_of_any_number_changes_the_checksum(size, dtype) -> None:
    tensor = torch.zeros(size, dtype=dtype)
    (before,) = sums_of([tensor])
    for place in {0, size // 2, size - 1}:
        tensor.data[place] = 1
        assert sums_of([tensor]) != [before]
        tensor.data[place] = 0
    assert sums_of([tensor]) == [before]


def test_rows_that_change_places_from_far_apart_change_the_checksum() -> None:
    numbers = torch.randn(2**20 + 200, 16).bfloat16().float()  # whose last 16 bits are 0
    (before,) = sums_of([numbers])
    for row in range(200):
        pair, swapped = [row, row + 2**20], [row + 2**20, row]
        numbers.data[pair] = numbers[swapped]
        assert sums_of([numbers]) != [before], row
        numbers.data[pair] = numbers[swapped]
    assert sums_of([numbers]) == [before]


def test_memory_that_was_given_back_is_not_read() -> None:
    tensor = torch.rand(1000)
    tensor.untyped_storage().resize_(0)
    assert sums_of([tensor, torch.ones(1)])[0] == 0


@pytest.mark.parametrize("size", [2, 4, 64, 1000, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_change_of_all_signs_changes_the_checksum(size, dtype) -> None:
    tensor = torch.rand(size, dtype=dtype)
    (before,) = sums_of([tensor])
    tensor.data.neg_()
    assert sums_of([tensor]) != [before]


def test_a_checksum_tells_an_order_from_another_and_does_not_depend_on_the_threads(
    monkeypatch,
) -> None:
    numbers = [
        torch.arange(101.0),
        torch.arange(101.0).flip(0),
        torch.ones(6, 5).t(),
        torch.ones(0),
    ]
    sums = {}
    for threads in (1, 2, 3):
        monkeypatch.setattr(LOOPS, "threads", lambda threads=threads: threads)
        sums[threads] = sums_of(numbers)
    assert sums[1] == sums[2] == sums[3]
    assert len(set(sums[1])) == len(numbers)
    assert sums_of([]) == []
