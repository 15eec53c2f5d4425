import pytest

from medusa_lib.measure.roofline import (
    Machine,
    gpt2_small,
    measure_machine,
    pass_operations,
    roofline,
    weight_bytes,
)


def test_a_machine_is_measured_roughly() -> None:
    machine = measure_machine(numbers=2**20, width=256, repeats=3)
    assert 1e7 < machine.bytes_per_second < 1e14
    assert 1e7 < machine.operations_per_second < 1e16
    for bad in ({"numbers": 0}, {"width": 0}, {"repeats": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
            measure_machine(**bad)


def test_roofline_by_hand(tiny_gpt2) -> None:
    machine = Machine(bytes_per_second=100.0, operations_per_second=1000.0)
    reading, computing = roofline(tiny_gpt2, machine, 2)
    assert reading == weight_bytes(tiny_gpt2) / 100
    assert computing == pass_operations(tiny_gpt2, 2) / 1000


def test_bytes_and_operations_of_a_tied_and_an_untied_model(tiny_gpt2, tiny_llama) -> None:
    for lm in (tiny_gpt2, tiny_llama):
        sizes = [(p.numel(), p.ndim) for p in lm.model.parameters()]
        count = sum(numbers for numbers, _ in sizes)
        # Vectors are all 0 or 1 in a new model, which two bytes hold.
        assert weight_bytes(lm) == sum((4 if ndim == 2 else 2) * n for n, ndim in sizes)
        assert pass_operations(lm, 3) == 3 * pass_operations(lm, 1)
        assert 0 < pass_operations(lm, 1) < 2 * count


def test_gpt2_small_is_of_that_size(lm) -> None:
    big = gpt2_small(lm)
    assert 120e6 < sum(p.numel() for p in big.model.parameters()) < 130e6
    assert not big.model.training
    assert weight_bytes(big) == 2 * sum(p.numel() for p in big.model.parameters())
