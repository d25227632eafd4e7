"""Rows of tokens as arrays: which rows are in a batch together, how wide it is, and how it is padded.

N is the number of rows. It needs nothing but NumPy, because a model that runs without torch makes its batches by it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Widths of batches are multiples of this: on a CPU, oneDNN compiles kernels for each width, and tensor cores of a GPU
# are faster with multiples of eight. The width decides the order of additions, so that a row has equal results only in
# batches of the same width.
WIDTH_MULTIPLE = 8


def plan_batches(lengths: np.ndarray, max_length: int, budget: int, fixed_rows: bool = False) -> list[np.ndarray]:
    """Row numbers in batches of at most `budget` tokens, padding included, and at least one row, longest rows first.

    So batches hold little padding, short rows come in large batches, and a batch that is too large for the memory
    fails at the start and not at the end. All rows of a batch have the same width, that of `round_up_widths`: in each
    batch of that width a row has the same results.

    With `fixed_rows`, as on a GPU, all batches of a width also have the same number of rows, by `repeat_last`.
    """
    order = sort_by_length(lengths)
    widths = round_up_widths(lengths, max_length)[order]
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        width = int(widths[start])
        rows = max(budget // width, 1)
        end = start + int(np.count_nonzero(widths[start : start + rows] == width))
        batch = order[start:end]
        batches.append(repeat_last(batch, rows) if fixed_rows else batch)
        start = end
    return batches


def round_up_widths(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """The width of a batch whose longest row has that length: the next multiple of eight, at most `max_length`.

    The limit is not the longest row of the data, so that a row has the same width whatever other rows there are.
    """
    return np.minimum(-(-lengths // WIDTH_MULTIPLE) * WIDTH_MULTIPLE, max_length)


def sort_by_length(lengths: np.ndarray) -> np.ndarray:
    """Row numbers, longest row first, `(N,)`; rows of equal length keep their order."""
    return np.argsort(-lengths, kind="stable")


def repeat_last(rows: np.ndarray, count: int) -> np.ndarray:
    """Row numbers, and the last one repeated, `(count,)`.

    On a GPU the number of rows of a batch decides which kernel runs, and with it the last bits of each row's results.
    """
    return np.pad(rows, (0, count - len(rows)), mode="edge")


def pad_rows(
    columns: Mapping[str, Sequence], pad_token_id: int, width: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pad rows of tokens on the right to one int64 array `(B, width)` for each column; return them and their mask.

    `columns` maps `input_ids` and, for pairs, `token_type_ids` to the lists or arrays of B rows.
    """
    mask = make_mask(np.array([len(row) for row in columns["input_ids"]]), width)
    batch = {}
    for name, rows in columns.items():
        batch[name] = np.full(mask.shape, pad_token_id if name == "input_ids" else 0, dtype=np.int64)
        batch[name][mask] = np.concatenate(rows)
    return batch, mask


def make_mask(lengths: np.ndarray, width: int) -> np.ndarray:
    """Where a batch with rows of these lengths, `(B,)`, holds tokens and not padding: bool, `(B, width)`."""
    return np.arange(width) < lengths[:, None]
