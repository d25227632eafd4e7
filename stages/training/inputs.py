"""Inputs of a training or an evaluation: the model that runs, and its rows as tokens or as cached features."""

from dataclasses import dataclass, field

import datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.core import ranks
from stages.core.cache import open_feature_cache
from stages.core.memory import keep_few_kernels, keep_freed_memory, release_freed_memory
from stages.core.param_sections import Cache
from stages.model.partition import FrozenEncoder, build_frozen_encoder, build_trainable_classifier
from stages.text.batches import RowDataset, TokenRows
from stages.training.feature_cache import cache_features, count_feature_bytes


@dataclass
class Inputs:
    """A model, which may be the trainable part of a classifier, and the data sets of batches that it takes."""

    model: PreTrainedModel
    rows: dict[str, RowDataset]
    frozen: FrozenEncoder | None = None  # computes the features of every batch, where they are not cached
    report: dict[str, float] = field(default_factory=dict)  # rows, seconds and bytes of each split's cached features

    @property
    def seconds(self) -> float:
        """Time to compute or find the cached features."""
        return sum(value for name, value in self.report.items() if name.endswith("_seconds"))


def prepare_inputs(
    model: PreTrainedModel,
    data: datasets.DatasetDict,
    splits: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    precision: str,
    cache: Cache | None,
) -> Inputs:
    """Partition the model after its frozen layers (`config.frozen_layers`); compute or find the splits' features.

    Features are cached in `frozen` of the cache folder. If those of all splits in `data` do not fit there, none are
    cached, and the frozen layers run in every step. With `cache` None the model is not partitioned. Rows are padded as
    `predict` pads them, up to the longest text that the tokenizer keeps.
    """
    keep_few_kernels()
    keep_freed_memory()
    all_rows = {split: TokenRows(data[split], tokenizer.pad_token_id, tokenizer.model_max_length) for split in data}
    rows: dict[str, RowDataset] = {split: all_rows[split] for split in splits}
    if cache is None:
        return Inputs(model, rows)
    freeze_layers = getattr(model.config, "frozen_layers", 0)
    frozen = build_frozen_encoder(model, freeze_layers, precision)
    trainable = build_trainable_classifier(model, freeze_layers)
    if frozen is None:
        return Inputs(trainable, rows)
    features, report = cache_splits(frozen, all_rows, splits, cache)
    if features is None:
        return Inputs(trainable, rows, frozen)
    release_freed_memory()
    return Inputs(trainable, features, report=report)


def cache_splits(
    frozen: FrozenEncoder, all_rows: dict[str, TokenRows], splits: tuple[str, ...], cache: Cache
) -> tuple[dict[str, RowDataset] | None, dict[str, float]]:
    """The cached features of the splits, and the report on them; None, with a message why, when they cannot be stored.

    There must be room for the features of all rows; else those of the test split would replace those of the training.
    """
    store = open_feature_cache(cache.max_size_gb)
    size = sum(count_feature_bytes(frozen, rows) for rows in all_rows.values())
    try:
        with ranks.failing_together():
            room = store.available_bytes()
        room = ranks.broadcast(room)  # it changes while they look
        if size > room:
            print(
                f"the frozen layers run in every step: their outputs would take {size / 1e9:.3g} GB, and there is room "
                f"for {room / 1e9:.3g} (cache.max_size_gb: {cache.max_size_gb:g})"
            )
            return None, {}
        features, report = cache_features(frozen, {split: all_rows[split] for split in splits}, store)
    except OSError as error:
        print(f"the frozen layers run in every step: their outputs cannot be stored in {store.folder}: {error}")
        return None, {}
    return {**features}, report
