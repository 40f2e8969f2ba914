"""Figures that a benchmark keeps are found again on the page, with their commit and with what was promised."""

from pathlib import Path

from benchmarks import page, records


def test_every_kept_run_is_a_point_and_the_newest_is_told_in_words(tmp_path: Path):
    machine = {"processor": "a processor", "num_cores": 2}
    for share in (0.05, 0.02):
        path = records.record("orchestration", {"machine": machine, "share": share}, tmp_path)
        path.rename(path.with_stem(f"{path.stem}-{share}"))  # both within one second

    runs = records.read_all(tmp_path)
    share = next(tracked for tracked in page.TRACKED if tracked.benchmark == "orchestration")
    shown = page.page(runs)

    assert sorted(value for _, _, value in page.points_of(share, runs)) == [0.02, 0.05]
    assert all(machine == "a processor, 2 cores" for _, machine, _ in page.points_of(share, runs))
    assert "promised: 0.03" in shown
    assert shown.count("<svg") == 1


def test_figures_that_nobody_kept_are_named_and_not_drawn():
    shown = page.page([])

    assert "<svg" not in shown
    assert all(tracked.benchmark in shown for tracked in page.TRACKED)


def test_a_run_that_lacks_a_figure_is_no_point(tmp_path: Path):
    records.record("episode", {"machine": {}, "frames_per_s": 3.0}, tmp_path)

    assert [page.points_of(tracked, records.read_all(tmp_path)) for tracked in page.TRACKED] == [[] for _ in page.TRACKED]
