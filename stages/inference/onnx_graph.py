"""A classifier as an ONNX graph, which ONNX Runtime computes without torch.

The graph has the embeddings and all layers. Its last layer computes the first token alone, where the head reads nothing
else (`first_token.py`); a calibrated temperature is in its weights.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from stages.core.errors import UserError, to_one_line
from stages.model.partition import build_trainable_classifier

# Sizes of the batch that is traced. They differ from each other, so that no axis is taken for another, and from 1,
# which the exporter would take for a constant.
ROWS, WIDTH = 3, 16
OPSET = 21  # the first whose QuantizeLinear takes a scale for each row


class GraphInputs(nn.Module):
    """The classifier with the inputs of the graph in their order: `(B, T)` each, to logits `(B, C)`."""

    def __init__(self, classifier: PreTrainedModel):
        super().__init__()
        self.classifier = classifier

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.classifier(input_ids=input_ids, attention_mask=attention_mask, **types).logits


def export_graph(model: PreTrainedModel, max_length: int, has_token_types: bool, path: Path) -> None:
    """Write the graph of a classifier in fp32; its axes `batch` and `length`, at most `max_length`, are dynamic.

    Inputs, int64 `(B, T)`: `input_ids`, `attention_mask` (1 at tokens, 0 at padding) and, where the model has them,
    `token_type_ids`. Output: `logits`, `(B, C)`. UserError, with the exporter's reason, when torch cannot export the
    model.
    """
    classifier = build_trainable_classifier(model, 0).eval()
    # Plain matrix products. The exporter's form of scaled_dot_product_attention also searches all scores for NaN: two
    # texts of 128 tokens take 23.4 ms with it in int8, and 21.4 ms without (one thread, medians of 25 runs in turn).
    classifier.set_attn_implementation("eager")
    names = ["input_ids", "attention_mask", "token_type_ids"][: 2 + has_token_types]
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=max_length)}
    with silence_exporter():
        try:
            program = torch.onnx.export(
                GraphInputs(classifier).eval(),
                make_example(model, min(WIDTH, max_length))[: len(names)],
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(axes,) * len(names),
                input_names=names,
                output_names=["logits"],
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            raise UserError(describe_failure(model, error)) from None
        assert program is not None
        program.save(path)


def make_example(model: PreTrainedModel, width: int) -> tuple[torch.Tensor, ...]:
    """A batch to trace: ids, mask and types; its rows have other lengths, so that padding is masked in the graph."""
    ids = torch.full((ROWS, width), 1)
    mask = torch.ones_like(ids)
    mask[1, width // 2 :] = 0
    if model.config.pad_token_id is not None:
        ids[1, width // 2 :] = model.config.pad_token_id
    return ids, mask, torch.zeros_like(ids)


def describe_failure(model: PreTrainedModel, error: BaseException) -> str:
    """Which model cannot be exported, and the innermost reason of the exporter."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = to_one_line(str(error).strip().partition("\n")[0] or type(error).__name__)
    return f"a model of type '{model.config.model_type}' cannot be exported to ONNX: {reason}"


@contextlib.contextmanager
def silence_exporter() -> Iterator[None]:
    """Without the exporter's warnings of what it lacks (torchvision) and of names of axes, which no user can change."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
