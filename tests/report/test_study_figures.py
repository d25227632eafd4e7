"""Figures of studies: well-formed SVG that names what it shows, for any values of params."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from stages.report.figures import BLUE, ORANGE
from stages.report.study_figures import (
    LONGEST_LABEL,
    MOST_TICKS,
    draw_importance,
    draw_learning_curve,
    draw_parallel,
    draw_quality,
    draw_search,
    draw_seeds,
    scale_column,
    thin_ticks,
)

NAN = float("nan")


def read_texts(svg):
    """The texts of an SVG element, in a page that knows the prefix of its links."""
    root = ElementTree.fromstring(f'<page xmlns:xlink="links">{svg}</page>')
    assert root[0].tag == "svg"
    return [element.text.strip() for element in root.iter("text")]


def draw_curve(rows, scores, last):
    at = np.geomspace(min(rows), last, 20)
    curve = 0.9 - at**-0.5
    return draw_learning_curve(rows, scores, at, curve, np.array([curve - 0.1, curve + 0.1]), "f1_macro")


DRAWINGS = {
    "search": (lambda: draw_search([0, 1, 2], [0.5, 0.7, 0.6], [False, True, False], False), "best so far"),
    "importance": (lambda: draw_importance({"learning_rate": 0.9, "<b> & $x$": 0.1}), "<b> & $x$"),
    "parallel": (lambda: draw_parallel({"a_b": [1e-5, 1e-3]}, [0.1, 0.2], {"a_b"}, False), "a_b"),
    "curve": (lambda: draw_curve([100, 200, 200, 400], [0.7, 0.75, 0.74, 0.8], 1600), "1,600"),
    "seeds": (lambda: draw_seeds({"accuracy": [0.8, 0.9]}, {"accuracy": (0.7, 1.0)}), "accuracy"),
    "quality": (lambda: draw_quality([0.1, 0.9, 0.95], [0.1]), "probably wrong"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_figures_are_xml_with_the_names_of_what_they_show(name):
    draw, expected = DRAWINGS[name]
    assert expected in read_texts(draw())
    assert not any("mathdefault" in text for text in read_texts(draw()))


def test_equal_figures_are_equal_bytes():
    assert [draw() for draw, _ in DRAWINGS.values()] == [draw() for draw, _ in DRAWINGS.values()]


def test_the_figures_of_a_page_share_no_ids():
    ids = re.findall(r' id="([^"]+)"', "".join(draw() for draw, _ in DRAWINGS.values()))
    assert len(ids) > 5
    assert len(ids) == len(set(ids))
    assert not [one for one in ids if re.fullmatch(r"[A-Za-z]+_\d+", one)]  # ids of groups, which nothing refers to


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        ([None, 0.1, None], ["0.1", "None"]),
        ([3, 3, 3], ["3"]),
        ([True, False, True], ["False", "True"]),
        (["linear", "cosine", "linear"], ["cosine", "linear"]),
        (["auto", 8, 16], ["16", "8", "auto"]),
    ],
)
def test_params_may_be_constant_or_no_numbers(column, labels):
    shown = read_texts(draw_parallel({"param": column}, [0.1, 0.2, 0.3], {"param"}, False))
    assert set(shown) == {"param", "score", *labels, "0.1", "0.2", "0.3"}
    positions, ticks = scale_column(column, False)
    assert positions.min() >= 0
    assert positions.max() <= 1
    assert [label for _, label in ticks] == labels


def test_one_trial_is_drawn():
    assert "param" in read_texts(draw_parallel({"param": [0.1]}, [0.5], {"param"}, True))
    assert "stopped early" not in read_texts(draw_search([0], [0.5], [False], True))


def test_twelve_params_have_their_names_and_a_wider_figure():
    columns = {f"param_{number}": list(range(30)) for number in range(12)}
    wide, narrow = (draw_parallel(dict(list(columns.items())[:count]), range(30), set(), False) for count in (12, 2))
    assert {*columns, "score"} <= set(read_texts(wide))
    assert find_width(wide) > find_width(narrow)


def find_width(svg):
    return float(re.match(r'<svg[^>]* width="([\d.]+)pt"', svg).group(1))


def test_long_choices_are_cut_before_the_next_axis():
    shown = read_texts(draw_parallel({"param": ["x" * 100, "y"]}, [0.1, 0.2], set(), False))
    assert max(map(len, shown)) == LONGEST_LABEL


@pytest.mark.parametrize(("lower_is_better", "values"), [(False, [0.5, NAN, 0.6, 0.4]), (True, [0.5, NAN, 0.4, 0.6])])
def test_the_best_so_far_goes_on_after_a_trial_without_a_score(lower_is_better, values):
    svg = draw_search(range(4), values, [False] * 4, lower_is_better)
    lines = re.findall(rf'<path d="M ([^"]+)"[^>]*style="[^"]*stroke: {ORANGE}', svg)
    heights = [float(y) for y in max(lines, key=len).split()[1::3]]  # the shorter line is that of the legend
    assert heights[-1] > heights[0] if lower_is_better else heights[-1] < heights[0]


def test_a_trial_without_a_score_has_no_line_and_takes_none_from_the_others():
    expected = draw_parallel({"param": [1, 3]}, [0.5, 0.7], set(), False)
    assert draw_parallel({"param": [1, 9, 3]}, [0.5, NAN, 0.7], set(), False) == expected


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_the_best_trial_has_a_color_of_its_own(lower_is_better):
    svg = draw_parallel({"param": [0.0, 1.0]}, [0.2, 0.3], set(), lower_is_better)
    lines = re.findall(r'<path d="M ([^"]+)"[^>]*style="[^"]*stroke: (#\w+)', svg)
    heights = {color: float(points.split()[1]) for points, color in lines}
    assert (heights[ORANGE] > heights[BLUE]) == lower_is_better  # SVG counts from the top


@pytest.mark.parametrize(("log", "middle"), [(True, 0.5), (False, 1 / 11)])
def test_a_param_that_is_drawn_by_its_logarithm_has_even_steps(log, middle):
    assert scale_column([1, 10, 100], log)[0] == pytest.approx([0, middle, 1])


def test_a_param_that_may_be_0_has_no_logarithm():
    assert scale_column([0, 5, 10], True)[0] == pytest.approx([0, 0.5, 1])


def test_an_axis_of_many_numbers_has_labels_at_its_ends_alone():
    assert scale_column(list(range(MOST_TICKS + 1)), False)[1] == [(0.0, "0"), (1.0, f"{MOST_TICKS}")]
    assert len(scale_column(list(range(MOST_TICKS)), False)[1]) == MOST_TICKS


def test_labels_that_would_touch_are_left_out_but_never_the_ends():
    ticks = [(0.0, "8"), (0.02, "16"), (0.5, "64"), (0.99, "127"), (1.0, "128")]
    assert thin_ticks(ticks) == [(0.0, "8"), (0.5, "64"), (1.0, "128")]
    assert thin_ticks([(0.5, "same")]) == [(0.5, "same")]
    assert thin_ticks([]) == []


def test_a_curve_that_is_not_extended_and_equal_seeds_are_drawn():
    assert "100" in read_texts(draw_curve([100, 100], [0.5, 0.5], 100))
    assert "loss" in read_texts(draw_seeds({"loss": [0.5, 0.5]}, {"loss": (0.5, 0.5)}))
    assert "rows" in read_texts(draw_quality([0.9], []))
