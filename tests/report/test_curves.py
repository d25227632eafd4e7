from stages.report.curves import write_seconds


def test_the_seconds_of_the_stages_that_ran_are_a_table_in_their_order(tmp_path):
    write_seconds({"train_seconds": 3.5, "train_loop_seconds": 2, "download_seconds": 1}, tmp_path / "seconds.csv")
    assert (tmp_path / "seconds.csv").read_text() == "stage,seconds\ndownload,1\ntrain,3.5\n"
