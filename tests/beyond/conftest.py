"""What the tests of passes share: each way of computing one."""

import dataclasses

import pytest


@pytest.fixture
def own_way(monkeypatch):
    """Every pass is the model's own from here on: no twin."""
    monkeypatch.setattr("medusa_lib.beyond.one_pass.quick", lambda _lm: None)


@pytest.fixture(params=["plain loops", "eager", "sdpa"])
def attention(request, each_lm):
    """Each model, with the engine and with each kind of attention of its own that takes a mask."""
    if request.param == "plain loops":
        yield each_lm
        return
    request.getfixturevalue("own_way")
    before = each_lm.model.config._attn_implementation
    each_lm.model.set_attn_implementation(request.param)
    yield dataclasses.replace(each_lm)
    each_lm.model.set_attn_implementation(before)
