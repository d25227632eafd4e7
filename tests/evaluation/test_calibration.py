import numpy as np
import pytest
from scipy.special import log_softmax

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.calibration import HIGHEST, LOWEST, compare_calibration, compute_loss, fit_temperature
from stages.evaluation.predictions import make_predictions
from stages.text.windows import pool_windows


def draw(problem_type, rows=4000, classes=4, seed=0):
    """Logits, and labels that are drawn from the probabilities that these logits give."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2, size=(rows, classes))
    if problem_type == MULTI_LABEL:
        return logits, random.random((rows, classes)) < 1 / (1 + np.exp(-logits))
    return logits, (log_softmax(logits, -1) + random.gumbel(size=logits.shape)).argmax(-1)


def scale(problem_type, logits, labels):
    """The function of a temperature that is fitted."""
    return lambda temperature: make_predictions(problem_type, logits / temperature, labels)


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
@pytest.mark.parametrize("true", [0.4, 1.7, 5])
def test_the_temperature_of_logits_that_were_multiplied_is_found(problem_type, true):
    logits, labels = draw(problem_type)
    predict_at = scale(problem_type, logits * true, labels)
    found = fit_temperature(predict_at)
    assert found == pytest.approx(true, rel=0.06)
    assert compute_loss(predict_at(found)) <= min(compute_loss(predict_at(found * factor)) for factor in (0.99, 1.01))
    assert compute_loss(predict_at(found)) < compute_loss(predict_at(1.0))


def test_windows_have_another_temperature_than_the_scores_of_their_documents():
    logits, labels = draw(SINGLE_LABEL)
    logits *= 3
    documents, labels = np.arange(len(logits)) // 4, labels[::4]
    pooled = pool_windows(logits, documents, SINGLE_LABEL)
    before = fit_temperature(scale(SINGLE_LABEL, pooled, labels))
    after = fit_temperature(
        lambda t: make_predictions(SINGLE_LABEL, pool_windows(logits / t, documents, SINGLE_LABEL), labels)
    )
    assert abs(before - after) > 0.1


def test_the_same_predictions_have_the_same_temperature_of_six_digits():
    first, second = (fit_temperature(scale(SINGLE_LABEL, *draw(SINGLE_LABEL))) for _ in range(2))
    assert first == second == float(f"{first:.6g}")


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
def test_a_validation_without_mistakes_leaves_the_probabilities_as_they_are(problem_type):
    logits, _ = draw(problem_type, rows=40)
    labels = logits > 0 if problem_type == MULTI_LABEL else logits.argmax(-1)
    for factor in (0.1, 1, 100):
        assert fit_temperature(scale(problem_type, logits * factor, labels)) == 1.0


def test_mistakes_too_small_to_matter_leave_the_probabilities_as_they_are():
    logits, labels = np.array([[0, 0.3], [0.3, 0], [0, 1e-9]]), np.array([1, 0, 0])
    assert fit_temperature(scale(SINGLE_LABEL, logits, labels)) == 1.0


def test_a_model_that_is_mostly_wrong_gets_the_highest_temperature():
    logits, _ = draw(SINGLE_LABEL)
    found = fit_temperature(scale(SINGLE_LABEL, logits, logits.argmin(-1)))
    assert LOWEST < found == pytest.approx(HIGHEST, rel=1e-3)


def test_a_temperature_never_raises_the_loss_of_few_rows():
    for seed in range(30):
        predict_at = scale(SINGLE_LABEL, *draw(SINGLE_LABEL, rows=8, seed=seed))
        assert compute_loss(predict_at(fit_temperature(predict_at))) <= compute_loss(predict_at(1.0))


def test_the_comparison_has_loss_and_calibration_error_before_and_after():
    logits, labels = draw(SINGLE_LABEL)
    predict_at = scale(SINGLE_LABEL, logits, labels)  # as a model gives them whose head was divided by 3
    found = compare_calibration(predict_at, 3.0)
    assert found["after"]["loss"] == compute_loss(predict_at(1.0))
    assert found["before"]["loss"] == pytest.approx(compute_loss(scale(SINGLE_LABEL, logits * 3, labels)(1.0)))
    assert found["after"]["calibration_error"] < 0.03 < found["before"]["calibration_error"]
