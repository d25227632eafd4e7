"""One of several processes that each take a GPU of a machine with two, and hold it until both are used."""

import os
import time
from pathlib import Path

from stages.core.gpu_slots import take_gpu

if __name__ == "__main__":
    take_gpu()
    gpu = os.environ["CUDA_VISIBLE_DEVICES"]
    busy = Path(f"{gpu}.busy")
    busy.touch(exist_ok=False)  # another process that has this GPU is an error
    Path(f"{gpu}.used").touch()
    while len(list(Path().glob("*.used"))) < 2:
        time.sleep(0.1)
    time.sleep(0.5)
    busy.unlink()
    print(gpu)
