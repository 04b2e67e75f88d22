"""Hostile pipeline files and hostile words on the command line: refused, and nothing runs.

What the interpreter does is watched by an audit hook: a program started, a connection made, a file
opened for writing or a folder made while a file is refused counts as a failure, and so does a file
that a payload would have made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from flows.cli import main
from tasks.base.config import PipelineConfig
from tests.campaign.table import Options, Row
from tests.tables import write_churn

GOOD = "name: churn\ntarget: Churned?\nsource: {kind: csv, path: rows.csv}\n"
_ENTRIES = (
    ("config", "check"), ("run",), ("score",), ("monitor",), ("contract", "check"), ("backtest",),
    ("promote", "1"), ("status",), ("up",), ("deploy", "--pool", "x"),
)  # fmt: skip
_RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor, rings, or turns the order of letters around."""
_BAD_FILE = re.compile(r"keepfit\.yaml(, line (\d+))?:")


@dataclass(frozen=True)
class Payload:
    """One hostile file; `line` tells whether a line can be named: not of what is no text."""

    name: str
    raw: bytes
    line: bool = True


def _more(text: str) -> bytes:
    return (GOOD + text).encode("utf-8", "surrogatepass")


def _named(kind: str, texts: Sequence[str]) -> Iterator[Payload]:
    return (Payload(f"{kind}: {text[:40]!r}", _more(text)) for text in texts)


_CODE = "__import__('os').system('touch pwned')"
_TAGS = (
    '!!python/object/apply:os.system ["touch pwned"]', f'!!python/object/apply:eval ["{_CODE}"]',
    "!!python/object/new:subprocess.Popen [[touch, pwned]]", "!!python/name:os.system",
    "!!python/module:os", "!!python/tuple [1, 2]", "!!python/object:keepfit.x {}",
    "!<tag:yaml.org,2002:python/object/apply:os.system> [touch pwned]", "!!binary dG91Y2g=",
    "!!set {a, b}", "!!omap [a: 1]", "!!timestamp 2024-01-01", "!include /etc/passwd",
    "!ENV ${HOME}", "!ruby/object:Gem::Installer {}", "!!js/function 'function(){}'", "!x y",
    "!!str churn", "!!map {}",
)  # fmt: skip
_PATHS = (
    "contract: ../../../etc/passwd", "contract: x/../../../c.yaml", "state: ../../else",
    "state: a/../../b", "contract: {path: ../../c.yaml}", 'contract: "..\\\\..\\\\c.yaml"',
    "scoring: {sink: {kind: csv, path: ../../x.csv}}", "state: ..",
    "scoring: {sink: {kind: parquet, path: ../x.parquet}}", "contract: /etc/shadow/x.yaml",
    "contract: ~root/c.yaml", "contract: ''",
)  # fmt: skip
_NAMES = (
    "", "A", "a b", "../x", "a/b", "-a", "_a", "x" * 65, "é", "a;rm -rf .", "$(touch pwned)", "a\n",
    "`touch pwned`", ".", "..", "a\u202eb", "a\u200bb", "a\tb", "con:", "a\x1b[2J", "a%00b",
    "{{7*7}}", "а", "a'--", "a\\", "\ufeffa", "💣",
)  # fmt: skip
_ODD = (
    '"a\\0b": 1', 'state: "a\\0b"', 'exclude: ["\\0"]', "a\u202eexclude: [x]", "\u2066x\u2069: 1",
    '"\\e[2Jexclude": [x]', '"\\x9b31m": 1', '"\\x07bell": 1', "? [1, 2]\n: 3", "? {a: b}\n: 3",
    "<<: {exclude: [x]}", "<<: [{exclude: [x]}]", "exclude: &a [x]\nid_columns: *a", "a: *nowhere",
    "name: twice", "exclude: [x]\nexclude: [y]", "split: {holdout: 0.2, holdout: 0.3}",
    "training:\n  cv: 2\n  cv: 3", "\ttab: 1", "exclude: [", "exclude: {", "exclude: 'x",
    'exclude: "x', "exclude: ]", "- 1", "%YAML 1.1", "--- \nname: second\n", "...\nmore: 1",
    "exclude: x: y", "__proto__: 1", "__class__: {__init__: 1}", "config: {}", "'': 1",
    "hooks: {features: 'os:system'}\nsplit: {holdout: 7}", "x" * 100_000 + ": 1",
)  # fmt: skip
_VARIABLES = (
    "state: ${CAMPAIGN_NOT_SET}", "alerts: ['${CAMPAIGN_NOT_SET}']", "state: ${}",
    "state: ${a b}", "state: ${x; touch pwned}", "state: '${${HOME}}'", "state: ${HOME:-x}",
    "state: ${.}", "ledger: {url: '${CAMPAIGN_NOT_SET}'}", "metric: ${1}",
)  # fmt: skip
_NUMBERS = (
    "split: {holdout: 1" + "0" * 400 + "}", "split: {holdout: .inf}", "split: {holdout: .nan}",
    "split: {holdout: -0.0}", "split: {holdout: 1e999}", "training: {seed: 1" + "0" * 5000 + "}",
    "training: {seed: -1}", "training: {cv: 1.5}", "training: {cv: 0x7fffffffffffffff}",
    "training: {budget: 1" + "0" * 400 + "s}", "training: {budget: -1s}",
    "training: {budget: 0s}", "training: {budget: 1e999s}", "training: {window: 99999999999999d}",
    "retention: 9" + "9" * 300 + "d", "gate: {confidence: 95}", "gate: {min_gain: .nan}",
    "gate: {margin: .inf}", "gate: {max_size_mb: .nan}", "gate: {max_latency_ms_per_1k: .inf}",
    "monitoring: {min_rows: 1e400}", "policy: {min_gain: .inf}", "relevant: .nan",
    "policy: {cost: {training: .inf, unit_loss: 1}}", "policy: {persistence: 3 of 2}",
    "policy: {persistence: 99999999999999999999 of 99999999999999999999}",
    "gate: {refit_margin: .nan}", "objective: {cost: {false_positive: .nan, false_negative: 1}}",
    "training: {spaces: {svm: {C: {low: .nan, high: 1}}}}", "scoring: {top_k: 1e400}",
    "training: {threads: 0}", "training: {threads: 99999999999999999999}",
)  # fmt: skip
_CONTRADICTIONS = (
    "exclude: ['Churned?']", "time_column: Churned?", "id_columns: ['Churned?']",
    "training: {window: 30d}", "training: {refit: true}", "task: regression\nmetric: f1",
    "task: binary\nmetric: rmse", "time_column: when\nexclude: [when]", "group: plan",
    "training: {tuning: true, cv: 2}", "training: {candidates: [svm, svm]}", "relevant: 3",
    "gate: {slices: ['Churned?']}", "objective: {min_precision: 0.9, min_recall: 0.9}",
    "split: {group: 'Churned?'}", "item: plan",
    "schedules: {training: '99 * * * *'}", "schedules: {training: '* * * * * *'}",
    "schedules: {timezone: Mars/Olympus}", "schedules: {timezone: ../../etc/passwd}",
    "hooks: {features: 'a b:c'}", "hooks: {features: '../x:y'}", "hooks: {features: x}",
    "ledger: {url: 'not a url'}", "ledger: {url: 'mysql://x/y'}", "alerts: [1]",
    "monitoring: {window: 0d}", "metric: ${HOME}", "engine: {kind: spark}",
    "labels: {a: [b], b: [c]}", "kinds: {plan: kind}", "positive: [1]",
)  # fmt: skip


def _bytes() -> Iterator[Payload]:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    yield Payload("alias bomb", bomb.encode())
    yield Payload("mapping bomb", b"a: &a {k: v}\n" + b"b: {<<: *a, <<: *a}\n")
    for opening, closing in (("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")):
        for depth in (41, 2_000, 50_000):
            text = "a: " if opening in "[{a: " else ""
            yield Payload(
                f"{depth} of {opening!r}", f"{text}{opening * depth}x{closing * depth}".encode()
            )
    yield Payload("utf-16", GOOD.encode("utf-16"))
    yield Payload("latin-1", _more("") + b"description: \xe9\n")
    yield Payload("nul", GOOD.encode() + b"state: a\0b\n")
    yield Payload("surrogate", _more("state: \ud800\n"))
    yield Payload("5 MB", GOOD.encode() + b"#" * 5_000_001, line=False)
    yield Payload("random bytes", bytes(range(256)) * 40)
    yield Payload("empty", b"")
    yield Payload("comments", b"# nothing\n")
    yield Payload("a list", b"- 1\n")
    yield Payload("a word", b"churn\n")
    yield Payload("null", b"null\n")
    yield Payload("two documents", GOOD.encode() + b"---\n" + GOOD.encode())
    for key in ("name", "target", "source"):
        kept = [line for line in GOOD.splitlines() if not line.startswith(key)]
        yield Payload(f"no {key}", ("\n".join(kept) + "\n").encode())
    for source in ("{kind: pickle, path: x}", "{path: rows.csv}", "{kind: csv}", "rows.csv",
                   "{kind: csv, path: ''}", "{kind: sql, url: 'sqlite://'}", "[]",
                   "{kind: csv, path: rows.csv, delimiter: ';;'}",
                   "{kind: sql, url: 'x', table: t}", "{kind: demo, name: ../flights}",
                   "{kind: sql, url: 'sqlite:///x', query: q, table: t}",
                   "{kind: csv, path: rows.csv, max_bytes: 0}"):  # fmt: skip
        text = GOOD.replace("{kind: csv, path: rows.csv}", source)
        yield Payload(f"source {source}", text.encode())
    for name in _NAMES:
        text = GOOD.replace("churn\n", json.dumps(name) + "\n")
        yield Payload(f"name {name[:20]!r}", text.encode())


def _by_schema(
    schema: dict[str, Any], part: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[Payload]:
    """Yield, for every key of the file, a value of a wrong type, and beside it an unknown key."""
    if path:
        yield _at((*path, "unknown"), 1)
    for key, rule in part["properties"].items():
        rule = _resolved(schema, rule)
        here = (*path, key)
        choices = [_resolved(schema, r) for r in rule.get("anyOf", rule.get("oneOf", [rule]))]
        kinds = {choice.get("type", "object") for choice in choices}
        if key in ("name", "source"):
            continue
        wrong = next(
            value
            for kind, value in (("array", [[[]]]), ("object", {"no such": {"key": 1}}),
                                ("string", "no such"))
            if kind not in kinds or kind == "string"
        )  # fmt: skip
        if wrong != "no such" or kinds.isdisjoint({"string"}):
            yield _at(here, wrong)
        for choice in choices:
            if choice.get("properties") and len(path) < 3:
                yield from _by_schema(schema, choice, here)


def _resolved(schema: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in rule:
        rule = schema["$defs"][rule["$ref"].rpartition("/")[2]]
    return rule


def _at(path: Sequence[str], value: Any) -> Payload:
    for key in reversed(path):
        value = {key: value}
    (top,) = value
    kept = [line for line in GOOD.splitlines() if not line.startswith(f"{top}:")]
    text = "\n".join([*kept, f"{top}: {json.dumps(value[top])}"]) + "\n"
    return Payload(f"{'.'.join(path)}: {json.dumps(value)[:40]}", text.encode())


def payloads() -> list[Payload]:
    """Return every hostile file."""
    schema = PipelineConfig.model_json_schema()
    return [
        *_named("tag", [f"description: {tag}" for tag in _TAGS]),
        *_named("path", _PATHS),
        *_named("odd", _ODD),
        *_named("variable", _VARIABLES),
        *_named("number", _NUMBERS),
        *_named("contradiction", _CONTRADICTIONS),
        *_bytes(),
        *_by_schema(schema, schema),
    ]


WORDS = (
    "../../etc/passwd", "a; touch pwned", "$(touch pwned)", "`touch pwned`", "| touch pwned",
    "{{7*7}}", "%s%n%x", "\x1b[2Jx", "\u202egnp.exe", "' OR 1=1 --", "x" * 5000, "\n\nPromoted: v9",
    "-1", "1e400", "nan", "__import__('os')", "file:///etc/passwd", "a\udcffb", "//127.0.0.1/x",
)  # fmt: skip
_PLACES: tuple[tuple[str, ...], ...] = (
    ("init", "new", "--data", "rows.csv", "--target"), ("init", "new", "--target", "y", "--data"),
    ("init", "new", "--data", "rows.csv", "--target", "Churned?", "--time"),
    ("init", "new", "--data", "rows.csv", "--target", "Churned?", "--id"),
    ("init", "new", "--data", "sqlite:///no.db", "--target", "y", "--table"),
    ("run",), ("score",), ("monitor",), ("backtest",), ("status",), ("promote",), ("why",),
    ("rollback",), ("score", "--input"), ("monitor", "--window"), ("monitor", "--every"),
    ("config", "explain"), ("config", "check"), ("backtest", "--every"), ("contract", "check"),
)  # fmt: skip
"""Arguments after which a hostile word comes."""


class Watch:
    """What the interpreter was made to do while a payload was tried."""

    def __init__(self) -> None:
        self.seen: list[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, given: tuple[Any, ...]) -> None:
        if self.seen is None:
            return
        if event == "subprocess.Popen" and given[0] in ("file", "uname"):
            return  # of `platform`, which libraries ask at their import
        if event in _FORBIDDEN:
            self.seen.append(f"{event} {given[:2]}")
        elif (
            event == "open" and _writes(given) and not str(given[0]).startswith(("/dev/", "/proc"))
        ):
            self.seen.append(f"writes {given[0]}")

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Yield the list of what is done meanwhile."""
        self.seen = found = []
        try:
            yield found
        finally:
            self.seen = None


_FORBIDDEN = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn",
    "socket.connect", "os.mkdir", "os.remove", "os.rename", "shutil.rmtree",
}  # fmt: skip


def _writes(given: tuple[Any, ...]) -> bool:
    mode, flags = given[1], given[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR))


def run(options: Options) -> list[Row]:
    """Try every file at every entry point, and every word at every place."""
    watch = _watch()
    folder = options.folder / "hostile"
    folder.mkdir()
    write_churn(folder / "rows.csv", 60)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return [_files(folder, watch, options), _words(folder, watch, options)]
    finally:
        os.chdir(before)


_WATCHES: list[Watch] = []


def _watch() -> Watch:
    """Return the one watch of this process: a hook can't be taken away again."""
    if not _WATCHES:
        _WATCHES.append(Watch())
    return _WATCHES[0]


def _files(folder: Path, watch: Watch, options: Options) -> Row:
    found = payloads()[:: 4 if options.share else 1]
    for entry in _ENTRIES:  # what is imported once makes folders of its own
        (folder / "keepfit.yaml").write_text(f"{GOOD}schedules: {{training: x}}\n")
        CliRunner().invoke(main, [*entry, "--json"])
    entries = _ENTRIES[:1] if options.share else _ENTRIES
    failures: list[str] = []
    began = time.monotonic()
    for number, payload in enumerate(found):
        (folder / "keepfit.yaml").write_bytes(payload.raw)
        # Every entry point reads the file by one function: of most payloads two are enough.
        some = entries if number % 10 == 0 else (entries[0], entries[number % len(entries)])
        for entry in dict.fromkeys(some):
            faults = list(_refused(payload, entry, folder, watch))
            failures += [f"{payload.name} at {' '.join(entry)}: {fault}" for fault in faults]
            if faults:
                break  # what is no error would begin to work
    (folder / "keepfit.yaml").unlink()
    figure = "executed 0, escaped 0" if not failures else ""
    took = time.monotonic() - began
    return Row("configurations", "hostile pipeline files", len(found), failures, figure, took)


def _refused(payload: Payload, entry: Sequence[str], folder: Path, watch: Watch) -> Iterator[str]:
    status, out, seen = _tried([*entry, "--json"], watch)
    yield from seen
    yield from _clean(out, folder)
    if status != 2:
        yield f"ended with {status}: {out[:200]}"
        return
    try:
        error = json.loads(out)["error"]
    except ValueError:
        yield f"answers with no JSON: {out[:200]!r}"
        return
    if error["kind"] != "configuration":
        yield f"is an error of {error['kind']}: {error['message'][:120]}"
    named = _BAD_FILE.search(error["message"])
    if named is None or (payload.line and not named[2]):
        yield f"names no file or no line: {error['message'][:120]}"
    elif named[2] and not 1 <= int(named[2]) <= payload.raw.count(b"\n") + 2:
        yield f"names line {named[2]} of {payload.raw.count(bytes(1)) + 1}"


def _words(folder: Path, watch: Watch, options: Options) -> Row:
    (folder / "keepfit.yaml").write_text(GOOD)
    failures: list[str] = []
    began = time.monotonic()
    places = _PLACES[::5] if options.share else _PLACES
    words = WORDS[::3] if options.share else WORDS
    for place in places:
        for word in words:
            status, out, seen = _tried([*place, "--", word] if word[:1] == "-" else [*place, word],
                                       watch, words=True)  # fmt: skip
            faults = [*_clean(out, folder), *seen]
            if status not in (1, 2, 3):
                faults.append(f"ended with {status}: {out[-200:]}")
            failures += [f"{' '.join(place)} {word[:30]!r}: {fault}" for fault in faults]
    return Row(
        "configurations",
        "hostile words at entry points",
        len(places) * len(words),
        failures,
        seconds=time.monotonic() - began,
    )


def _tried(
    arguments: list[str], watch: Watch, *, words: bool = False
) -> tuple[int, str, list[str]]:
    with watch.watching() as seen:
        answer = CliRunner().invoke(main, arguments)
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        return 70, f"Traceback: {answer.exception!r}", seen
    return answer.exit_code, answer.output, [s for s in seen if not words or _foreign(s)]


def _foreign(what: str) -> bool:
    """Return whether something is no work of a command's own: its state, its own processes."""
    started = what.startswith("subprocess.Popen")
    return started and not what.startswith(f"subprocess.Popen ('{sys.executable}'")


def _clean(out: str, folder: Path) -> Iterator[str]:
    """Yield what a hostile value left in the output or on the disk."""
    if "Traceback" in out or "looks like a bug" in out:
        yield f"is no error of keepfit's own: {out[-200:]}"
    if raw := _RAW.search(out):
        yield f"prints {raw[0]!r}"
    for left in folder.rglob("*"):
        if left.name not in ("rows.csv", "keepfit.yaml") and ".keepfit" not in left.parts:
            yield f"made {left}"
    shutil.rmtree(folder / "new", ignore_errors=True)
    if any((folder.parent / name).exists() for name in ("pwned", "else", "x.csv")):
        yield "left its folder"
