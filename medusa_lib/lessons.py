"""What only the lessons need: show the library's own source, draw where we are, check exercises."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

from medusa_lib.base.course import BEYOND, STEPS, Lesson
from medusa_lib.model import LM
from medusa_lib.plots import plot_beyond, plot_pipeline


def source_of(function: Callable) -> str:
    """A function's source as it stands in the library, its docstring cut to the first line."""
    source = textwrap.dedent(inspect.getsource(function))
    body = ast.parse(source).body[0].body[0]
    lines = source.rstrip("\n").split("\n")
    is_docstring = isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant)
    if is_docstring and body.end_lineno > body.lineno:
        indent = " " * body.col_offset
        first = body.value.value.strip().splitlines()[0]
        lines[body.lineno - 1 : body.end_lineno] = [f'{indent}"""{first}"""']
    return "\n".join(lines)


def show_source(*functions: Callable) -> Markdown:
    """The live source of functions of this library, ready to be a cell's last value."""
    parts = []
    for function in functions:
        file = function.__module__.partition(".")[2].replace(".", "/")
        where = f"`{function.__qualname__}` in `{file}.py`"
        parts.append(f"{where}\n```python\n{source_of(function)}\n```")
    return Markdown("\n\n".join(parts))


def where_we_are(step: int) -> None:
    """Draw the pipeline with this step marked, and say the same in words. step: 0 to 7."""
    plot_pipeline(step)
    plt.show()
    print(f"You are at STEP{step} of STEP0 to STEP7: {_code_of(STEPS[step])}")


def where_we_are_beyond(lesson: int) -> None:
    """Draw the lessons beyond the steps, this one marked, and say it in words. lesson: from 1."""
    plot_beyond(lesson)
    plt.show()
    print(f"You are at BEYOND{lesson}, after STEP0 to STEP7: {_code_of(BEYOND[lesson - 1])}")


def _code_of(lesson: Lesson) -> str:
    return f"{lesson.word} ({lesson.file})"


def parameter_parts(model: PreTrainedModel) -> dict[str, int]:
    """Number of parameters in each part of a model; a part that is shared counts once.

    Parts: token embeddings, position embeddings where there are any, each block, output.
    """
    table, parts = model.get_input_embeddings().weight, {}
    for name, values in model.named_parameters():
        block = re.search(r"\.(?:h|layers|blocks)\.(\d+)\.", name)
        if values is table:
            part = "token embeddings"
        elif block:
            part = f"block {int(block[1]) + 1}"
        else:
            part = "position embeddings" if re.search("wpe|embed_pos", name) else "output"
        parts[part] = parts.get(part, 0) + values.numel()
    return parts


NOT_ATTEMPTED = "not attempted yet: replace the `...` and run the cell again"
CORRECT = "correct"


def check(verdict: Callable[[Callable], str | None], attempt: Callable) -> str:
    """Run one exercise's check → "correct", "not attempted yet …", or what is wrong, in words.

    `verdict(attempt)` returns None if all is right, else a sentence. A stub that returns `...`
    counts as not attempted; an exception inside the attempt is reported, never raised.
    """
    try:
        problem = verdict(attempt)
    except NotAttemptedError:
        return NOT_ATTEMPTED
    except AttemptError as error:
        problem = str(error)
    except Exception as error:  # an answer of a kind that no comparison expects
        problem = f"your answer could not be compared ({error}); look at its type"
    return CORRECT if problem is None else f"not yet: {problem}"


class NotAttemptedError(Exception):
    """The stub still returns `...`."""


class AttemptError(Exception):
    """An attempt raised, or returned nothing; the text says so."""


def run_attempt(attempt: Callable, *args: object) -> object:
    """Call an attempt on arguments; `...` as its result means that it was not attempted."""
    try:
        result = attempt(*args)
    except Exception as error:
        raise AttemptError(f"your code raised {type(error).__name__}: {error}") from error
    if result is None:
        raise AttemptError("your function returned None: is a `return` missing?")
    if result is ...:
        raise NotAttemptedError
    return result


def as_list(value: object) -> object:
    """A tensor as a plain list or number, so that answers of either kind compare alike."""
    return value.tolist() if isinstance(value, torch.Tensor) else value


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Plain-text table with right-aligned columns; the first column is left-aligned."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        return "  ".join([row[0].ljust(widths[0]), *rest]).rstrip()

    return "\n".join(line(row) for row in cells)


def misfits(observed: object, expected: object) -> torch.Tensor:
    """Counts that came and counts that were due, of any shape → (observed - expected) / √expected.

    One number for each kind that can come; infinite for one that came and should not.
    """
    observed, expected = (torch.as_tensor(x, dtype=torch.float64) for x in (observed, expected))
    if observed.shape != expected.shape or not torch.isclose(observed.sum(), expected.sum()):
        raise ValueError("observed and expected must have the same shape and the same total")
    seen = (expected > 0) | (observed > 0)
    return (observed - expected)[seen] / expected[seen].sqrt()


def chi_square_p(observed: object, expected: object) -> float:
    """The chi-square test: how often chance alone strays at least this far from `expected`.

    In [0, 1]: near 0 the counts do not fit. Each kind that can come should be expected 5 times
    or more. Raises ValueError if shapes or totals differ.
    """
    statistic = misfits(observed, expected).square().sum()
    kinds = int((torch.as_tensor(expected) > 0).sum())
    if kinds == 1:
        return float(statistic == 0)
    freedom = torch.tensor(kinds - 1, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom / 2, statistic / 2))


Rule = Callable[[list[int]], int | list[float]]  # ids so far → one token, or V probabilities


class PretendModel(torch.nn.Module):
    """A model whose next token follows a rule: see pretend_lm."""

    def __init__(self, rule: Rule, vocab_size: int) -> None:
        super().__init__()
        self.rule, self.embedding = rule, torch.nn.Embedding(vocab_size, 1)

    def get_input_embeddings(self) -> torch.nn.Embedding:
        """As every model of transformers; its size is the vocabulary's."""
        return self.embedding

    def forward(self, input_ids: torch.Tensor, **_options: object) -> CausalLMOutput:
        """Ids `[1, T]` → logits `[1, 1, V]` of the next token."""
        logits = torch.full((1, 1, self.embedding.num_embeddings), -20.0)
        wanted = self.rule(input_ids[0].tolist())
        if isinstance(wanted, int):
            logits[0, 0, wanted] = 20.0
        else:
            logits[0, 0] = torch.tensor(wanted).log().clamp(min=-20)
        return CausalLMOutput(logits=logits)


def pretend_lm(words: Sequence[str], rule: Rule) -> LM:
    """An LM over a handful of words; `rule(ids so far)` says what comes next.

    The rule returns one token id, which is then all but certain, or the probabilities of all
    words, 0 for impossible ones. The last word is EOS. For worked examples small enough to
    follow, and for edge cases that a real model shows only rarely.
    """
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=words[-1])
    model = PretendModel(rule, len(words))
    return LM("pretend", tokenizer, model, torch.device("cpu"), len(words) - 1, 64)
