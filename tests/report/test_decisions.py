"""What pages say of a fitted temperature and of thresholds."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from support.run_facts import make_facts, make_summary

from stages.evaluation.predictions import MULTI_LABEL, SINGLE_LABEL, make_predictions
from stages.report.curves import History
from stages.report.decisions import NOTHING_FITTED, describe_decisions
from stages.report.html import write_report
from stages.report.model_card import make_card

LOGITS = np.array([[3.0, 0], [0, 1.0], [0.2, 0], [0, 0.1]])
HISTORY = History([{"step": 5, "loss": 0.7}], [{"step": 10, "loss": 0.5, "accuracy": 0.8, "f1_macro": 0.8, "best": 1}])
TOKENIZER = SimpleNamespace(model_max_length=128, truncation_side="right", init_kwargs={})


def describe(problem_type=SINGLE_LABEL, thresholds=None, temperature=None):
    labels = [0, 1, 1, 0] if problem_type == SINGLE_LABEL else [[1, 0], [0, 1], [1, 1], [0, 0]]
    return describe_decisions(
        lambda t: make_predictions(problem_type, LOGITS / t, np.array(labels), ["a", "<b>"], thresholds), temperature
    )


def write(folder, decisions):
    """The text of the report and of the card, in one line each."""
    write_report(folder, make_summary(), make_facts(), HISTORY, {}, decisions)
    validation = {"accuracy": 0.9, "f1_macro": 0.9, "precision_macro": 0.9, "recall_macro": 0.9, "loss": 0.3}
    card = make_card(make_summary(), make_facts(), validation, TOKENIZER, decisions)
    return tuple(" ".join(text.split()) for text in ((folder / "report.html").read_text(), card))


def test_what_was_not_fitted_is_not_shown(tmp_path):
    report, card = write(tmp_path, NOTHING_FITTED)
    assert not re.search("temperature|abstain|Thresholds", report)
    assert "Its probabilities were not calibrated after training." in card
    assert "It always answers one of these 2 classes" in card


def test_a_temperature_is_shown_with_what_it_changed(tmp_path):
    decisions = describe(temperature=2.0)
    before, after = (decisions.calibration[name] for name in ("before", "after"))
    assert before["loss"] != after["loss"]
    report, card = write(tmp_path, decisions)
    assert "divided by the temperature 2, which was fitted on validation" in report
    assert f"from {before['calibration_error']:.3f} to {after['calibration_error']:.3f}" in report
    assert f"log loss from {before['loss']:.4f} to {after['loss']:.4f}" in report
    assert "contain the temperature 2. On test this took the expected calibration error from" in card
    assert "not calibrated" not in card


def test_a_model_without_a_threshold_has_the_curve_of_what_one_would_do(tmp_path):
    decisions = describe()
    assert [point["coverage"] for point in decisions.coverage] == [0.25, 0.5, 0.75, 1]
    assert [point["accuracy"] for point in decisions.coverage] == pytest.approx([1, 1, 2 / 3, 0.5])
    report, card = write(tmp_path, decisions)
    assert "<h2>Answer or abstain</h2> <p>The model answers every text." in report
    assert "share of texts that are answered</text>" in report
    assert "It always answers" in card


def test_a_threshold_is_shown_with_coverage_and_accuracy_on_test(tmp_path):
    decisions = describe(thresholds=[0.6])
    assert decisions.answered == {"coverage": 0.5, "accuracy": 1.0, "threshold": 0.6}
    for text in write(tmp_path, decisions):
        assert "from a probability of 0.6 on" in text
        assert "50.0 % of the texts, and 100.0 % of these answers are right" in text
    assert "its threshold</text>" in (tmp_path / "report.html").read_text()


def test_a_threshold_that_no_test_row_reaches_has_no_accuracy(tmp_path):
    for text in write(tmp_path, describe(thresholds=[1.0])):
        assert "0.0 % of the texts" in text
        assert "nan" not in text.replace("finance", "")


def test_each_label_has_its_threshold_with_precision_and_recall_on_test(tmp_path):
    decisions = describe(MULTI_LABEL, [0.5, 0.7])
    assert decisions.label_thresholds == [
        {"name": "a", "threshold": 0.5, "precision": 0.5, "recall": 1.0, "rows": 2},
        {"name": "<b>", "threshold": 0.7, "precision": 1.0, "recall": 0.5, "rows": 2},
    ]
    report, card = write(tmp_path, decisions)
    assert "<h2>Thresholds of the labels</h2>" in report
    assert '&lt;b&gt;</td><td class="number">0.7</td>' in report
    assert "| `<b>` | 0.7 | 1.000 | 0.500 |" in card
    assert "Answer or abstain" not in report


def test_of_many_labels_those_with_the_lowest_f1_are_shown():
    logits, labels = np.zeros((3, 50)), np.ones((3, 50), dtype=bool)
    labels[:, 7] = False
    names = [str(number) for number in range(50)]
    decisions = describe_decisions(
        lambda t: make_predictions(MULTI_LABEL, logits / t, labels, names, np.full(50, 0.5)), None
    )
    assert len(decisions.label_thresholds) == 20
    assert decisions.label_thresholds[0]["name"] == "7"
