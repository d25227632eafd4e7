import subprocess
import sys

from stages.core.memory import measure_peak_memory

MEASURE = "from stages.core.memory import measure_peak_memory; print(measure_peak_memory())"


def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    before = measure_peak_memory()
    block = bytearray(2 * before)
    assert measure_peak_memory() > len(block)
    started = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(started.stdout) < before
