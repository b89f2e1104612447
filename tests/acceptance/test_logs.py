"""Logs are there while terraform runs, and after; whatever it prints does no harm."""

from iacq.domain.run import Status
from tests.acceptance import configurations
from tests.acceptance.conftest import on_both
from tests.acceptance.system import System
from tests.waiting import wait_until

WILD = """
if [ "$1" = plan ]; then
  head -c 10000000 /dev/zero | tr '\\0' x; echo
  printf 'binary: \\377\\376\\001\\000 and on\\n'
  "$REAL" "$@"; code=$?
  printf 'no newline at the end'
  exit $code
fi
"""


@on_both
def test_lines_are_seen_before_the_end_and_a_reader_can_resume(system: System, tmp_path, gate):
    system.workspace("live", configurations.write(tmp_path / "live", gate.configuration(after="echo after the gate")))
    run = system.plan("live")
    system.confirm(run)
    gate.reached()
    wait_until(lambda: "terraform_data.first: Creation complete" in system.log(run, "apply"), 5, "a line of the apply")
    assert system.client.get(run.id).status is Status.APPLYING
    seen = list(system.client.logs(run.id, phase="apply"))
    gate.open()
    more = list(system.client.logs(run.id, phase="apply", offset=seen[-1].offset, follow=True))
    assert system.client.get(run.id).status is Status.APPLIED
    assert any("after the gate" in line.text for line in more)
    everything = list(system.client.logs(run.id, phase="apply"))
    assert [line.text for line in seen + more] == [line.text for line in everything]
    assert [line.offset for line in everything] == sorted({line.offset for line in everything})
    middle = everything[len(everything) // 2]
    rest = list(system.client.logs(run.id, phase="apply", offset=middle.offset))
    assert rest == everything[len(everything) // 2 + 1 :]


@on_both
def test_wild_output_does_no_harm(system: System, tmp_path):
    """docs/failures.md 31: 10 MB without a newline, bytes that are no text, no newline at the end."""
    system.workspace("wild", configurations.write(tmp_path / "wild", configurations.COUNTED))
    system.spy.hook(WILD)
    run = system.plan("wild")
    assert (run.status, run.error_text) == (Status.APPLY_PENDING, None)
    log = system.log(run, "plan")
    assert "x" * 1000 in log
    assert "binary: " in log
    assert " and on" in log
    assert "no newline at the end" in log
    system.spy.restore()
    system.confirm(run)
    assert system.wait(run).status is Status.APPLIED


def test_the_words_of_terraform_come_through(system: System, tmp_path):
    system.workspace("words", configurations.write(tmp_path / "words", configurations.COUNTED))
    run = system.apply("words", variables={"size": 2})
    log = system.log(run)
    for said in (
        "Plan: 2 to add, 0 to change, 0 to destroy.",
        "terraform_data.it[0] will be created",
        "Apply complete!",
    ):
        assert log.count(said) == 1, said
    assert {line.phase for line in system.client.logs(run.id)} == {"plan", "apply"}
