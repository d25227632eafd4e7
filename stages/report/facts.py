"""What the report and the model card say of a run besides its results."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RunFacts:
    """What a model was made of, and how."""

    params: dict[str, Any]  # all of them by dotted key, such as `train.learning_rate`
    tags: dict[str, str]  # of the MLflow run: its commit and experiment
    base: dict[str, Any]  # models/base/origin.json: where the base model is from; empty for a model from scratch
    manifest: dict[str, Any]  # data/raw/dataset.json: source, columns and labels
    statistics: dict[str, Any]  # data/statistics.json: rows, tokens and lengths of each split, dropped rows …
    parameters: dict[str, Any]  # metrics/train.json: `trainable_parameters`, `total_parameters`, `ranks`
    precision: str  # that the test ran in
    resolved: dict[str, Any] = field(default_factory=dict)  # what params that may be `auto` were, by dotted key
    library: str = "transformers"  # that loads the model
    seeds: dict[str, Any] | None = None  # what `stages.seeds` found for these params and data
    label_issues: dict[str, Any] | None = None  # what `stages.label_issues` found

    @property
    def shown_params(self) -> dict[str, Any]:
        """The params as pages show them: `auto (20)` for an `auto` that became 20."""
        shown = {key: f"auto ({value})" for key, value in self.resolved.items() if self.params.get(key) == "auto"}
        return self.params | shown
