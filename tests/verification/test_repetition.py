from stages.verification.repetition import list_changes


def test_outputs_that_are_only_missing_are_no_change():
    status = {
        "train": ["changed command", {"changed deps": {"data/raw": "deleted", "params.yaml": {"seed": "modified"}}}],
        "evaluate": [{"changed outs": {"reports/mistakes.csv": "not in cache", "metrics/evaluate.json": "modified"}}],
    }
    assert list(list_changes(status)) == [
        "changed command (train)", "seed (train)", "metrics/evaluate.json (evaluate)"
    ]  # fmt: skip
