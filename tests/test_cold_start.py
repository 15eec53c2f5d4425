"""What takes long to import is imported when it is needed, not by `import medusa_lib`."""

from __future__ import annotations

import subprocess
import sys

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


def test_importing_the_package_imports_little() -> None:
    code = f"import sys, medusa_lib; print([name for name in {LATER} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
