import numpy as np

from stages.report.summary import MOST_CHARACTERS, MOST_CLASSES, by_length, summarize


def logits_of(labels, classes, seed=0):
    logits = np.random.default_rng(seed).normal(size=(len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 1
    return logits


def summary(classes=3, rows=300, **changes):
    labels = np.arange(rows) % classes
    values = {
        "logits": logits_of(labels, classes), "labels": labels, "names": [f"class {n}" for n in range(classes)],
        "lengths": np.arange(rows) % 50 + 3, "texts": ["text"] * rows, "num_mistakes": 5, "seed": 0,
    }  # fmt: skip
    return summarize(**(values | changes))


def test_each_row_is_in_one_group_of_each_kind():
    found = summary()
    for kind in ("calibration", "lengths", "classes"):
        assert sum(one["rows"] for one in found[kind]) == found["confusion"].sum() == 300


def test_groups_of_length_are_in_order_and_of_like_size():
    lengths = np.arange(1000)[::-1] % 100
    groups = by_length(lengths, lengths > 49, 0)
    assert [(one["shortest"], one["longest"], one["rows"]) for one in groups] == [
        (0, 20, 210), (21, 40, 200), (41, 60, 200), (61, 80, 200), (81, 99, 190)
    ]  # fmt: skip
    assert [one["accuracy"][0] for one in groups] == [0, 0, 0.55, 1, 1]


def test_texts_of_one_length_are_one_group():
    (group,) = by_length(np.full(7, 128), np.arange(7) > 0, 0)
    assert (group["shortest"], group["longest"], group["rows"]) == (128, 128, 7)
    assert group["accuracy"][1] <= 6 / 7 <= group["accuracy"][2]


def test_of_many_classes_the_worst_are_shown_and_what_they_are_taken_for():
    found = summary(classes=30, rows=900)
    scores = [one["f1"][0] for one in found["classes"]]
    assert len(scores) == MOST_CLASSES
    assert scores == sorted(scores)
    counts = [one["rows"] for one in found["confused"]]
    assert counts[0] == (found["confusion"] - np.diag(np.diag(found["confusion"]))).max()


def test_a_long_text_is_cut_and_there_are_no_more_mistakes_than_asked_for():
    found = summary(texts=["好" * 5000] * 300)["mistakes"]
    assert {one["text"] for one in found} == {"好" * MOST_CHARACTERS + " …"}
    assert [one["confidence"] for one in found] == sorted((one["confidence"] for one in found), reverse=True)
    assert len(found) == 5


def test_a_model_that_is_always_right_has_no_mistakes():
    labels = np.arange(20) % 2
    found = summary(2, 20, logits=np.eye(2, dtype=np.float32)[labels] * 9)
    assert (found["mistakes"], found["confused"], found["intervals"]["accuracy"]) == ([], [], [1, 1])
