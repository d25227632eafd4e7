import numpy as np
import pytest

from stages.core.csv_tables import write_csv
from stages.core.errors import UserError
from stages.core.param_sections import Gate
from stages.evaluation.gate_rules import RowResults, bootstrap_difference, format_table, judge_champion, judge_limits

OFF = {
    "min_accuracy": None, "min_recall_worst_class": None, "max_calibration_error": None, "max_train_seconds": None,
    "min_accuracy_worst_slice": None, "champion_confidence": None, "registered_model": "test",
}  # fmt: skip


def judge(measured, **rules):
    """The verdicts of the rules that are on."""
    verdicts = judge_limits(Gate(**OFF | rules), measured)
    return {verdict.rule: verdict.verdict for verdict in verdicts if verdict.verdict != "off"}


def make_results(correct, of=10, test_sha256="a"):
    """Results for `of` rows with one label, of which the first are correct."""
    return RowResults(test_sha256, ["yes"] * of, np.arange(of) < correct)


def test_a_value_equal_to_the_limit_passes():
    rules = {"min_accuracy": 0.9, "max_train_seconds": 60.0}
    assert judge({"accuracy": 0.9, "train_seconds": 60}, **rules) == dict.fromkeys(rules, "pass")
    assert judge({"accuracy": 0.899, "train_seconds": 60.1}, **rules) == dict.fromkeys(rules, "fail")


def test_any_metric_can_have_limits_which_are_judged_like_the_others():
    limits = {"min_f1_micro": 0.6, "max_hamming_loss": 0.1, "min_roc_auc": 0.5}
    found = judge({"f1_micro": 0.6, "hamming_loss": 0.2}, metrics=limits)
    assert found == {"min_f1_micro": "pass", "max_hamming_loss": "fail", "min_roc_auc": "fail"}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.9"])
def test_a_metric_that_is_missing_or_not_a_number_fails(value):
    metrics = {} if value is None else {"accuracy": value, "calibration_error": value}
    rules = {"min_accuracy": 0.0, "max_calibration_error": 1.0}
    assert judge(metrics, **rules) == dict.fromkeys(rules, "fail")


def test_a_rule_that_is_null_is_off_but_shown():
    verdicts = judge_limits(Gate(**OFF), {"accuracy": 0.1})
    assert [(one.rule, one.found, one.verdict) for one in verdicts[:2]] == [
        ("min_accuracy", "0.1", "off"), ("min_recall_worst_class", "missing", "off")
    ]  # fmt: skip


def test_the_interval_equals_that_of_resampled_rows():
    rng = np.random.default_rng(0)
    new, old = rng.random(400) < 0.8, rng.random(400) < 0.85
    rows = rng.integers(0, 400, (10_000, 400))
    expected = np.quantile(new[rows].mean(1) - old[rows].mean(1), [0.025, 0.975])
    assert bootstrap_difference(new, old, 0.95, seed=0) == pytest.approx(expected, abs=0.004)


def test_the_interval_is_deterministic_and_wider_with_more_confidence():
    new, old = make_results(700, of=1000).correct, make_results(720, of=1000).correct
    first, wider = bootstrap_difference(new, old, 0.9, seed=1), bootstrap_difference(new, old, 0.99, seed=1)
    assert first == bootstrap_difference(new, old, 0.9, seed=1)
    assert wider[0] < first[0] < -0.02 < first[1] < wider[1]


@pytest.mark.parametrize(
    ("correct", "verdict"), [(100, "pass"), (92, "pass"), (90, "pass"), (89, "pass"), (80, "fail"), (0, "fail")]
)
def test_only_a_significant_loss_against_the_champion_fails(correct, verdict):
    found = judge_champion(0.95, make_results(correct, of=100), make_results(90, of=100), "version 1", seed=0)
    assert found.verdict == verdict
    assert found.found.endswith(" against version 1")


def test_the_rows_are_paired():
    """Ten rows lost and nine others gained are noise; ten rows lost and none gained are a loss."""
    old = np.arange(1000) < 900
    gained, lost = old.copy(), old.copy()
    gained[890:909], lost[890:900] = ~old[890:909], False
    rows = ["yes"] * 1000
    verdicts = [
        judge_champion(0.95, RowResults("a", rows, new), RowResults("a", rows, old), "version 1", seed=0).verdict
        for new in (gained, lost)
    ]
    assert verdicts == ["pass", "fail"]


@pytest.mark.parametrize(
    "champion", [make_results(5, of=9), make_results(5, test_sha256="b"), RowResults("a", ["no"] * 10, None)]
)
def test_a_champion_measured_on_other_rows_fails_and_the_advice_says_what_to_do(champion):
    found = judge_champion(0.95, make_results(10), champion, "version 1", seed=0)
    assert (found.found, found.verdict) == ("version 1 was measured on other test rows", "fail")
    assert "gate.champion_confidence to null" in found.advice
    assert judge_champion(None, make_results(10), None, "version 1", seed=0).verdict == "off"


def test_without_a_champion_the_rule_passes_and_says_so():
    found = judge_champion(0.95, make_results(0), None, "no champion yet", seed=0)
    assert (found.found, found.verdict) == ("no champion yet", "pass")


def test_predictions_are_read_with_any_label_names(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text('actual,predicted,confidence\nNA,NA,0.9\n1,01,0.8\n"a, ""b""",,0.7\n差,差,0.6\n', encoding="utf-8")
    found = RowResults.read(path, "a")
    assert list(found.labels) == ["NA", "1", 'a, "b"', "差"]
    assert found.correct.tolist() == [True, False, False, True]


def test_labels_with_line_ends_and_very_long_ones_are_read_as_they_were_written(tmp_path):
    labels = ["a\rb", "c\r\nd", "x" * 200_000] * 10
    write_csv(tmp_path / "predictions.csv", ("actual", "predicted"), [(label, label) for label in labels])
    assert RowResults.read(tmp_path / "predictions.csv", "a").labels == labels


@pytest.mark.parametrize("content", [None, b"", b"text,label\na,b\n", b"actual,predicted\n\xff,\xff\n"])
def test_unreadable_predictions_give_one_message(tmp_path, content):
    path = tmp_path / "predictions.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"predictions.csv: cannot be read .*; run `dvc repro evaluate`"):
        RowResults.read(path, "a")


def test_the_table_is_markdown_with_a_row_for_each_rule():
    verdicts = judge_limits(Gate(**OFF | {"min_accuracy": 0.85}), {"accuracy": 0.909})
    lines = format_table(verdicts).splitlines()
    assert lines[0].replace(" ", "") == "|rule|wanted|found|verdict|"
    assert set(lines[1]) == set("| -")
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["min_accuracy", "≥ 0.85", "0.909", "pass"]
    assert len(lines) == 7
    assert len({len(line) for line in lines}) == 1
