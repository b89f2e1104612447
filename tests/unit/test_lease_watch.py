from iacq.domain.run import Status
from iacq.services.recovering import LeaseWatch
from tests import samples

APART = 20.0
RUN = samples.run(Status.PLANNING, fence=3, lease_until=1000)


def test_two_looks_apart() -> None:
    watch = LeaseWatch()
    assert watch.confirmed([RUN], 100.0, APART) == []
    assert watch.confirmed([RUN], 119.9, APART) == []
    assert watch.confirmed([RUN], 120.0, APART) == [RUN]
    assert watch.confirmed([RUN], 121.0, APART) == [RUN]


def test_never_at_the_first_look() -> None:
    assert LeaseWatch().confirmed([RUN], 1e9, APART) == []


def test_another_fence_or_lease_begins_anew() -> None:
    for changed in ({"fence": 4}, {"lease_until": 2000}):
        watch = LeaseWatch()
        other = samples.run(Status.PLANNING, **{"fence": 3, "lease_until": 1000, **changed})
        watch.confirmed([RUN], 0.0, APART)
        assert watch.confirmed([other], 30.0, APART) == []
        assert watch.confirmed([other], 49.0, APART) == []
        assert watch.confirmed([other], 50.0, APART) == [other]


def test_a_lease_that_was_renewed_meanwhile_begins_anew() -> None:
    watch = LeaseWatch()
    watch.confirmed([RUN], 0.0, APART)
    watch.confirmed([], 10.0, APART)
    assert watch.confirmed([RUN], 30.0, APART) == []


def test_runs_are_watched_one_by_one() -> None:
    other = samples.run(Status.APPLYING, id=2, fence=1, lease_until=5)
    watch = LeaseWatch()
    watch.confirmed([RUN], 0.0, APART)
    assert watch.confirmed([RUN, other], 20.0, APART) == [RUN]
    assert watch.confirmed([RUN, other], 40.0, APART) == [RUN, other]


def test_after_an_error_of_the_database_everything_begins_anew() -> None:
    watch = LeaseWatch()
    watch.confirmed([RUN], 0.0, APART)
    watch.forget()
    assert watch.confirmed([RUN], 30.0, APART) == []
    assert watch.confirmed([RUN], 50.0, APART) == [RUN]
