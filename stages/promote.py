"""Make the challenger in MLflow's registry, which passed the gate, champion; or return to the champion before.

python -m stages.promote [--rollback]
"""

import argparse

from stages.core.params import Params
from stages.core.stage import telling_faults
from stages.tracking.registry import open_registry


def main() -> None:
    arguments = parse_arguments()
    with open_registry(Params.load().gate.registered_model) as registry:
        champion, before = registry.rollback() if arguments.rollback else registry.promote()
    was = f"before: version {before.version}" if before else "the first"
    print(f"{champion.description}\nversion {champion.version} of {champion.name} is the champion ({was})")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.promote", description=__doc__.splitlines()[0])
    parser.add_argument("--rollback", action="store_true", help="make the champion before the present one champion")
    return parser.parse_args()


if __name__ == "__main__":
    with telling_faults("promote"):
        main()
