import pytest
from drawing import texts, ticks

from medusa_lib.teaching.model import parameter_parts, parts_of_shape, plot_parameters


def test_parameters_bars_and_shares(ax):
    plot_parameters({"token embeddings": 1500, "block 1": 500}, ax)
    assert [bar.get_width() for bar in ax.patches] == [1500, 500]
    assert texts(ax) == [" 1,500 (75%)", " 500 (25%)"]
    assert ticks(ax.yaxis) == ["token embeddings", "block 1"]
    assert ax.yaxis.get_inverted()


def test_parameter_parts_add_up(tiny_gpt2, tiny_llama, lm):
    for each in (tiny_gpt2, tiny_llama, lm):
        parts = parameter_parts(each.model)
        assert sum(parts.values()) == sum(p.numel() for p in each.model.parameters())
        blocks = each.model.config.num_hidden_layers
        assert [p for p in parts if p.startswith("block")] == [
            f"block {i + 1}" for i in range(blocks)
        ]
        assert parts["token embeddings"] == each.model.get_input_embeddings().weight.numel()
    assert "position embeddings" in parameter_parts(tiny_gpt2.model)
    assert "position embeddings" not in parameter_parts(tiny_llama.model)


def test_parts_of_a_shape_are_those_of_the_model(lm):
    shape = lm.model.config
    given = shape.vocab_size, shape.n_positions, shape.n_embd, shape.n_layer
    assert parts_of_shape(*given) == parameter_parts(lm.model)
    assert parts_of_shape(10, 6, 4, 1)["token embeddings"] == 40
    with pytest.raises(ValueError, match="width must be"):
        parts_of_shape(10, 6, 0, 1)
