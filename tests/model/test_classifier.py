import shutil

import pytest
import torch
from support.tiny_models import FAMILIES, tiny_config
from transformers import AutoModel

from stages.core.errors import UserError
from stages.model.classifier import build_classifier, load_classifier
from stages.text.tokenizer import load_tokenizer


def test_the_label_names_are_saved_with_the_classifier(tiny_model, tmp_path):
    torch.manual_seed(1)
    model = build_classifier(tiny_model, ["bad", "good", "so-so"], None)
    model.save_pretrained(tmp_path)
    assert load_classifier(tmp_path).config.id2label == {0: "bad", 1: "good", 2: "so-so"}


def test_a_head_for_other_labels_is_replaced(tiny_model, tmp_path):
    build_classifier(tiny_model, ["a", "b", "c"], None).save_pretrained(tmp_path)
    model = build_classifier(tmp_path, ["bad", "good"], None)
    assert model.classifier.weight.shape[0] == 2
    assert model.config.id2label == {0: "bad", 1: "good"}


def test_what_was_fitted_to_a_replaced_head_is_not_kept(tiny_model, tmp_path):
    model = build_classifier(tiny_model, ["a", "b"], None, is_ordinal=True)
    model.config.calibration_temperature, model.config.thresholds = 2.0, [0.7]
    model.save_pretrained(tmp_path)
    saved = load_classifier(tmp_path).config
    assert (saved.thresholds, saved.is_ordinal) == ([0.7], True)
    config = build_classifier(tmp_path, ["bad", "good"], None).config.to_dict()
    assert not {"calibration_temperature", "thresholds", "is_ordinal"} & set(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_for_as_many_other_labels_is_made_anew_by_the_seed(tiny_model, tmp_path, family):
    bare, headed = tmp_path / "bare", tmp_path / "headed"
    AutoModel.from_config(tiny_config(family)).save_pretrained(bare)
    torch.manual_seed(1)
    build_classifier(bare, ["neg", "pos"], load_tokenizer(tiny_model)).save_pretrained(headed)
    models = []
    for base in (bare, headed):
        torch.manual_seed(2)
        models.append(build_classifier(base, ["pos", "neg"], None).state_dict())
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_broken_weights_are_an_error(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "broken")
    (tmp_path / "broken/model.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match="broken: cannot be loaded as a text classifier"):
        build_classifier(tmp_path / "broken", ["a", "b"], None)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_built_classifies_and_loads_again(tiny_model, tmp_path, family):
    base = tmp_path / "base"
    AutoModel.from_config(tiny_config(family)).save_pretrained(base)
    model = build_classifier(base, ["bad", "good", "so-so"], load_tokenizer(tiny_model)).eval()
    model.save_pretrained(tmp_path / "classifier")
    ids, mask = torch.tensor([[2, 9, 8, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    logits = model(input_ids=ids, attention_mask=mask).logits
    assert logits.shape == (2, 3)
    again = load_classifier(tmp_path / "classifier").eval()
    assert torch.equal(again(input_ids=ids, attention_mask=mask).logits, logits)
    alone = model(input_ids=ids[1:, :3], attention_mask=mask[1:, :3]).logits
    assert torch.allclose(alone, logits[1:], atol=1e-5)  # padding changes nothing
