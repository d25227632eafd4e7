"""Make the challenger, which passed the gate, the champion in MLflow's registry; or return to the champion before.

python -m stages.promote [--rollback | --onnx]
"""

import argparse

from mlflow.entities.model_registry import ModelVersion

from stages.core.params import Params
from stages.core.secrets import redact_output
from stages.core.stage import report_errors
from stages.tracking.registry import Registry, open_registry


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    with open_registry(params.gate.registered_model) as registry:
        champion, before = change_champion(registry, arguments)
    change = f"before: version {before.version}" if before else "the first"
    print(champion.description)
    print(f"version {champion.version} of {champion.name} is the champion ({change})")


def change_champion(registry: Registry, arguments: argparse.Namespace) -> tuple[ModelVersion, ModelVersion | None]:
    """The new champion, and the one before it."""
    if arguments.rollback:
        return registry.rollback()
    if arguments.onnx:
        return registry.promote_exported()
    return registry.promote()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.promote", description=__doc__.splitlines()[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--rollback", action="store_true", help="return to the champion before the present one")
    choice.add_argument("--onnx", action="store_true", help="put the champion's export (stages.export) in its place")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("promote"):
        redact_output()
        main()
