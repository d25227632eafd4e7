"""Provenance of a run: its name, tags that lead to its commit, experiment and data, and the params that it changes."""

import os
from typing import Any

from stages.core.errors import UserError
from stages.core.git import query_git
from stages.core.params import Params
from stages.core.secrets import redact_all

KEY_TAG = "pipeline.run"  # the key of the run's journal
TRAIN_RUN_TAG = "train.run"  # of a run that only evaluates: the key of the run that trained the model
RESTORED_FROM_TAG = "restored.from"  # of a run that was restored from DVC: the key of the original run
# The pipeline itself rewrites these; changes in them do not make a commit "dirty".
OUTPUT_FILES = (":!dvc.lock", ":!metrics", ":!models/source")
NAME_LENGTH = 60  # characters of a run's name, with the changed params


def make_run_name(params: dict[str, Any]) -> str:
    """DVC's name of the experiment, else the commit and, if they are few, the params that differ from it."""
    if name := os.environ.get("DVC_EXP_NAME"):
        return name
    name = f"repro-{query_git('rev-parse', '--short', 'HEAD') or 'no-commit'}"
    changed = find_changed_params(params, "HEAD") or {}
    longer = " ".join([name, *(f"{key.rpartition('.')[2]}={value}" for key, (value, _) in changed.items())])
    return longer if len(longer) <= NAME_LENGTH else name


def make_run_tags(statistics: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
    """Make the tags of a run of this checkout, as it is now; empty ones are left out."""
    experiment = os.environ.get("DVC_EXP_NAME", "")
    baseline = os.environ.get("DVC_EXP_BASELINE_REV", "")
    is_dirty = bool(query_git("status", "--porcelain", "--untracked-files=no", "--", ".", *OUTPUT_FILES))
    tags = {"mlflow.user": os.environ.get("USER", ""), "git.dirty": str(is_dirty).lower()}
    commit = baseline or query_git("rev-parse", "HEAD")
    return drop_empty(tags | make_source_tags(commit, experiment, baseline, statistics, params))


def make_source_tags(
    commit: str, experiment: str, baseline: str, statistics: dict[str, Any], params: dict[str, Any]
) -> dict[str, str]:
    """Make the tags by which a run is found from a commit, a DVC experiment or a data set, and these from the run."""
    return drop_empty(
        {
            "git.commit": commit,
            "mlflow.source.git.commit": commit,  # the one that MLflow's pages show
            "mlflow.source.name": "dvc.yaml",
            "mlflow.note.content": describe_params(params, commit),
            "dvc.exp_name": experiment,
            "dvc.exp_baseline_rev": baseline,
            "data.raw_sha256": statistics["raw_sha256"],
            "data.tokenized_sha256": statistics["tokenized_sha256"],
        }
    )


def drop_empty(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if value}


def describe_params(params: dict[str, Any], commit: str) -> str:
    """List in Markdown the params that differ from a commit's; empty when they cannot be compared."""
    changed = find_changed_params(params, commit)
    if changed is None:
        return ""
    if not changed:
        return f"The params of commit {commit[:7]}"
    lines = [f"- `{key}`: {value}, was {before}" for key, (value, before) in changed.items()]
    return "\n".join([*lines, "", f"compared with commit {commit[:7]}"])


def find_changed_params(params: dict[str, Any], commit: str) -> dict[str, tuple[Any, Any]] | None:
    """The params that differ from a commit's, with both values; None when the commit has none, or unknown ones."""
    try:
        before = Params.parse(query_git("show", f"{commit}:./params.yaml"), commit).flat()
    except UserError:
        return None
    changed = {key: (value, before[key]) for key, value in params.items() if before[key] != value}
    return redact_all(changed)
