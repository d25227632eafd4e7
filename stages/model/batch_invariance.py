"""Results of a row that do not depend on the batch that it is computed in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from stages.model.families import find_family

# A product fills its rows up to a multiple of this. On a CPU with 1 to 16 threads, AVX512 and AVX2, all multiples of
# four gave equal bits.
ROWS = 8


class WholeBlocks(TorchFunctionMode):
    """A context in which `linear` and `einsum` compute whole blocks of rows: the last row is repeated, then cut off.

    In fp32, MKL has other kernels for one row, and for one to three rows that are left over at the end of few rows;
    with them a row has other last bits. In bf16, oneDNN has another one for one row. The products of long rows are not
    touched, since a row of tokens is a multiple of eight wide. Everything else that a model does with a batch
    (attention with or without a mask, norms, softmax) gave the same bits for a row in every batch that was tried.

    An `einsum` has rows when the first index of its first operand is also the first of its result, and of no other
    operand. Gradients do not pass.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is linear:
            values, *others = args
            rows = values.reshape(-1, values.shape[-1])
            if len(rows) % ROWS:
                result = func(fill_up(rows), *others, **kwargs)[: len(rows)]
                return result.unflatten(0, values.shape[:-1]) if values.dim() > 1 else result[0]
        elif func is torch.einsum and has_rows(*args[:2]):
            equation, values, *others = args
            return func(equation, fill_up(values), *others, **kwargs)[: len(values)]
        return func(*args, **kwargs)


def has_rows(equation: Any, operand: Any) -> bool:
    """Whether an `einsum` computes each row of its first operand with the same other operands."""
    if not isinstance(equation, str) or not isinstance(operand, torch.Tensor):
        return False  # one of its other forms, which no model here uses
    operands, _, result = equation.replace(" ", "").partition("->")
    first, *others = operands.split(",")
    return result[:1] == first[:1] != "." and not any(first[:1] in other for other in others)


def fill_up(rows: torch.Tensor) -> torch.Tensor:
    """The rows, and the last one repeated up to a multiple of `ROWS`."""
    missing = -len(rows) % ROWS
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows


def fill_up_batch(batch: Mapping[str, torch.Tensor], model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A batch whose last row is repeated up to a multiple of `ROWS`, for families that need it; else the batch itself.

    Their attention is made of other operations than products, which gave other bits for one row alone.
    """
    if not find_family(model.config.model_type).needs_full_batches:
        return dict(batch)
    return {name: fill_up(values) for name, values in batch.items()}


def compute_logits(classifier: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A classifier's logits for a batch, `(B, C)`, in float32, as validation, `evaluate` and `predict` compute them.

    `batch` has tokens or features, and no labels. The caller sets the precision by autocast.
    """
    with torch.no_grad(), WholeBlocks():
        rows = len(next(iter(batch.values())))
        return classifier(**fill_up_batch(batch, classifier)).logits[:rows].float()
