"""The knobs: their defaults, their ranges, and the model's name from the environment."""

import dataclasses
import inspect

import bad_values as bad
import pytest

from medusa_lib import Cfg, compare, medusa_tiny
from medusa_lib.base.config import default_model_id

CASES = {
    "MODEL_ID": [None, 7, "", "  "],
    "TEMPERATURE": bad.NO_TEMPERATURE,
    "TOP_P": bad.NO_TOP_P,
    "SPAN": bad.NO_POSITIVE,
    "MAX_NEW_TOKENS": bad.NO_POSITIVE,
    "BAN_EOS_FIRST_N": bad.NO_COUNT,
    "REP_BAN_N": bad.NO_COUNT,
    "SEED": bad.NO_SEED,
    "DEBUG": bad.NO_BOOL,
}


def test_defaults_are_the_originals():
    knobs = dataclasses.asdict(Cfg())
    assert knobs == {
        "MODEL_ID": "bookworm",
        "TEMPERATURE": 0.9,
        "TOP_P": 0.95,
        "SPAN": 3,
        "MAX_NEW_TOKENS": 30,
        "BAN_EOS_FIRST_N": 0,
        "REP_BAN_N": 0,
        "SEED": 7,
        "DEBUG": False,
    }


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in CASES.items() for v in vs])
def test_every_bad_knob_is_refused_by_name(refuses, name, value):
    with refuses(name, value):
        Cfg(**{name: value})


def test_every_knob_has_bad_values_above():
    assert set(CASES) == {field.name for field in dataclasses.fields(Cfg)}


def test_the_ends_of_each_range_are_in():
    cfg = Cfg(TEMPERATURE=0, TOP_P=None, SPAN=1, MAX_NEW_TOKENS=1, SEED=None)
    assert (cfg.TEMPERATURE, cfg.TOP_P, cfg.SEED) == (0, None, None)
    assert Cfg(TOP_P=0).TOP_P == 0
    assert Cfg(TOP_P=1, SEED=0).TOP_P == 1


@dataclasses.dataclass(frozen=True)
class NotedCfg(Cfg):
    """With one field more."""

    NOTE: str = "mine"


def test_the_knobs_are_those_of_medusa_tiny_whatever_a_subclass_adds(tiny_gpt2):
    assert NotedCfg().knobs == Cfg().knobs
    assert set(Cfg().knobs) < set(inspect.signature(medusa_tiny).parameters)
    assert compare(tiny_gpt2, "abc", NotedCfg(MAX_NEW_TOKENS=3)).cfg.NOTE == "mine"


def test_a_cfg_cannot_be_changed_past_its_checks():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Cfg().SPAN = 0


@pytest.mark.parametrize(
    ("value", "model_id"), [("distilgpt2", "distilgpt2"), ("", "bookworm"), ("  ", "bookworm")]
)
def test_the_environment_names_the_model(monkeypatch, value, model_id):
    monkeypatch.setenv("MEDUSA_MODEL", value)
    assert default_model_id() == model_id
    assert model_id == Cfg().MODEL_ID


def test_a_model_given_outright_beats_the_environment(monkeypatch):
    monkeypatch.setenv("MEDUSA_MODEL", "distilgpt2")
    assert Cfg(MODEL_ID="bookworm").MODEL_ID == "bookworm"
