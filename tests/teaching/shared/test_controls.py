from medusa_lib.teaching.shared.controls import span_slider, temperature_slider, top_p_slider


def test_sliders_stay_in_range():
    for slider, low, high in (
        (temperature_slider(), 0, 2),
        (top_p_slider(), 0, 1),
        (span_slider(), 1, 8),
    ):
        slider.value = 99
        assert slider.value == high
        slider.value = -99
        assert slider.value == low
