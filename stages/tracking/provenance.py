"""Where a run comes from: its name, and tags by which it is found and that say what its params change."""

import os
from typing import Any

from stages.core.errors import UserError
from stages.core.git import git
from stages.core.params import Params

# What the pipeline itself rewrites; changes there do not make a commit "dirty".
OWN_FILES = (":!dvc.lock", ":!metrics")
NAME_LENGTH = 60  # of a run, at most, with what it changes


def run_name(params: dict[str, Any]) -> str:
    """DVC's name of the experiment, else the commit and, if they are few, the params that differ from it."""
    if name := os.environ.get("DVC_EXP_NAME"):
        return name
    name = f"repro-{git('rev-parse', '--short', 'HEAD') or 'no-commit'}"
    changed = changes(params, "HEAD") or {}
    longer = " ".join([name, *(f"{key.rpartition('.')[2]}={value}" for key, (value, _) in changed.items())])
    return longer if len(longer) <= NAME_LENGTH else name


def provenance(statistics: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
    """Tags by which a run is found from a commit, a DVC experiment or a data set, and the other way round."""
    name, baseline = os.environ.get("DVC_EXP_NAME", ""), os.environ.get("DVC_EXP_BASELINE_REV", "")
    dirty = bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", *OWN_FILES))
    of_now = {"mlflow.user": os.environ.get("USER", ""), "git.dirty": str(dirty).lower()}
    return without_empty(of_now | origin(baseline or git("rev-parse", "HEAD"), name, baseline, statistics, params))


def origin(
    commit: str, experiment: str, baseline: str, statistics: dict[str, Any], params: dict[str, Any]
) -> dict[str, str]:
    """Tags that say what a run was made from; those that are empty are left out."""
    return without_empty(
        {
            "git.commit": commit,
            "mlflow.source.git.commit": commit,  # what MLflow's pages show
            "mlflow.source.name": "dvc.yaml",
            "mlflow.note.content": description(params, commit),
            "dvc.exp_name": experiment,
            "dvc.exp_baseline_rev": baseline,
            "data.raw_sha256": statistics["raw_sha256"],
            "data.tokenized_sha256": statistics["tokenized_sha256"],
        }
    )


def without_empty(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if value}


def description(params: dict[str, Any], commit: str) -> str:
    """In Markdown, what the params change against a commit's; nothing when they cannot be compared."""
    changed, against = changes(params, commit), f"commit {commit[:7]}"
    if changed is None:
        return ""
    lines = [f"- `{key}`: {value}, not {before}" for key, (value, before) in changed.items()]
    return "\n".join([*lines, "", f"against {against}"]) if lines else f"The params of {against}"


def changes(params: dict[str, Any], commit: str) -> dict[str, tuple[Any, Any]] | None:
    """The params that differ from those of a commit, with both values; None when it has none, or of another version."""
    try:
        before = Params.parse(git("show", f"{commit}:./params.yaml"), commit).flat()
    except UserError:
        return None
    return {key: (value, before[key]) for key, value in params.items() if before[key] != value}
