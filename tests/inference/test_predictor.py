import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from support.easy_task import predict_logits
from support.tiny_models import FAMILIES, tiny_config
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stages.core.errors import UserError
from stages.core.param_sections import Cache
from stages.core.problem_type import MULTI_LABEL
from stages.inference.predictor import Predictor
from stages.model.classifier import build_classifier, load_classifier
from stages.model.freezing import freeze
from stages.text.tokenizer import configure, enable_truncation, load_tokenizer, train_tokenizer
from stages.training.inputs import prepare_inputs

TEXTS = ["Dull.", "I <b>loved</b> it &amp; more", "a film " * 40, "It was fine, and not too long for me."]


@pytest.mark.parametrize("stride", [None, 4])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_classifier_reads_the_same_end_of_long_texts(family, side, stride, params, tmp_path):
    base, folder, text = tmp_path / "base", tmp_path / "classifier", "dull " * 20 + "fine " * 20
    train_tokenizer(lambda: TEXTS, 300).save_pretrained(base)
    config = tiny_config(family)
    config.save_pretrained(base)
    tokenizer = load_tokenizer(base)
    changes = {"preprocess.max_length": 16, "preprocess.stride": stride, "preprocess.truncation_side": side}
    configure(tokenizer, base, params(changes).preprocess, pairs=False)
    torch.manual_seed(0)
    model = build_classifier(base, ["bad", "good"], tokenizer).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    enable_truncation(tokenizer)  # as `preprocess` tokenizes
    first = tokenizer.backend_tokenizer.encode(text)
    windows = [first, *first.overflowing] if stride else [first]
    with torch.inference_mode():
        expected = torch.cat([model(torch.tensor([one.ids])).logits.softmax(-1) for one in windows]).mean(0)
    (answer,) = Predictor(folder, "fp32").predict([text], ["text 1"])
    assert answer.probability == pytest.approx(expected.max().item(), abs=1e-5)
    assert AutoTokenizer.from_pretrained(folder)(text, truncation=True)["input_ids"] == first.ids


def locate(texts):
    return [f"text {number}" for number in range(1, len(texts) + 1)]


def test_answers_are_those_of_the_original_model_one_by_one(make):
    predictor, model = Predictor(make(), "fp32"), build_reference(make())
    cleaned = [TEXTS[0], "I loved it & more", *TEXTS[2:]]
    for answer, expected in zip(predictor.predict(TEXTS, locate(TEXTS)), model(cleaned), strict=True):
        assert answer.label == ("bad", "good", "so-so")[expected.argmax()]
        assert answer.probability == pytest.approx(expected.max(), abs=1e-5)


def build_reference(folder):
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def compute(texts):
        with torch.inference_mode():
            encoded = (tokenizer(*np.atleast_1d(text).tolist(), truncation=True, return_tensors="pt") for text in texts)
            return [model(**one).logits.softmax(-1)[0].numpy() for one in encoded]

    return compute


def test_the_two_texts_of_a_pair_are_distinguished(make):
    folder, pairs = make(pairs=True), [("good", "a film"), ("a film", "good"), ("dull " * 20, "so very long " * 20)]
    answers = Predictor(folder, "fp32").predict(pairs, locate(pairs))
    for answer, expected in zip(answers, build_reference(folder)(pairs), strict=True):
        assert answer.probability == pytest.approx(expected.max(), abs=1e-5)
    assert [answer.truncated for answer in answers] == [False, False, True]


def test_only_texts_that_are_longer_than_the_model_reads_are_truncated(make):
    answers = Predictor(make()).predict(TEXTS, locate(TEXTS))
    assert [answer.truncated for answer in answers] == [False, False, True, False]


def test_a_text_in_windows_is_answered_by_the_mean_of_its_windows(make):
    folder, text = make(stride=4), " ".join(f"film {number}" for number in range(40))
    tokenizer = load_tokenizer(folder)
    ids = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    windows = [ids[start : start + 14] for start in range(0, len(ids) - 4, 10)]
    assert len(windows) > 5
    assert windows[-1][-1] == ids[-1]
    reference, model = build_reference(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        inputs = ([tokenizer.cls_token_id, *window, tokenizer.sep_token_id] for window in windows)
        expected = torch.cat([model(torch.tensor([one])).logits.softmax(-1) for one in inputs]).mean(0)
    short, long = Predictor(folder, "fp32").predict(["Dull.", text], locate("ab"))
    assert long.label == ("bad", "good", "so-so")[expected.argmax()]
    assert long.probability == pytest.approx(expected.max().item(), abs=1e-5)
    assert short.probability == pytest.approx(reference(["Dull."])[0].max(), abs=1e-5)
    assert not long.truncated


def test_several_labels_of_a_text_in_windows_are_those_of_the_mean_of_its_windows(make):
    folder, text = make(stride=4, problem_type=MULTI_LABEL), " ".join(f"film {number}" for number in range(40))
    tokenizer = load_tokenizer(folder)
    ids = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    windows = [ids[start : start + 14] for start in range(0, len(ids) - 4, 10)]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        inputs = ([tokenizer.cls_token_id, *window, tokenizer.sep_token_id] for window in windows)
        expected = torch.cat([model(torch.tensor([one])).logits.sigmoid() for one in inputs]).mean(0)
    (answer,) = Predictor(folder, "fp32").predict([text], ["text 1"])
    assert list(answer.scores.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert answer.label == [name for name, score in answer.scores.items() if score >= 0.5]


def test_many_batches_answer_in_the_order_of_the_texts(make):
    texts = ["so " * (number % 13) + f"good {number}" for number in range(50)]
    folder = make()
    one, many = (Predictor(folder, "fp32", batch_size=size).predict(texts, locate(texts)) for size in (1, 64))
    assert [answer.label for answer in one] == [answer.label for answer in many]
    assert [a.probability for a in one] == pytest.approx([a.probability for a in many], abs=1e-5)
    assert len({answer.probability for answer in one}) > 10


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stride", [None, 4])
def test_a_text_has_exactly_the_same_answer_alone_and_among_others_in_any_order(make, stride, precision):
    texts = ["so " * (number % 17) + f"good {number}" for number in range(60)]
    predictor = Predictor(make(stride=stride), precision)
    together = predictor.predict(texts, locate(texts))
    assert [predictor.predict([text], ["alone"])[0] for text in texts[:20]] == together[:20]
    order = np.random.default_rng(0).permutation(60)
    assert predictor.predict([texts[row] for row in order], locate(texts)) == [together[row] for row in order]
    predictor.budget = 100
    assert predictor.predict(texts, locate(texts)) == together


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("freeze_layers", [0, 1, "all"])
def test_logits_are_exactly_those_of_evaluate(make, params, monkeypatch, tmp_path, freeze_layers, precision, cached):
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    folder, random = make(), np.random.default_rng(0)
    model = load_classifier(folder)
    freeze(model, freeze_layers)
    model.save_pretrained(folder)
    ids = [random.integers(5, 500, random.integers(1, 17)).tolist() for _ in range(50)]
    data = DatasetDict(test=Dataset.from_dict({"input_ids": ids, "labels": [0, 1] * 25}))
    tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=16)
    inputs = prepare_inputs(model, data, ("test",), tokenizer, precision, Cache(max_size_gb=1 if cached else 0))
    assert (inputs.frozen is None) == (cached or freeze_layers == 0)
    changes = {"evaluate.precision": precision, "evaluate.per_device_eval_batch_size": 3}
    expected = predict_logits(inputs, "test", params(changes).evaluate)
    predictor, windows = Predictor(folder, precision), [SimpleNamespace(ids=row, type_ids=[0]) for row in ids]
    assert np.array_equal(predictor.compute_logits(windows), expected)
    assert all(np.array_equal(predictor.compute_logits(windows[row : row + 1])[0], expected[row]) for row in range(20))


def set_config(folder, **keys):
    """Change the config of a model, as `train` would have written it."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))
    return folder


def test_scores_have_the_probability_of_every_label(make):
    for answer in Predictor(make(), "fp32").predict(TEXTS, locate(TEXTS)):
        assert list(answer.scores) == ["bad", "good", "so-so"]
        assert sum(answer.scores.values()) == pytest.approx(1)
        assert answer.scores[answer.label] == answer.probability == max(answer.scores.values())
        assert not answer.abstained


def test_a_text_below_the_models_threshold_has_no_label(make):
    folder = make()
    plain = Predictor(folder, "fp32").predict(TEXTS, locate(TEXTS))
    threshold = sorted(answer.probability for answer in plain)[2]  # reached by two, one of them exactly
    found = Predictor(set_config(folder, thresholds=[threshold]), "fp32").predict(TEXTS, locate(TEXTS))
    assert sum(answer.abstained for answer in found) == 2
    for before, after in zip(plain, found, strict=True):
        is_sure = before.probability >= threshold
        assert after == before._replace(label=before.label if is_sure else "", abstained=not is_sure)
    asked = Predictor(folder, "fp32", min_probability=0.0).predict(TEXTS, locate(TEXTS))
    assert asked == plain


def test_a_model_of_several_labels_gives_each_from_its_threshold_on(make):
    folder = set_config(make(), problem_type="multi_label_classification")
    logits = predict_logits_publicly(folder, "Dull.")
    expected = dict(zip(("bad", "good", "so-so"), logits.sigmoid().tolist(), strict=True))
    for thresholds, labels in (
        (None, [name for name, probability in expected.items() if probability >= 0.5]),
        ([1.0, 0.0, 1.0], ["good"]),
        ([0.0, 0.0, 1.0], ["bad", "good"]),
        ([1.0, 1.0, 1.0], []),
    ):
        predictor = Predictor(set_config(folder, thresholds=thresholds), "fp32")
        (answer,) = predictor.predict(["Dull."], ["text 1"])
        assert (answer.label, answer.abstained) == (labels, False)
        assert answer.probability == pytest.approx([expected[name] for name in labels], abs=1e-5)
        assert answer.scores == pytest.approx(expected, abs=1e-5)


def predict_logits_publicly(folder, text):
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return model(**tokenizer(text, return_tensors="pt")).logits[0]


def test_thresholds_that_do_not_fit_the_model_are_an_error(make):
    with pytest.raises(UserError, match=r"classifier: config.json has 3 thresholds, and the model needs 1"):
        Predictor(set_config(make(), thresholds=[0.5, 0.5, 0.5]))


def test_no_texts_have_no_answers(make):
    assert Predictor(make()).predict([], []) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \t", "text 2: empty text"),
        (None, "text 2: text is not a string"),
        ("caf\udce9", "text 2: text has bytes that are not of its encoding"),
        (("a", "b"), "text 2: found a pair; this model classifies single texts"),
    ],
)
def test_a_text_that_cannot_be_used_is_an_error_that_names_it(make, text, message):
    with pytest.raises(UserError, match=message):
        Predictor(make()).predict(["good", text], locate("ab"))


def test_a_model_of_pairs_refuses_a_single_text(make):
    with pytest.raises(UserError, match="text 1: found a single text; this model classifies pairs"):
        Predictor(make(pairs=True)).predict(["good"], ["text 1"])


def test_a_folder_without_model_or_tokenizer_is_an_error(make, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: has no model \(no config.json\); `dvc repro` makes"):
        Predictor(tmp_path / "nowhere")
    folder = make()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        Predictor(folder)
