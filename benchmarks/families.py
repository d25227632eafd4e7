"""Seconds of training with frozen layers for each model family: plain `transformers.Trainer`, and this pipeline.

python -m benchmarks.families [--families ModernBERT-base DeBERTa-v3-base]

Models have the sizes of those that people use, and random weights, so that no hub is needed; only MiniLM's are real.
So accuracy means nothing here: that of both sides is in the table of `benchmarks.speed`. Vocabularies are small, which
does not matter for frozen embeddings. Texts are made of demo reviews and have 128 tokens or nearly so. Every
measurement is a process of its own, and is saved as in `benchmarks.speed`, so that an interrupted benchmark resumes.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel

from benchmarks.many_rows import write_rows
from benchmarks.speed import Bench
from benchmarks.speed_tables import format_table
from stages.core.files import new_file, new_folder
from stages.data.demo_corpus import make_reviews
from stages.text.tokenizer import train_tokenizer

TABLE = Path("benchmarks/results/families.md")
VOCABULARY = 8192
TOKENS = {"vocab_size": VOCABULARY, "pad_token_id": 0}
AFTER_PADDING = {"max_position_embeddings": 514}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
DEBERTA_V3 = {
    "relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "pos_att_type": "p2c|c2p", "position_biased_input": False, "type_vocab_size": 0, "pooler_hidden_size": 768,
}  # fmt: skip
SPECIAL_TOKENS = {"bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
# Model type, layers and what differs from the defaults of its config; None: the model of params.yaml.
MODELS: dict[str, tuple[str, int, dict[str, Any]] | None] = {
    "MiniLM-L6": None,
    "BERT-base": ("bert", 12, {}),
    "DistilBERT-base": ("distilbert", 6, {}),
    "RoBERTa-base": ("roberta", 12, AFTER_PADDING),
    "MPNet-base": ("mpnet", 12, AFTER_PADDING),
    "ALBERT-base": ("albert", 12, BASE | {"embedding_size": 128}),
    "DeBERTa-v3-base": ("deberta-v2", 12, BASE | DEBERTA_V3),
    "ModernBERT-base": ("modernbert", 22, SPECIAL_TOKENS),
}  # fmt: skip
COLUMNS = (
    *("", "layers frozen", "training, seconds: plain", "ours, first run", "ours, repeated"),
    *("times faster: first run", "repeated"),
)


def main() -> None:
    options = parse_arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.data = options.folder / "rows.csv"
    write_rows(options.folder, round(options.train_rows / 0.8))  # a tenth each for validation and test
    rows = []
    for name in options.families:
        rows += measure(name, options)
        table = format_table(COLUMNS, rows)
        with new_file(options.table) as part:
            part.write_text(f"# Speed of each model family\n\n{describe(options)}\n{table}", encoding="utf-8")
    print(table)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", dest="train_rows", type=int, default=256, help="to train on")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp16", "fp32"))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument(
        "--folder", type=Path, default=Path(".cache/benchmark/families"), help="for data, models and measurements"
    )
    parser.set_defaults(seeds=1, ablation_rows=0, test_rows=32)
    return parser.parse_args()


def measure(name: str, options: argparse.Namespace) -> list[list[str]]:
    """Measure one model with most and with all layers frozen; return the rows of the table."""
    sizes, layers = MODELS[name], 6
    model = None
    if sizes is not None:
        model, layers = make_model(options.folder / name, *sizes), sizes[1]
    bench = Bench(argparse.Namespace(**vars(options) | {"model": model, "freeze": layers - 1}))
    rows = []
    for freeze in ("all",) if name.startswith("ALBERT") else (layers - 1, "all"):  # ALBERT's layers are one
        run = {"freeze": freeze, "precision": options.precision, "evaluate": False}
        cached = run | {"cache": str(freeze)}
        kinds = {"plain": run | {"plain": True}, "first": cached, "repeated": cached | {"learning_rate": 4e-4}}
        names = {f"{name}, {freeze} frozen: {kind}": settings for kind, settings in kinds.items()}
        for title, settings in names.items():
            bench.measure("families", title, 0, settings)
        done = {run["name"]: run["training_seconds"] for run in bench.results["runs"]}
        seconds = [done[title] for title in names]
        times = [f"{seconds[0] / one:.1f}" for one in seconds[1:]]
        rows.append([name, f"{freeze} of {layers}", *(f"{one:.1f}" for one in seconds), times[0], f"**{times[1]}**"])
    shutil.rmtree(bench.folder / "caches", ignore_errors=True)
    return rows


def make_model(folder: Path, model_type: str, layers: int, sizes: dict[str, Any]) -> str:
    """A model folder with random weights and a tokenizer; return its path."""
    if not folder.exists():
        tokenizer = train_tokenizer(lambda: (text for text, _ in make_reviews("train", 0)), VOCABULARY)
        model = AutoModel.from_config(AutoConfig.for_model(model_type, **TOKENS | sizes))
        assert model.config.num_hidden_layers == layers
        with new_folder(folder) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    return str(folder)


def describe(options: argparse.Namespace) -> str:
    """Hardware, versions and settings, as a Markdown list."""
    about = Bench(argparse.Namespace(**vars(options) | {"model": None, "freeze": 0})).results["about"]
    about = {key: about[key] for key in ("hardware", "versions")} | {
        "models": f"random weights but for MiniLM, vocabularies of at most {VOCABULARY:,} tokens",
        "runs": f"one each, {options.train_rows:,} rows of at most 128 tokens, batches of 32, 2 epochs, "
        f"{options.precision}; a repeated run has another learning rate",
    }
    return "".join(f"- {key}: {value}\n" for key, value in about.items())


if __name__ == "__main__":
    main()
