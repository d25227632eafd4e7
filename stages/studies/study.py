"""A study: trials in an Optuna storage, run by one process or by several, on one machine or more, until all are done.

The storage remembers everything, so that a study which was interrupted or killed at any moment goes on where it was.
A trial whose process died is marked as failed after `GRACE_SECONDS` without a sign of life; another takes its place.
"""

import hashlib
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from stages.core.errors import UserError
from stages.core.files import main_checkout
from stages.core.secrets import redact
from stages.core.sweep_space import Dimension
from stages.studies.search_space import suggest

if TYPE_CHECKING:
    import optuna

STORAGE_VARIABLE = "OPTUNA_STORAGE"
HEARTBEAT_SECONDS = 5
GRACE_SECONDS = 30
SECONDS_BETWEEN_POLLS = 1.0
STARTUP_TRIALS = 10  # drawn at random, before the sampler has something to learn from
RESULT = "result"  # the user attribute of a trial with what its training gave
ALIVE = "alive"  # that of a trial whose process has given its first sign of life
OWNER = "owner"  # that of a study, with the checkout that began it


class Outcome(NamedTuple):
    """What a training gave."""

    value: float | None  # the score; None for a training that was stopped early
    result: dict[str, Any]  # all that is shown of it; it becomes JSON


# Trains with the params of a trial, dotted keys with their values; the second argument takes step and score of a
# validation, and says whether to stop.
TrainTrial = Callable[[dict[str, Any], Callable[[int, float], bool]], Outcome]


class SurplusError(Exception):
    """Another process took the last trial."""


class Study:
    """Trials under a name in a storage, and whether this process is the one that reports on them."""

    def __init__(self, name: str, storage: str, lower_is_better: bool, seed: int):
        import optuna
        from optuna.storages import RDBStorage
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.name, self.seed, self.lower_is_better = name, seed, lower_is_better
        try:
            database = RDBStorage(storage, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS)
            self.study: optuna.Study = optuna.create_study(
                study_name=name,
                storage=database,
                direction="minimize" if lower_is_better else "maximize",
                pruner=optuna.pruners.MedianPruner(),
                load_if_exists=True,
            )
        except (SQLAlchemyError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"the storage {redact(storage)}: cannot be used: {redact(reason)}") from None
        self.database, self.is_owner = database, False
        self.first_seen: dict[int, float] = {}  # when this process first saw a running trial

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Whether this process reports on the study: the first one of the checkout that began it, for the block.

        UserError when the storage fails in the block, such as a database that is stopped.
        """
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        lock = FileLock(studies_folder() / f"{self.name}.lock")
        try:
            self.is_owner = self.try_to_claim(lock)
            yield self.is_owner
        except (SQLAlchemyError, StorageInternalError) as error:
            reason = redact(str(error.__cause__ or error).splitlines()[0])
            raise UserError(
                f"the storage of {self.name} failed: {reason}. Run the command again: finished trials are kept."
            ) from None
        finally:
            lock.release()

    def try_to_claim(self, lock: FileLock) -> bool:
        """Whether this checkout began the study, and no other process of it holds the lock, which is then held."""
        me = f"{socket.gethostname()}:{main_checkout()}"
        owner = self.study.user_attrs.get(OWNER)
        if owner is None:
            self.study.set_user_attr(OWNER, me)
        if owner not in (None, me):
            return False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def trials(self, *states: str) -> "list[optuna.trial.FrozenTrial]":
        """The trials in these states, such as COMPLETE, by number."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.name in states]

    @property
    def finished(self) -> "list[optuna.trial.FrozenTrial]":
        """Trials with a result, by number: also those that were stopped early."""
        return self.trials("COMPLETE", "PRUNED")

    @property
    def best(self) -> "optuna.trial.FrozenTrial | None":
        """The complete trial with the best score, the first of several; None before there is one."""
        sign = 1 if self.lower_is_better else -1
        return min(self.trials("COMPLETE"), key=lambda trial: (sign * (trial.value or 0), trial.number), default=None)

    def search(
        self, train: TrainTrial, space: dict[str, Dimension], total: int, deadline: float, report: Callable[[], None]
    ) -> None:
        """Run trials until `total` are finished, by this process or others, or until the `deadline` (time.monotonic()).

        `report` is called when some may have finished.
        """
        objective = Objective(self, train, space, total)
        while len(self.finished) < total and time.monotonic() < deadline:
            if len(self.trials("COMPLETE", "PRUNED", "RUNNING")) >= total:
                self.wait_for_others()
            else:
                self.study.sampler = self.make_sampler()
                self.study.optimize(objective, n_trials=1, catch=(SurplusError,))
            report()

    def run_plan(
        self,
        train: TrainTrial,
        space: dict[str, Dimension],
        plan: list[dict[str, Any]],
        report: Callable[[], None],
    ) -> None:
        """Run a trial with each of these params, as `search` does."""
        objective = Objective(self, train, space, sys.maxsize)
        while self.find_missing(plan, "COMPLETE"):
            for params in self.find_missing(plan, "COMPLETE", "RUNNING", "WAITING"):
                self.study.enqueue_trial(params)
            if self.trials("WAITING"):
                self.study.optimize(objective, n_trials=1)
            else:
                self.wait_for_others()
            report()

    def find_missing(self, plan: list[dict[str, Any]], *states: str) -> list[dict[str, Any]]:
        """The params of a plan that no trial in these states has."""
        known = [get_params(trial) for trial in self.trials(*states)]
        return [params for params in plan if params not in known]

    def wait_for_others(self) -> None:
        """Wait a moment for those that run the last trials; if one of them died, its place becomes free."""
        time.sleep(SECONDS_BETWEEN_POLLS)
        self.give_up_dead()

    def give_up_dead(self) -> None:
        """Mark trials as failed whose process has died.

        Optuna finds those with an old sign of life. A process may also die after it has created a trial and before the
        first sign; for Optuna such a trial runs forever.
        """
        import optuna

        optuna.storages.fail_stale_trials(self.study)
        for trial in self.trials("RUNNING"):
            first_seen = self.first_seen.setdefault(trial.number, time.monotonic())
            if ALIVE not in trial.user_attrs and time.monotonic() - first_seen > GRACE_SECONDS:
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def make_sampler(self) -> "optuna.samplers.BaseSampler":
        """TPE with random numbers of the next trial, so that it does not matter which process runs it, nor when.

        A process that joined has other ones: two that ask at once must not get the same params.
        """
        import optuna

        own = [] if self.is_owner else [socket.gethostname(), os.getpid()]
        key = json.dumps([self.seed, len(self.study.get_trials(deepcopy=False)), own])
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)

    def importance(self) -> dict[str, float]:
        """The share of each param in the differences between complete trials, largest first; empty for too few trials.

        By fANOVA (Hutter et al., An Efficient Approach for Assessing Hyperparameter Importance, ICML 2014).
        """
        import optuna

        values = {trial.value for trial in self.trials("COMPLETE")}
        if len(values) < 4:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.seed)
        return dict(optuna.importance.get_param_importances(self.study, evaluator=evaluator))


class Objective:
    """Runs one trial: chooses its params, trains, and stores the result."""

    def __init__(self, study: Study, train: TrainTrial, space: dict[str, Dimension], total: int):
        self.study, self.train, self.space, self.total = study, train, space, total

    def __call__(self, trial: "optuna.Trial") -> float:
        import optuna

        self.study.database.record_heartbeat(trial._trial_id)
        trial.set_user_attr(ALIVE, True)
        before = [one for one in self.study.trials("COMPLETE", "PRUNED", "RUNNING") if one.number < trial.number]
        if len(before) >= self.total:
            raise SurplusError
        params = suggest(trial, self.space)
        outcome = self.find_equal(params) or self.train(params, lambda step, value: should_stop(trial, step, value))
        trial.set_user_attr(RESULT, outcome.result)
        if outcome.value is None:
            raise optuna.TrialPruned
        return outcome.value

    def find_equal(self, params: dict[str, Any]) -> Outcome | None:
        """What a trial with the same params gave, which need not be trained again; None when there is none."""
        for trial in self.study.finished:
            if get_params(trial) == params:
                return Outcome(trial.value if trial.state.name == "COMPLETE" else None, trial.user_attrs[RESULT])
        return None


def should_stop(trial: "optuna.Trial", step: int, value: float) -> bool:
    """Report the score of a validation; whether it is so bad that the trial can end."""
    trial.report(value, step)
    return trial.should_prune()


def get_params(trial: "optuna.trial.FrozenTrial") -> dict[str, Any]:
    """A trial's params; also those of one that is in the queue."""
    return trial.system_attrs.get("fixed_params") or trial.params


def name_study(kind: str, key: Any) -> str:
    """A name that is the same for the same kind and key, which is all that decides the study's results."""
    return f"{kind}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]}"


def find_storage(option: str | None) -> str:
    """The address of the storage: the option, else the environment's, else a file beside the runs of MLflow."""
    return option or os.environ.get(STORAGE_VARIABLE) or f"sqlite:///{studies_folder() / 'studies.db'}"


def studies_folder() -> Path:
    """Where studies of the main checkout keep their locks and, without another storage, their trials."""
    folder = main_checkout() / "mlruns" / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
