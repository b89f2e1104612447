import pytest

from iacq.services.phases.plan import count_changes


def plan(*actions: list[str]) -> dict[str, object]:
    return {"resource_changes": [{"change": {"actions": list(names)}} for names in actions]}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, (0, 0, 0)),
        ({"resource_changes": None}, (0, 0, 0)),
        (plan(["no-op"], ["read"]), (0, 0, 0)),
        (plan(["create"], ["create"], ["update"], ["delete"]), (2, 1, 1)),
        (plan(["delete", "create"], ["create", "delete"]), (2, 0, 2)),
    ],
)
def test_counts(found: dict[str, object], expected: tuple[int, int, int]) -> None:
    add, change, destroy = expected
    assert count_changes(found) == {"add": add, "change": change, "destroy": destroy}


@pytest.mark.parametrize("broken", [{"resource_changes": [{}]}, {"resource_changes": [{"change": None}]}])
def test_what_is_no_plan_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        count_changes(broken)
