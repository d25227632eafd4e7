import subprocess
import sys

MEBIBYTE = 2**20
MEASURE = "from stages.core.memory import measure_peak_memory; print(measure_peak_memory(), flush=True)"
LARGE = f"""
import subprocess, sys
block = bytearray({300 * MEBIBYTE})
{MEASURE}
subprocess.run([sys.executable, "-c", {MEASURE!r}], check=True)
"""


def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    large, small = map(int, done.stdout.split())
    assert large > 300 * MEBIBYTE > 3 * small
