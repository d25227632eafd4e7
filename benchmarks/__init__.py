"""What measures the pipeline; never part of a test."""
