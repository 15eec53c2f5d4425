"""Prompts from a file, and the words under a table: processor and versions."""

from __future__ import annotations

import pytest
import torch

from medusa_lib.measure import conditions
from medusa_lib.measure.conditions import PROMPTS, machine, read_prompts, versions


def test_the_prompts_are_many_and_varied() -> None:
    prompts = read_prompts(PROMPTS)
    assert len(prompts) == len(set(prompts)) >= 24
    sizes = [len(prompt) for prompt in prompts]
    assert min(sizes) < 30
    assert max(sizes) > 300
    assert not any(prompt.startswith("#") for prompt in prompts)


def test_a_file_without_prompts_is_refused(tmp_path) -> None:
    path = tmp_path / "none.txt"
    path.write_text("# only a heading\n\n\n")
    with pytest.raises(ValueError, match="--prompts must have at least one prompt, got none"):
        read_prompts(path)


@pytest.mark.parametrize(
    ("about", "name"),
    [
        (
            {"brand_raw": "  Abacus | 3  000 ", "family": 6, "model": 0},
            "Abacus 3 000 (family 6, model 0)",
        ),
        ({}, "unknown processor"),
    ],
)
def test_the_machine_has_a_name_that_fits_a_table(monkeypatch, about, name) -> None:
    monkeypatch.setattr(conditions, "get_cpu_info", lambda: about)
    assert machine(torch.device("cpu")) == f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def test_versions_name_what_may_change_a_figure() -> None:
    assert f"torch {torch.__version__}".split("+")[0] in versions()
    assert "medusa-lib" in versions()
