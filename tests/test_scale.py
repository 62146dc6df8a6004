"""What docs/scale.md says, in small: the real pool and policy under a clock that costs no time."""

from __future__ import annotations

from .simulation.cases import back_to_normal, crowd, failover, herd, peak, typical


def test_a_crowd_is_served_in_order() -> None:
    """All at once, on few connections: in the order of coming, and none waits longer than it must."""
    served = crowd(1000, 10, 0.01)
    came = [one.came for one in served]
    assert came == sorted(came)
    assert len(served) == 1000
    assert 0.99 < max(one.took for one in served) < 1.1


def test_an_outage() -> None:
    """None fails that may wait; the line is gone as soon as it can be; the server is asked seldom."""
    served, connects = failover(100.0, 4, 0.01, 10.0, 1000, 30.0, 30.0)
    assert all(one.attempt for one in served)
    assert max(one.took for one in served) < 13
    backlog = 100 * 10 / (4 / 0.01 - 100)
    assert back_to_normal(served, 20.0, typical(served, 10.0)) < 2 * backlog + 1
    assert sum(1 for moment in connects if 10.5 < moment < 20) < 20


def test_who_cannot_wait_is_told() -> None:
    """Without another attempt, those fail that came while the server was gone and waited for `pool_timeout`; nobody waits longer."""
    served, _ = failover(100.0, 4, 0.01, 10.0, 1, 0.0, 2.0)
    failed = [one for one in served if not one.attempt]
    assert failed
    assert all(9.9 < one.came < 20.1 for one in failed)
    assert max(one.took for one in served) < 2.2


def test_who_waited_in_vain_in_an_outage_waits_again() -> None:
    """`run` goes on for as long as it may; where the line is merely long, it does not."""
    served, _ = failover(20.0, 10, 0.01, 8.0, 1000, 30.0, 2.0)
    assert all(one.attempt for one in served)
    crowded, _ = failover(500.0, 2, 0.01, 0.0, 1000, 30.0, 0.5)
    assert any(not one.attempt and one.took < 0.6 for one in crowded)


def test_jitter_spreads_a_herd() -> None:
    """Without it all come at once."""
    assert peak(herd(500, jitter=False)) == 500
    assert peak(herd(500, jitter=True)) < 250
