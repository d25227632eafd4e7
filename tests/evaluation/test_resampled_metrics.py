import numpy as np
import pytest
from sklearn import metrics

from stages.evaluation.resampled_metrics import compute_count_metrics, compute_table_metrics

NAMES = ("precision", "recall", "f1")


def draw_labels(rows=400, classes=3, seed=0):
    """Labels and predicted classes, of which two in three are correct."""
    generator = np.random.default_rng(seed)
    labels, other = generator.integers(classes, size=(2, rows))
    return labels, np.where(generator.random(rows) < 0.5, labels, other)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_tables_equal_those_of_scikit_learn(seed):
    labels, predicted = draw_labels(seed=seed)
    table = metrics.confusion_matrix(labels, predicted, labels=range(4))  # the fourth class never occurs
    found = compute_table_metrics(np.stack([table, 2 * table]), is_ordinal=True)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "matthews_corrcoef": metrics.matthews_corrcoef(labels, predicted),
        "f1_weighted": metrics.f1_score(labels, predicted, average="weighted"),
        "mean_absolute_error": metrics.mean_absolute_error(labels, predicted),
        "quadratic_weighted_kappa": metrics.cohen_kappa_score(labels, predicted, weights="quadratic"),
    }
    macro = metrics.precision_recall_fscore_support(labels, predicted, average="macro")
    expected |= {f"{name}_macro": macro[i] for i, name in enumerate(NAMES)}
    for row in (0, 1):
        assert {name: values[row] for name, values in found.overall.items()} == pytest.approx(expected)
    by_class = metrics.precision_recall_fscore_support(labels, predicted)
    assert [found.by_class[name][0, :3] for name in NAMES] == [pytest.approx(by_class[i]) for i in range(3)]
    assert np.isnan(found.by_class["f1"][0, 3])


def test_a_table_of_one_class_has_no_correlation_and_no_kappa():
    found = compute_table_metrics(np.array([[[9, 0], [0, 0]], [[5, 0], [4, 0]]]), is_ordinal=True).overall
    assert found["matthews_corrcoef"].tolist() == [0, 0]
    assert np.isnan(found["quadratic_weighted_kappa"][0])
    assert found["quadratic_weighted_kappa"][1] == 0


def test_the_correlation_of_very_many_rows_does_not_overflow():
    table = np.array([[9, 1], [1, 9]], dtype=np.int64)
    many = compute_table_metrics(table[None] * 10**9).overall["matthews_corrcoef"]
    assert many == pytest.approx(compute_table_metrics(table[None]).overall["matthews_corrcoef"])


def test_metrics_of_counts_equal_those_of_scikit_learn_for_several_labels_a_text():
    random = np.random.default_rng(0)
    labels, predicted = random.random((2, 200, 4)) < 0.3
    labels[:, 3] = predicted[:, 3] = False  # never occurs
    counts = [chosen.sum(0)[None] for chosen in (labels & predicted, predicted, labels)]
    found, by_class = compute_count_metrics(*counts)
    for average, columns in (("micro", 4), ("macro", 3)):
        expected = metrics.precision_recall_fscore_support(labels[:, :columns], predicted[:, :columns], average=average)
        assert [found[f"{name}_{average}"][0] for name in NAMES] == pytest.approx(expected[:3])
    weighted = metrics.f1_score(labels, predicted, average="weighted", zero_division=0)
    assert found["f1_weighted"][0] == pytest.approx(weighted)
    assert np.isnan(by_class["f1"][0]).tolist() == [False, False, False, True]
