"""Predictions of an exported classifier by ONNX Runtime: neither torch nor transformers is imported."""

import math
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Encoding, Tokenizer

from stages.core.errors import UserError, to_one_line
from stages.core.hardware import has_exact_int8
from stages.inference.exported_folder import GRAPH, REMEDY, TOKENIZER, read_export, read_facts
from stages.inference.text_predictor import TextPredictor, TokenBatch
from stages.text.padding import pad_rows, sort_by_length

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Of a batch: activations of more leave a core's cache. With 2,048, int8 answered 7 % fewer texts of 36 tokens in
# the mean a second, and 11 % fewer of 128 tokens (all-MiniLM-L6-v2, two threads).
MOST_TOKENS = 256


class OnnxPredictor(TextPredictor):
    """The classifier of a folder that `stages.export` made, on the CPU.

    A thread computes a batch by itself. Threads that share each product read what the others wrote, which is slow
    between cores without a common cache. On two virtual cores of an AMD EPYC, two threads took 43 or 78 ms for a batch
    of 8 texts, changing by the second; two batches with a thread each took 85 ms at all times.

    UserError when the folder has no exported model, or one that cannot be read.
    """

    def __init__(self, folder: Path, batch_size: int = 64, min_probability: float | None = None):
        facts = read_facts(folder)
        warn_of_overflows(folder)
        self.session = open_session(folder / GRAPH)
        self.inputs = {one.name for one in self.session.get_inputs()}
        super().__init__(folder, facts, load_tokenizer(folder / TOKENIZER), batch_size, min_probability)
        self.threads = count_threads()

    def compute_logits(self, windows: Sequence[Encoding]) -> np.ndarray:
        """Logits `(N, C)` of N texts or windows, in float32 and in their order."""
        logits = np.empty((len(windows), len(self.facts.labels)), dtype=np.float32)

        def compute(batch: TokenBatch) -> None:
            (logits[batch.rows],) = self.session.run(["logits"], self.pad(batch))

        batches = list(self.make_batches(windows))
        if len(batches) < 2 or self.threads < 2:
            for batch in batches:
                compute(batch)
        else:
            with ThreadPoolExecutor(min(self.threads, len(batches))) as pool:
                list(pool.map(compute, batches))  # a list, which raises what a thread raised
        return logits

    def make_batches(self, windows: Sequence[Encoding]) -> Iterator[TokenBatch]:
        """Yield the rows in batches as wide as their longest row, longest rows first; a few rows are for all threads.

        Widths need not be equal, as they must be where each row is to have the same bits in any batch.
        """
        lengths = np.array([len(window.ids) for window in windows], dtype=int)
        budget = min(self.budget, MOST_TOKENS, math.ceil(lengths.sum() / self.threads))
        order = sort_by_length(lengths)
        start = 0
        while start < len(order):
            width = int(lengths[order[start]])
            rows = order[start : start + max(budget // width, 1)]
            yield TokenBatch(rows, self.make_columns([windows[row] for row in rows]), width)
            start += len(rows)

    def pad(self, batch: TokenBatch) -> dict[str, np.ndarray]:
        """The inputs of the graph, int64 `(B, T)` each."""
        inputs, mask = pad_rows(batch.columns, self.facts.pad_token_id, batch.width)
        inputs["attention_mask"] = mask.astype(np.int64)
        if "token_type_ids" in self.inputs:
            inputs.setdefault("token_type_ids", np.zeros(mask.shape, dtype=np.int64))
        return inputs


def count_threads() -> int:
    """As many as OMP_NUM_THREADS says, by default one for each core that the process may use.

    Of a list, which OpenMP takes for nested threads, the first number counts; what is no number is as if not given.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def warn_of_overflows(folder: Path) -> None:
    """Warn of weights that were made for another kind of processor than this one."""
    if read_export(folder).get("weight_bits", 0) > 7 and not has_exact_int8():
        print(
            f"warning: {folder}: its int8 weights have 8 bits, and sums of their products may overflow on this "
            "processor, which has no VNNI; export the model here, so that they have 7.",
            file=sys.stderr,
        )


def open_session(path: Path) -> "InferenceSession":
    """A session of a graph, which computes in the thread that calls it; UserError."""
    # Else its packages of PyPI keep an identifier in the user's folder and report its use to Microsoft.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"{path}: needs the package onnxruntime, which is not installed; `pip install onnxruntime` installs it."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes of errors are in a private module
        raise UserError(f"{path}: cannot be read by ONNX Runtime ({to_one_line(str(error))}); {REMEDY}.") from None


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of an exported classifier; UserError when its file is broken."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more specific
        raise UserError(f"{path}: cannot be read ({to_one_line(str(error))}); {REMEDY}.") from None
