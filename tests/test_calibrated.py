"""A pipeline with a temperature and a threshold, from the training to the report and the answers."""

import csv

import pytest
from transformers import pipeline

from stages import evaluate, preprocess, train
from stages.core.files import read_json
from stages.core.paths import CLASSIFIER, PREDICTIONS, REPORTS, TRAIN_METRICS
from stages.inference.predictor import Predictor
from stages.text.encoding import read_raw_texts

CHANGES = {
    "train.freeze_layers": 1, "train.num_train_epochs": 8, "train.learning_rate": 1e-2, "train.precision": "fp32",
    "evaluate.precision": "fp32", "preprocess.max_length": 32, "tracking.log_model": False,
}  # fmt: skip
FITTED = {"train.calibration": "temperature", "train.threshold": "recall >= 0.3"}


@pytest.mark.parametrize("stride", [None, 8], ids=["truncated", "in windows"])
def test_all_that_reads_the_model_has_the_fitted_probabilities(tokenized, write_params, stride, capsys):
    write_params(CHANGES | {"preprocess.stride": stride})
    preprocess.main()
    for fitted in ({}, FITTED):
        write_params(CHANGES | fitted | {"preprocess.stride": stride})
        train.main()
        evaluate.main()
        if not fitted:
            plain = read_predictions()
    trained = read_json(TRAIN_METRICS)
    assert trained["temperature"] != 1
    printed = capsys.readouterr().out
    assert f"temperature {trained['temperature']:g}: " in printed
    assert f"threshold {trained['threshold']:g} for recall >= 0.3: " in printed

    calibrated, texts = read_predictions(), read_raw_texts(tokenized / "data/raw/test.parquet")
    assert stride or [row["predicted"] for row in calibrated] == [row["predicted"] for row in plain]
    assert [row["confidence"] for row in calibrated] != [row["confidence"] for row in plain]
    answers = Predictor(CLASSIFIER, "fp32").predict(texts, texts)
    for answer, row in zip(answers, calibrated, strict=True):
        assert answer.probability == pytest.approx(float(row["confidence"]), abs=1e-4)
        assert answer.abstained == (answer.probability < trained["threshold"])
        assert answer.label == ("" if answer.abstained else row["predicted"])
    if stride is None:
        classify = pipeline("text-classification", str(CLASSIFIER), truncation=True, device="cpu")
        short = [number for number, text in enumerate(texts) if "<" not in text and "&" not in text][:3]
        found = [one["score"] for one in classify([texts[number] for number in short])]
        assert found == pytest.approx([answers[number].probability for number in short], abs=1e-5)

    report, card = (" ".join((REPORTS / name).read_text().split()) for name in ("report.html", "model_card.md"))
    assert f"divided by the temperature {trained['temperature']:.4g}, which" in report
    answered = 1 - sum(answer.abstained for answer in answers) / len(answers)
    assert f"on (recall &gt;= 0.3, fitted on validation). On test it answers {100 * answered:.1f} % of" in report
    assert "Its probabilities were calibrated on validation" in card


def read_predictions():
    with PREDICTIONS.open(newline="") as file:
        return list(csv.DictReader(file))
