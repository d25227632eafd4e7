"""Logits of many rows, computed without gradients: the one way of `evaluate` and `predict`."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from stages.model.batch_invariance import compute_logits
from stages.model.partition import DTYPES, FrozenEncoder

Batch = Mapping[str, torch.Tensor]


def predict_batches(
    classifier: PreTrainedModel,
    frozen: FrozenEncoder | None,
    batches: Iterable[tuple[Sequence[int] | np.ndarray, Batch]],
    num_rows: int,
    precision: str,
) -> np.ndarray:
    """Logits `(N, C)` of `num_rows` rows in float32, in their order.

    `batches` yields the numbers of rows, `(B,)`, with their batch of tokens, or of features where `frozen` is None and
    the classifier takes these. The classifier must be on `find_device()`, and in evaluation. It runs under autocast;
    the frozen layers run in their own type.
    """
    device = find_device()
    logits = np.empty((num_rows, classifier.config.num_labels or 0), dtype=np.float32)
    with torch.inference_mode(), torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
        for rows, batch in batches:
            on_device = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
            features = frozen(on_device) if frozen else on_device
            logits[rows] = compute_logits(classifier, features).cpu().numpy()
    return logits


def find_device() -> torch.device:
    """The GPU that the process uses, or else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
