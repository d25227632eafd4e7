"""Fine-tune `models/base` on `data/tokenized` into `models/classifier`, and open the MLflow run.

python -m stages.train
"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainingArguments

from stages.core import ranks
from stages.core.arguments import refuse_arguments
from stages.core.cpu_slots import reserve_cores
from stages.core.csv_tables import read_numbers
from stages.core.files import new_folder, read_json, write_json
from stages.core.hardware import resolve_precision
from stages.core.param_sections import FITTED_AFTER_TRAINING
from stages.core.params import Params
from stages.core.paths import (
    BASE,
    CLASSIFIER,
    RUN,
    STATISTICS,
    TOKENIZED,
    TOKENIZER,
    TRAIN_METRICS,
    TRAINING_CURVE,
    VALIDATION_CURVE,
)
from stages.core.problem_type import Task
from stages.core.stage import run_stage
from stages.model.classifier import save_classifier
from stages.model.freezing import count_parameters
from stages.model.pooling import find_pooling
from stages.text.encoding import load_splits
from stages.text.labels import make_task
from stages.text.tokenizer import load_tokenizer
from stages.tracking.callbacks import RunLogger, make_tensorboard_callbacks
from stages.tracking.journal import Journal
from stages.tracking.provenance import make_run_tags
from stages.tracking.run import log_datasets, log_feature_cache, log_history, log_resolved, open_run
from stages.training.calibrate import Calibration, calibrate
from stages.training.checkpoints import make_training_key, mark_finished, open_checkpoints
from stages.training.history import write_history
from stages.training.initial import build_initial_model
from stages.training.inputs import Inputs, prepare_inputs
from stages.training.settings import Schedule, read_resolved
from stages.training.trainer import ClassifierTrainer, find_best_validation, make_trainer, measure_speed

SPLITS = ("train", "validation")
VALIDATION_SCORES = ("loss", "accuracy", "f1_micro")  # the last one, where a text may have several labels
STATISTICS_KEYS = ("raw_sha256", "tokenized_sha256", "splits", "columns", "is_ordinal", "dropped", "leaks")


def main() -> dict[str, float] | None:
    with ranks.join():
        params = Params.load()
        ranks.take_processors()
        return train(params)


def train(params: Params) -> dict[str, float] | None:
    """Train, and return measures of speed; None in all ranks but the first, which writes what there is to write."""
    data = load_splits(TOKENIZED)
    statistics = read_json(STATISTICS, STATISTICS_KEYS)
    tokenizer = load_tokenizer(TOKENIZER)
    task = make_task(data["train"], statistics["is_ordinal"])
    model = build_initial_model(BASE, task, tokenizer, params.train, params.train_seed)
    describe_model(model)
    precision = resolve_precision("train.precision", params.train.precision)
    training_key = make_training_key(select_decisive(params, precision, task), [TOKENIZED, BASE])
    with open_checkpoints(training_key) as checkpoints:
        if ranks.get_rank() > 0:
            inputs = prepare_inputs(model, data, SPLITS, tokenizer, precision, params.cache)
            fit(inputs, params, checkpoints, None)
            return None
        with open_run(params.tracking, params.flat(), make_run_tags(statistics, params.flat()), training_key) as run:
            log_datasets(run, statistics)
            with reserve_cores():
                inputs = prepare_inputs(model, data, SPLITS, tokenizer, precision, params.cache)
                log_feature_cache(run, inputs.report)
                trainer = fit(inputs, params, checkpoints, run)
            best = find_best_validation(trainer)
            calibration = calibrate(inputs, params.train, precision)
            model.cpu()  # the part that was trained may be on a GPU
            with new_folder(CLASSIFIER) as folder:
                save_classifier(model, tokenizer, folder)
            write_history(trainer.state.log_history, best["step"], TRAINING_CURVE, VALIDATION_CURVE)
            # The callback logged what this process trained; an earlier one, with another run, may have trained more.
            log_history(run, read_numbers(TRAINING_CURVE), read_numbers(VALIDATION_CURVE))
            write_metrics(best, model, trainer.args, calibration)
            log_resolved(run, read_resolved(read_json(TRAIN_METRICS), CLASSIFIER))
            write_json(RUN, {"run": run.key})
            if params.tracking.log_model:
                run.log_file("model", CLASSIFIER, columns=statistics["columns"])
            mark_finished(checkpoints, run.key)
    metric = params.train.metric_for_best_model
    print(f"{CLASSIFIER}: the best on validation, {metric} {best[metric]:.4f}")
    speed = measure_speed(trainer, statistics["splits"]["train"]["tokens"])
    return trainer.measure() | speed | {"train_frozen_seconds": round(inputs.seconds, 2)}


def select_decisive(params: Params, precision: str, task: Task) -> dict[str, Any]:
    """The params, and what follows from the hardware and the data, that decide the bytes of a training."""
    # What is fitted to the trained model is left out: with another goal, a training that is finished is not repeated.
    sections = params.model_dump(include={"seed", "train", "cache"}, exclude={"train": FITTED_AFTER_TRAINING})
    # The order of the labels decides which metrics a validation has, and is in neither of the folders.
    return sections | {"precision": precision, "is_ordinal": task.is_ordinal}


def describe_model(model: PreTrainedModel) -> None:
    """Print how many parameters train, and what the head reads where that is not the first token."""
    parameters = count_parameters(model)
    print(f"training {parameters['trainable_parameters']:,} of {parameters['total_parameters']:,} parameters")
    if find_pooling(model.config) == "mean":
        print("the head reads the mean of all tokens")


def fit(inputs: Inputs, params: Params, checkpoints: Path, run: Journal | None) -> ClassifierTrainer:
    """Train, from the last checkpoint if there is one; return the Trainer with the best model."""
    callbacks = [] if run is None else [RunLogger(run), *make_tensorboard_callbacks(params.tracking.tensorboard, run)]
    # Cached features were computed in batches of other shapes, which may change their last bits: a training that
    # computes them in every step does not resume from a checkpoint of one that reads the cache.
    folder = checkpoints if inputs.frozen is None else checkpoints / "computed_in_every_step"
    trainer = make_trainer(inputs, params.train, params.train_seed, folder, callbacks)
    epochs = trainer.args.num_train_epochs
    print(f"{epochs:g} {'epoch' if epochs == 1 else 'epochs'}, learning rate {trainer.args.learning_rate:g}")
    trainer.fit()
    return trainer


def write_metrics(
    best: dict[str, float], model: PreTrainedModel, arguments: TrainingArguments, calibration: Calibration
) -> None:
    """Write scores of the chosen validation, the numbers of parameters and ranks, what `auto` was and what was fitted.

    The scores are those of the training: before calibration and thresholds.
    """
    validation = {f"validation_{name}": best[name] for name in VALIDATION_SCORES if name in best}
    automatic = {name: getattr(arguments, name) for name in Schedule._fields}
    trained = count_parameters(model) | {"ranks": ranks.count_ranks()}
    write_json(TRAIN_METRICS, validation | trained | automatic | calibration.describe())


if __name__ == "__main__":
    refuse_arguments("train", __doc__)
    run_stage("train", main)
