"""Only the head trains, on the mean of all tokens: from `train` to the model card and `predict`."""

import json
import re

import pytest

from stages import evaluate, train
from stages.inference.predictor import Predictor

CHANGES = {
    "data.max_train_samples": 40, "data.max_test_samples": 10, "train.freeze_layers": "all",
    "train.precision": "fp32", "evaluate.precision": "fp32", "tracking.log_model": False,
    "tracking.system_metrics": False, "train.per_device_train_batch_size": 4,
}  # fmt: skip
TEXTS = ["A text.", "Another text."]  # of the card's example


@pytest.fixture
def finished_head(tokenized, write_params, monkeypatch, tiny_model, capsys):
    """The workspace after `train` and `evaluate`, whose base model is made for mean pooling, and what they printed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nothing is sent
    monkeypatch.setattr("stages.tracking.run.SECONDS_WITHOUT_PROGRESS", 0)
    write_params(CHANGES | {"model.name": str(tiny_model)})
    (tokenized / "models/base/1_Pooling").mkdir()
    (tokenized / "models/base/1_Pooling/config.json").write_text('{"pooling_mode": "mean"}')
    train.main()
    evaluate.main()
    return tokenized, capsys.readouterr().out


def test_a_head_alone_reads_the_mean_and_trains_long(finished_head):
    folder, output = finished_head
    assert "training 66 of " in output
    assert "the head reads the mean of all tokens" in output
    assert "20 epochs, learning rate 0.005" in output
    metrics = json.loads((folder / "metrics/train.json").read_text())
    assert (metrics["num_train_epochs"], metrics["learning_rate"]) == (20, 5e-3)
    for page in ("report.html", "model_card.md"):
        text = (folder / "reports" / page).read_text()
        assert "auto (20)" in text
        assert "auto (0.005)" in text
    assert "auto (mean)" in (folder / "reports/report.html").read_text()
    events = [
        json.loads(line) for file in folder.rglob("events.jsonl") for line in file.read_text().split("\n") if line
    ]
    tags = {key: value for event in events if event["kind"] == "tags" for key, value in event["tags"].items()}
    assert {key: value for key, value in tags.items() if key.startswith("resolved.")} == {
        "resolved.model.pooling": "mean", "resolved.train.num_train_epochs": "20",
        "resolved.train.learning_rate": "0.005",
    }  # fmt: skip
    # The code on the model card answers as `predict` does.
    card = (folder / "reports/model_card.md").read_text()
    assert "library_name: sentence-transformers" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1].replace("path/to/this/folder", "models/classifier")
    values = {}
    exec(code, values)
    answers = Predictor(folder / "models/classifier", "fp32").predict(TEXTS, ["text 1", "text 2"])
    probabilities = values["logits"].softmax(-1).max(-1).values.tolist()
    assert [answer.probability for answer in answers] == pytest.approx(probabilities, abs=1e-5)
    names = [values["labels"][index] for index in values["logits"].argmax(-1).tolist()]
    assert [answer.label for answer in answers] == names
