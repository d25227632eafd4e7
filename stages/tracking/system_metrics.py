"""Samples of what the machine does while a stage runs, for the run's journal."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from stages.tracking.journal import Journal


class JournalMonitor(SystemMetricsMonitor):
    """MLflow's monitor (CPU, memory, disk, network, GPU), which tells a journal instead of a server."""

    def __init__(self, journal: Journal):
        super().__init__(run_id=journal.key, tracking_uri="http://unused")  # without one it makes a database
        self.journal = journal
        steps = [event["step"] for event in journal.of_kind("metrics") if any("system/" in n for n in event["metrics"])]
        self._logging_step = max(steps, default=-1) + 1

    def monitor(self) -> None:
        ended = False
        while not ended:  # one sample at the end, however short the stage was
            ended = self._shutdown_event.wait(self.sampling_interval)
            self.collect_metrics()
            self.publish_metrics(self.aggregate_metrics())

    def publish_metrics(self, metrics: dict[str, float]) -> None:
        self.journal.tell_metrics({f"system/{name}": value for name, value in metrics.items()}, self._logging_step)
        self._logging_step += 1
        for monitor in self.monitors:
            monitor.clear_metrics()


@contextmanager
def sampled(journal: Journal, wanted: bool) -> Iterator[None]:
    """Sample every ten seconds (or MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL) during the block."""
    if not wanted:
        yield
        return
    monitor = JournalMonitor(journal)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
