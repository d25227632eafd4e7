"""The progress bar of a study: how many trials are finished, and the best score so far."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.studies.study import Study


@contextmanager
def show_progress(study: "Study", total: int, unit: str, metric: str) -> "Iterator[Callable[[], None]]":
    """Show a bar for the block, which has a function that brings it up to date."""
    with tqdm(total=total, unit=f" {unit}", desc=study.name, initial=min(len(study.finished), total)) as bar:

        def update() -> None:
            best = study.best
            if best is not None and best.value is not None:
                bar.set_postfix_str(f"best {metric} {best.value:.4f} in trial {best.number}", refresh=False)
            bar.update(min(len(study.finished), total) - bar.n)

        update()
        yield update
        update()
