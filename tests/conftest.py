"""What the tests share: language models, real and scripted, and a counter of their passes."""

import contextlib
import functools
import os
from pathlib import Path
from types import SimpleNamespace

os.environ.pop("MEDUSA_MODEL", None)  # the shipped model, whatever the shell says
# Three processes test at once (pyproject.toml). More threads than cores are many times slower, so
# whatever the shell says, all processes together have no more than there are cores.
os.environ["OMP_NUM_THREADS"] = str(
    min(
        max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))),
        int(os.environ.get("OMP_NUM_THREADS", "1").partition(",")[0] or "1"),
    )
)

import pytest
import torch
from tiny_models import CONTEXT, LETTERS, small_gpt2, small_llama, small_tokenizer

from medusa_lib import LM, load_lm, make_lm
from medusa_lib.engine import twin
from medusa_lib.engine.arrays import PlainLoops
from medusa_lib.engine.twin import quick

# A process takes one file after the other: the longest first, so that none is left for the end.
LONGEST = (
    *("test_lab", "test_changed_models", "BEYOND7_tree_attention", "test_front_ends"),
    *("test_recorded", "test_settings", "test_adding", "test_bench", "test_twin", "test_wheel"),
    *("test_batches", "BEYOND11_numbers", "test_exported", "STEP6_loops", "test_site"),
    *("test_class", "test_in_browser", "BEYOND6_heads_training", "BEYOND9_batches"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def lm():
    """The shipped model."""
    return load_lm(device="cpu")


@pytest.fixture(scope="session")
def tiny_gpt2():
    tokenizer = small_tokenizer()
    return make_lm(tokenizer, small_gpt2(len(tokenizer)), "tiny-gpt2")


@pytest.fixture(scope="session")
def tiny_llama():
    tokenizer = small_tokenizer()
    return make_lm(tokenizer, small_llama(len(tokenizer)), "tiny-llama")


@pytest.fixture(scope="session", params=["lm", "tiny_gpt2", "tiny_llama"])
def each_lm(request):
    """The shipped model and both tiny ones, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def tiny_folder(tmp_path):
    """A function: make and save a tiny model and its tokenizer, return the folder."""

    def save(name="tiny", *, eos=True):
        tokenizer = small_tokenizer(eos=eos)
        folder = tmp_path / name
        small_gpt2(len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


class Rows(torch.nn.Module):
    """A model whose logits after `start` + n tokens are row n; the last row stays."""

    def __init__(self, rows, start):
        super().__init__()
        self.rows, self.start = torch.as_tensor(rows, dtype=torch.float32), start
        self.embedding = torch.nn.Embedding(self.rows.shape[1], 1)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, use_cache=False, logits_to_keep=0):
        row = self.rows[min(input_ids.shape[1] - self.start, len(self.rows) - 1)]
        return SimpleNamespace(logits=row[None, None])


@pytest.fixture(scope="session")
def rows_lm():
    """A function: rows of logits `[n, V]` → an LM that answers them one after the other."""

    def build(rows, start=1, context_length=CONTEXT):
        cpu, eos = torch.device("cpu"), 0
        return LM("rows", small_tokenizer(), Rows(rows, start), cpu, eos, context_length)

    return build


@pytest.fixture(scope="session")
def scripted_lm(rows_lm):
    """A function: token ids → an LM whose greedy text is exactly those, then EOS."""

    def build(script, margin=9.0, start=1, context_length=CONTEXT):
        rows = torch.zeros(len(script) + 1, len(LETTERS) + 2)
        for row, token in zip(rows, [*script, 0], strict=True):
            row[token] = margin
        return rows_lm(rows, start, context_length)

    return build


def count_calls(patch, kind, name, counts, calls):
    """Note each call of a method of `kind` by an object that counts; it looks like the method."""
    original = getattr(kind, name)

    @functools.wraps(original)
    def counted(self, *args, **kwargs):
        if counts(self):
            calls.append(1)
        return original(self, *args, **kwargs)

    patch.setattr(kind, name, counted)


@pytest.fixture(scope="session")
def count_passes():
    """A context manager: with count_passes(lm) as passes: ...; len(passes) is their number."""

    @contextlib.contextmanager
    def counting(lm):
        passes = []
        with pytest.MonkeyPatch.context() as patch:
            ours = (*twin.FOLDERS, str(Path(__file__).parent))  # so that the twin stays in use
            patch.setattr(twin, "FOLDERS", ours)
            count_calls(patch, type(lm.model), "forward", lambda own: own is lm.model, passes)
            count_calls(patch, PlainLoops, "__call__", lambda own: own is quick(lm), passes)
            twin.refresh(lm)  # the passes that try a new twin do not count
            passes.clear()
            yield passes

    return counting


@pytest.fixture(scope="session")
def refuses(count_passes):
    """A context manager: the block must raise ValueError that names the parameter and says
    what it must be, in one line, without a single pass of `lm`; `value`, if short, is quoted.
    """

    @contextlib.contextmanager
    def refusing(name, value=..., lm=None):
        watch = count_passes(lm) if isinstance(lm, LM) else contextlib.nullcontext([])
        with watch as passes, pytest.raises(ValueError, match=r"must (be|have) ") as raised:
            yield
        said = str(raised.value)
        assert name in said.split(" must ", maxsplit=1)[0]
        assert "\n" not in said
        assert "got" in said
        if isinstance(value, int | float | str | None):
            assert repr(value) in said
        assert not passes, f"{len(passes)} passes were spent before {name} was refused"

    return refusing
