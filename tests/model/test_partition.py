import pytest
import torch
from support.imports import find_closure
from support.tiny_models import FAMILIES, tiny_config
from transformers import AutoModelForSequenceClassification

from stages.core.errors import UserError
from stages.model.freezing import freeze
from stages.model.partition import (
    CODE,
    DTYPES,
    FrozenEncoder,
    build_frozen_encoder,
    build_trainable_classifier,
    check_finite,
    is_partitionable,
)

PARTITIONABLE = ["bert", "camembert", "distilbert", "electra", "ernie", "roberta", "xlm-roberta"]
IDS = torch.randint(5, 100, (4, 9), generator=torch.Generator().manual_seed(0))
PADDED = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 7 + [0] * 2, [1] + [0] * 8])


def build(family):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family)).eval()
    for parameter in model.parameters():  # biases start at zero, where a wrong one would not be seen
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def take_gradients(model):
    """Names and gradients of all parameters that have one; then the gradients are deleted."""
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def test_models_of_bert_and_similar_families_are_partitionable():
    assert [family for family in sorted(FAMILIES) if is_partitionable(build(family))] == PARTITIONABLE


@pytest.mark.parametrize("mask", [None, PADDED], ids=["full", "padded"])
@pytest.mark.parametrize("freeze_layers", [0, 1, 2, 3, "all"])
@pytest.mark.parametrize("family", PARTITIONABLE)
def test_both_parts_compute_logits_and_gradients_of_the_complete_model(family, freeze_layers, mask):
    model = build(family)
    expected = model(IDS, mask).logits
    expected.square().sum().backward()
    wanted = take_gradients(model)
    classifier, batch = build_trainable_classifier(model, freeze_layers), {"input_ids": IDS}
    if mask is not None:
        batch["attention_mask"] = mask
    if freeze_layers != 0:
        batch = FrozenEncoder(model, freeze_layers, torch.float32)(batch)
        assert batch["inputs_embeds"].shape == (4, 1 if freeze_layers in (3, "all") else 9, 16)
    logits = classifier(**batch).logits
    assert torch.allclose(logits, expected, atol=1e-5)
    logits.square().sum().backward()
    found = take_gradients(classifier)
    assert set(found) == set(dict(classifier.named_parameters())) <= set(wanted)
    for name, value in found.items():
        assert torch.allclose(value, wanted[name], rtol=1e-3, atol=1e-4 * wanted[name].abs().max().clamp(1)), name


@pytest.mark.parametrize("family", PARTITIONABLE)
def test_the_trainable_classifier_shares_its_parameters_with_the_model(family):
    model = build(family)
    freeze(model, 2)
    classifier = build_trainable_classifier(model, 2)
    complete = dict(model.named_parameters())
    assert all(value is complete[name] for name, value in classifier.named_parameters())
    assert set(dict(classifier.named_parameters())) == {name for name, value in complete.items() if value.requires_grad}


def test_dropout_acts_on_the_trainable_classifier_alone():
    model = build("bert")
    classifier, frozen = build_trainable_classifier(model, 2).train(), FrozenEncoder(model, 2, torch.float32)
    one, two = frozen({"input_ids": IDS}), frozen({"input_ids": IDS})
    assert torch.equal(one["inputs_embeds"], two["inputs_embeds"])
    assert not torch.equal(classifier(**one).logits, classifier(**one).logits)
    assert torch.equal(classifier.eval()(**one).logits, classifier(**one).logits)


def test_dropout_of_attention_acts_on_values_and_on_their_bias():
    model = build("bert")
    layer = next(build_trainable_classifier(model, 2).base_model.encoder.layer.children())
    hidden = torch.randn(2, 5, 16)
    layer.attention.self.dropout.p = 1.0
    layer.train()
    assert torch.equal(layer.attend(hidden, None), torch.zeros(2, 1, 16))


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_frozen_encoder_is_cast_once_and_close_to_the_model(precision):
    model = build("bert")
    frozen = build_frozen_encoder(model, 2, precision)
    hidden = frozen({"input_ids": IDS, "attention_mask": PADDED})["inputs_embeds"]
    assert hidden.dtype == DTYPES[precision]
    assert not hidden.requires_grad
    expected = model.bert(IDS, PADDED, output_hidden_states=True).hidden_states[2]
    read = PADDED.bool()
    error = (hidden.float() - expected)[read].abs().max() / expected.abs().max()
    assert error < (0.02 if precision == "bf16" else 1e-5)
    assert model.dtype == torch.float32


def test_the_key_changes_with_weights_layers_and_precision_but_not_with_the_head():
    model = build("bert")
    key = build_frozen_encoder(model, 1, "fp32").key_at(1)
    assert build_frozen_encoder(model, 2, "fp32").key_at(2) != key
    assert build_frozen_encoder(model, 1, "bf16").key_at(1) != key
    model.config.id2label, model.config.classifier_dropout = {0: "bad", 1: "good"}, 0.5
    model.classifier.weight.data += 1
    model.bert.encoder.layer[1].output.dense.weight.data += 1
    assert build_frozen_encoder(model, 1, "fp32").key_at(1) == key
    model.bert.encoder.layer[0].output.dense.weight.data[0, 0] += 1e-3
    assert build_frozen_encoder(model, 1, "fp32").key_at(1) != key


def test_the_key_changes_with_the_number_of_threads(monkeypatch):
    model = build("bert")
    key = build_frozen_encoder(model, 1, "fp32").key_at(1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    assert build_frozen_encoder(model, 1, "fp32").key_at(1) != key


def test_the_key_has_all_code_that_computes_features():
    code = {f"stages/{path}" for path in CODE}
    imported = {file for file in find_closure("stages/training/feature_cache.py") if not file.endswith("__init__.py")}
    # windows.py is about scores and documents; core is about files and errors, and has the processor in the key.
    assert {file for file in imported if not file.startswith("stages/core/")} - {"stages/text/windows.py"} == code


def test_there_is_no_frozen_encoder_when_nothing_is_frozen_or_the_family_is_unknown():
    assert build_frozen_encoder(build("bert"), 0, "fp32") is None
    model = build("modernbert")
    assert build_frozen_encoder(model, 2, "fp32") is None
    assert build_trainable_classifier(model, 2) is model


def test_features_that_fp16_cannot_hold_are_an_error():
    with pytest.raises(UserError, match=r"precision: .* beyond what fp16 can hold; use bf16 or fp32"):
        check_finite(torch.tensor([1.0, 70000.0]).half())
    check_finite(torch.tensor([1.0]).half())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", PARTITIONABLE)
def test_deeper_features_are_computed_from_shallower_ones_with_the_same_bits(family, dtype):
    model, batch = build(family), {"input_ids": IDS, "attention_mask": PADDED}
    deep = FrozenEncoder(model, "all", dtype)
    expected = deep(batch)["inputs_embeds"]
    for depth in (1, 2):
        shallow = FrozenEncoder(model, depth, dtype)
        assert shallow.key_at(depth) == deep.key_at(depth) != deep.key_at(depth + 1)
        hidden = shallow(batch)
        assert torch.equal(deep(hidden, start=depth)["inputs_embeds"], expected)
