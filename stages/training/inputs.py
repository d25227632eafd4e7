"""What the half of a model that trains is fed with: outputs of the frozen half, kept or computed in every step."""

from dataclasses import dataclass, field

import datasets
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from stages.core.cache import FolderCache
from stages.core.files import cache_dir
from stages.core.memory import keep_freed_memory, release_freed_memory
from stages.core.param_sections import Cache
from stages.model.partition import FrozenEncoder, build_frozen_encoder, build_trainable_classifier
from stages.text.batches import TokenRows
from stages.training.feature_cache import cache_features, count_feature_bytes


@dataclass
class Inputs:
    """A model, or its half that trains, and the data sets of batches that it takes."""

    model: PreTrainedModel
    rows: dict[str, Dataset]
    frozen: FrozenEncoder | None = None  # to be run on every batch first
    report: dict[str, float] = field(default_factory=dict)  # hits, seconds and bytes of kept outputs

    @property
    def seconds(self) -> float:
        """Spent on kept outputs."""
        return sum(value for name, value in self.report.items() if name.endswith("_seconds"))


def prepare_inputs(
    model: PreTrainedModel,
    data: datasets.DatasetDict,
    splits: tuple[str, ...],
    pad_token_id: int,
    precision: str,
    cache: Cache | None,
) -> Inputs:
    """Cut the model where its `config.frozen_layers` end, and compute or find what the frozen half makes of the splits.

    Kept outputs lie in `frozen` of the cache folder. If those of all splits do not fit there, none are kept. Without a
    cache, the model stays whole.
    """
    keep_freed_memory()
    rows = {split: TokenRows(data[split], pad_token_id) for split in data}
    if cache is None:
        return Inputs(model, {split: rows[split] for split in splits})
    freeze_layers = getattr(model.config, "frozen_layers", 0)
    frozen, half = (
        build_frozen_encoder(model, freeze_layers, precision),
        build_trainable_classifier(model, freeze_layers),
    )
    inputs = Inputs(half, {split: rows[split] for split in splits}, frozen)
    if frozen is None:
        return inputs
    store = FolderCache(cache_dir() / "frozen", int(cache.max_size_gb * 1e9))
    size = sum(count_feature_bytes(frozen, split) for split in rows.values())
    try:
        room = store.available_bytes()
        if size > room:
            print(
                f"the frozen layers run in every step: their outputs would take {size / 1e9:.3g} GB, and there is room "
                f"for {room / 1e9:.3g} (cache.max_size_gb: {cache.max_size_gb:g})"
            )
            return inputs
        kept = {split: cache_features(frozen, rows[split], split, store) for split in splits}
    except OSError as error:
        print(f"the frozen layers run in every step: {store.folder} cannot keep their outputs: {error}")
        return inputs
    release_freed_memory()
    report = {name: value for _, entry in kept.values() for name, value in entry.items()}
    return Inputs(half, {split: outputs for split, (outputs, _) in kept.items()}, report=report)
