"""The words as types: who is checked, when, and who is trusted."""

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Annotated, get_args, get_type_hints

import pytest
import torch

import medusa_lib
from medusa_lib import LM, Cfg, medusa_tiny, run_greedy, speculate
from medusa_lib.base import words
from medusa_lib.base.checks import (
    TRUSTED,
    Check,
    check_fields,
    check_in,
    check_int,
    checked,
    checks_of,
)
from medusa_lib.base.words import Count, Flag, Positive, Temperature, TopP
from medusa_lib.beyond.speculative import stream

NOTES = "__metadata__"  # of an Annotated type


@checked
def told(
    lm: LM,
    count: Positive,
    top_p: TopP = 7,
    *,
    sure: Flag = False,
    span: Positive | None = None,
    plain: int = 0,
) -> tuple:
    """Everything as it came in."""
    return count, top_p, sure, span, plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lm", ["bookworm"]),
        ("count", 0),
        ("count", True),
        ("top_p", 1.5),
        ("sure", 1),
        ("span", 0),
    ],
)
def test_a_bad_argument_is_refused_by_its_name_however_it_is_given(tiny_gpt2, refuses, name, value):
    with refuses(name, value):
        told(**{"lm": tiny_gpt2, "count": 1, name: value})
    if name == "count":
        with refuses(name, value):
            told(tiny_gpt2, value)


def test_good_arguments_come_in_as_they_are_to_be_used(tiny_gpt2):
    assert told(tiny_gpt2, torch.tensor(3).numpy()[()], 1) == (3, 1.0, False, None, 0)
    given = {"sure": True, "span": 2, "plain": -5}
    assert told(tiny_gpt2, 1, **given) == (1, 7, True, 2, -5)  # 7: a default


def test_a_call_that_does_not_fit_says_so_itself(tiny_gpt2):
    with pytest.raises(TypeError, match=r"told\(\) missing 1 required .* 'count'"):
        told(tiny_gpt2)
    with pytest.raises(TypeError, match=r"told\(\) got an unexpected keyword argument 'spam'"):
        told(tiny_gpt2, 1, spam=1)


def with_type(kind):
    """A function of one argument of this type, which it returns."""

    def same(x):
        return x

    same.__annotations__ = {"x": kind}
    return same


@pytest.mark.parametrize(
    "kind",
    [Positive | str, list[Count], Sequence[LM], LM | list[Flag] | None, dict[str, LM], type[LM]],
)
def test_a_check_that_nothing_would_reach_is_an_error(kind):
    for function in (with_type(kind), with_type(kind | None)):
        with pytest.raises(TypeError, match="must hold no checked type"):
            checked(function)(1)


@pytest.mark.parametrize("kind", [Positive, LM])
def test_a_check_of_arguments_in_number_is_an_error(kind):
    def several(*numbers): ...

    def named(**numbers): ...

    for function in (several, named):
        function.__annotations__ = {"numbers": kind}
        with pytest.raises(TypeError, match="numbers of .* must have a type without a check"):
            checked(function)()


@pytest.mark.parametrize("kind", [Positive | None, None | Positive])
def test_none_may_stand_on_either_side(kind):
    assert checked(with_type(kind))(None) is None
    with pytest.raises(ValueError, match="x must be an int >= 1, got 0"):
        checked(with_type(kind))(0)


def test_of_several_checks_the_last_is_made():
    stricter = Annotated[Count, "a note", Check(check_int, 5)]
    with pytest.raises(ValueError, match="x must be an int >= 5, got 4"):
        checked(with_type(stricter))(4)


def test_the_words_of_a_function_that_is_given_are_its_own():
    assert checked(with_type(Callable[[Count, LM], Flag]))(7) == 7


def test_a_checked_function_still_tells_what_it_is():
    assert told.__doc__ == "Everything as it came in."
    assert list(inspect.signature(told).parameters)[:2] == ["lm", "count"]
    assert set(checks_of(told)) == {"lm", "count", "top_p", "sure", "span"}


def test_a_record_checks_its_fields_and_keeps_what_they_become():
    @dataclass(frozen=True)
    class Knob:
        count: Positive = 1
        temperature: Temperature = 0

        def __post_init__(self) -> None:
            check_fields(self)

    Knob.__annotations__ = {"count": Positive, "temperature": Temperature}
    assert type(Knob(temperature=1).temperature) is float
    with pytest.raises(ValueError, match="count must be an int >= 1, got 0"):
        Knob(count=0)


def test_every_word_with_a_check_has_one_that_refuses():
    kinds = {
        name: check_in(kind) for name, kind in vars(words).items() if hasattr(kind, "__metadata__")
    }
    assert len(kinds) > 15
    for name, check in kinds.items():
        with pytest.raises(ValueError, match=r"^x must (be|have) "):
            check("x", object())
        assert isinstance(check, Check), name


def everything():
    """Every function and method of the package, and every class."""
    for found in pkgutil.walk_packages(medusa_lib.__path__, "medusa_lib."):
        if found.name.endswith("_config"):  # only another program can read it
            continue
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError as missing:  # of an extra; its own tests run where it is
            if missing.name.startswith("medusa_lib"):
                raise
            continue
        own = [one for one in vars(module).values() if getattr(one, "__module__", "") == found.name]
        yield from filter(inspect.isfunction, own)
        for kind in filter(inspect.isclass, own):
            yield kind
            methods = [getattr(method, "__func__", method) for method in vars(kind).values()]
            yield from filter(inspect.isfunction, methods)


def test_every_check_of_the_package_can_be_built():
    found = [one for one in everything() if getattr(one, "__code__", None) == told.__code__]
    assert len(found) > 30
    for function in found:
        checks_of(function)


# These run within a step or a draw, after all was checked.
INNER = {"length_after", "branch_of", "greedy_step", "draw", "draw_no_end", "best_no_end"}
INNER |= {"draw_from", "is_accepted", "residual", "Rules", "check_branches"}
INNER |= {"distributions", "for_run", "obey_settings"}


def takes_a_word(owner):
    """True if a parameter of a function, or field of a class, has a word with a check as type."""
    kinds = get_type_hints(owner, include_extras=True)
    kinds.pop("return", None)
    parts = [part for kind in kinds.values() for part in (kind, *get_args(kind))]
    return any(isinstance(note, Check) for part in parts for note in getattr(part, NOTES, ()))


def is_checked(owner):
    """True for a function that `checked` made, and for a class that checks its fields."""
    code = getattr(getattr(owner, "__post_init__", owner), "__code__", None)
    return code is not None and (code == told.__code__ or "check_fields" in code.co_names)


def test_whoever_takes_a_checked_word_checks_it():
    """The steps and the cure trust each other, so each must check what comes from outside."""
    own = [one for one in everything() if one.__module__.startswith(TRUSTED)]
    made = {f"{one.__qualname__}.__init__" for one in own if is_dataclass(one)}
    own = [one for one in own if one.__qualname__ not in made]
    unchecked = {one.__qualname__ for one in own if takes_a_word(one) and not is_checked(one)}
    assert unchecked == INNER


@pytest.fixture
def counted():
    """A list that grows by one with each argument that is checked, by a word or by its class.

    A function keeps its checks once they are made, so that none can be put in their place.
    """
    checks = (Check.__call__, LM.check_argument.__func__, Cfg.check_argument.__func__)
    asked, codes = [], {check.__code__ for check in checks}

    def watch(frame, event, _):
        if event == "call" and frame.f_code in codes:
            asked.append(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(watch)
    yield asked
    sys.setprofile(before)


RUNS = {
    "greedy": run_greedy,
    "Medusa-tiny": functools.partial(medusa_tiny, ban_eos_first_n=2, rep_ban_n=1),
    "n-gram": speculate,
    "self, sampling": functools.partial(speculate, drafter="self", temperature=0.8, top_p=0.9),
    "branches": functools.partial(speculate, drafter="branches"),
    "tree": functools.partial(speculate, drafter="heads_tree"),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_nothing_is_checked_within_a_decoding_loop(lm, counted, run):
    """All is checked where it comes in: the count stays what it was after the first loop."""
    seen = []
    done = run(
        lm, "Once upon a time", max_new_tokens=12, on_loop=lambda _: seen.append(len(counted))
    )
    assert len(done.loops) > 1
    assert seen[0] > 0
    assert set(seen) == {seen[0]}


def test_a_caller_from_outside_is_checked_also_in_a_loop_of_its_own(lm, counted):
    for record in stream(lm, "Once upon a time", max_new_tokens=4):
        before = len(counted)
        medusa_lib.decode(lm, list(record.emitted))
        medusa_lib.softmax_temp(torch.ones(3), 1.0)
        assert len(counted) > before


def test_a_class_that_checks_is_counted_too(lm, counted):
    medusa_lib.compare(lm, "Once", Cfg(MAX_NEW_TOKENS=1))
    assert set(counted) >= {
        LM.check_argument.__func__.__code__,
        Cfg.check_argument.__func__.__code__,
    }
