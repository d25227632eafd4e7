"""The page and the JSON of a drift check, also for hostile texts."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from stages.core.param_sections import Drift
from stages.evaluation.differences import Comparison
from stages.evaluation.two_sample import TwoSampleTest
from stages.report.drift_page import MOST_LABELS, DriftResult, ForeignText, write_drift_page

HOSTILE = '<script>alert("1")</script>{{ 7 * 7 }}'
LOWER = Comparison("Accuracy", (0.9, 0.88, 0.92), (0.8, 0.76, 0.84), (-0.1, -0.15, -0.05), False)
EQUAL = Comparison("Accuracy", (0.9, 0.88, 0.92), (0.89, 0.85, 0.93), (-0.01, -0.05, 0.03), False)
UNKNOWN = Comparison("Unknown tokens", (0.01, 0.008, 0.012), (0.2, 0.18, 0.22), (0.19, 0.17, 0.21), True)


class Page(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def make(p_value=0.002, auc=0.9, max_auc=0.5, texts=(UNKNOWN,), metrics=(), foreign=(), csv="new.csv"):
    scores = np.linspace(0, 1, 300)
    return DriftResult(
        csv=csv,
        test=TwoSampleTest(auc, auc - 0.02, auc + 0.02, p_value, scores),
        is_new=scores > 2 / 3,
        rules=Drift(max_auc=max_auc),
        rows={"new": (100, 5000), "test": (200, 200)},
        texts=texts,
        metrics=metrics,
        labelled=40,
        foreign=foreign,
    )


def show(folder, result):
    write_drift_page(folder / "drift.html", result, {"Model": "m"})
    return Page((folder / "drift.html").read_text())


@pytest.mark.parametrize(
    ("result", "has_drift", "sentence"),
    [
        (
            make(),
            True,
            "Drift: a classifier tells the new texts from those of the test split (AUC 0.900, 95 %",
        ),
        (make(p_value=0.3, auc=0.51), False, "No drift found: a classifier cannot tell"),
        (make(auc=0.55, max_auc=0.6), False, "A difference that drift.max_auc, 0.6, lets pass (AUC 0.550"),
    ],
)
def test_drift_is_what_is_significant_and_above_the_level(result, has_drift, sentence, tmp_path):
    page = show(tmp_path, result)
    assert result.has_drift == result.to_json()["drift"] == has_drift
    assert sentence in page.text
    assert page.text.count("Drift found") == 2 * has_drift  # title and heading
    assert "100 of 5,000 texts of new.csv are compared with\n200 of 200 texts of the test split" in page.text


def test_metrics_are_shown_and_the_first_is_judged(tmp_path):
    page = show(tmp_path, make(metrics=[LOWER]))
    sentence = "Accuracy 0.800 (0.760 to 0.840), on the test split 0.900 (0.880 to 0.920): significantly lower"
    assert sentence in page.text
    assert "40 of the 100 new texts have a label." in page.text
    assert "no significant difference (-0.050 to 0.030)" in show(tmp_path, make(metrics=[EQUAL])).text
    assert "Accuracy" not in show(tmp_path, make()).text


def test_shares_are_percent_and_clear_differences_bold(tmp_path):
    page = show(tmp_path, make())
    assert all(cell in page.text for cell in ("1.0 %", "20.0 %", "+19.0 %", "0.8–1.2", "+17.0 to +21.0"))
    assert page.tags.count("strong") == 2  # the answer, and the difference
    assert show(tmp_path, make(texts=[EQUAL])).tags.count("strong") == 1


def test_of_many_labels_those_that_differ_most_are_shown(tmp_path):
    labels = [UNKNOWN._replace(name=f"Predicted: {n}", difference=(n / 100, -0.1, 0.1)) for n in range(50)]
    page = show(tmp_path, make(texts=labels))
    assert page.text.count("Predicted: ") == MOST_LABELS
    assert "Predicted: 49" in page.text
    assert "30 labels whose share differs less are in drift.json." in page.text


def test_texts_and_names_are_text(tmp_path):
    foreign = [ForeignText(HOSTILE, HOSTILE * 50, HOSTILE, 0.5)]
    page = show(tmp_path, make(texts=[UNKNOWN._replace(name=HOSTILE)], foreign=foreign, csv=HOSTILE))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 6
    assert len(page.text) < 10_000  # the long text is cut
    assert page.tags.count("svg") == 1


def test_numbers_that_are_not_known_are_null_in_json_and_left_out_on_the_page(tmp_path):
    nan = float("nan")
    unknown = EQUAL._replace(name="ROC AUC", new=(0.9, nan, nan), difference=(0.0, nan, nan))
    result = make(metrics=[LOWER, unknown])
    assert json.loads(json.dumps(result.to_json()))["metrics"][1]["new"] == [0.9, None, None]
    page = show(tmp_path, result)
    assert "nan" not in page.text


def test_equal_results_give_equal_bytes(tmp_path):
    show(tmp_path, make(metrics=[LOWER]))
    first = (tmp_path / "drift.html").read_bytes()
    show(tmp_path, make(metrics=[LOWER]))
    assert (tmp_path / "drift.html").read_bytes() == first
