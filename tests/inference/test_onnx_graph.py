import numpy as np
import onnxruntime
import pytest
import torch
from support.tiny_models import FAMILIES, tiny_config

from stages.core.errors import UserError
from stages.inference.int8 import quantize
from stages.inference.onnx_graph import export_graph
from stages.model.classifier import make_classifier

WITH_MEAN = ["bert", "deberta-v2", "modernbert"]
SHAPES = [(1, 1), (1, 8), (2, 2), (5, 40), (33, 24)]


def build(family, pooling=None):
    """A random classifier whose weights are ten times as large as new ones, so that its logits are about 1."""
    torch.manual_seed(0)
    config = tiny_config(family)
    config.update({"num_labels": 3})
    if pooling:
        config.update({"classifier_pooling" if family == "modernbert" else "pooling": pooling})
    model = make_classifier(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(10 if weights.dim() == 2 else 1)
    return model


def make_batch(model, rows, width, has_types):
    """Rows of other lengths, but the last, which is full."""
    random = np.random.default_rng(0)
    lengths = np.append(random.integers(1, width + 1, rows - 1), width)
    mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
    ids = np.where(mask, random.integers(5, 500, (rows, width)), model.config.pad_token_id or 0)
    batch = {"input_ids": ids, "attention_mask": mask}
    return batch | ({"token_type_ids": random.integers(0, 2, (rows, width)) * mask} if has_types else {})


@pytest.mark.parametrize(
    ("family", "pooling"), [*((family, None) for family in FAMILIES), *((family, "mean") for family in WITH_MEAN)]
)
def test_the_graph_of_each_family_computes_the_logits_of_any_batch_and_int8_nearly(family, pooling, tmp_path):
    model = build(family, pooling)
    has_types = getattr(model.config, "type_vocab_size", 0) > 1
    export_graph(model, 40, has_types, tmp_path / "model.onnx")
    quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", 127, lambda inputs, outputs: False)
    session, int8 = (onnxruntime.InferenceSession(tmp_path / f"{name}.onnx") for name in ("model", "int8"))
    for rows, width in SHAPES:
        batch = make_batch(model, rows, width, has_types)
        with torch.inference_mode():
            expected = model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.numpy()
        (found,) = session.run(["logits"], batch)
        assert np.abs(found - expected).max() < 1e-4
        assert np.abs(expected).max() > 0.01
        assert np.abs(int8.run(["logits"], batch)[0] - expected).max() < np.abs(expected).max() / 3  # of width 16


def test_a_model_that_torch_cannot_export_is_one_message(tmp_path):
    model = build("bert")
    model.classifier.forward = lambda hidden: torch.linalg.eig(hidden.T @ hidden)[1].real[:, :3]
    with pytest.raises(UserError, match="a model of type 'bert' cannot be exported to ONNX: ") as error:
        export_graph(model, 40, True, tmp_path / "model.onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
