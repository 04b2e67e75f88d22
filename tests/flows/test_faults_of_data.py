"""Tables that cannot be trained on, and what each of them is told at the front door."""

from __future__ import annotations

import gzip
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.program import keepfit
from tests.receivers import http_receiver
from tests.tables import FAST, write_churn
from tests.unit.dashboard.pages import Page


def rows(path: Path) -> list[str]:
    return write_churn(path, rows=120).read_text(encoding="utf-8").splitlines()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def header_only(path: Path) -> None:
    path.write_text(rows(path)[0] + "\n", encoding="utf-8")


def one_row(path: Path) -> None:
    path.write_text("\n".join(rows(path)[:2]) + "\n", encoding="utf-8")


def one_class(path: Path) -> None:
    path.write_text("\n".join(rows(path)).replace(",No", ",Yes") + "\n", encoding="utf-8")


def no_label(path: Path) -> None:
    lines = rows(path)
    cut = [lines[0], *(line.rsplit(",", 1)[0] + "," for line in lines[1:])]
    path.write_text("\n".join(cut) + "\n", encoding="utf-8")


def ragged(path: Path) -> None:
    lines = rows(path)
    lines[7] += ",surplus,fields"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def zeros(path: Path) -> None:
    path.write_bytes(b"\0" * 5000)


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (empty, {2, 3}, "rows.csv"),
        (header_only, {2, 3}, "rows"),
        (one_row, {2, 3}, "row"),
        (one_class, {3}, "Churned?"),
        (no_label, {3}, "Churned?"),
        (ragged, {2}, "line 8"),
        (garbage, {2, 3}, "rows.csv"),
        (zeros, {2, 3}, "rows.csv"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_csv_that_cannot_be_used_is_refused_with_its_reason(
    tmp_path: Path, spoil: Callable[[Path], None], status: set[int], words: str
) -> None:
    spoil(tmp_path / "rows.csv")

    ran = keepfit("init", "mine", "--data", "rows.csv", "--target", "Churned?", cwd=tmp_path)

    assert ran.status in status, ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "mine" / "keepfit.yaml").exists()


def test_a_compressed_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    line = b"1,2\n"
    with gzip.open(tmp_path / "rows.csv.gz", "wb") as file:
        file.write(b"a,y\n")
        for _ in range(200):
            file.write(line * 50_000)
    (tmp_path / "keepfit.yaml").write_text(
        "name: a\ntarget: y\nsource: {kind: csv, path: rows.csv.gz, max_bytes: 1000000}\n"
    )

    ran = keepfit("contract", "infer", cwd=tmp_path)

    assert ran.status == 2, ran.err
    assert "max_bytes" in ran.err


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_parquet_file_is_refused_by_name(tmp_path: Path, share: float) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"x": list(range(5000)), "y": [0, 1] * 2500}), whole)
    data = whole.read_bytes()
    (tmp_path / "rows.parquet").write_bytes(data[: int(len(data) * share)])

    ran = keepfit("init", "mine", "--data", "rows.parquet", "--target", "y", cwd=tmp_path)

    assert ran.status == 2
    assert "rows.parquet" in ran.err
    assert "Traceback" not in ran.err


def test_a_leak_is_said_loudly(tmp_path: Path) -> None:
    lines = write_churn(tmp_path / "rows.csv", rows=300).read_text(encoding="utf-8").splitlines()
    leaky = [lines[0] + ",refund", *(f"{x},{100 if x.endswith('Yes') else 0}" for x in lines[1:])]
    (tmp_path / "rows.csv").write_text("\n".join(leaky) + "\n", encoding="utf-8")

    ran = keepfit("init", "mine", "--data", "rows.csv", "--target", "Churned?", cwd=tmp_path)

    assert ran.status == 0, ran.err
    said = " ".join(ran.out.split())
    assert "refund" in said
    assert "leak" in said
    assert "exclude" in said


@pytest.mark.parametrize(
    "payload",
    [
        "../../etc",
        "a; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "{{7*7}}",
        "%s%n",
        "\x1b[2J",
    ],
)
def test_a_hostile_name_on_the_command_line_runs_nothing(tmp_path: Path, payload: str) -> None:
    write_churn(tmp_path / "rows.csv", rows=40)

    ran = keepfit("init", "mine", "--data", "rows.csv", "--target", payload, cwd=tmp_path)

    assert ran.status == 2
    assert "Traceback" not in ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv"]


STEERING = (
    "fee\x1b[2K\x1b[1A\x1b[32m", "pay\nPromoted: v9 is champion", "bel\x07\x08\x9b31m",
    "bidi\u202egnp.exe\u2066", "<script>x()</script><img src=x onerror=y()>",
    "[x](javascript:z()) **b** `c` <!channel> @everyone",
)  # fmt: skip


def steers(text: str) -> set[str]:
    kinds = {"Cc", "Cf", "Zl", "Zp", "Cs"}
    return {mark for mark in text if mark != "\n" and unicodedata.category(mark) in kinds}


@pytest.mark.slow
def test_hostile_names_and_values_act_in_no_terminal_page_or_message(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {name: rng.normal(50, 15, 500) for name in STEERING}
    table["plan\x1b]0;owned\x07"] = rng.choice(["basic\x1b[31m", "<b>plus</b>", "pro\n2"], 500)
    label = table[STEERING[0]] + rng.normal(0, 8, 500) > 55
    table["y"] = np.where(label, "Yes\x1b[5m", "No<i>")
    table["id\u202e"] = [f"i{number}\x1b[2J" for number in range(500)]
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    words = ("init", tmp_path / "p", "--data", tmp_path / "rows.parquet", "--target", "y")
    with http_receiver() as hook:
        ran = [keepfit(*words, "--id", "id\u202e")]
        with (tmp_path / "p" / "keepfit.yaml").open("a", encoding="utf-8") as file:
            file.write(f"alerts: [{hook.apprise()!r}]\n")
        edited = tmp_path / "p" / "keepfit.yaml"
        text = edited.read_text("utf-8").replace("training:", "training: {budget: 60s, cv: 2, "
            "candidates: [logistic_regression, decision_tree]}\n#", 1)  # fmt: skip
        edited.write_text(text if "cv: 2" in text else text + FAST, encoding="utf-8")
        ran += [keepfit(word, tmp_path / "p") for word in ("run", "score", "status", "why")]
        messages = [request.json for request in hook.received]

    assert [one.status for one in ran] == [0] * 5, [one.err for one in ran]
    for one in ran:
        assert steers(one.out + one.err) == set()
        assert "Promoted: v9" not in {line.strip()[:12] for line in one.out.splitlines()}
    assert messages
    for message in messages:
        assert steers("".join(str(value) for value in message.values())) <= {"\u200b"}
    pages = [path for path in (tmp_path / "p").rglob("*.html") if "reports" in path.parts
             or "contracts" in path.parts or "dashboard" in path.parts]  # fmt: skip
    assert len(pages) >= 3
    for path in pages:
        page = Page(path.read_text("utf-8"))
        assert page.handlers == [], path
        assert "x" not in page.links, path
        assert not any(link.lower().startswith("javascript") for link in page.links), path
