import numpy as np

from stages.core.problem_type import MULTI_LABEL
from stages.evaluation.metrics import compute_test_metrics
from stages.evaluation.predictions import LabelledPredictions, make_predictions
from stages.evaluation.slices import measure_slices
from stages.report.summary import MOST_CHARACTERS, MOST_CLASSES, describe_one_answer, group_by_length, summarize


def make_logits(labels, classes, seed=0):
    logits = np.random.default_rng(seed).normal(size=(len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 1
    return logits


def make_summary(classes=3, rows=300, logits=None, text="text"):
    labels = np.arange(rows) % classes
    logits = make_logits(labels, classes) if logits is None else logits
    predictions = LabelledPredictions(logits, labels, names=[f"class {number}" for number in range(classes)])
    lengths = np.arange(rows) % 50 + 3
    metrics = compute_test_metrics(predictions)
    return summarize(predictions, metrics, lengths, [text] * rows, num_mistakes=5, seed=0)


def test_each_row_is_in_one_group_of_each_kind():
    found = make_summary()
    for groups in (found.calibration, found.lengths, found.classes):
        assert sum(one["rows"] for one in groups) == found.confusion.sum() == 300


def test_groups_of_length_are_in_order_and_of_similar_size():
    lengths = np.arange(1000)[::-1] % 100
    groups = group_by_length(lengths, lengths > 49, 0)
    assert [(one["shortest"], one["longest"], one["rows"]) for one in groups] == [
        (0, 20, 210), (21, 40, 200), (41, 60, 200), (61, 80, 200), (81, 99, 190)
    ]  # fmt: skip
    assert [one["accuracy"][0] for one in groups] == [0, 0, 0.55, 1, 1]


def test_texts_of_one_length_are_one_group():
    (group,) = group_by_length(np.full(7, 128), np.arange(7) > 0, 0)
    assert (group["shortest"], group["longest"], group["rows"]) == (128, 128, 7)
    assert group["accuracy"][1] <= 6 / 7 <= group["accuracy"][2]


def test_of_many_classes_those_with_the_lowest_f1_and_the_most_confused_are_shown():
    found = make_summary(classes=30, rows=900)
    scores = [one["f1"][0] for one in found.classes]
    assert len(scores) == MOST_CLASSES
    assert scores == sorted(scores)
    counts = [one["rows"] for one in found.confused]
    assert counts[0] == (found.confusion - np.diag(np.diag(found.confusion))).max()


def test_long_texts_are_truncated_and_there_are_no_more_mistakes_than_asked_for():
    found = make_summary(text="好" * 5000).mistakes
    assert {one["text"] for one in found} == {"好" * MOST_CHARACTERS + " …"}
    assert [one["confidence"] for one in found] == sorted((one["confidence"] for one in found), reverse=True)
    assert len(found) == 5


def test_a_model_that_is_always_correct_has_no_mistakes():
    labels = np.arange(20) % 2
    found = make_summary(2, 20, logits=np.eye(2, dtype=np.float32)[labels] * 9)
    assert (found.mistakes, found.confused, found.intervals["accuracy"]) == ([], [], [1, 1])


def make_multi(classes=3, rows=300):
    random = np.random.default_rng(0)
    labels = random.random((rows, classes)) < 0.3
    logits = random.normal(size=(rows, classes)) + 2 * labels - 1
    made = make_predictions(MULTI_LABEL, logits, labels, [f"label {number}" for number in range(classes)])
    slices = measure_slices(made, {"language": ["en", "de"] * (rows // 2), "source": ["web"] * rows}, 0)
    summary = summarize(made, compute_test_metrics(made), np.arange(rows), ["text"] * rows, 5, 0, slices)
    return made, summary


def test_results_of_several_labels_a_text():
    made, found = make_multi()
    assert next(iter(found.labels)) == "f1_micro"
    assert set(found.labels) == set(found.metrics) - {"rows"}
    assert [one["rows"] for one in found.classes] == made.labels.sum(0).tolist()
    assert all(one["average_precision"][1] < one["average_precision"][0] for one in found.classes)
    assert sum(one["rows"] for one in found.calibration) == 900
    assert {one["actual"] == "(none)" or one["predicted"] == "(none)" for one in found.confused} == {True}
    assert {column: [one.value for one in parts] for column, parts in found.slices.items()} == {
        "language": ["de", "en"], "source": ["web"]
    }  # fmt: skip


def test_mistakes_of_several_labels_a_text_name_all_of_them_or_say_that_there_are_none():
    made, found = make_multi()
    for one in found.mistakes:
        assert one["actual"] == (made.label_names[one["row"]].replace("|", ", ") or "no label")
        assert one["predicted"] == (made.predicted_names[one["row"]].replace("|", ", ") or "no label")


def test_of_many_labels_those_with_the_lowest_f1_are_shown():
    _, found = make_multi(classes=30)
    assert len(found.classes) == MOST_CLASSES
    assert found.confusion.shape == (31, 31)


def test_a_model_that_always_gives_the_same_label_is_noticed():
    labels, names = np.array([0, 1, 1]), ["bug", "praise"]
    same = LabelledPredictions(np.array([[0.1, 0.2]] * 3), labels, names=names)
    assert "every test row the label praise" in describe_one_answer(same)
    assert describe_one_answer(LabelledPredictions(np.eye(2)[labels], labels, names=names)) is None
    assert describe_one_answer(LabelledPredictions(np.eye(2)[[1, 1]], np.array([1, 1]), names=names)) is None
