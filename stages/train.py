"""Fine-tune `models/base` on `data/tokenized` into `models/classifier`, and open the MLflow run.

python -m stages.train
"""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, enable_full_determinism, set_seed

from stages.core.cpu_slots import own_cores
from stages.core.csv_tables import read_numbers
from stages.core.files import naming, new_folder, read_json, write_json
from stages.core.hardware import resolve_precision
from stages.core.params import Params
from stages.core.stage import run_stage
from stages.model.classifier import build_classifier
from stages.model.freezing import count_parameters, freeze
from stages.report.curves import draw_curves
from stages.report.model_card import make_card
from stages.text.encoding import load_splits
from stages.text.tokenizer import load_tokenizer
from stages.tracking.callbacks import tensorboard_callbacks
from stages.tracking.journal import Journal
from stages.tracking.provenance import provenance
from stages.tracking.run import log_datasets, log_frozen, open_run, tell_history
from stages.training.checkpoints import mark_finished, open_checkpoints, training_inputs
from stages.training.history import write_history
from stages.training.inputs import Inputs, prepare_inputs
from stages.training.resumable_trainer import ResumableTrainer
from stages.training.trainer import RunLogger, best_validation, make_trainer, speed

TOKENIZED, STATISTICS, BASE = Path("data/tokenized"), Path("data/statistics.json"), Path("models/base")
MANIFEST = Path("data/raw/dataset.json")
CLASSIFIER, RUN = Path("models/classifier"), Path("models/mlflow_run.json")
METRICS, TRAINING = Path("metrics/train.json"), Path("plots/training.csv")
SPLITS = ("train", "validation")
STATISTICS_KEYS = ("raw_sha256", "tokenized_sha256", "splits", "columns", "dropped", "leaks")
VALIDATION, CURVES = Path("plots/validation.csv"), Path("plots/curves.png")


def main() -> dict[str, float]:
    params = Params.load()
    data, statistics = load_splits(TOKENIZED), read_json(STATISTICS, STATISTICS_KEYS)
    about = read_json(BASE / "origin.json"), read_json(MANIFEST, ["source", "columns", "labels"]), statistics
    tokenizer = load_tokenizer(TOKENIZED / "tokenizer")
    model = make_model(data["train"].features["labels"].names, tokenizer, params)
    precision = resolve_precision("train.precision", params.train.precision)
    sections = params.model_dump(include={"seed", "train", "cache"})
    decisive = training_inputs(sections | {"precision": precision}, [TOKENIZED, BASE])
    with (
        open_checkpoints(decisive) as checkpoints,
        open_run(params.tracking, params.flat(), provenance(statistics, params.flat()), decisive) as run,
    ):
        log_datasets(run, statistics)
        with own_cores():
            inputs = prepare_inputs(model, data, SPLITS, tokenizer.pad_token_id, precision, params.cache)
            log_frozen(run, inputs.report)
            trainer = fit(inputs, params, checkpoints, run)
        best, used = best_validation(trainer), {"seed": params.seed} | params.train.model_dump()
        save_classifier(model, tokenizer, make_card(*about, best, used, tokenizer))
        save_curves(trainer, run)
        validation = {f"validation_{name}": best[name] for name in ("loss", "accuracy")}
        write_json(METRICS, validation | count_parameters(model))
        write_json(RUN, {"run": run.key})
        if params.tracking.log_model:
            run.tell_file("model", CLASSIFIER, columns=statistics["columns"])
        mark_finished(checkpoints, run.key)
    print(f"{CLASSIFIER}: the best on validation, accuracy {best['accuracy']:.4f}")
    return speed(trainer, statistics["splits"]["train"]["tokens"]) | {"frozen_seconds": round(inputs.seconds, 2)}


def make_model(labels: list[str], tokenizer: PreTrainedTokenizerBase, params: Params) -> PreTrainedModel:
    """The classifier before its training, with a head that the seed decides."""
    (enable_full_determinism if params.train.full_determinism else set_seed)(params.seed)
    model = build_classifier(BASE, labels, tokenizer)
    freeze(model, params.train.freeze_layers)
    parameters = count_parameters(model)
    print(f"training {parameters['trainable_parameters']:,} of {parameters['total_parameters']:,} parameters")
    return model


def fit(inputs: Inputs, params: Params, checkpoints: Path, run: Journal) -> ResumableTrainer:
    """Train from the last checkpoint on, if there is one; return the Trainer with the best model."""
    callbacks = [RunLogger(run), *tensorboard_callbacks(params.tracking.tensorboard, run)]
    # Kept outputs come of batches of other shapes, which may change last bits.
    folder = checkpoints if inputs.frozen is None else checkpoints / "computed_in_every_step"
    trainer = make_trainer(inputs, params.train, params.seed, folder, callbacks)
    with naming(checkpoints):
        trainer.fit()
    return trainer


def save_classifier(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str) -> None:
    model.cpu()  # its half that trained may be on a GPU
    with new_folder(CLASSIFIER) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")


def save_curves(trainer: ResumableTrainer, run: Journal) -> None:
    write_history(trainer.state.log_history, TRAINING, VALIDATION)
    draw_curves(TRAINING, VALIDATION, CURVES)
    tell_history(run, read_numbers(TRAINING), read_numbers(VALIDATION))  # of a training that began in another run, too


if __name__ == "__main__":
    run_stage("train", main)
