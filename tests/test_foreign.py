"""The course on a real model that it never saw: every drafter writes greedy's text."""

from __future__ import annotations

import foreign
import pytest
from foreign import ANY, PROMPTS, missing, unpacked

from medusa_lib import compare, load_lm, run_greedy, speculate
from medusa_lib.__main__ import main
from medusa_lib.base.config import Cfg

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(bool(missing()), reason=f"needs pip install {' '.join(foreign.PACKAGES)}"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return unpacked(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="module")
def smollm2(folder):
    return load_lm(str(folder), "cpu")


@pytest.mark.parametrize("drafter", [None, *ANY])
def test_every_drafter_writes_greedys_text(smollm2, drafter) -> None:
    for prompt in PROMPTS[:2]:
        assert (
            speculate(smollm2, prompt, drafter, 24).new_ids
            == run_greedy(smollm2, prompt, 24).new_ids
        )


@pytest.mark.parametrize("drafter", [None, *ANY])
def test_every_drafter_samples(smollm2, drafter) -> None:
    assert speculate(smollm2, PROMPTS[1], drafter, 16, temperature=0.8).new_ids


def test_all_decoders_agree(smollm2) -> None:
    assert compare(smollm2, PROMPTS[3], Cfg(MAX_NEW_TOKENS=16)).identical


def test_the_terminal_takes_it_by_its_folder(folder, capsys) -> None:
    assert main(["--model", str(folder), "--max-new-tokens", "8"]) == 0
    assert "identical: yes" in capsys.readouterr().out
