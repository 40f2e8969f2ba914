"""The model of a season agrees with what can be worked out by hand, and with a run that was measured."""

import pytest

from benchmarks.season_model import GROUPS, Call, Machines, bottlenecks, simulate

ONE = Machines(num_machines=1, num_cores=4, num_workers=4)


def episode(*stages):
    return [(f"stage {number}", calls) for number, calls in enumerate(stages)]


def test_calls_that_find_a_processor_each_take_as_long_as_one():
    assert simulate([episode([Call(cpu_s=3.0)] * 4)], ONE).total_s == pytest.approx(3.0)


def test_more_calls_than_processors_queue():
    assert simulate([episode([Call(cpu_s=3.0)] * 8)], ONE).total_s == pytest.approx(6.0)


def test_a_lone_call_uses_as_many_processors_as_it_can_and_no_more():
    assert simulate([episode([Call(cpu_s=8.0, width=2.0)])], ONE).total_s == pytest.approx(4.0)
    assert simulate([episode([Call(cpu_s=8.0, width=99.0)])], ONE).total_s == pytest.approx(2.0)


def test_wide_calls_side_by_side_share_the_processors():
    assert simulate([episode([Call(cpu_s=8.0, width=4.0)] * 4)], ONE).total_s == pytest.approx(8.0)


def test_more_workers_than_processors_gain_nothing():
    crowded = Machines(num_machines=1, num_cores=2, num_workers=8)
    assert simulate([episode([Call(cpu_s=1.0)] * 8)], crowded).total_s == pytest.approx(4.0)


def test_a_stage_begins_when_the_one_before_is_over():
    stages = episode([Call(cpu_s=1.0)] * 3 + [Call(cpu_s=5.0)], [Call(cpu_s=2.0)] * 4)
    account = simulate([stages], ONE)
    assert account.total_s == pytest.approx(7.0)
    assert account.stage_s == pytest.approx({"stage 0": 5.0, "stage 1": 2.0})


def test_the_card_is_held_by_one_at_a_time():
    account = simulate([episode([Call(cpu_s=1.0, gpu_s=2.0)] * 4)], ONE)
    assert account.total_s == pytest.approx(1.0 + 4 * 2.0)
    assert account.busy["cards"] == pytest.approx(8 / 9)


def test_every_task_run_passes_through_the_one_server():
    machines = Machines(num_machines=4, num_cores=4, num_workers=4, server_s=0.5, spread=True)
    account = simulate([episode([Call(cpu_s=0.001)] * 16)], machines)
    assert account.total_s == pytest.approx(16 * 0.5 + 0.001)


def test_the_store_serves_as_many_machines_as_its_line_carries():
    machines = Machines(num_machines=4, num_cores=1, num_workers=1, store_streams=2.0)
    account = simulate([episode([Call(store_s=10.0)])] * 4, machines)
    assert account.total_s == pytest.approx(20.0)
    slow = Machines(num_machines=1, num_cores=1, num_workers=1, store_streams=0.5)
    assert simulate([episode([Call(store_s=10.0)])], slow).total_s == pytest.approx(20.0)


def test_episodes_stay_on_a_machine_each_unless_their_calls_are_spread():
    season = [episode([Call(cpu_s=1.0)] * 16)] * 2
    apart = Machines(num_machines=4, num_cores=4, num_workers=4)
    together = Machines(num_machines=4, num_cores=4, num_workers=4, spread=True)
    assert simulate(season, apart).total_s == pytest.approx(4.0)
    assert simulate(season, together).total_s == pytest.approx(2.0)


def test_a_third_episode_waits_for_a_machine():
    two = Machines(num_machines=2, num_cores=1, num_workers=1)
    account = simulate([episode([Call(cpu_s=seconds)]) for seconds in (5.0, 2.0, 2.0)], two)
    assert sorted(account.episodes_s) == pytest.approx([2.0, 4.0, 5.0])


def test_no_work_is_lost_or_made_up():
    season = [episode([Call(cpu_s=0.5, gpu_s=0.1, width=2.0)] * 7, [Call(cpu_s=3.0)], [Call(gpu_s=0.2)] * 3)] * 5
    for machines in (ONE, Machines(3, 2, 5), Machines(8, 4, 4, spread=True)):
        account = simulate(season, machines)
        assert account.cpu_s == pytest.approx(5 * 6.5)
        assert account.gpu_s == pytest.approx(5 * 1.3)
        assert account.total_s >= account.cpu_s / (machines.num_machines * machines.num_cores)
        assert account.busy["processors"] <= 1.0


def test_what_limits_a_season_is_named():
    slow_encoding = [[("inspect", [Call(cpu_s=1.0)]), ("sync", [Call(cpu_s=1.0)] * 4), ("reels", [Call(cpu_s=20.0)] * 4)]]
    saved = bottlenecks(slow_encoding, ONE)
    assert next(iter(saved)) == "encode"
    assert saved["encode"] == pytest.approx(10 / 22)
    assert saved["detect"] == pytest.approx(0.0)
    assert set(saved) == set(GROUPS)
