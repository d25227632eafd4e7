"""What a tokenized split looks like: lengths, truncation, duplicates, decoding, class balance."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.core.errors import UserError

PERCENTILES = (5, 25, 50, 75, 95, 99)
MIN_SHARE_READ_BACK = 0.9


@dataclass
class SplitStatistics:
    """Counts of one split, fed batch by batch; keeps twelve bytes a row."""

    rows: int = 0
    windows: int | None = None  # that the rows are read in; None: each row is read as one
    tokens: int = 0  # what windows repeat counted each time
    sha256: str = ""  # of the tokens
    truncated: int = 0
    empty: int = 0
    unknown: int = 0
    read_back: list[bool] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    lengths: list[np.ndarray] = field(default_factory=list)
    hashes: list[np.ndarray] = field(default_factory=list)

    def add(
        self,
        texts: list[Any],
        labels: list[str],
        encodings: list[Any],
        ids: list[list[int]],
        lengths: np.ndarray,
        unk_id: int | None,
    ) -> None:
        """`lengths` are tokens of the texts; `ids` are those of `encodings`, or of all their windows."""
        self.rows += len(texts)
        self.tokens += sum(map(len, ids))
        if self.windows is None:  # which cut nothing off
            self.truncated += sum(bool(encoding.overflowing) for encoding in encodings)
        self.unknown += sum(row.count(unk_id) for row in ids) if unk_id is not None else 0
        texts = ["\0".join(text) if isinstance(text, tuple) else text for text in texts]
        self.empty += sum(not text.strip("\0") for text in texts)
        self.classes.update(labels)
        self.lengths.append(lengths)
        digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        self.hashes.append(np.frombuffer(b"".join(digests), dtype=np.uint64))

    def summary(self) -> dict[str, Any]:
        lengths = np.concatenate(self.lengths)
        return {
            "rows": self.rows,
            **({} if self.windows is None else {"windows": self.windows}),
            "tokens": self.tokens,
            "length": {
                "min": int(lengths.min()),
                **{f"p{p}": int(np.percentile(lengths, p, method="nearest")) for p in PERCENTILES},
                "max": int(lengths.max()),
            },
            "share_truncated": round(self.truncated / self.rows, 4),
            "share_unknown_tokens": round(self.unknown / self.tokens, 4),
            "empty_texts": self.empty,
            "duplicates": self.rows - len(np.unique(np.concatenate(self.hashes))),
            "share_classes": {label: round(count / self.rows, 4) for label, count in sorted(self.classes.items())},
        }

    def check_decoding(self, split: str) -> None:
        """UserError when the sampled tokens, decoded, do not say what their texts say: the tokenizer loses text."""
        good = sum(self.read_back)
        if self.read_back and good < MIN_SHARE_READ_BACK * len(self.read_back):
            raise UserError(
                f"model.name: its tokenizer loses text: {good} of {len(self.read_back)} sampled rows of {split} decode "
                "to what was encoded. Choose a model made for this language and script."
            )
