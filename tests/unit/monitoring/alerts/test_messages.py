from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.monitoring_records import Decision, DecisionKind, Gain, PolicyDecision
from tasks.monitoring.alerts.messages import Message, message_of
from tasks.policy.gain_sentences import gain_sentence
from tests.unit.monitoring.decisions import ASKED, decision, drifted, monitored, week

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!channel> <@U024BE7LH>",
    "@everyone",
    "`code` **bold** _it_ [go](http://evil.example/x)",
    "line\nbreak\r\x00\x1b[31m",
    "\u202egnp.exe",
    "é" * 500,
    "",
]


def told(made: Decision, *related: Decision, **given: str) -> Message:
    message = message_of(made, related, **given)
    assert message is not None
    return message


def test_an_alarm_says_what_moved_how_much_since_when_and_what_is_done() -> None:
    alarm = decision("alarmed", ASKED, window=week(2))
    pass_ = monitored(2, drifted("distance", 0.3), drifted("dest", missing=0.6), drifted("origin"))

    message = told(alarm, pass_, monitored(1), monitored(0, alarm=False))

    assert message.title == "flights: drift in 3 of 15 columns, retraining"
    assert "3 of 15 columns moved in 2026-01-19..2026-01-26" in message.text
    assert "- `distance` (0.31, usual up to 0.12)" in message.text
    assert "60 % missing, was 0 %" in message.text
    assert "Since: 2026-01-12 00:00 UTC, 2 windows in a row." in message.text
    assert "`roc_auc` 0.61 (0.58 to 0.64) realised, 0.691 on its holdout" in message.text
    assert "requested a training" in message.text
    assert "Next: nothing to do now" in message.text
    assert message.level == "warning"


def test_an_alarm_that_nothing_answers_names_the_command_that_trains() -> None:
    alarm = decision("alarmed", {"retrain": True}, window=week(0))

    message = told(alarm, monitored(0, drifted("distance")), file="mine/keepfit.yaml")

    assert message.title == "flights: drift in 1 of 15 columns, a training is due"
    assert "decision is reported" not in message.text
    assert "keepfit run mine" in message.text


def test_the_most_important_columns_come_first_and_the_rest_are_counted() -> None:
    columns = [drifted(f"c{i}", importance=i / 10) for i in range(9)]

    message = told(decision("alarmed", ASKED, window=week(0)), monitored(0, *columns))

    assert message.text.index("`c8`") < message.text.index("`c4`")
    assert "`c3`" not in message.text
    assert "and 4 more" in message.text


@pytest.mark.parametrize(
    ("withheld", "words"),
    [
        ("cooldown", "waits: cooldown"),
        ("persistence", "waits: another window"),
        ("rows", "waits: new rows"),
        ("running", "a training is already running"),
        ("not asked", "not retraining"),
    ],
)
def test_an_alarm_without_a_training_says_what_it_waits_for(withheld: str, words: str) -> None:
    policy = PolicyDecision(
        retrain=False, withheld=withheld, sentence="Waits: three days are left."
    )
    pass_ = monitored(0, drifted("distance"), policy=policy)

    message = told(decision("alarmed", {"retrain": False}, window=week(0)), pass_, file="my file")

    assert message.title == f"flights: drift in 1 of 15 columns, {words}"
    assert "keepfit: waits: three days are left. The champion scores on." in message.text
    assert "`keepfit run 'my file'`" in message.text


def test_an_alarm_of_an_earlier_window_says_that_the_newest_calls_for_nothing() -> None:
    policy = PolicyDecision(
        retrain=False, withheld="not asked",
        sentence="Trains nothing: nothing in the last window calls for it.",
    )  # fmt: skip
    alarm = decision(
        "alarmed", {"retrain": False, "policy": policy.model_dump(mode="json")}, window=week(0)
    )

    message = told(alarm, monitored(0, drifted("distance")), monitored(1, alarm=False))

    assert message.title == (
        "flights: drift in 1 of 15 columns in an earlier window, not retraining"
    )
    assert f"{week(1)}, looked at in the same pass, needs no action" in message.text
    assert "nothing in the last window" not in message.text


def test_what_a_window_came_to_is_told_to_its_end() -> None:
    sentence = f"Rmse 88.6 where labels are known{', and so on' * 25}: worse than is ordinary."
    alarm = decision("alarmed", {"retrain": True}, sentence=sentence, window=week(0))

    assert sentence in told(alarm).text


def test_worse_performance_stands_in_the_title() -> None:
    alarm = decision("alarmed", ASKED, window=week(0))

    assert told(alarm, monitored(0, worse=True)).title == "flights: worse roc_auc, retraining"


def test_one_alarm_tells_of_all_windows_of_a_pass_that_called_for_it() -> None:
    triggers = [{"window": week(n).model_dump(mode="json"), "by": "drift"} for n in range(6)]
    alarm = decision("alarmed", {"retrain": False, "triggers": triggers}, window=week(5))

    message = told(alarm, monitored(5, drifted("distance")))

    assert "5 earlier windows" in message.text
    assert str(week(4)) in message.text
    assert str(week(0)) not in message.text


def test_the_newest_of_several_broken_windows_tells_of_the_others() -> None:
    stops = [decision("stopped", {"flow": "monitoring"}, window=week(n), id=f"{n}") for n in (0, 1)]

    message = told(stops[1], *stops)

    assert "1 earlier window" in message.text
    assert str(week(0)) in message.text


def test_an_alarm_alone_is_told_with_what_it_holds() -> None:
    alarm = decision("alarmed", {**ASKED, "columns": ["distance", {"column": "dest"}]})

    message = told(alarm)

    assert message.title == "flights: drift, retraining"
    assert "`distance`" in message.text
    assert "`dest`" in message.text


def test_broken_rules_are_named_and_counted() -> None:
    rules = [f"c{i}: nulls: expected at most 2 %; found 40 %" for i in range(9)]
    rules[1] = f"c1: scale: {'expected a size ' * 8}; found 57,100"
    evidence = {
        "rules": rules,
        "rules_broken": 19,
        "flow": "scoring",
        "page": "/state/my contract.html",
    }

    message = told(decision("stopped", evidence), file="deploy/pipelines/flights.yaml")

    assert message.title == "flights: 19 contract rules broken, nothing scored"
    assert "`c0: nulls: expected at most 2 %; found 40 %`" in message.text
    assert "found 57,100`" in message.text
    assert "- and 13 more" in message.text
    assert "Page: /state/my contract.html\n" in message.text
    assert "`keepfit score deploy/pipelines/flights.yaml`" in message.text
    assert message.level == "failure"


@pytest.mark.parametrize(
    ("flow", "words"), [("training", "nothing trained"), ("monitoring", "window not judged")]
)
def test_a_stop_says_what_was_not_done(flow: str, words: str) -> None:
    assert words in told(decision("stopped", {"rules": ["x"], "flow": flow})).title


def test_a_promotion_says_by_how_much_and_how_to_go_back() -> None:
    evidence = {"former": "3", "difference": 0.0213, "interval": [0.01, 0.03], "by": "gate"}

    message = told(decision("promoted", evidence, version="4"), file="f.yaml")

    assert message.title == "flights: version 4 is champion, replaces 3"
    assert "difference 0.0213 (0.01 to 0.03)" in message.text
    assert "`keepfit rollback f.yaml`" in message.text


def test_a_comparison_that_the_budget_cut_short_says_what_is_missing_and_how_to_complete_it() -> (
    None
):
    evidence = {"former": "3", "difference": 0.01, "skipped": ["mlp", "<!channel>"], "by": "gate"}
    made = decision("promoted", version="4", evidence=evidence)
    text = told(made, decision("alarmed")).text
    assert "before mlp, ‹!channel›" in text
    assert "keepfit run" in text
    whole = decision("promoted", version="4", evidence={**evidence, "skipped": []})
    assert "budget" not in told(whole, decision("alarmed")).text


def test_what_a_person_did_is_said_to_be_by_hand() -> None:
    for kind in ("promoted", "rolled_back"):
        assert "by hand" in told(decision(kind, {"by": "hand"}, version="4")).text


def test_a_refusal_is_told_only_after_an_alarm() -> None:
    refused = decision("refused", {"former": "3"}, version="4")
    by_schedule = decision("trained", {"cause": {"kind": "schedule"}})
    of_another = decision("alarmed", correlation="b" * 32)

    assert message_of(refused) is None
    assert message_of(refused, [by_schedule, of_another]) is None
    for behind in (decision("alarmed"), decision("trained", {"cause": {"kind": "alarm"}})):
        message = told(refused, behind)
        assert message.title == "flights: retrained after the alarm, version 3 stays champion"


def upkeep(weighed: str, by: str = "gain") -> Decision:
    policy = PolicyDecision(retrain=True, reasons=(), sentence="Retrain.", weighed=weighed)  # type: ignore[arg-type]
    evidence = {
        **ASKED, "triggers": [{"window": week(0).model_dump(mode="json"), "by": by}],
        "policy": policy.model_dump(mode="json"),
    }  # fmt: skip
    return decision("alarmed", evidence, window=week(0))


def test_a_refit_because_the_champion_ages_is_told_of_by_what_became_of_it() -> None:
    refused = decision("refused", {"former": "3"}, version="4")
    promoted = decision("promoted", {"former": "3"}, version="4")

    assert message_of(upkeep("ages")) is None
    assert message_of(refused, [upkeep("ages")]) is None
    assert message_of(promoted, [upkeep("ages")]) is not None
    for alarm in (upkeep("pays"), upkeep("ages", by="drift")):
        assert message_of(alarm) is not None
        assert message_of(refused, [alarm]) is not None


def test_a_skip_is_told_only_to_who_asked_by_hand() -> None:
    skipped = {"withheld": "running", "cause": {"kind": "manual"}}

    assert told(decision("skipped", skipped)).title == (
        "flights: not trained, a training is already running"
    )
    assert message_of(decision("skipped", {**skipped, "cause": {"kind": "schedule"}})) is None


def test_a_training_that_nothing_calls_for_any_more_leaves_nothing_to_do() -> None:
    alarm = decision("alarmed", ASKED, window=week(0))
    skipped = {"withheld": "not asked", "cause": {"kind": "alarm"}}
    message = told(decision("skipped", skipped), alarm)

    assert message.title == "flights: not trained, no longer called for"
    assert "nothing to do" in message.text


@pytest.mark.parametrize(
    ("state", "words"),
    [("Failed", "failed"), ("Crashed", "crashed"), ("Running", "seems stuck"), ("", "failed")],
)
def test_a_failed_run_is_told_with_its_next_step(state: str, words: str) -> None:
    evidence = {"flow": "training", "state": state, "message": "the store is locked"}

    message = told(decision("failed", evidence, prefect_run="1f2e"), file="f.yaml")

    assert message.title == f"flights: training {words}"
    assert "the store is locked" in message.text
    assert "Prefect run `1f2e`" in message.text
    assert "`keepfit run f.yaml`" in message.text


def test_a_dead_run_says_whether_it_was_started_again() -> None:
    since = "2026-01-01T18:51:01.285225+00:00"
    again = told(decision("reaped", {"flow": "scoring", "since": since, "again": True}))
    ended = told(decision("reaped", {"flow": "scoring", "again": False}))

    assert again.title == "flights: scoring had died, started again"
    assert "since 2026-01-01 18:51 UTC." in again.text
    assert "`keepfit score`" in ended.text


@pytest.mark.parametrize("kind", ["scored", "monitored", "trained", "confirmed", "alerted"])
def test_what_needs_nobody_is_not_told(kind: DecisionKind) -> None:
    assert message_of(decision(kind)) is None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_acts_in_no_channel(name: str) -> None:
    alarm = decision("alarmed", ASKED, window=week(0), sentence=name)
    stopped = decision("stopped", {"rules": [name], "flow": name, "page": name})

    for message in (told(alarm, monitored(0, drifted(name))), told(stopped)):
        for text in (message.title, message.text, message.markdown):
            assert "<" not in text
            assert ">" not in text
            assert "@everyone" not in text
            assert "http://evil" not in text
            assert "\x1b" not in text
            assert "\u202e" not in text
            assert "\x02" not in text
        assert "[go](" not in message.markdown.replace("`" + message.markdown.split("`")[1], "")
        assert "\n" not in message.title
        assert message.markdown.count("`") % 2 == 0
        assert len(message.text) < 1900


def test_only_keepfit_s_own_marks_act_in_markdown() -> None:
    message = told(decision("failed", {"flow": "x", "message": "a_b *c* [d](e) `f` | ~g~ \\"}))

    assert r"a\_b \*c\* \[d\](e) 'f' \| \~g\~ \\" in message.markdown


@pytest.mark.parametrize("kind", get_args(DecisionKind))
@given(name=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True), what=st.text())
def test_a_title_is_one_line_of_at_most_80_characters(
    kind: DecisionKind, name: str, what: str
) -> None:
    evidence = {"cause": {"kind": "manual"}, "flow": what, "former": what, "withheld": what}
    made = decision(kind, evidence, pipeline=name, version=what)

    message = message_of(made, [decision("alarmed")])

    if message is not None:
        assert len(message.title) <= 80
        assert len(message.title.splitlines()) == 1
        assert message.title.startswith(name[:7])


def test_no_secret_passes_even_where_it_would_be_cut_or_escaped() -> None:
    secret = "s3_cr*t" * 40
    evidence = {
        "retrain": True, "columns": [secret], "rules": [secret], "flow": f"x{secret}",
        "message": f"{'long ' * 55}{secret}", "page": secret,
    }  # fmt: skip
    links = {"report": f"http://127.0.0.1/{secret}"}

    for kind in ("alarmed", "stopped", "failed", "promoted"):
        made = decision(kind, evidence, sentence=secret, links=links)
        message = message_of(made, secrets=[secret])
        assert message is not None
        assert "s3" not in message.model_dump_json()


def test_links_lose_their_credentials_and_strange_ones_are_left_out() -> None:
    links = {
        "prefect": "https://me:pass@prefect.example/runs/1",
        "report": "/state/report.html",
        "bad": "javascript://x/%0aalert(1)",
    }

    message = told(decision("promoted", version="4", links=links))

    assert "[prefect](https://prefect.example/runs/1)" in message.markdown
    assert "report: /state/report.html" in message.text
    assert "me:pass" not in message.text + message.markdown
    assert "javascript" not in message.text + message.markdown


def test_evidence_of_any_shape_is_told_without_failing() -> None:
    strange = {
        "drift": {"columns": 3}, "performance": [None, {"metric": 1}], "policy": "yes",
        "columns": {"a": 1}, "triggers": [{"window": 4}],
        "rules": "x", "interval": [1], "difference": math.nan,
    }  # fmt: skip

    for kind in ("alarmed", "stopped", "promoted", "rolled_back", "failed", "reaped"):
        made = decision(kind, strange, window=week(0))
        assert told(made, decision("monitored", strange, window=week(0))).title


def gain(value: float, low: float, high: float) -> Gain:
    return Gain(
        version="3", metric="roc_auc", gain=value, low=low, high=high, refreshed=0.74,
        champion=0.70, rows=5402, rows_fitted=9000, rows_available=9000, family="lightgbm",
        windows=(week(1),),
    )  # fmt: skip


def test_a_gain_is_the_title_and_stands_first_with_how_it_was_measured() -> None:
    policy = PolicyDecision(retrain=True, by=("gain",), gain=gain(0.04, 0.03, 0.05), weighed="pays")
    alarm = decision("alarmed", {**ASKED, "policy": policy.model_dump(mode="json")}, window=week(2))

    message = told(alarm, monitored(2, drifted("distance")))

    assert message.title == "flights: retraining would bring 0.040 ROC AUC, training requested"
    assert message.text.startswith(
        "Gain: Retraining would bring 0.040 (0.030 to 0.050) ROC AUC on 5,402 labelled rows of "
        "2026-01-12..2026-01-19. lightgbm with the champion's settings, fitted on 9,000 rows"
    )
    three = gain(0.04, 0.03, 0.05).model_copy(update={"windows": (week(1), week(2), week(4))})
    assert "of 3 windows in 2026-01-12..2026-02-09" in gain_sentence(three, "pays")
    promoted = decision("promoted", {"former": "3"}, version="4")
    assert "retraining would bring 0.040" in told(promoted, alarm).text


def test_drift_where_retraining_would_not_help_says_so_and_does_not_contradict_itself() -> None:
    policy = PolicyDecision(
        retrain=False,
        by=("drift",),
        withheld="no gain",
        sentence="Does not train: drift in 2 of the last 3 windows, but …",
        gain=gain(-0.002, -0.01, 0.006),
        weighed="none",
    )
    alarm = decision("alarmed", {"policy": policy.model_dump(mode="json")}, window=week(2))

    message = told(alarm, monitored(2, drifted("distance"), policy=policy))

    assert message.title == "flights: drift in 1 of 15 columns, retraining would not help"
    assert "Retraining would not have helped: gain in ROC AUC -0.0020" in message.text
