import pytest

from stages.core.errors import UserError
from stages.inference.output_columns import Answer, OutputColumns

LABELS = ("a", "b", "c")
SCORES = {"a": 0.2, "b": 0.7, "c": 0.1}
SINGLE, SEVERAL = "single_label_classification", "multi_label_classification"


def test_by_default_there_are_a_label_and_its_probability():
    columns = OutputColumns.make(LABELS, SINGLE, 1, has_scores=False)
    assert columns.list_names() == ["label", "probability"]
    assert columns.make_cells(Answer("b", 0.7, SCORES, False, False)) == ["b", "0.7000"]


def test_each_column_has_a_cell():
    columns = OutputColumns.make(LABELS, SINGLE, 3, has_scores=True)
    cells = columns.make_cells(Answer("b", 0.7, SCORES, False, False))
    assert dict(zip(columns.list_names(), cells, strict=True)) == {
        "label": "b", "probability": "0.7000", "label_2": "a", "probability_2": "0.2000", "label_3": "c",
        "probability_3": "0.1000", "score_a": "0.2000", "score_b": "0.7000", "score_c": "0.1000",
    }  # fmt: skip


def test_a_line_has_the_names_of_its_scores():
    columns = OutputColumns.make(LABELS, SINGLE, 1, has_scores=True)
    line = columns.make_line(Answer("b", 0.7, SCORES, False, False))
    assert line == ["b", "0.7000", "a=0.2000", "b=0.7000", "c=0.1000"]


def test_of_a_text_without_a_label_the_next_best_stays_the_second():
    columns = OutputColumns.make(LABELS, SINGLE, 2, has_scores=False)
    assert columns.make_cells(Answer("", 0.7, SCORES, True, False)) == ["", "0.7000", "a", "0.2000"]


def test_no_label_is_named_twice_where_probabilities_are_equal():
    columns = OutputColumns.make(LABELS, SINGLE, 2, has_scores=False)
    assert columns.make_cells(Answer("b", 0.4, {"a": 0.4, "b": 0.4, "c": 0.2}, False, False))[2] == "a"


def test_several_labels_and_their_probabilities_are_joined():
    columns = OutputColumns.make(LABELS, SEVERAL, 1, has_scores=True)
    answer = Answer(["a", "c"], [0.9, 0.6], {"a": 0.9, "b": 0.2, "c": 0.6}, False, False)
    assert columns.make_cells(answer) == ["a|c", "0.9000|0.6000", "0.9000", "0.2000", "0.6000"]
    assert columns.make_cells(Answer([], [], SCORES, False, False))[:2] == ["", ""]
    assert columns.list_label_cells() == ["a", "b", "c", "a|b|c"]


@pytest.mark.parametrize(
    ("problem_type", "message"),
    [(SINGLE, "--top-k: found 4; this model has 3 labels"), (SEVERAL, "--top-k: found 4; this model gives a text any")],
)
def test_more_labels_than_there_are_is_an_error(problem_type, message):
    with pytest.raises(UserError, match=message):
        OutputColumns.make(LABELS, problem_type, 4, has_scores=False)
