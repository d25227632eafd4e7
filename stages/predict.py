"""Label texts with `models/classifier`: those of the command line, lines of stdin, or rows of a CSV file.

python -m stages.predict "I loved it." "So dull."       # a line for each: label, tab, probability
python -m stages.predict < lines.txt                    # the same for each line
python -m stages.predict --csv in.csv --out out.csv     # in.csv with the columns label and probability added

A model of pairs takes two texts with a tab between them. Texts beyond what the model reads are cut (unless it was made
to read in windows), and a warning on stderr says how many. How CSV files are read and the precision are those of
params.yaml, where there is one.
"""

import argparse
import signal
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.errors import UserError
from stages.core.stage import report_errors
from stages.inference.csv_file import Layout, check_names, open_table, write_answered

if TYPE_CHECKING:
    from stages.inference.predictor import Predictor

PARAMS, CLASSIFIER = Path("params.yaml"), Path("models/classifier")


class Labeller:
    """Gives labels and probabilities as text, and counts the texts that were too long."""

    def __init__(self, predictor: "Predictor"):
        self.predictor, self.rows, self.truncated = predictor, 0, 0

    def __call__(self, texts: list[Any], where: list[str]) -> list[tuple[str, str]]:
        answers = self.predictor.predict(texts, where)
        self.rows += len(answers)
        self.truncated += sum(answer.truncated for answer in answers)
        return [(answer.label, f"{answer.probability:.4f}") for answer in answers]

    def warn(self) -> None:
        if self.truncated:
            what = f"{self.truncated:,} of {self.rows:,} texts were longer than the model reads"
            print(f"warning: {what}, {self.predictor.max_length} tokens, and were truncated", file=sys.stderr)


def main() -> None:
    arguments = parse_arguments()
    layout, evaluate = read_defaults(arguments)
    if arguments.csv:
        label_csv(arguments, layout, evaluate)
    else:
        label_lines(arguments, evaluate)


def read_defaults(arguments: argparse.Namespace) -> tuple[Layout, dict[str, Any]]:
    """How CSV files look, and precision and batch size, from params.yaml and the options."""
    layout, evaluate = Layout(), {"precision": "auto", "batch_size": 64}
    if PARAMS.is_file():
        from stages.core.params import Params

        params = Params.load(PARAMS)
        layout = Layout(**params.data.model_dump(include=set(Layout._fields)))
        evaluate = {
            "precision": params.evaluate.precision,
            "batch_size": params.evaluate.per_device_eval_batch_size,
        }
    given = {name: value for name in Layout._fields if (value := getattr(arguments, name, None)) is not None}
    return layout._replace(**given), evaluate | ({"precision": arguments.precision} if arguments.precision else {})


def load_labeller(arguments: argparse.Namespace, evaluate: dict[str, Any]) -> Labeller:
    from stages.core.memory import keep_freed_memory
    from stages.inference.predictor import Predictor  # seconds of imports, which --help and faults need not wait for

    keep_freed_memory()
    return Labeller(Predictor(arguments.model, **evaluate))


def label_csv(arguments: argparse.Namespace, layout: Layout, evaluate: dict[str, Any]) -> None:
    added = (f"{arguments.prefix}label", f"{arguments.prefix}probability")
    with open_table(arguments.csv, layout) as table:
        check_names(table, added)
        labeller = load_labeller(arguments, evaluate)
        write_answered(table, labeller, added, None if arguments.out == "-" else Path(arguments.out))
    labeller.warn()


def label_lines(arguments: argparse.Namespace, evaluate: dict[str, Any]) -> None:
    if not arguments.texts and sys.stdin.isatty():
        print("reading a text a line; Ctrl-D ends", file=sys.stderr)
    labeller = load_labeller(arguments, evaluate)
    with tqdm(unit=" texts", delay=1, disable=sys.stdout.isatty()) as bar:
        for texts, where in read_lines(arguments.texts):
            if labeller.predictor.pairs:
                texts = [split_pair(text, place) for text, place in zip(texts, where, strict=True)]
            for label, probability in labeller(texts, where):
                print(f"{label}\t{probability}")
            bar.update(len(texts))
    labeller.warn()


def read_lines(given: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the texts of the command line, or else the lines of stdin in chunks, with where they are."""
    if not given:
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    lines, what = (iter(given), "text") if given else ((line.rstrip("\r\n") for line in sys.stdin), "line")
    number = 0
    while texts := list(islice(lines, ROWS_AT_ONCE)):
        yield texts, [f"{what} {number + place}" for place in range(1, len(texts) + 1)]
        number += len(texts)


def split_pair(text: str, where: str) -> tuple[str, str]:
    parts = text.split("\t")
    if len(parts) != 2:
        raise UserError(f"{where}: found {len(parts) - 1} tabs; this model classifies pairs, with one tab between two.")
    return parts[0], parts[1]


def parse_arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m stages.predict", description=__doc__, formatter_class=raw)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts to label (default: the lines of stdin)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="label the rows of this file")
    parser.add_argument("--out", default="-", metavar="FILE", help="file to write with --csv (default: -, stdout)")
    parser.add_argument("--text-column", metavar="NAME", help="default: data.text_column, or text")
    parser.add_argument("--text-pair-column", metavar="NAME", help="default: data.text_pair_column")
    parser.add_argument("--delimiter", help="default: data.delimiter, or a comma; \\t is a tab")
    parser.add_argument("--prefix", default="", help="begin the names of the added columns with it")
    parser.add_argument("--model", type=Path, default=CLASSIFIER, help=f"model folder (default: {CLASSIFIER})")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), help="default: evaluate.precision")
    arguments = parser.parse_args()
    if arguments.csv and arguments.texts:
        parser.error("give either texts or --csv")
    if arguments.out != "-" and not arguments.csv:
        parser.error("--out goes with --csv")
    if arguments.delimiter is not None:
        arguments.delimiter = "\t" if arguments.delimiter == "\\t" else arguments.delimiter
        if len(arguments.delimiter) != 1:
            parser.error(f"--delimiter: found {arguments.delimiter!r}; allowed: one character, or \\t for a tab")
    return arguments


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads the answers may stop, as `head` does
    with report_errors("predict"):
        main()
