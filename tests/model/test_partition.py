import pytest
import torch
from support.imports import find_closure
from support.tiny_models import FAMILIES, VARIANTS, tiny_config
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertModel,
    BertPreTrainedModel,
    FunnelConfig,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from stages.core.errors import UserError
from stages.model.classifier import build_classifier
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

MODELS = sorted([*FAMILIES, *VARIANTS, "bert with the mean"])
DEPTHS = {name: ["all"] if "albert" in name else [1, 2, 3, "all"] for name in MODELS}
CASES = [(name, freeze_layers) for name in MODELS for freeze_layers in [0, *DEPTHS[name]]]
IDS = torch.randint(5, 100, (4, 9), generator=torch.Generator().manual_seed(0))
PADDED = torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 7 + [0] * 2, [1] + [0] * 8])


class MeanClassifier(BertPreTrainedModel):
    """A BERT whose head reads the mean of the tokens, as its config says."""

    def __init__(self, config):
        super().__init__(config)
        self.bert, self.classifier = BertModel(config, add_pooling_layer=False), nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
        hidden = self.bert(input_ids, attention_mask, inputs_embeds=inputs_embeds).last_hidden_state
        mask = torch.ones(hidden.shape[:2]) if attention_mask is None else attention_mask
        mean = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return SequenceClassifierOutput(logits=self.classifier(mean))


def build(name, **changes):
    """A random classifier; the last of MODELS that is no family or variant has `pooling` in its config."""
    torch.manual_seed(0)
    if name == "bert with the mean":
        config = tiny_config("bert")
        config.pooling = "mean"
        model = MeanClassifier(config).eval()
    else:
        config = tiny_config(name)
        config.update(changes)
        model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():  # biases start at zero, where a wrong one would not be seen
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def take_gradients(model):
    """Names and gradients of all parameters that have one; then the gradients are deleted."""
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def test_models_of_all_families_are_partitionable_and_decoders_and_unknown_ones_are_not():
    assert all(is_partitionable(build(family)) for family in FAMILIES)
    assert not is_partitionable(build("bert", is_decoder=True))
    assert not is_partitionable(build_funnel())


def build_funnel():
    sizes = {"block_sizes": [1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "vocab_size": 100}
    return AutoModelForSequenceClassification.from_config(FunnelConfig(**sizes))


def is_pooled(name, freeze_layers):
    """Whether features are one vector a row; in ModernBERT a norm, which 3 does not freeze, comes before the mean."""
    return freeze_layers == "all" or (freeze_layers == 3 and name != "modernbert with the mean")


@pytest.mark.parametrize("mask", [None, PADDED], ids=["full", "padded"])
@pytest.mark.parametrize(("name", "freeze_layers"), CASES)
def test_both_parts_compute_logits_and_gradients_of_the_complete_model(name, freeze_layers, mask):
    model = build(name)
    freeze(model, freeze_layers)
    expected = model(IDS, mask).logits
    expected.square().sum().backward()
    wanted = take_gradients(model)
    classifier, batch = build_trainable_classifier(model, freeze_layers), {"input_ids": IDS}
    if mask is not None:
        batch["attention_mask"] = mask
    if freeze_layers != 0:
        frozen = FrozenEncoder(model, freeze_layers, torch.float32)
        batch = frozen(batch)
        assert frozen.pooled == is_pooled(name, freeze_layers)
        assert batch["inputs_embeds"].shape == (4, 1 if frozen.pooled else 9, 16)
    logits = classifier(**batch).logits
    assert torch.allclose(logits, expected, atol=1e-5)
    logits.square().sum().backward()
    found = take_gradients(classifier)
    assert set(found) == set(wanted)
    for name, value in found.items():
        assert torch.allclose(value, wanted[name], rtol=1e-3, atol=1e-4 * wanted[name].abs().max().clamp(1)), name


@pytest.mark.parametrize(("name", "freeze_layers"), CASES)
def test_the_trainable_classifier_shares_its_parameters_with_the_model(name, freeze_layers):
    model = build(name)
    freeze(model, freeze_layers)
    classifier = build_trainable_classifier(model, freeze_layers)
    complete, found = dict(model.named_parameters()), dict(classifier.named_parameters())
    assert all(value is complete[parameter] for parameter, value in found.items())
    assert {parameter for parameter, value in complete.items() if value.requires_grad} <= set(found)


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


@pytest.mark.parametrize("name", ["bert", "deberta-v2", "modernbert", "mpnet"])
def test_the_last_layer_has_the_dropout_of_attention_of_the_complete_model(name):
    key = "attention_dropout" if name == "modernbert" else "attention_probs_dropout_prob"
    others = ("hidden_dropout_prob", "pooler_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout")
    model = build(name, **{key: 1.0}, **dict.fromkeys(others, 0.0))
    if name != "mpnet" and name != "deberta-v2":
        model.set_attn_implementation("eager")  # PyTorch's fast attention does not allow dropout of everything
    freeze(model, 2)
    model.train()
    logits = build_trainable_classifier(model, 2)(**FrozenEncoder(model, 2, torch.float32)({"input_ids": IDS})).logits
    assert logits.isfinite().all()
    assert torch.allclose(logits, model(IDS).logits, atol=1e-5)


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


@pytest.mark.parametrize("name", FAMILIES)
def test_the_key_of_a_trained_and_saved_model_is_that_of_the_base_model(name, tmp_path):
    model = build(name)
    model.save_pretrained(tmp_path / "base")
    freeze(model, "all")
    rows = [{"input_ids": ids, "labels": number % 2} for number, ids in enumerate(IDS)]
    arguments = TrainingArguments(tmp_path, max_steps=1, use_cpu=True, report_to="none", save_strategy="no")
    Trainer(model, arguments, train_dataset=rows).train()
    model.save_pretrained(tmp_path / "trained")
    base, trained = (
        build_frozen_encoder(AutoModelForSequenceClassification.from_pretrained(tmp_path / folder), "all", "fp32")
        for folder in ("base", "trained")
    )
    assert trained.key_at(trained.depth) == base.key_at(base.depth)


def test_the_key_changes_with_the_number_of_threads(monkeypatch):
    model = build("bert")
    key = build_frozen_encoder(model, 1, "fp32").key_at(1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    assert build_frozen_encoder(model, 1, "fp32").key_at(1) != key


def test_the_key_has_all_code_that_computes_features():
    code = {f"stages/{path}" for path in CODE}
    imported = {file for file in find_closure("stages/training/feature_cache.py") if not file.endswith("__init__.py")}
    # windows.py and labels.py are about scores, documents and labels; core is about files and errors, and has the
    # processor in the key.
    others = {"stages/text/windows.py", "stages/text/labels.py"}
    assert {file for file in imported if not file.startswith("stages/core/")} - others == code


def test_there_is_no_frozen_encoder_when_nothing_is_frozen_or_the_family_is_unknown():
    assert build_frozen_encoder(build("bert"), 0, "fp32") is None
    model = build_funnel()
    assert build_frozen_encoder(model, "all", "fp32") is None
    assert build_trainable_classifier(model, "all") is model


def test_features_that_fp16_cannot_hold_are_an_error():
    with pytest.raises(UserError, match=r"precision: .* beyond what fp16 can hold; use bf16 or fp32"):
        check_finite(torch.tensor([1.0, 70000.0]).half())
    check_finite(torch.tensor([1.0]).half())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [name for name in MODELS if 1 in DEPTHS[name]])
def test_deeper_features_are_computed_from_shallower_ones_with_the_same_bits(name, dtype):
    model, batch = build(name), {"input_ids": IDS, "attention_mask": PADDED}
    deep = FrozenEncoder(model, "all", dtype)
    expected = deep(batch)["inputs_embeds"]
    for depth in (1, 2):
        shallow = FrozenEncoder(model, depth, dtype)
        assert shallow.key_at(depth) == deep.key_at(depth) != deep.key_at(depth + 1)
        hidden = shallow(batch)
        assert torch.equal(deep(hidden, start=depth)["inputs_embeds"], expected)


@pytest.mark.parametrize("name", [name for name in MODELS if 1 in DEPTHS[name]])
def test_outputs_of_padding_do_not_matter_when_deeper_features_are_computed(name):
    model, batch = build(name), {"input_ids": IDS, "attention_mask": PADDED}
    deep, hidden = FrozenEncoder(model, "all", torch.float32), FrozenEncoder(model, 1, torch.float32)(batch)
    hidden["inputs_embeds"] = hidden["inputs_embeds"] * PADDED.unsqueeze(-1)  # as cached features are read
    assert torch.equal(deep(hidden, start=1)["inputs_embeds"], deep(batch)["inputs_embeds"])


@pytest.mark.parametrize("batch", [{}, {"attention_mask": PADDED}], ids=["full", "padded"])
@pytest.mark.parametrize("name", MODELS)
def test_features_in_bf16_are_close_to_those_in_fp32(name, batch):
    model, batch = build(name), {"input_ids": IDS} | batch
    exact, rounded = (FrozenEncoder(model, "all", dtype)(batch) for dtype in (torch.float32, torch.bfloat16))
    assert rounded["inputs_embeds"].dtype == torch.bfloat16
    error = (rounded["inputs_embeds"] - exact["inputs_embeds"]).abs().max() / exact["inputs_embeds"].abs().max()
    assert error < 0.05


def test_the_key_changes_with_what_the_head_reads_only_where_features_are_pooled():
    first, mean = build("modernbert"), build("modernbert with the mean")
    for freeze_layers, depth, same in ((2, 2, True), ("all", 2, True), ("all", 3, False), (3, 3, False)):
        keys = [FrozenEncoder(model, freeze_layers, torch.float32).key_at(depth) for model in (first, mean)]
        assert (keys[0] == keys[1]) is same


def test_the_norm_after_the_layers_is_in_the_key_when_it_is_frozen():
    model = build("modernbert")
    keys = [FrozenEncoder(model, freeze_layers, torch.float32).key_at(3) for freeze_layers in (3, "all")]
    model.model.final_norm.weight.data += 1
    again = [FrozenEncoder(model, freeze_layers, torch.float32).key_at(3) for freeze_layers in (3, "all")]
    assert keys[0] == again[0]
    assert len({str(key) for key in (*keys, *again)}) == 3


def test_a_model_of_one_layer_can_have_a_convolution_after_it():
    model = build("deberta-v2", num_hidden_layers=1, conv_kernel_size=3)
    expected = model(IDS, PADDED).logits
    batch = {"input_ids": IDS, "attention_mask": PADDED}
    for freeze_layers in (0, 1, "all"):
        frozen = build_frozen_encoder(model, freeze_layers, "fp32")
        logits = build_trainable_classifier(model, freeze_layers)(**(frozen(batch) if frozen else batch)).logits
        assert torch.allclose(logits, expected, atol=1e-5)


def test_what_is_fitted_to_the_head_changes_no_features(tiny_model):
    model = build_classifier(tiny_model, ["a", "b"], None)
    freeze(model, 1)
    before = build_frozen_encoder(model, 1, "fp32").key_at(1)
    model.config.calibration_temperature, model.config.thresholds = 2.0, [0.7]
    assert build_frozen_encoder(model, 1, "fp32").key_at(1) == before
