"""Make the challenger in MLflow's registry, which passed the gate, champion; or return to the champion before.

python -m stages.promote [--rollback]
"""

import argparse

from stages.lib.params import Params
from stages.lib.registry import open_registry
from stages.lib.timing import telling_faults


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
