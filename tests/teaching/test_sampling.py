import re

import pytest
from panels import EVIL, PROMPT, Reader, alert, move, says

from medusa_lib import encode, last_logits
from medusa_lib.teaching.sampling import SamplingPanel
from medusa_lib.teaching.utilities import next_tokens


def test_an_error_in_a_callback_is_shown_and_escaped(lm, monkeypatch):
    panel = SamplingPanel(lm, PROMPT)
    picture = panel.view.value

    def broken(*_args, **_more):
        raise RuntimeError(f"out of memory {EVIL}")

    with monkeypatch.context() as patch:
        patch.setattr("medusa_lib.teaching.sampling.next_tokens", broken)
        panel.temperature.value = 0.4
    assert alert(panel) == f"out of memory {EVIL}"
    assert not Reader(panel.message.value).tags & {"script", "img"}
    assert panel.view.value == picture
    panel.temperature.value = 0.5
    assert not panel.message.value
    assert panel.view.value != picture


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 0.95), (0.5, 0.4), (2.0, 1.0), (1.2, 0)])
def test_sampling_panel_shows_the_sliders_values(lm, temperature, top_p, standard, count_passes):
    panel = SamplingPanel(lm, PROMPT)
    with count_passes(lm) as passes:
        move(panel, temperature=temperature, top_p=top_p, standard=standard)
    assert not passes, "a move must not run the model"
    logits = last_logits(lm, encode(lm, PROMPT))
    view = next_tokens(lm, logits, temperature, top_p, standard=standard)
    assert panel.current() == view
    assert says(panel) == (
        f"nucleus: {view.nucleus_size} of {len(logits)} tokens, "
        f"together {view.nucleus_mass:.3f} of the probability"
    )
    shown = [float(p) for p in re.findall(r">\s(\d\.\d{3})</text>", panel.view.value)]
    assert shown == [round(p, 3) for p in view.probs]
    assert len(re.findall('id="[^"]*-bar-', panel.view.value)) == len(view.probs)
