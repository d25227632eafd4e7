"""Repeat a finished pipeline in a temporary clone, and say of each output whether its bytes are the same.

python -m stages.verify [--stage preprocess] [--keep]
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from stages.core.errors import LONGEST_LINE, to_one_line
from stages.core.hardware import cpu_name, describe_processor
from stages.core.params import Params
from stages.core.stage import report_errors
from stages.verification.clone import list_local_paths, make_clone, temporary_folder
from stages.verification.outputs import NOT_COMPARED, ComparedOutput, compare_outputs
from stages.verification.repetition import check_finished, repeat_pipeline


def main() -> bool:
    """Return whether all outputs are identical."""
    arguments = parse_arguments()
    started = time.time()
    check_finished(arguments.stage)
    params = Params.load()
    with temporary_folder(arguments.keep) as folder:
        clone = make_clone(folder, list_local_paths(params.data, params.model))
        print(f"repeating the pipeline in {clone}\n")
        repeat_pipeline(clone, arguments.stage)
        outputs = []
        for output in compare_outputs(Path(), clone):
            print_output(output)
            outputs.append(output)
    print_not_compared()
    print_verdict(outputs, time.time() - started)
    return all(output.is_identical for output in outputs)


def print_output(output: ComparedOutput) -> None:
    print(f"{output.stage:<10}  {output.path:<28}  {'identical' if output.is_identical else 'differs'}")
    for line in output.differences:
        print(f"{'':<14}{to_one_line(line, LONGEST_LINE)}")


def print_not_compared() -> None:
    reasons = [f"{path.rstrip('/')} ({reason})" for path, reason in NOT_COMPARED.items()]
    print(f"not compared: {', '.join(reasons)}")


def print_verdict(outputs: list[ComparedOutput], seconds: float) -> None:
    """Print how many outputs differ, and the hardware, on which the bytes of trained weights may depend."""
    differing = sum(not output.is_identical for output in outputs)
    if differing:
        verdict = f"{differing} of {len(outputs)} outputs differ"
    else:
        verdict = f"all {len(outputs)} outputs are identical"
    hardware = f"{cpu_name()}, {describe_processor()}, torch {torch.__version__}"
    print(f"\n{verdict}; {seconds:.0f} s on {hardware}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--stage", help="only this stage of dvc.yaml, and those that it needs (default: all)")
    parser.add_argument("--keep", action="store_true", help="keep the clone, and print its path")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("verify"):
        sys.exit(0 if main() else 1)
