from collections.abc import Sequence

from iacq.domain import pod_failures, scaling, scaling_reasons
from iacq.domain.pod_failures import PodFailures
from iacq.domain.pool import Demand, PoolPod, PoolPolicy
from iacq.domain.slot import PodStatus
from tests.unit.test_scaling import MINUTE, NOW, pod, starting


def explained(
    demand: Demand,
    pods: Sequence[PoolPod] = (),
    *,
    policy: PoolPolicy | None = None,
    frozen: bool = False,
    failures: PodFailures = pod_failures.NONE,
) -> dict[str, str]:
    policy = policy or PoolPolicy(max_pods=2)
    decided = scaling.decide_scaling(policy, demand, pods, frozen=frozen, failures=failures, now=NOW)
    reasons = scaling_reasons.explain(policy, demand, pods, decided, now=NOW)
    assert [reasons[0].code, reasons[-1].code] == ["rule", "result"]
    return {reason.code: reason.text for reason in reasons}


def test_inputs_rule_and_result() -> None:
    demand = Demand(startable=1, confirmed=1, running=2, interrupted=1, apply_pending=2)
    assert explained(demand, policy=PoolPolicy(max_pods=9, headroom=1)) == {
        "rule": "desired = ceil((2 queue_depth + 3 running + 2 apply_pending + 1 headroom) / 3 slots) = 3,"
        " within 0 to 9: 3",
        "pods": "pods: none; slots of use: 0, 0 of them free",
        "result": "desired 3 pods: start 3",
    }


def test_nothing_to_do_has_reasons_too() -> None:
    assert set(explained(Demand())) == {"rule", "pods", "result"}
    assert explained(Demand())["result"] == "desired 0 pods: nothing to start or to drain"


def test_limits() -> None:
    assert explained(Demand(startable=7))["limited"] == "needed: 3 pods; the maximum is 2"
    at_least = PoolPolicy(min_pods=2, max_pods=2)
    assert explained(Demand(startable=1), policy=at_least)["limited"] == "needed: 1 pod; the minimum is 2"
    frozen = explained(Demand(startable=7), frozen=True)
    assert "frozen" in frozen
    assert "limited" not in frozen
    assert "at_maximum" not in frozen


def test_the_maximum_and_what_is_given_up() -> None:
    demand = Demand(startable=3, running=4, apply_pending=2)
    found = explained(demand, [pod("a", "rrr"), pod("b", "rRR")])
    assert found["at_maximum"] == "the pool is at its maximum, and without a slot: 3 runs"
    assert found["giving_up"] == "reservations to give up for them, the oldest first: 2"
    coming = explained(Demand(startable=3, running=3), [pod("a", "rrr"), starting("b")])
    assert "at_maximum" not in coming
    assert "1 starting" in coming["pods"]


def test_what_is_kept_although_it_is_too_much() -> None:
    pods = [pod("a", "Rii"), pod("b", "rii"), pod("c", ago=3 * MINUTE), pod("d")]
    found = explained(Demand(running=1, apply_pending=1), pods, policy=PoolPolicy(max_pods=9))
    assert found["surplus"] == "online beyond desired: 2 pods; 2 of 3 hold a run"
    assert found["grace"] == "idle and within the grace: 1 pod; the first may go in 120 s"
    assert found["result"] == "desired 1 pod: drain d"


def test_back_off_and_runs_in_pods_that_go() -> None:
    failures = PodFailures(count=2, last_at=NOW - 1500)
    assert explained(Demand(startable=1), failures=failures)["backing_off"].endswith("tried in 9 s")
    leaving = [pod("a", "rii", status=PodStatus.DRAINING)]
    assert explained(Demand(running=1), leaving)["elsewhere"].endswith("in need of no other: 1 run")
