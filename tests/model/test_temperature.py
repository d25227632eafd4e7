import pytest
import torch
from support.tiny_models import FAMILIES, VARIANTS, tiny_config
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from stages.core.errors import UserError
from stages.model.classifier import build_classifier, load_classifier, save_classifier
from stages.model.freezing import freeze
from stages.model.partition import build_frozen_encoder, build_trainable_classifier
from stages.model.temperature import scale_head
from stages.text.tokenizer import load_tokenizer

NAMES = ["bad", "good", "so-so"]
TEXTS = ["Dull.", "I loved it & more", "It was fine, and not too long for me."]
TEMPERATURE = 1.37
MEAN = [f"{family} with the mean" for family in FAMILIES]
ALL = [*FAMILIES, *VARIANTS, *(name for name in MEAN if name not in VARIANTS)]


@pytest.fixture
def make(tiny_model, tmp_path):
    """`make(name)`: a classifier of a family or variant with random weights, and a tokenizer."""

    def make(name):
        family = name if name in VARIANTS else name.removesuffix(" with the mean")
        config = tiny_config(family)
        if name in MEAN:
            config.update({"pooling": "mean"})
        config.save_pretrained(tmp_path / "base")
        tokenizer = load_tokenizer(tiny_model)
        tokenizer.model_max_length = 16
        torch.manual_seed(1)
        model = build_classifier(tmp_path / "base", NAMES, tokenizer).eval()
        with torch.no_grad():  # a new bias is 0, and would say nothing
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter) * 0.1
        return model, tokenizer

    return make


def draw_tokens(rows=300):
    return torch.randint(5, 500, (rows, 12), generator=torch.Generator().manual_seed(0))


def compute(model, tokens):
    with torch.inference_mode():
        return model(tokens).logits


@pytest.mark.parametrize("name", ALL)
def test_logits_are_divided_and_labels_stay(make, name):
    model, _ = make(name)
    tokens = draw_tokens()
    before = compute(model, tokens)
    scale_head(model, TEMPERATURE)
    after = compute(model, tokens)
    assert torch.allclose(after, before / TEMPERATURE, rtol=1e-6, atol=1e-6)
    assert torch.equal(after.argmax(-1), before.argmax(-1))
    assert model.config.calibration_temperature == TEMPERATURE


@pytest.mark.parametrize("name", ["bert", "roberta", "albert with the mean"])
@pytest.mark.parametrize("freeze_layers", [0, "all"])
def test_the_part_that_trains_shares_the_scaled_head(make, name, freeze_layers):
    model, _ = make(name)
    freeze(model, freeze_layers)
    tokens = draw_tokens(8)
    frozen, trainable = (
        build_frozen_encoder(model, freeze_layers, "fp32"),
        build_trainable_classifier(model, freeze_layers),
    )
    batch = frozen({"input_ids": tokens}) if frozen else {"input_ids": tokens}
    with torch.inference_mode():
        before = trainable(**batch).logits
    scale_head(trainable, TEMPERATURE)
    assert torch.allclose(compute(model, tokens), before / TEMPERATURE, atol=1e-5)
    assert model.config.calibration_temperature == TEMPERATURE


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pipeline_of_transformers_gives_the_calibrated_probabilities(make, tmp_path, family):
    model, tokenizer = make(family)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    batch = [tokenizer(text, return_tensors="pt")["input_ids"] for text in TEXTS]
    expected = torch.cat([compute(model, one) for one in batch]).div(TEMPERATURE).softmax(-1)
    scale_head(model, TEMPERATURE)
    save_classifier(model, tokenizer, tmp_path / "classifier")
    classify = pipeline("text-classification", str(tmp_path / "classifier"), device="cpu", top_k=None)
    for scores, row in zip(classify(TEXTS), expected.tolist(), strict=True):
        found = {one["label"]: one["score"] for one in scores}
        assert [found[name] for name in NAMES] == pytest.approx(row, abs=1e-6)
    assert AutoConfig.from_pretrained(tmp_path / "classifier").calibration_temperature == TEMPERATURE


def test_sentence_transformers_gives_the_calibrated_logits_of_a_mean_pooled_model(make, tmp_path):
    from sentence_transformers import SentenceTransformer

    model, tokenizer = make("bert with the mean")
    expected = torch.cat([compute(model, tokenizer(text, return_tensors="pt")["input_ids"]) for text in TEXTS])
    scale_head(model, TEMPERATURE)
    (tmp_path / "classifier").mkdir()
    save_classifier(model, tokenizer, tmp_path / "classifier")
    public = SentenceTransformer(str(tmp_path / "classifier"), device="cpu", local_files_only=True)
    assert torch.allclose(public.encode(TEXTS, convert_to_tensor=True), expected / TEMPERATURE, atol=1e-5)
    assert load_classifier(tmp_path / "classifier").config.calibration_temperature == TEMPERATURE


def test_a_temperature_of_one_keeps_all_bits(make):
    model, _ = make("bert")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scale_head(model, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_encoder_layer_of_as_many_outputs_is_not_taken_for_the_head(make):
    model, _ = make("bert")
    model.bert.extra = nn.Linear(4, 3)
    model._modules["bert"] = model._modules.pop("bert")  # the encoder comes after the head
    before = model.bert.extra.weight.clone()
    scale_head(model, TEMPERATURE)
    assert torch.equal(model.bert.extra.weight, before)


def test_a_head_without_a_linear_layer_is_an_error(make):
    model, _ = make("bert")
    model.classifier = nn.Identity()
    with pytest.raises(UserError, match=r"train\.calibration: a model of type 'bert' has no linear layer"):
        scale_head(model, TEMPERATURE)


def test_other_architectures_of_transformers_are_scaled_too():
    for kind, sizes in {
        "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32, "vocab_size": 600},
        "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 600, "pad_token_id": 0},
    }.items():
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, num_labels=3, **sizes)).eval()
        before = compute(model, draw_tokens(4))
        scale_head(model, TEMPERATURE)
        assert torch.allclose(compute(model, draw_tokens(4)), before / TEMPERATURE, atol=1e-6)
