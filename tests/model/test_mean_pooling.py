import json

import pytest
import torch
from support.tiny_models import FAMILIES, tiny_config
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from stages.core.errors import UserError
from stages.model.classifier import build_classifier, load_classifier, save_classifier
from stages.model.folder import find_head_pooling
from stages.model.freezing import count_parameters, freeze
from stages.text.tokenizer import load_tokenizer

TEXTS = ["Dull.", "I loved it & more", " a film " * 40, "It was fine, and not too long for me."]
OWN_CLASS = [family for family in FAMILIES if family != "modernbert"]
NAMES = ["bad", "good", "so-so"]


@pytest.fixture
def make_base(tiny_model, tmp_path):
    """`make_base(family, **config)`: a tiny base model whose config has been changed."""

    def make(family="bert", **changes):
        config = tiny_config(family)
        config.update(changes)
        AutoModel.from_config(config).save_pretrained(tmp_path / "base")
        return tmp_path / "base"

    return make


@pytest.fixture
def build(make_base, tiny_model, tmp_path):
    """`build(family)`: an untrained classifier that reads the mean, its tokenizer for 16 tokens, and its folder."""

    def build(family="bert"):
        tokenizer, folder = load_tokenizer(tiny_model), tmp_path / "classifier"
        tokenizer.model_max_length = 16
        torch.manual_seed(1)
        model = build_classifier(make_base(family, pooling="mean"), NAMES, tokenizer).eval()
        folder.mkdir()
        save_classifier(model, tokenizer, folder)
        return model, tokenizer, folder

    return build


def compute(model, tokenizer, texts=TEXTS):
    batch = tokenizer(texts, truncation=True, padding=True, return_token_type_ids=False, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch).logits


@pytest.mark.parametrize("family", OWN_CLASS)
def test_the_head_is_one_linear_layer_on_the_mean_of_a_rows_tokens(build, family):
    model, tokenizer, _ = build(family)
    for text, logits in zip(TEXTS, compute(model, tokenizer), strict=True):
        ids = tokenizer(text, truncation=True, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            expected = model.classifier(model.base_model(ids).last_hidden_state[0].mean(0))
        assert torch.allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("family", OWN_CLASS)
def test_sentence_transformers_gives_the_same_logits_without_our_code(build, family):
    from sentence_transformers import SentenceTransformer

    model, tokenizer, folder = build(family)
    public = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert public.max_seq_length == 16
    assert torch.allclose(public.encode(TEXTS, convert_to_tensor=True), compute(model, tokenizer), atol=1e-5)
    assert AutoConfig.from_pretrained(folder).id2label == dict(enumerate(NAMES))
    assert not [path for path in folder.rglob("*") if path.suffix in (".bin", ".py", ".pkl", ".pt")]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_classifier_loads_again_with_the_same_weights(build, family):
    model, tokenizer, folder = build(family)
    again = load_classifier(folder).eval()
    assert again.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(compute(again, tokenizer), compute(model, tokenizer))
    assert find_head_pooling(folder) == "mean"


def test_modernbert_reads_the_mean_with_the_class_of_transformers(build):
    model, tokenizer, folder = build("modernbert")
    assert model.config.classifier_pooling == "mean"
    public = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(compute(public, tokenizer), compute(model, tokenizer))


def test_the_seed_alone_decides_the_weights_of_the_head(build, tiny_model, tmp_path):
    model, tokenizer, folder = build()  # the saved classifier has a head of three outputs, and no head in model.weights
    heads = []
    for base in (tmp_path / "base", folder):
        torch.manual_seed(2)
        heads.append(build_classifier(base, NAMES, tokenizer).classifier.weight)
    assert torch.equal(*heads)
    assert not torch.equal(heads[0], model.classifier.weight)


def test_all_but_the_head_can_be_frozen(build):
    model, _, _ = build()
    freeze(model, "all")
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == [
        "classifier.weight", "classifier.bias"
    ]  # fmt: skip
    assert count_parameters(model)["trainable_parameters"] == 3 * 16 + 3


@pytest.mark.parametrize(
    ("key", "value", "expected"), [("classifier_dropout", 0.3, 0.3), ("hidden_dropout_prob", 0.2, 0.2)]
)
def test_the_head_has_the_dropout_of_the_familys_own_head(make_base, key, value, expected):
    assert build_classifier(make_base(pooling="mean", **{key: value}), NAMES, None).dropout.p == expected


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("2_Dense/model.safetensors", None, "cannot be loaded as a text classifier: .*No such file"),
        ("2_Dense/model.safetensors", b"junk", "cannot be loaded as a text classifier"),
        ("model.safetensors", b"junk", "cannot be loaded as a text classifier"),
    ],
)
def test_a_missing_or_broken_file_is_one_error(build, file, content, message):
    _, _, folder = build()
    (folder / file).unlink()
    if content:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=rf"classifier: {message}"):
        load_classifier(folder)


def test_a_head_of_other_labels_is_an_error(build):
    _, _, folder = build()
    config = json.loads((folder / "config.json").read_text())
    config["id2label"].pop("2")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"do not fit together: classifier.bias is \[3\], not \[2\]"):
        load_classifier(folder)


def test_the_tokenizer_is_saved_beside_the_model(build):
    _, tokenizer, folder = build()
    assert AutoTokenizer.from_pretrained(folder)("So dull.")["input_ids"] == tokenizer("So dull.")["input_ids"]
