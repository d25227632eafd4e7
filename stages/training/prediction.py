"""Logits of a split, without building a Trainer: with that and its metrics library, `evaluate` took 0.9 s longer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from stages.core.problem_type import ProblemType
from stages.evaluation.predictions import LabelledPredictions, make_predictions
from stages.model.prediction import Batch, find_device, predict_batches
from stages.text.batches import RowDataset, RowSubset, pass_batch_through
from stages.text.padding import plan_batches
from stages.text.windows import find_first_windows, pool_windows
from stages.training.cached_features import CachedFeatures
from stages.training.inputs import Inputs


@dataclass(frozen=True, eq=False)
class RowLogits:
    """Logits `(N, C)` of the rows of a split, and what makes them predictions of its D documents.

    Rows are documents or their windows; `documents`, `(N,)`, has the number of each row's document. `labels` are those
    of the documents: `(D,)`, or `(D, C)` with several labels a text.
    """

    logits: np.ndarray
    documents: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    problem_type: ProblemType
    thresholds: Sequence[float] | None
    is_ordinal: bool  # whether the labels have an order, the lowest first

    def predict(self, temperature: float = 1.0) -> LabelledPredictions:
        """The predictions of the documents; logits are divided by the temperature, and pooled after that."""
        pooled = pool_windows(self.logits / temperature, self.documents, self.problem_type)
        return make_predictions(self.problem_type, pooled, self.labels, self.names, self.thresholds, self.is_ordinal)


def predict_rows(inputs: Inputs, split: str, precision: str, batch_size: int) -> RowLogits:
    """What the model of the inputs says of a split's rows; its config has the names of labels and the thresholds."""
    rows, config = inputs.rows[split], inputs.model.config
    return RowLogits(
        logits=predict_row_logits(inputs, split, precision, batch_size),
        documents=rows.documents,
        labels=rows.labels[find_first_windows(rows.documents)],
        names=[name for _, name in sorted((config.id2label or {}).items())],
        problem_type=rows.problem_type,
        thresholds=getattr(config, "thresholds", None),
        is_ordinal=getattr(config, "is_ordinal", False),
    )


def predict_row_logits(inputs: Inputs, split: str, precision: str, batch_size: int) -> np.ndarray:
    """Logits `(N, C)` of the split's rows in float32, in their order; rows are documents or their windows."""
    rows, model = inputs.rows[split], inputs.model.eval()
    torch.nn.Module.to(model, find_device())  # transformers types its own `to` wrongly
    loader = make_eval_loader(rows, make_eval_batches(rows, batch_size))
    return predict_batches(model, inputs.frozen, read_eval_batches(loader), len(rows), precision)


def read_eval_batches(loader: DataLoader) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yield the numbers of the rows of each batch, and the batch without labels."""
    assert loader.batch_sampler is not None
    for numbers, batch in zip(loader.batch_sampler, loader, strict=True):
        yield np.asarray(numbers), {name: values for name, values in batch.items() if name != "labels"}


def make_eval_loader(rows: RowDataset, batches: Sequence[list[int]]) -> DataLoader:
    """Reads these batches of rows."""
    return DataLoader(rows, batch_sampler=batches, collate_fn=pass_batch_through, pin_memory=is_pinnable(rows))


def make_eval_batches(rows: RowDataset, batch_size: int) -> list[list[int]]:
    """The batches of a validation or test; those of `predict` have the same number of rows on a GPU.

    Each has as many tokens as `batch_size` of the longest rows have, padding included.
    """
    budget, has_gpu = batch_size * rows.max_length, torch.cuda.is_available()
    return [batch.tolist() for batch in plan_batches(rows.lengths, rows.max_length, budget, has_gpu)]


def is_pinnable(rows: RowDataset) -> bool:
    """Whether pinned memory helps: there is a GPU, and the batches are not on it already."""
    all_rows = find_all_rows(rows)
    is_in_memory = isinstance(all_rows, CachedFeatures) and bool(all_rows.memory)
    return torch.cuda.is_available() and not is_in_memory


def find_all_rows(rows: RowDataset) -> RowDataset:
    """The data set that a subset is of, or the data set itself."""
    return find_all_rows(rows.rows) if isinstance(rows, RowSubset) else rows
