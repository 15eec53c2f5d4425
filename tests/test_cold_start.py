"""What takes long to import is imported when it is needed, not by importing what decodes."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = (  # and what needs it
    "transformers.modeling_utils",  # loading a model
    "torch._dynamo",  # the same, by transformers
    "torch.distributed.tensor",
    "sympy",
    "numba",  # the first pass
    "matplotlib",  # a picture
    "ipywidgets",  # a panel
    "IPython",
)


NAMES = "load_lm, run_greedy, medusa_tiny, speculate, compare"


@pytest.mark.parametrize("imports", ["import medusa_lib", f"from medusa_lib import {NAMES}"])
def test_importing_what_decodes_imports_little(imports) -> None:
    code = f"{imports}; import sys; print([name for name in {LATER} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
