"""The pipeline on a GPU: the runs in runs.py, and `family NAME` for the families of models."""

from functools import partial

from support.gpu_programs import print_results
from support.gpu_programs.families import check_family
from support.gpu_programs.runs import RUNS, prepare_data, run
from support.tiny_models import FAMILIES

if __name__ == "__main__":
    prepare_data()
    checks = {name: partial(run, name) for name in RUNS}
    print_results(checks | {f"family {name}": partial(check_family, name) for name in FAMILIES})
