import numpy as np
import pytest

from stages.evaluation.predictions import LabelledMultiLabelPredictions, LabelledPredictions
from stages.report.figures import draw_confusion_matrix, render_svg


@pytest.mark.parametrize("names", [["$x_$", "a, b"], [f"class {number}" for number in range(150)]])
@pytest.mark.parametrize("is_multi_label", [False, True])
def test_many_classes_and_odd_names_can_be_drawn(tmp_path, names, is_multi_label):
    logits = 2 * np.eye(len(names)) - 1
    predictions = LabelledPredictions(logits, np.arange(len(names)), names=names)
    if is_multi_label:
        predictions = LabelledMultiLabelPredictions(logits, logits > 0, names=names)
    draw_confusion_matrix(predictions, tmp_path / "matrix.png")
    content = (tmp_path / "matrix.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 300_000


def test_equal_drawings_are_equal_bytes_in_the_color_of_the_page():
    first, second = (render_svg("line", lambda axes: axes.plot([1, 2], [3, 4])) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert "currentColor" in first
