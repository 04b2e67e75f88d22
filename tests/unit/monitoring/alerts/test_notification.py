from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import Ledger, ledger_of
from tasks.monitoring.alerts.apprise_channel import Delivery
from tasks.monitoring.alerts.notification import tell
from tasks.monitoring.alerts.redaction import secrets_of
from tests.ports import free_port
from tests.receivers import http_receiver, mail_receiver
from tests.unit.monitoring.decisions import ALARM, ASKED, decision, drifted, monitored, week

CANARY = "c4n4ry53cr3t"


def pipeline(folder: Path, *urls: str, extra: str = "", **environ: str) -> Pipeline:
    """A pipeline `flights` that alerts on `urls`, each from a variable of the environment."""
    names = {f"ALERT_{i}": url for i, url in enumerate(urls)}
    alerts = ", ".join(f'"${{{name}}}"' for name in names)
    (folder / "rows.csv").write_text("y\n1\n")
    (folder / "keepfit.yaml").write_text(
        f"name: flights\ntarget: y\nsource: {{kind: csv, path: rows.csv}}\nalerts: [{alerts}]\n"
        + extra
    )
    return load_pipeline(folder, {**names, **environ})


def records(ledger: Ledger) -> list[Decision]:
    return list(ledger.decisions("flights", kinds=("alerted", "unheard")))


def test_a_decision_is_told_once_and_recorded(tmp_path: Path) -> None:
    with http_receiver() as hook, mail_receiver() as mail:
        plan = pipeline(tmp_path, hook.apprise(), mail.apprise())
        ledger = ledger_of(plan)
        alarm = decision("alarmed", ASKED, window=week(1), prefect_run="run-1")
        for made in (monitored(0), monitored(1, drifted("distance")), alarm):
            ledger.record(made)
        first, second = tell(plan, alarm), tell(plan, alarm)

    assert first == Delivery(sent=2, failed=0)
    assert second is not None
    assert (second.sent, second.failed) == (0, 0)
    (request,) = hook.received
    assert request.json["title"] == "flights: drift in 1 of 15 columns, retraining"
    assert "2 windows in a row" in request.json["message"]
    assert [m["Subject"] for m in mail.received] == [request.json["title"]]
    (record,) = records(ledger)
    assert record.kind == "alerted"
    assert record.correlation == ALARM
    assert record.prefect_run == "run-1"
    assert record.evidence == {
        "of": alarm.id, "kind": "alarmed", "channels": 2, "failed": 0, "reason": "",
    }  # fmt: skip


def test_what_a_window_showed_goes_with_its_alarm(tmp_path: Path) -> None:
    alarm = decision("alarmed", ASKED, window=week(0))
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        ledger_of(plan).record(monitored(0, drifted("distance")))
        tell(plan, alarm)

    assert "`distance`" in hook.received[0].json["message"]


def test_without_channels_or_without_need_nothing_is_told(tmp_path: Path) -> None:
    with http_receiver() as hook:
        assert tell(pipeline(tmp_path), decision("promoted")) is None
        assert tell(pipeline(tmp_path, " "), decision("promoted")) is None
        assert tell(pipeline(tmp_path, hook.apprise()), decision("scored")) is None

    assert hook.received == []
    assert records(ledger_of(pipeline(tmp_path))) == []


def test_a_dead_channel_is_recorded_without_its_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plan = pipeline(tmp_path, f"json://me:{CANARY}@127.0.0.1:{free_port()}/hooks/{CANARY}")
    failed = decision("failed", {"flow": "training", "message": f"no {plan.secrets[0]}"})

    delivery = tell(plan, failed, timeout=3)

    assert delivery is not None
    assert delivery.reasons == ("channel 1 json://127.0.0.1: nothing listens there",)
    (record,) = records(ledger_of(plan))
    assert record.kind == "unheard"
    assert record.evidence["reason"] == delivery.reasons[0]
    assert "nothing listens there" in caplog.text
    assert CANARY not in caplog.text
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


def test_no_secret_of_the_file_leaves_in_a_message(tmp_path: Path) -> None:
    extra = (
        'scoring: {sink: {kind: sql, url: "postgresql://me:${WORD}@db/x", table: t}}\n'
        "ledger: {url: 'sqlite:///ledger.db?key=in%2Fthe%2Ffile'}\n"
    )
    texts = ["postgresql://me:s3%2Fcr%3Aet@db/x", "s3%2Fcr%3Aet", "s3/cr:et"]
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise(f"/{CANARY}"), extra=extra, WORD="s3%2Fcr%3Aet")
        texts += [hook.apprise(f"/{CANARY}"), "sqlite:///ledger.db?key=in/the/file"]
        message = "cannot reach " + " ".join(texts)
        tell(plan, decision("failed", {"flow": "scoring", "message": message}))

    body = hook.received[0].body.decode()
    assert "cannot reach" in body
    for secret in ("s3/cr", "s3%2Fcr", CANARY, "ledger.db"):
        assert secret not in body


def test_a_password_alone_is_a_secret_too(tmp_path: Path) -> None:
    plan = pipeline(tmp_path, "mailto://me:p%40ss@example.org")

    assert {"p%40ss", "p@ss", "mailto://me:p%40ss@example.org"} <= set(secrets_of(plan))


def test_one_channel_of_two_is_enough_to_be_heard(tmp_path: Path) -> None:
    with http_receiver() as hook, http_receiver([404]) as gone:
        plan = pipeline(tmp_path, gone.apprise(), hook.apprise())
        delivery = tell(plan, decision("promoted", version="4"))

    assert delivery is not None
    assert (delivery.sent, delivery.failed) == (1, 1)
    (record,) = records(ledger_of(plan))
    assert record.kind == "alerted"
    assert record.sentence.startswith("1 of 2 channels took")


def test_a_ledger_that_is_gone_stops_no_message_and_sends_it_once(tmp_path: Path) -> None:
    with http_receiver() as hook:
        plan = pipeline(
            tmp_path, hook.apprise(), extra='ledger: {url: "sqlite:////proc/gone/ledger.db"}\n'
        )
        first = tell(plan, decision("failed", {"flow": "training"}))
        second = tell(plan, decision("failed", {"flow": "training"}))

    assert first == Delivery(sent=1, failed=0)
    assert second is not None
    assert second.sent == 0
    assert len(hook.received) == 1


def test_what_was_told_while_the_ledger_was_gone_is_not_told_again(tmp_path: Path) -> None:
    with http_receiver() as hook:
        broken = pipeline(
            tmp_path, hook.apprise(), extra='ledger: {url: "sqlite:////proc/gone/ledger.db"}\n'
        )
        tell(broken, decision("promoted"))
        mended = pipeline(tmp_path, hook.apprise())
        tell(mended, decision("promoted"))

    assert len(hook.received) == 1


def test_a_folder_that_cannot_be_written_stops_no_message(tmp_path: Path) -> None:
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        shutil.rmtree(plan.state, ignore_errors=True)
        plan.state.write_text("a file where the folder should be")
        delivery = tell(plan, decision("promoted"))

    assert delivery == Delivery(sent=1, failed=0)


@pytest.mark.slow
def test_a_thousand_tells_from_four_processes_send_one_message(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tasks.base.pipeline_file import load_pipeline\n"
        "from tasks.monitoring.alerts.notification import tell\n"
        "from tests.unit.monitoring.decisions import decision\n"
        "plan = load_pipeline(Path(sys.argv[1]))\n"
        "made = decision('alarmed', {'retrain': True})\n"
        "told = [tell(plan, made) for _ in range(250)]\n"
        "print(sum(d.sent for d in told if d is not None))"
    )
    root = Path(__file__).parents[4]
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path)],
                env={**os.environ, "PYTHONPATH": str(root), "ALERT_0": hook.apprise()},
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        sent = [int(process.communicate()[0]) for process in running]

    assert sum(sent) == 1
    assert len(hook.received) == 1
    assert len(records(ledger_of(plan))) == 1


def test_threads_that_tell_at_once_send_one_message(tmp_path: Path) -> None:
    with http_receiver() as hook:
        plan = pipeline(tmp_path, hook.apprise())
        threads = [
            threading.Thread(target=tell, args=(plan, decision("promoted"))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(hook.received) == 1
