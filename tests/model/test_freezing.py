import pytest
import torch
from support.tiny_models import FAMILIES, tiny_config
from transformers import AutoModelForSequenceClassification, FunnelConfig

from stages.core.errors import UserError
from stages.model.freezing import count_parameters, find_layers, freeze

FREEZABLE = [name for name in FAMILIES if name != "albert"]


def build(family):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(tiny_config(family))


@pytest.fixture(params=FREEZABLE)
def model(request):
    return build(request.param)


def train_one_step(model):
    """Names of the parameters that a step of training changes."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.train()
    ids = torch.randint(5, 100, (4, 7), generator=torch.Generator().manual_seed(0))
    model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    optimizer.step()
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_training_changes_only_what_is_not_frozen(model, frozen):
    freeze(model, frozen)
    changed = train_one_step(model)
    layers = find_layers(model, 0)
    for index, layer in enumerate(layers):
        trains = any(
            parameter is dict(model.named_parameters())[name] for name in changed for parameter in layer.parameters()
        )
        assert trains == (index >= frozen)
    assert any("embeddings" in name for name in changed) == (frozen == 0)
    assert any("classifier" in name for name in changed)
    names = ("rel_embeddings.weight", "encoder.LayerNorm.weight", "relative_attention_bias.weight")
    shared = [name for name in changed if name.endswith(names)]
    assert bool(shared) == (frozen == 0 and model.config.model_type in ("deberta-v2", "mpnet"))


def test_all_trains_the_head_only(model):
    freeze(model, "all")
    changed = train_one_step(model)
    assert changed
    assert all("classifier" in name or "pooler" in name or name.startswith("head.") for name in changed)


def test_frozen_parts_stay_in_evaluation_mode(model):
    freeze(model, 2)
    model.train()
    layers = find_layers(model, 0)
    assert [layer.training for layer in layers] == [False, False, True]
    assert not any(module.training for module in layers[0].modules())
    assert not model.base_model.embeddings.training


def test_a_frozen_model_computes_no_gradients_below(model):
    freeze(model, 2)
    hidden = model.base_model(torch.tensor([[5, 6, 7]]), output_hidden_states=True).hidden_states
    assert [state.requires_grad for state in hidden] == [False, False, False, True]


def test_trainable_parameters_are_counted():
    model = build("bert")
    total = count_parameters(model)["total_parameters"]
    assert count_parameters(model)["trainable_parameters"] == total
    freeze(model, "all")
    head = sum(value.numel() for name, value in model.named_parameters() if "classifier" in name or "pooler" in name)
    assert count_parameters(model) == {"trainable_parameters": head, "total_parameters": total}


def test_freezing_more_layers_than_the_model_has_is_an_error(model):
    with pytest.raises(UserError, match=r"train.freeze_layers: found 4; this model has 3 layers, so 0 to 3 or all"):
        freeze(model, 4)


def test_the_shared_layers_of_albert_cannot_be_frozen_one_by_one():
    model = build("albert")
    with pytest.raises(UserError, match=r"found 1; all layers of ALBERT share one set of weights, so only 0"):
        freeze(model, 1)
    freeze(model, "all")
    assert all("classifier" in name or "pooler" in name for name in train_one_step(model))


def test_an_unknown_family_trains_completely_or_its_head_only():
    sizes = {"block_sizes": [1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32, "vocab_size": 100}
    model = AutoModelForSequenceClassification.from_config(FunnelConfig(**sizes))
    freeze(model, 0)
    with pytest.raises(UserError, match=r"a model of type 'funnel' keeps its layers is not known \(known: albert,"):
        freeze(model, 1)
