"""Make the challenger, which passed the gate, the champion in MLflow's registry; or return to the champion before.

python -m stages.promote [--rollback]
"""

import argparse

from stages.core.params import Params
from stages.core.secrets import redact_output
from stages.core.stage import report_errors
from stages.tracking.registry import open_registry


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    with open_registry(params.gate.registered_model) as registry:
        champion, before = registry.rollback() if arguments.rollback else registry.promote()
    change = f"before: version {before.version}" if before else "the first"
    print(champion.description)
    print(f"version {champion.version} of {champion.name} is the champion ({change})")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.promote", description=__doc__.splitlines()[0])
    parser.add_argument("--rollback", action="store_true", help="return to the champion before the present one")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("promote"):
        redact_output()
        main()
