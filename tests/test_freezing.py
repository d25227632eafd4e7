import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    RobertaConfig,
)

from stages.lib.errors import UserError
from stages.lib.freezing import count_parameters, find_layers, freeze

SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {
    "bert": BertConfig(**SMALL),
    "roberta": RobertaConfig(**SMALL),
    "distilbert": DistilBertConfig(vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=32),
}


@pytest.fixture(params=FAMILIES)
def model(request):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(FAMILIES[request.param])


def train_one_step(model):
    """Names of the parameters that a step of training changes."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.train()
    ids = torch.randint(5, 50, (4, 7), generator=torch.Generator().manual_seed(0))
    model(input_ids=ids, labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    optimizer.step()
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("frozen", [0, 1, 3])
def test_training_changes_only_what_is_not_frozen(model, frozen):
    freeze(model, frozen)
    changed = train_one_step(model)
    layers = find_layers(model)
    for index, layer in enumerate(layers):
        trains = any(
            parameter is dict(model.named_parameters())[name] for name in changed for parameter in layer.parameters()
        )
        assert trains == (index >= frozen)
    assert any("embeddings" in name for name in changed) == (frozen == 0)
    assert any("classifier" in name for name in changed)


def test_all_trains_the_head_only(model):
    freeze(model, "all")
    changed = train_one_step(model)
    assert changed
    assert all("classifier" in name or "pooler" in name for name in changed)


def test_frozen_parts_stay_in_evaluation_mode(model):
    freeze(model, 2)
    model.train()
    layers = find_layers(model)
    assert [layer.training for layer in layers] == [False, False, True]
    assert not any(module.training for module in layers[0].modules())
    assert not model.base_model.embeddings.training


def test_a_frozen_model_computes_no_gradients_below(model):
    freeze(model, 2)
    hidden = model.base_model(torch.tensor([[5, 6, 7]]), output_hidden_states=True).hidden_states
    assert [state.requires_grad for state in hidden] == [False, False, False, True]


def test_trainable_parameters_are_counted():
    model = AutoModelForSequenceClassification.from_config(FAMILIES["bert"])
    total = count_parameters(model)["total_parameters"]
    assert count_parameters(model)["trainable_parameters"] == total
    freeze(model, "all")
    head = sum(value.numel() for name, value in model.named_parameters() if "classifier" in name or "pooler" in name)
    assert count_parameters(model) == {"trainable_parameters": head, "total_parameters": total}


def test_more_layers_than_the_model_has_are_refused(model):
    with pytest.raises(UserError, match=r"train.freeze_layers: found 4; this model has 3 layers, so 0 to 3 or all"):
        freeze(model, 4)


def test_a_model_whose_layers_are_not_found_is_refused_only_when_asked():
    model = AutoModelForSequenceClassification.from_config(AlbertConfig(**SMALL, embedding_size=8))
    freeze(model, 0)
    with pytest.raises(UserError, match=r"layers of a AlbertForSequenceClassification cannot be found"):
        freeze(model, 1)
