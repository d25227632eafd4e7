"""Programs that tests run on a GPU. Each does several checks in one process, because its imports take seconds."""

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any


def print_results(checks: dict[str, Callable[[], Any]]) -> None:
    """Run the checks that the command line names, or all; print one line of JSON at the end.

    It has `{"result": ...}` or `{"error": traceback, "message": ...}` for each.
    """
    results: dict[str, Any] = {}
    for name in sys.argv[1:] or checks:
        try:
            results[name] = {"result": checks[name]()}
        except Exception as error:
            results[name] = {"error": traceback.format_exc(), "message": f"{type(error).__name__}: {error}"}
    print(json.dumps(results))
