"""The losses of a training, and the weights of classes in them."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


def balance_classes(labels: np.ndarray, num_labels: int) -> torch.Tensor:
    """Weights `(C,)` that make rare classes as important as frequent ones.

    Of one label for each row, `(N,)`: inverse to class frequency, 1 on average over rows (scikit-learn's `balanced`).
    Of several, `(N, C)`: rows without the label for each row with it, the weight of those with it (`pos_weight` of
    `BCEWithLogitsLoss`); 1 for a label that all rows have, or none.
    """
    if labels.ndim == 2:
        with_label = labels.sum(axis=0)
        weights = (len(labels) - with_label) / np.maximum(with_label, 1)
        differs = (with_label > 0) & (with_label < len(labels))
        return torch.tensor(np.where(differs, weights, 1), dtype=torch.float32)
    counts = np.maximum(np.bincount(labels, minlength=num_labels), 1)  # a part of the rows may lack a class
    return torch.tensor(len(labels) / (num_labels * counts), dtype=torch.float32)


def make_loss(weights: torch.Tensor | None, label_smoothing: float) -> Callable[..., torch.Tensor]:
    """Cross-entropy for Trainer: the sum over rows, divided by the number of rows in all accumulated batches."""

    def loss(outputs: dict, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
        logits = outputs["logits"].float()
        weight = None if weights is None else weights.to(logits.device)
        total = cross_entropy(logits, labels, weight, reduction="sum", label_smoothing=label_smoothing)
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    return loss


def make_multi_label_loss(weights: torch.Tensor | None, label_smoothing: float) -> Callable[..., torch.Tensor]:
    """Binary cross-entropy for Trainer: the sum over rows and labels, divided by their number in all its batches.

    Smoothing moves a label by half of `label_smoothing` from 0 and 1 towards 0.5, as it does of two classes.
    """

    def loss(outputs: dict, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
        logits = outputs["logits"].float()
        weight = None if weights is None else weights.to(logits.device)
        targets = labels * (1 - label_smoothing) + label_smoothing / 2
        counts = (labels >= 0).to(logits.dtype)  # 0 in rows of the label IGNORED, as cross-entropy leaves them out
        total = binary_cross_entropy_with_logits(logits, targets, counts, pos_weight=weight, reduction="sum")
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return loss
