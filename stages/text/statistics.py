"""Statistics of a tokenized split: lengths, truncation, duplicates, decoding, class balance."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.core.errors import UserError

PERCENTILES = (5, 25, 50, 75, 95, 99)
MIN_SHARE_DECODED = 0.9  # of the sampled rows


@dataclass
class SplitStatistics:
    """Counts of one split, added batch by batch; memory: twelve bytes a row, and twice that in `summarize`."""

    rows: int = 0
    windows: int | None = None  # rows of the tokenized split; None where texts are truncated and not read in windows
    tokens: int = 0  # tokens in several windows are counted several times
    sha256: str = ""  # of the tokenized split
    truncated: int = 0
    empty: int = 0
    unknown: int = 0
    decoded: list[bool] = field(default_factory=list)  # of sampled rows: whether their tokens decode to their text
    classes: Counter[str] = field(default_factory=Counter)
    lengths: list[np.ndarray] = field(default_factory=list)
    hashes: list[np.ndarray] = field(default_factory=list)

    def add(
        self,
        texts: Sequence[str | tuple[str, str]],
        labels: list[Any],
        token_ids: list[list[int]],
        lengths: np.ndarray,
        truncated: int,
        unk_id: int | None,
    ) -> None:
        """Add B texts; `token_ids` are those of the texts or of all their windows, `lengths`, `(B,)`, of the texts.

        `labels` holds the name of each text's label, or a list of names.
        """
        self.rows += len(texts)
        if self.windows is not None:
            self.windows += len(token_ids)
        self.tokens += sum(map(len, token_ids))
        self.truncated += truncated
        self.unknown += sum(ids.count(unk_id) for ids in token_ids) if unk_id is not None else 0
        joined = ["\0".join(text) if isinstance(text, tuple) else text for text in texts]
        self.empty += sum(not text.strip("\0") for text in joined)
        for label in labels:
            self.classes.update([label] if isinstance(label, str) else label)
        self.lengths.append(lengths)
        # 8 bytes: among 10 million texts, a collision of two hashes has a probability of 3 in a million.
        digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in joined)
        self.hashes.append(np.frombuffer(b"".join(digests), dtype=np.uint64))

    def summarize(self) -> dict[str, Any]:
        """The split's part of `data/statistics.json`."""
        lengths = np.concatenate(self.lengths)
        hashes = np.concatenate(self.hashes)
        hashes.sort()  # np.unique of NumPy 2.4 makes a hash table, which takes 20 times as long and more memory
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
            "duplicates": int(np.count_nonzero(hashes[1:] == hashes[:-1])),
            "share_classes": {label: round(count / self.rows, 4) for label, count in sorted(self.classes.items())},
        }

    def check_decoding(self, split: str) -> None:
        """UserError when too few sampled rows decode to their text: the tokenizer loses text."""
        good = sum(self.decoded)
        if good < MIN_SHARE_DECODED * len(self.decoded):
            raise UserError(
                f"model.name: its tokenizer loses text: {good} of {len(self.decoded)} sampled rows of {split} decode "
                "to what was encoded. Choose a model made for this language and script."
            )
