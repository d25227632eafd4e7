"""An exported classifier answers as the model that it was made of."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.project import ROOT

from stages.core.errors import UserError
from stages.core.problem_type import MULTI_LABEL
from stages.inference.exported_folder import GRAPH, TOKENIZER
from stages.inference.exporting import export_fp32
from stages.inference.onnx_predictor import OnnxPredictor, count_threads
from stages.inference.predictor import Predictor

TEXTS = ["Dull.", "I <b>loved</b> it &amp; more", "a film " * 40, "It was fine, and not too long for me."]
PAIRS = [("good", "a film"), ("a film", "good"), ("dull " * 20, "so very long " * 20)]
KINDS = {
    "one label": {},
    "windows": {"stride": 4},
    "pairs": {"pairs": True},
    "several labels": {"problem_type": MULTI_LABEL},
}


@pytest.fixture(scope="module")
def done():
    """Exports that were made already, by their options: one takes seconds."""
    return {}


@pytest.fixture
def export(make, tmp_path, tmp_path_factory, done):
    """Export a classifier; return the folders of both."""

    def export(**options):
        classifier, key = make(**options), str(options)
        if key not in done:
            done[key] = tmp_path_factory.mktemp("onnx")
            export_fp32(classifier, done[key])
        return classifier, shutil.copytree(done[key], tmp_path / "onnx")

    return export


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_torch(kind, export):
    classifier, exported = export(**KINDS[kind])
    texts = PAIRS if kind == "pairs" else TEXTS
    locations = [f"text {number}" for number in range(len(texts))]
    expected, found = (
        one.predict(texts, locations) for one in (Predictor(classifier, "fp32"), OnnxPredictor(exported))
    )
    for one, other in zip(found, expected, strict=True):
        assert (one.label, one.abstained, one.truncated) == (other.label, other.abstained, other.truncated)
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
    assert any(answer.truncated for answer in found) == (kind != "windows")


def test_thresholds_empty_requests_and_texts_that_cannot_be_used_are_as_with_torch(export):
    _, exported = export()
    assert OnnxPredictor(exported, min_probability=1.0).predict(["good"], [""])[0].abstained
    assert OnnxPredictor(exported).predict([], []) == []
    with pytest.raises(UserError, match="text 1: empty text"):
        OnnxPredictor(exported).predict([" "], ["text 1"])


def test_a_text_has_the_same_answer_alone_and_among_others(export):
    predictor = OnnxPredictor(export()[1])
    texts = ["so " * (number % 17) + f"good {number}" for number in range(60)]
    together = [answer.probability for answer in predictor.predict(texts, texts)]
    assert [predictor.predict([text], [""])[0].probability for text in texts] == pytest.approx(together, abs=1e-6)


@pytest.mark.parametrize("threads", ["1", "2", "7"])
def test_threads_share_the_texts_and_change_no_answer(threads, export, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    predictor = OnnxPredictor(export()[1])
    texts = ["so " * (number % 17) + f"good {number}" for number in range(60)]
    batches = list(predictor.make_batches(predictor.encode(texts)))
    assert len(batches) >= int(threads)
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(60))
    alone = [predictor.predict([text], [""])[0].probability for text in texts]
    assert [answer.probability for answer in predictor.predict(texts, texts)] == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(("given", "threads"), [("3", 3), (" 4,2", 4), ("0", None), ("", None), ("many", None)])
def test_threads_are_those_of_openmp(given, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert count_threads() == (threads or len(os.sched_getaffinity(0)))


def test_what_fails_in_a_thread_is_raised(export, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    predictor = OnnxPredictor(export()[1])
    predictor.facts = replace(predictor.facts, pad_token_id=10**6)  # no token of the model
    with pytest.raises(Exception, match="out of data bounds"):
        predictor.predict(["good", "a film that is good"] * 20, [""] * 40)


def test_neither_torch_nor_transformers_is_imported(export):
    code = """
import sys
from dataclasses import replace
from pathlib import Path
from stages.inference.loading import load_predictor, read_labels
print(load_predictor(Path(sys.argv[1])).predict(["good"], [""])[0].label in read_labels(Path(sys.argv[1]))[0])
print({"torch", "transformers", "datasets", "onnx", "pandas"} & set(sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(export()[1])], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True\nset()\n"), done.stderr


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (GRAPH, None, r"has no exported model \(no model.onnx\); `python -m stages.export` makes models/onnx"),
        (TOKENIZER, None, r"has no exported model \(no tokenizer.json\)"),
        ("classifier.json", None, r"has no exported model \(no classifier.json\)"),
        (GRAPH, "broken", r"model.onnx: cannot be read by ONNX Runtime \(.*\); `python -m stages.export`"),
        (TOKENIZER, "broken", r"tokenizer.json: cannot be read \(.*\); `python -m stages.export`"),
        ("classifier.json", '{"classifier": {"names": []}, "export": {}}', "written by another version of this code"),
    ],
)
def test_a_folder_that_lacks_a_file_or_has_a_broken_one_is_one_message(file, content, message, export):
    _, exported = export()
    (exported / file).unlink()
    if content:
        (exported / file).write_text(content)
    with pytest.raises(UserError, match=message):
        OnnxPredictor(exported)


def test_logits_are_float32_and_in_the_order_of_the_rows(export):
    predictor = OnnxPredictor(export()[1])
    encodings = predictor.encode(["so " * (number % 13) + f"good {number}" for number in range(50)])
    logits = predictor.compute_logits(encodings)
    assert logits.dtype == np.float32
    assert np.allclose(predictor.compute_logits(encodings[::-1]), logits[::-1], atol=1e-6)
