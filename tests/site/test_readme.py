"""The figures of the bench as the README has them."""

from __future__ import annotations

import pytest
from tree import ROOT

from medusa_lib.site.readme import bench_block, fastest_own, read_figure, speeds, table_below

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = """<!-- bench: by hand -->

Model a.

**Outputs that do not loop (2 prompts)**

| decoder | tokens/s | α |
| --- | ---: | ---: |
| greedy | 1,696 | – |
| ours | 2,000 | 0.5 |
| llama.cpp float16 | 3,000 | – |

<!-- /bench -->"""


def test_a_table_is_read_as_it_is_printed():
    block = bench_block(f"text\n{BLOCK}\nmore")
    assert block.startswith("Model a.")
    assert table_below(block, "Outputs")["greedy"] == {"tokens/s": "1,696", "α": "–"}
    assert speeds(block) == {"greedy": "1,696", "ours": "2,000", "llama.cpp float16": "3,000"}
    assert fastest_own(speeds(block)) == "ours"
    assert read_figure("1,696") == 1696


def test_what_is_not_there_is_said():
    with pytest.raises(ValueError, match="must have the block that the bench writes"):
        bench_block("no bench")
    with pytest.raises(ValueError, match="must have a table 'Other'"):
        table_below(bench_block(BLOCK), "Other")


def test_the_readme_can_be_read():
    found = speeds(bench_block(README))
    assert {"greedy, cached", "transformers generate", "Medusa-tiny"} <= set(found)
    assert read_figure(found[fastest_own(found)]) > read_figure(found["greedy, cached"])
