"""Label texts with `models/classifier`: of the command line, lines of stdin, or rows of CSV and Parquet files.

python -m stages.predict "I loved it." "So dull."       # a line for each: label, tab, probability
python -m stages.predict < lines.txt                    # the same for each line
python -m stages.predict --csv in.csv --out out.csv     # in.csv with the columns label and probability added
python -m stages.predict --parquet in --out out         # the same for a Parquet file, or for each one of a folder

A model of pairs takes two texts with a tab between them. A model with several labels a text joins them with |. One with
a threshold gives no label to a text that it is not sure enough of. Texts that are longer than the model reads are
truncated, and a warning on stderr says how many, unless the model reads long texts in windows. Precision and the format
of CSV files are those of params.yaml, if there is one.
"""

import argparse
import io
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from stages.core.arguments import count, probability
from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.errors import UserError, escape_control
from stages.core.files import sha256_of_all
from stages.core.paths import CLASSIFIER, EXPORTED, PARAMS
from stages.core.stage import report_errors
from stages.inference.csv_file import Layout, check_labels, open_table, write_table
from stages.inference.output_columns import Answer, OutputColumns, check_added_columns

if TYPE_CHECKING:
    from stages.inference.labeller import Labeller


class Settings(NamedTuple):
    """How texts are read and classified: from params.yaml, where options do not say otherwise."""

    layout: Layout = Layout()
    precision: str = "auto"
    batch_size: int = 64


def main() -> None:
    arguments = parse_arguments()
    choose_engine(arguments)
    settings = read_settings(arguments)
    if arguments.parquet:
        label_parquet(arguments, settings)
    elif arguments.csv:
        label_csv(arguments, settings)
    else:
        label_lines(arguments, settings)


def choose_engine(arguments: argparse.Namespace) -> None:
    """Set `--model` to the folder that `--engine` asks for; UserError when there is no export of the model.

    An export that `--model` names answers itself; UserError when torch is asked for.
    """
    from stages.inference.exported_folder import is_exported

    if is_exported(arguments.model):
        if arguments.engine == "torch" or arguments.precision:
            raise UserError(f"--model: {arguments.model} is an export, which torch does not compute.")
        return
    if arguments.engine == "torch" or (arguments.engine == "auto" and arguments.precision):
        return
    from stages.inference.loading import find_export

    found = find_export(arguments.model, EXPORTED, arguments.engine == "auto")
    if arguments.engine == "auto" and found != arguments.model:
        print(f"answers are those of {found}, which is faster here; --engine torch: as evaluate", file=sys.stderr)
    arguments.model = found


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of params.yaml, if there is one, and those that options give."""
    settings = Settings()
    if PARAMS.is_file():
        from stages.core.params import Params

        params = Params.load()
        layout = Layout(**params.data.model_dump(include=set(Layout._fields)))
        settings = Settings(layout, params.evaluate.precision, params.evaluate.per_device_eval_batch_size)
    given = {name: value for name in Layout._fields if (value := getattr(arguments, name, None)) is not None}
    settings = settings._replace(layout=settings.layout._replace(**given))
    if settings.layout.delimiter == settings.layout.quotechar:
        raise UserError(f"--delimiter: found {settings.layout.delimiter!r}; must differ from data.quotechar.")
    return settings._replace(precision=arguments.precision) if arguments.precision else settings


def read_columns(arguments: argparse.Namespace) -> OutputColumns:
    """The columns of the output, from the options and the model's files; UserError when they do not fit together."""
    from stages.inference.loading import read_labels

    return OutputColumns.make(*read_labels(arguments.model), arguments.top_k, has_scores=arguments.scores)


def load_labeller(
    arguments: argparse.Namespace, settings: Settings, write: Callable[[Answer], list[Any]]
) -> "Labeller":
    # Importing these takes seconds, which `--help` and errors need not wait for.
    from stages.core.memory import keep_few_kernels, keep_freed_memory, skip_last_collection
    from stages.inference import loading
    from stages.inference.labeller import Labeller

    keep_few_kernels()
    keep_freed_memory()
    skip_last_collection()
    predictor = loading.load_predictor(
        arguments.model, settings.precision, settings.batch_size, arguments.min_probability
    )
    return Labeller(predictor, write)


def label_parquet(arguments: argparse.Namespace, settings: Settings) -> None:
    from stages.inference.parquet_files import ParquetTask
    from stages.inference.parquet_folders import count_rows, describe_result, find_unlabelled, label_pairs, pair_files

    columns = read_columns(arguments)
    task = ParquetTask(settings.layout, columns, arguments.prefix)
    pairs = pair_files(arguments.parquet, arguments.out)
    rows = count_rows(pairs, task)
    take_gpu_for(arguments.model)
    task = task._replace(maker=describe_maker(arguments, settings))
    left = find_unlabelled(pairs, task)
    if len(left) < len(pairs):
        print(f"{len(pairs) - len(left)} of {len(pairs)} files were labelled before")
    if left:
        labeller = load_labeller(arguments, settings, columns.make_values)
        done = label_pairs({pair: rows[pair] for pair in left}, labeller, task)
        print(describe_result(done, pairs, labeller.rows, arguments.out))
        labeller.warn()


def take_gpu_for(model: Path) -> None:
    """Take one of the machine's GPUs, where torch is to compute: an exported model runs on the CPU."""
    from stages.inference.exported_folder import is_exported

    if not is_exported(model):
        from stages.core.gpu_slots import take_gpu

        take_gpu()


def describe_maker(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """What decides the answers, besides the texts."""
    from stages.inference.exported_folder import is_exported

    maker = {
        "model_sha256": sha256_of_all(sorted(arguments.model.iterdir())),
        "min_probability": arguments.min_probability,
    }
    if not is_exported(arguments.model):
        from stages.core.hardware import resolve_precision

        maker["precision"] = resolve_precision("precision", settings.precision)
    return maker


def label_csv(arguments: argparse.Namespace, settings: Settings) -> None:
    out = None if arguments.out in (None, Path("-"), Path("/dev/stdout")) else arguments.out
    with open_table(arguments.csv, settings.layout) as table:
        columns = read_columns(arguments)
        names = columns.list_names()
        check_added_columns(table.path, table.header or [], names, arguments.prefix)
        labeller = load_labeller(arguments, settings, columns.make_cells)
        check_labels(table, columns.list_label_cells())
        write_table(table, labeller, [f"{arguments.prefix}{name}" for name in names], out)
    labeller.warn()


def label_lines(arguments: argparse.Namespace, settings: Settings) -> None:
    if not arguments.texts and sys.stdin.isatty():
        print("reading one text a line; Ctrl-D ends", file=sys.stderr)
    columns = read_columns(arguments)
    labeller = load_labeller(arguments, settings, columns.make_line)
    with tqdm(unit=" texts", delay=1, disable=sys.stdout.isatty()) as bar:
        for lines, locations in read_lines(arguments.texts):
            texts: list[Any] = lines
            if labeller.predictor.facts.takes_pairs:
                texts = [split_pair(line, location) for line, location in zip(lines, locations, strict=True)]
            for cells in labeller(texts, locations):
                print("\t".join(map(escape_control, cells)))
            bar.update(len(texts))
    labeller.warn()


def read_lines(given: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield texts and their locations in chunks: the texts of the command line, or else the lines of stdin."""
    if not given and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    lines = iter(given) if given else (line.rstrip("\r\n") for line in sys.stdin)
    kind = "text" if given else "line"
    number = 0
    while texts := list(islice(lines, ROWS_AT_ONCE)):
        yield texts, [f"{kind} {number + place}" for place in range(1, len(texts) + 1)]
        number += len(texts)


def split_pair(text: str, location: str) -> tuple[str, str]:
    """The two texts of a line; UserError unless there is one tab between them."""
    parts = text.split("\t")
    if len(parts) != 2:
        tabs = len(parts) - 1
        raise UserError(f"{location}: found {tabs} tabs; this model classifies pairs, with one tab between two.")
    return parts[0], parts[1]


def parse_arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description=__doc__, formatter_class=raw)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts to label (default: the lines of stdin)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="label the rows of this file")
    parser.add_argument("--parquet", type=Path, metavar="PATH", help="label this file, or the files of this folder")
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="file or folder to write (with --csv by default: -, stdout)"
    )
    parser.add_argument("--text-column", metavar="NAME", help="default: data.text_column, or text")
    parser.add_argument("--text-pair-column", metavar="NAME", help="default: data.text_pair_column")
    parser.add_argument("--delimiter", help="default: data.delimiter, or a comma; \\t is a tab")
    parser.add_argument("--prefix", default="", help="what the names of the added columns begin with")
    parser.add_argument("--scores", action="store_true", help="also give the probability of each label")
    parser.add_argument("--top-k", type=count, default=1, metavar="K", help="also give the next best, K labels in all")
    parser.add_argument(
        "--min-probability", type=probability, metavar="P",
        help="give a label only from this probability on (default: the thresholds that train fitted, if it did)",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, default=CLASSIFIER, help=f"model folder (default: {CLASSIFIER})")
    parser.add_argument(
        "--engine", choices=("auto", "torch", "onnx"), default="auto",
        help=f"auto (default): the model's export in {EXPORTED} (stages.export), where there is one that was faster on "
        "this processor | torch: as evaluate answers, to the bit | onnx: the export",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16", "fp16"), help="of torch (default: evaluate.precision)"
    )
    arguments = parser.parse_args()
    if bool(arguments.texts) + bool(arguments.csv) + bool(arguments.parquet) > 1:
        parser.error("give either texts or --csv or --parquet")
    if arguments.out and not (arguments.csv or arguments.parquet):
        parser.error("--out needs --csv or --parquet")
    if arguments.parquet and not arguments.out:
        parser.error("--parquet needs --out")
    if arguments.engine == "onnx" and arguments.precision:
        parser.error("--precision needs torch")
    if arguments.parquet and arguments.delimiter:
        parser.error("--delimiter needs --csv")
    if arguments.delimiter is not None:
        arguments.delimiter = "\t" if arguments.delimiter == "\\t" else arguments.delimiter
        if len(arguments.delimiter) != 1 or arguments.delimiter in "\r\n":
            parser.error(f"--delimiter: found {arguments.delimiter!r}; allowed: one character, or \\t for a tab")
    return arguments


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader of the output may stop early, as `head` does
    with report_errors("predict"):
        main()
