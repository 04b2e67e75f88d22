from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from tasks.monitoring.alerts.apprise_channel import Delivery, send
from tasks.monitoring.alerts.messages import Message
from tests.ports import free_port
from tests.receivers import http_receiver, mail_receiver

CANARY = "c4n4ry53cr3t"
MESSAGE = Message(
    title="flights: drift in 3 of 15 columns, retraining",
    text="What: `distance` moved\nNext: nothing",
    markdown="**What** `distance` moved",
    level="warning",
)


def test_a_webhook_gets_title_and_text() -> None:
    with http_receiver() as receiver:
        delivery = send([receiver.apprise("/services/T000/B000/XXXX")], MESSAGE)

    assert delivery == Delivery(sent=1, failed=0)
    (request,) = receiver.received
    assert request.path == "/services/T000/B000/XXXX"
    assert request.json["title"] == MESSAGE.title
    assert request.json["message"] == MESSAGE.text
    assert request.json["type"] == "warning"


def test_a_channel_that_takes_markdown_gets_markdown() -> None:
    with http_receiver() as receiver:
        delivery = send([receiver.apprise("/hook?format=markdown")], MESSAGE)

    assert delivery.sent == 1
    assert receiver.received[0].json["message"] == MESSAGE.markdown


def test_a_mail_arrives_with_subject_and_text() -> None:
    with mail_receiver() as receiver:
        delivery = send([receiver.apprise("ops@example.org")], MESSAGE)

    assert delivery == Delivery(sent=1, failed=0)
    (mail,) = receiver.received
    assert mail["Subject"] == MESSAGE.title
    assert mail["To"] == "ops@example.org"
    body = mail.get_body(("plain",))
    assert body is not None
    assert "`distance` moved" in body.get_content()


def test_a_mail_server_that_cannot_do_what_the_address_asks_is_asked_once() -> None:
    with mail_receiver() as receiver:
        delivery = send(
            [f"{receiver.apprise()}&mode=starttls", receiver.apprise(user=f"me:{CANARY}")], MESSAGE
        )

    assert delivery.reasons == (
        "channel 1 mailto://127.0.0.1: it offers no TLS",
        "channel 2 mailto://127.0.0.1: it does not support login",
    )
    assert receiver.received == []


def test_each_channel_counts_on_its_own() -> None:
    dead = f"json://127.0.0.1:{free_port()}/{CANARY}"
    with http_receiver() as good, http_receiver([404]) as gone, http_receiver([302]) as moved:
        delivery = send(
            [dead, good.apprise(), "nonsense", gone.apprise(), moved.apprise()], MESSAGE
        )

    assert (delivery.sent, delivery.failed) == (1, 4)
    assert delivery.reasons == (
        "channel 1 json://127.0.0.1: nothing listens there",
        "channel 3: not an address that Apprise knows",
        "channel 4 json://127.0.0.1: it answered 404",
        "channel 5 json://127.0.0.1: it answered 302",
    )
    assert len(gone.received) == 1
    assert [request.path for request in moved.received] == ["/hook"]


def test_a_passing_fault_is_tried_again() -> None:
    with http_receiver([500, 503]) as receiver:
        delivery = send([receiver.apprise()], MESSAGE)

    assert delivery == Delivery(sent=1, failed=0)
    assert len(receiver.received) == 3


@pytest.mark.slow
def test_a_fault_that_stays_ends_the_tries() -> None:
    with http_receiver([500] * 9) as receiver:
        delivery = send([receiver.apprise()], MESSAGE)

    assert delivery.reasons == ("channel 1 json://127.0.0.1: it answered 500",)
    assert len(receiver.received) == 3


def test_a_channel_that_never_answers_is_left_and_not_asked_again() -> None:
    with http_receiver(hang=True) as hanging, http_receiver() as good:
        started = time.monotonic()
        delivery = send([hanging.apprise(), good.apprise()], MESSAGE, timeout=3)
        assert time.monotonic() - started < 300  # the receiver itself would hold it for 600 s

    assert (delivery.sent, delivery.failed) == (1, 1)
    assert "no answer" in delivery.reasons[0]
    assert len(hanging.received) == 1


BAD = [
    f"slack://{CANARY}", f"tgram://{CANARY}", f"{CANARY}://x", CANARY, f"discord://{CANARY}",
    f"json://user:{CANARY}@[", f"mailto://{CANARY}", "", "://", "\udcff", f"json://{CANARY}:x/",
    f"json://127.0.0.1:1/{CANARY}?-k={CANARY}&+h={CANARY}",
    f"xml://{CANARY}:{CANARY}@127.0.0.1:1/", f"ntfy://{CANARY}@127.0.0.1:1/t",
]  # fmt: skip


def test_no_address_makes_it_raise_or_shows_its_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)

    delivery = send(BAD, MESSAGE, timeout=3)

    assert (delivery.sent, delivery.failed) == (0, len(BAD))
    assert CANARY not in delivery.model_dump_json()
    assert CANARY not in caplog.text
    assert CANARY not in "".join(capfd.readouterr())


def test_a_secret_that_works_stays_out_of_logs_and_arguments(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with http_receiver(hang=True) as receiver:
        import threading

        url = receiver.apprise(f"/{CANARY}")
        sending = threading.Thread(target=send, args=([url], MESSAGE), kwargs={"timeout": 60})
        sending.start()
        while not receiver.received:
            time.sleep(0.02)
        commands = [_command(p) for p in Path("/proc").iterdir() if p.name.isdigit()]
    sending.join()

    assert any("tasks.monitoring.alerts.apprise_channel" in command for command in commands)
    assert not any(CANARY in command for command in commands)
    assert CANARY not in caplog.text
    assert list(tmp_path.iterdir()) == []


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_no_channel_is_nothing_to_do() -> None:
    assert send([], MESSAGE) == Delivery(sent=0, failed=0)
