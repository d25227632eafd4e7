"""Fetch the model to start from into `models/base`: pretrained weights and tokenizer, or the config of a new model.

python -m stages.base_model
"""

from stages.core.arguments import refuse_arguments
from stages.core.files import new_folder
from stages.core.params import Params
from stages.core.paths import BASE, MODEL_SOURCE
from stages.core.stage import run_stage
from stages.model.fetch import fetch_base, link_model


def main() -> None:
    params = Params.load()
    with new_folder(BASE) as folder:
        description = fetch_base(params.model, folder)
    link_model(params.model, MODEL_SOURCE)
    print(f"{BASE}: {description}")


if __name__ == "__main__":
    refuse_arguments("base_model", __doc__)
    run_stage("base_model", main)
