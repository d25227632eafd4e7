"""Samples of CPU, memory, disk, network and GPU while a stage runs, for the run's journal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from stages.tracking.journal import Journal


class JournalMonitor(SystemMetricsMonitor):
    """MLflow's monitor, which logs to a journal instead of a server. Steps continue those of earlier stages."""

    def __init__(self, journal: Journal):
        super().__init__(run_id=journal.key, tracking_uri="http://unused")  # without an address it creates a database
        self.journal = journal
        self.stop_event = threading.Event()
        points = journal.find_events("metrics")
        steps = [event["step"] for event in points if any("system/" in name for name in event["metrics"])]
        self.step = max(steps, default=-1) + 1

    def monitor(self) -> None:
        """Take samples until `finish`, and one then, so that a stage of any length has one."""
        is_last = False
        while not is_last:
            is_last = self.stop_event.wait(self.sampling_interval)
            self.collect_metrics()
            self.publish_metrics(self.aggregate_metrics())

    def publish_metrics(self, metrics: dict[str, float]) -> None:
        self.journal.log_metrics({f"system/{name}": value for name, value in metrics.items()}, self.step)
        self.step += 1
        for monitor in self.monitors:
            monitor.clear_metrics()

    def finish(self) -> None:
        self.stop_event.set()
        super().finish()


@contextmanager
def sample_system_metrics(journal: Journal, enabled: bool) -> Iterator[None]:
    """Sample every ten seconds (or MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL) during the block."""
    if not enabled:
        yield
        return
    monitor = JournalMonitor(journal)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
