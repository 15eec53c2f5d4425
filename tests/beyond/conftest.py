"""A fixture of the tests of passes."""

import dataclasses

import pytest


@pytest.fixture(params=["eager", "sdpa"])
def attention(request, each_lm):
    """Each model, with each kind of attention that takes a mask."""
    before = each_lm.model.config._attn_implementation
    each_lm.model.set_attn_implementation(request.param)
    yield dataclasses.replace(each_lm)  # a fresh LM makes a fresh twin
    each_lm.model.set_attn_implementation(before)
