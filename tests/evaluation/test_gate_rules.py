import numpy as np
import pytest

from stages.core.errors import UserError
from stages.core.params import Gate
from stages.evaluation.gate_rules import Answers, as_table, difference_interval, judge_champion, judge_limits

OFF = {
    "min_accuracy": None, "min_recall_worst_class": None, "max_calibration_error": None, "max_train_seconds": None,
    "champion_confidence": None, "registered_model": "test",
}  # fmt: skip


def judged(metrics, **rules):
    """What each rule that is on came to."""
    verdicts = judge_limits(Gate(**OFF | rules), metrics)
    return {verdict.rule: verdict.verdict for verdict in verdicts if verdict.verdict != "off"}


def answers(right, of=10, test_sha256="a"):
    """Of so many rows with one label, the first are answered rightly."""
    return Answers(test_sha256, ["yes"] * of, np.arange(of) < right)


def test_limits_are_kept_up_to_the_limit_itself():
    rules = {"min_accuracy": 0.9, "max_train_seconds": 60.0}
    assert judged({"accuracy": 0.9, "train_seconds": 60}, **rules) == dict.fromkeys(rules, "pass")
    assert judged({"accuracy": 0.899, "train_seconds": 60.1}, **rules) == dict.fromkeys(rules, "fail")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.9"])
def test_a_metric_that_is_missing_or_no_number_fails(value):
    metrics = {} if value is None else {"accuracy": value, "calibration_error": value}
    rules = {"min_accuracy": 0.0, "max_calibration_error": 1.0}
    assert judged(metrics, **rules) == dict.fromkeys(rules, "fail")


def test_a_rule_that_is_null_is_off_and_still_shown():
    verdicts = judge_limits(Gate(**OFF), {"accuracy": 0.1})
    assert [(one.rule, one.found, one.verdict) for one in verdicts[:2]] == [
        ("min_accuracy", "0.1", "off"), ("min_recall_worst_class", "missing", "off")
    ]  # fmt: skip


def test_the_interval_is_that_of_rows_drawn_one_by_one():
    rng = np.random.default_rng(0)
    new, old = rng.random(400) < 0.8, rng.random(400) < 0.85
    rows = rng.integers(0, 400, (10_000, 400))
    expected = np.quantile(new[rows].mean(1) - old[rows].mean(1), [0.025, 0.975])
    assert difference_interval(new, old, 0.95, seed=0) == pytest.approx(expected, abs=0.004)


def test_the_interval_is_the_same_each_time_and_wider_with_more_confidence():
    new, old = answers(700, of=1000).right, answers(720, of=1000).right
    first, wider = difference_interval(new, old, 0.9, seed=1), difference_interval(new, old, 0.99, seed=1)
    assert first == difference_interval(new, old, 0.9, seed=1)
    assert wider[0] < first[0] < -0.02 < first[1] < wider[1]


@pytest.mark.parametrize(
    ("right", "verdict"), [(100, "pass"), (92, "pass"), (90, "pass"), (89, "pass"), (80, "fail"), (0, "fail")]
)
def test_only_a_significant_loss_against_the_champion_fails(right, verdict):
    found = judge_champion(0.95, answers(right, of=100), answers(90, of=100), "version 1", seed=0)
    assert found.verdict == verdict
    assert found.found.endswith(" against version 1")


def test_the_rows_are_paired():
    """Ten rows lost and nine others won are noise; ten lost and none won are a loss."""
    old = np.arange(1000) < 900
    won, lost = old.copy(), old.copy()
    won[890:909], lost[890:900] = ~old[890:909], False
    rows = ["yes"] * 1000
    verdicts = [
        judge_champion(0.95, Answers("a", rows, new), Answers("a", rows, old), "version 1", seed=0).verdict
        for new in (won, lost)
    ]
    assert verdicts == ["pass", "fail"]


@pytest.mark.parametrize("champion", [answers(5, of=9), answers(5, test_sha256="b"), Answers("a", ["no"] * 10, None)])
def test_a_champion_that_was_measured_on_other_rows_fails_and_says_what_to_do(champion):
    found = judge_champion(0.95, answers(10), champion, "version 1", seed=0)
    assert (found.found, found.verdict) == ("version 1 was measured on other test rows", "fail")
    assert "gate.champion_confidence to null" in found.advice
    assert judge_champion(None, answers(10), None, "version 1", seed=0).verdict == "off"


def test_without_a_champion_the_rule_passes_and_says_so():
    found = judge_champion(0.95, answers(0), None, "no champion yet", seed=0)
    assert (found.found, found.verdict) == ("no champion yet", "pass")


def test_predictions_are_read_whatever_the_labels_are_called(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text('actual,predicted,confidence\nNA,NA,0.9\n1,01,0.8\n"a, ""b""",,0.7\n差,差,0.6\n', encoding="utf-8")
    found = Answers.read(path, "a")
    assert list(found.actual) == ["NA", "1", 'a, "b"', "差"]
    assert found.right.tolist() == [True, False, False, True]


@pytest.mark.parametrize("content", [None, b"", b"text,label\na,b\n", b"actual,predicted\n\xff,\xff\n"])
def test_predictions_that_cannot_be_read_are_one_message(tmp_path, content):
    path = tmp_path / "predictions.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"predictions.csv: cannot be read .*; run `dvc repro evaluate`"):
        Answers.read(path, "a")


def test_the_table_is_markdown_with_a_row_for_each_rule():
    verdicts = judge_limits(Gate(**OFF | {"min_accuracy": 0.85}), {"accuracy": 0.909})
    lines = as_table(verdicts).splitlines()
    assert lines[0].replace(" ", "") == "|rule|wanted|found|verdict|"
    assert set(lines[1]) == set("| -")
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["min_accuracy", "≥ 0.85", "0.909", "pass"]
    assert len(lines) == 6
    assert len({len(line) for line in lines}) == 1
