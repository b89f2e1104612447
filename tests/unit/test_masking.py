"""Secrets in what people read (docs/failures.md 38)."""

import json
import time

import pytest

from iacq.domain import masking, terraform_events
from iacq.domain.masking import Masking

PEM = """-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC
BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj
ab=
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("hunter2", "it is hunter2, hunter2hunter2", "it is ***, ***"),
        ("hunter2", "hunter3", "hunter3"),
        ("abc", "abc", "abc"),
        ('pa"ss\\word', 'as JSON "pa\\"ss\\\\word"', 'as JSON "***"'),
        ('pa"ss\\word', json.dumps({"a": json.dumps({"b": 'pa"ss\\word'})}), '{"a": "{\\"b\\": \\"***\\"}"}'),
        ("a<b&c>d", "as Go has it: a\\u003cb\\u0026c\\u003ed", "as Go has it: ***"),
        ("pässwörd", json.dumps("pässwörd"), '"***"'),
        ("pässwörd", "pässwörd", "***"),
        ("cost${5}", "in HCL: cost$${5}", "in HCL: ***"),
        ("it's me", "-var='x=it'\"'\"'s me'", "-var='x=***'"),
        (PEM, PEM, "***"),
        (PEM, json.dumps({"pem": PEM}), '{"pem": "***"}'),
        (PEM, "  MIIEvQIBADANBgkqhkiG9w0BAQEFAASC  ab=", "  ***  ab="),
        ('{"user": "name", "list": ["one-secret", "x"]}', "one-secret of name, user x", "*** of ***, user x"),
        ('{ token = "t0ken-1", "other" = "a\\nb\\"cd" }', 't0ken-1 b"cd token other', "*** *** token other"),
        ('["abcd", "efgh"]', "abcdefgh", "***"),
    ],
)
def test_every_way_of_writing_it(secret: str, text: str, shown: str) -> None:
    assert Masking([secret]).text(text) == shown


def test_overlapping_secrets_leave_no_end_of_either() -> None:
    hide = Masking(["abcdef", "defghi", "cdef", "hijklm"])
    assert hide.text("--abcdefghijklm--") == "--***--"
    assert hide.text("abcdef hijklm") == "*** ***"


def test_values_are_masked_and_names_are_not() -> None:
    given = {"hunter2": ["hunter2", {"a": "x hunter2 y", "n": 3, "no": None}]}
    assert Masking(["hunter2"]).value(given) == {"hunter2": ["***", {"a": "x *** y", "n": 3, "no": None}]}


def test_nothing_and_everything() -> None:
    assert masking.NOTHING.text("hunter2") == "hunter2"
    assert masking.EVERYTHING.text("hunter2\n") == "***"
    assert masking.EVERYTHING.text(" ") == " "
    assert [bool(one) for one in (masking.NOTHING, masking.EVERYTHING, Masking(["hunter2"]))] == [False, True, True]


def test_many_secrets_and_short_texts() -> None:
    hide = Masking([f"secret-number-{number}" for number in range(500)])
    assert hide.text("the secret-number-77!") == "the ***!"
    assert hide.text("abc") == "abc"


@pytest.mark.parametrize("text", ["x" * 10_000_000, "A" * 10_000_000, "MIIEvQIB" * 1_250_000, "ab" * 5_000_000])
def test_10_mb_take_seconds_at_most(text: str) -> None:
    hide = Masking([PEM, "A" * 50, "abab" * 10 + "c"])
    began = time.process_time()
    hide.text(text)
    assert time.process_time() - began < 10


def shown(line: str | bytes, *secrets: str) -> str:
    return str(terraform_events.render(terraform_events.parse(line, Masking(secrets))))


def test_text_is_masked_before_it_is_shortened() -> None:
    secret = "s3cret-" * 10
    line = "x" * (terraform_events.MAX_TEXT - 20) + secret + "y" * 1000
    assert "s3cret" not in shown(line, secret)
    assert "***" in shown(line, secret)


def test_half_a_secret_at_the_end_of_a_line_without_measure_is_not_shown() -> None:
    secret = "s3cret-" * 1000
    cut = terraform_events.MAX_TEXT * 8
    line = secret.encode() * (cut // len(secret) + 1)
    assert len(line) > cut
    line += b"x" * (terraform_events.MAX_JSON + 1 - len(line))
    text = terraform_events.parse(line, Masking([secret])).message
    assert "s3cret" not in text


def test_an_event_is_masked_where_it_is_shown_and_outputs_stay() -> None:
    secret = 'correct "horse" battery staple that is longer than a line of a terminal so that it is broken there'
    said = {"severity": "error", "summary": "Bad", "detail": f"not {secret}"}
    line = json.dumps({"@message": f"Error: {secret}", "type": "diagnostic", "diagnostic": said})
    event = terraform_events.parse(line, Masking([secret]))
    assert event.message == "Error: ***"
    assert terraform_events.first_error([event]).endswith("not ***")
    assert "horse" not in shown(line, secret)
    kept = {"password": {"value": secret, "type": "string", "sensitive": False}}
    progress = terraform_events.Progress()
    progress.update(
        terraform_events.parse(
            json.dumps({"@message": f"Outputs: {secret}", "type": "outputs", "outputs": kept}), Masking([secret])
        )
    )
    assert progress.outputs == kept


def test_what_terraform_says_of_itself_is_understood_whatever_is_secret() -> None:
    hide = Masking(["apply_complete", "info"])
    event = terraform_events.parse('{"@message": "done", "@level": "info", "type": "apply_complete"}', hide)
    assert (event.kind, event.level) == ("apply_complete", "info")
