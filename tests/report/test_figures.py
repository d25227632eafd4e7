import numpy as np
import pytest

from stages.evaluation.predictions import LabelledPredictions
from stages.report.figures import draw_confusion_matrix, render_svg


@pytest.mark.parametrize("names", [["$x_$", "a, b"], [f"class {number}" for number in range(150)]])
def test_many_classes_and_odd_names_can_be_drawn(tmp_path, names):
    predictions = LabelledPredictions(np.eye(len(names)), np.arange(len(names)), names=names)
    draw_confusion_matrix(predictions, tmp_path / "matrix.png")
    content = (tmp_path / "matrix.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 300_000


def test_equal_drawings_are_equal_bytes_in_the_color_of_the_page():
    first, second = (render_svg("line", lambda axes: axes.plot([1, 2], [3, 4])) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert "currentColor" in first
