"""The pipeline file: every finding names file, line, rule, value and remedy; nothing is created."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import confined, load_pipeline, require_columns, require_evaluated
from tasks.base.text.redaction import redact

GOOD = "name: churn\ntarget: y\nsource: {kind: csv, path: rows.csv}\n"
CSV = "name: a\ntarget: y\nsource:\n  kind: csv\n  path: a.csv\n"
DEMO = "name: a\ntarget: y\nsource: {kind: demo, name: "


def write(folder: Path, text: str) -> Path:
    path = folder / "keepfit.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str, **environ: str) -> ConfigError:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path, environ)
    assert sorted(p.name for p in folder.iterdir()) == ["keepfit.yaml"]
    return caught.value


def test_only_three_keys_are_required(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, GOOD), {})

    assert pipeline.config.split.holdout == 0.2
    assert pipeline.config.training.budget.total_seconds() == 120
    assert pipeline.state == tmp_path / ".keepfit"


def test_a_folder_means_the_default_file_in_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD)

    assert load_pipeline(tmp_path, {}).config.name == "churn"


def test_a_state_folder_that_every_account_can_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    state = tmp_path / ".keepfit"
    state.mkdir()
    state.chmod(0o777)

    with pytest.raises(ConfigError, match=f"{state} .* 0777"):
        load_pipeline(path, {})
    assert load_pipeline(path, {"KEEPFIT_STATE": str(tmp_path / "own")}).config.name == "churn"


@pytest.mark.parametrize("stated", ["{}/loop", "~no_such_account/state"])
def test_a_state_folder_that_cannot_be_resolved_is_named(stated: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    path, named = write(tmp_path, GOOD), stated.format(tmp_path)

    with pytest.raises(ConfigError, match=f"{named} cannot be"):
        load_pipeline(path, {"KEEPFIT_STATE": named})


def test_the_state_folder_can_come_from_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)

    pipeline = load_pipeline(path, {"KEEPFIT_STATE": str(tmp_path / "elsewhere")})

    assert pipeline.state == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD + "soruce: 1\n", 4, ["unknown key `soruce`", "did you mean `source`"]),
        (GOOD + "split: {holdot: 0.2}\n", 4, ["unknown key `holdot`", "`holdout`"]),
        (GOOD + "split: {holdout: 30}\n", 4, ["`split.holdout`", "30", "Write 0.3 for 30 %"]),
        (GOOD + "split: {holdout: 0}\n", 4, ["greater than 0", "got 0"]),
        (GOOD + "training: {cv: many}\n", 4, ["`training.cv`", "'many'"]),
        (GOOD + "training: {budget: 120}\n", 4, ["a number above 0 and a unit", "120s"]),
        (GOOD + "training: {budget: -2h}\n", 4, ["`training.budget`", "'-2h'"]),
        (GOOD + "time_column: t\nmonitoring: {window: 0.0000001s}\n", 5, ["a number above 0"]),
        (CSV + "  decimal: ','\n  thousands: ','\n", 7, ["two different signs"]),
        (CSV + "  delimiter: é\n", 6, ["ASCII"]),
        (CSV + "  delimiter: '\"'\n", 6, ["no quote"]),
        (DEMO + "flights, months: [5, 2]}\n", 3, ["1 to 12", "got [5, 2]"]),
        (DEMO + "flights, months: [5]}\n", 3, ["the first and the last month"]),
        (DEMO + "digits, months: [1, 2]}\n", 3, ["for flights only"]),
        (GOOD + "policy:\n  min_gain: true\n", 5, ["`min_gain` takes a number"]),
        (GOOD + "training: {cv: false}\n", 4, ["`cv` takes a number"]),
        (GOOD + "objective:\n  cost:\n    a: {b: true}\n", 6, ["`b` takes a number"]),
        (GOOD + "schedules: {refit: '0 0 31 2,4 *'}\n", 4, ["never comes"]),
        (GOOD + "training:\n  candidates: [lightgbmm]\n", 5, ["'lightgbmm'", "'lightgbm'"]),
        (GOOD + "training: {candidates: []}\n", 4, ["at least 1"]),
        (GOOD + "training: {candidates: [svm, svm]}\n", 4, ["named twice"]),
        (GOOD + "metric: roc_acu\n", 4, ["did you mean 'roc_auc'"]),
        (GOOD + "task: regression\nmetric: f1\n", 5, ["not one for regression", "rmse"]),
        (GOOD + "exclude: [y]\n", 4, ["the target 'y' stands in `exclude` too"]),
        (GOOD + "time_column: t\nexclude: [t]\n", 5, ["time column 't'"]),
        (GOOD + "training: {window: 30d}\n", 4, ["needs a `time_column`"]),
        (GOOD + "training: {refit: true}\n", 4, ["needs a `time_column`"]),
        (GOOD + "split: {group: y}\n", 4, ["`split.group` names the target 'y'"]),
        (GOOD + "name: twice\n", 4, ["'name' stands twice", "line 1"]),
        (GOOD + "gate: {rule: better}\n", 4, ["'better'", "superior"]),
        (GOOD + "gate: {confidence: 95}\n", 4, ["Write 0.95 for 95 %"]),
        (GOOD + "contract: ../../../etc/passwd\n", 4, ["leaves the project's folder"]),
        (GOOD + "contract: missing.yaml\n", 4, ["no such contract", "keepfit contract infer"]),
        (GOOD + "state: ../../else\n", 4, ["leaves the project's folder"]),
        (GOOD + "scoring:\n  sink: {kind: csv, path: ../../x.csv}\n", 5, ["leaves the project"]),
        (GOOD + "schedules: {timezone: Mars/Olympus}\n", 4, ["'Mars/Olympus' is no time zone"]),
        (GOOD + "gate: {margin: .inf}\n", 4, ["`gate.margin`", "finite"]),
        (GOOD + "gate: {slices: [y]}\n", 4, ["the target 'y' stands in `gate` too"]),
        (GOOD + "training: {threads: 5000}\n", 4, ["`training.threads`", "5000"]),
        (GOOD + "policy: {persistence: 1000 of 1000}\n", 4, ["`policy.persistence`"]),
        (GOOD + "ledger: {url: 'mysql://db/x'}\n", 4, ["a ledger is kept in SQLite"]),
        (GOOD + f"training: {{seed: {'9' * 5000}}}\n", 4, ["no number or date"]),
        (GOOD + "state: a\0b\n", 4, ["not valid YAML"]),
        ("name: churn\ntarget: y\n", 1, ["`source` is required"]),
        ("name: churn\nsource: {kind: csv, path: x}\n", 1, ["`target` is required"]),
        ("name: a\ntarget: y\nsource: {kind: cvs, path: x}\n", 3, ["'cvs'", "'csv'"]),
        ("name: a\ntarget: y\nsource: {path: x}\n", 3, ["needs a `kind`"]),
        ("name: a\ntarget: y\nsource: {kind: sql, url: 'sqlite://'}\n", 3, ["`query` or `table`"]),
        ("- 1\n", 1, ["keys and values"]),
        ("name: [\n", 2, ["not valid YAML"]),
        ("name: a\n\tb: 1\n", 2, ["not valid YAML"]),
        ("name: !!python/object/apply:os.system ['x']\n", 1, ["the tag", "not allowed"]),
        ("name: &a x\ntarget: *a\n", 1, ["anchors and aliases"]),
        ("? [1, 2]\n: 3\n", 1, ["a key must be plain text"]),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    said = str(refusal(tmp_path, text))

    assert f"keepfit.yaml, line {line}:" in said
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "name",
    ["", "A", "a b", "../x", "a/b", "-a", "_a", "x" * 65, "é", "a;rm", "$(id)", "a\n", "`id`", "."],
)
def test_a_name_outside_the_pattern_is_refused(tmp_path: Path, name: str) -> None:
    import json

    error = refusal(tmp_path, GOOD.replace("churn", json.dumps(name)))

    assert "lower-case letters" in str(error)


def test_every_finding_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    error = refusal(tmp_path, GOOD + "split: {holdout: 2}\nmetric: auc\nsed: 1\n")

    lines = str(error.message).splitlines()
    assert [line.split(":")[0].rsplit(" ", 1)[-1] for line in lines] == ["4", "5", "6"]


def test_an_alias_bomb_is_refused_before_it_grows(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )

    assert "anchors and aliases" in str(refusal(tmp_path, bomb))


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    assert "nested deeper" in str(refusal(tmp_path, "a: " + "[" * 500 + "]" * 500))


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00n", b"name: \xe9\n", b"a\x00b: 1"])
def test_what_is_no_text_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "keepfit.yaml"
    path.write_bytes(raw)

    with pytest.raises(ConfigError, match=r"keepfit\.yaml"):
        load_pipeline(path, {})


def test_an_absent_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keepfit init"):
        load_pipeline(tmp_path / "no.yaml", {})


def test_a_variable_that_is_not_set_is_named_with_its_line(tmp_path: Path) -> None:
    text = "name: a\ntarget: y\nsource:\n  kind: sql\n  url: ${DB_URL}\n  table: t\n"

    error = refusal(tmp_path, text)

    assert "line 5" in error.message
    assert "DB_URL is not set" in error.message


def test_a_secret_gets_in_by_the_environment_and_never_out(tmp_path: Path) -> None:
    text = "name: a\ntarget: y\nsource: {kind: sql, url: '${DB_URL}', table: t}\n"
    pipeline = load_pipeline(write(tmp_path, text), {"DB_URL": "postgresql://me:canary@db/x"})

    assert pipeline.config.source.url.get_secret_value() == "postgresql://me:canary@db/x"  # type: ignore[union-attr]
    assert "canary" not in repr(pipeline)
    assert "canary" not in pipeline.config.model_dump_json()
    assert "canary" not in pipeline.digest
    assert redact("cannot reach postgresql://me:canary@db/x", pipeline.secrets).endswith("***")


def test_a_name_of_a_variable_is_strict(tmp_path: Path) -> None:
    error = refusal(tmp_path, "name: a\ntarget: ${x; rm -rf}\nsource: {kind: csv, path: x}\n")

    assert "no name of an environment variable" in str(error)


def test_yaml_booleans_are_those_of_version_1_2(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, GOOD.replace("target: y", "target: No")), {})

    assert pipeline.config.target == "No"


def test_the_digest_ignores_what_decides_no_training(tmp_path: Path) -> None:
    first = load_pipeline(write(tmp_path, GOOD), {}).digest
    moved = load_pipeline(write(tmp_path, GOOD + "state: elsewhere\n"), {}).digest
    other = load_pipeline(write(tmp_path, GOOD + "training: {seed: 1}\n"), {}).digest

    assert first == moved
    assert first != other


def test_columns_that_the_source_lacks_are_named_with_the_nearest(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, GOOD + "exclude: [leek]\n"), {})

    with pytest.raises(ConfigError) as caught:
        require_columns(pipeline, ["y", "leak", "x"])

    assert "line 4" in caught.value.message
    assert "Did you mean 'leak'" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("report:\n  sensitive: [sexx]\n", "report.sensitive"),
        ("report:\n  by: [sexx]\n", "report.by"),
        ("split:\n  group: sexx\n", "split.group"),
        ("gate:\n  slices: [sexx]\n", "gate.slices"),
        ("monitoring:\n  segments: [sexx]\n", "monitoring.segments"),
    ],
)
def test_columns_that_only_judge_are_named_too(tmp_path: Path, text: str, key: str) -> None:
    pipeline = load_pipeline(write(tmp_path, GOOD + text), {})

    with pytest.raises(ConfigError) as caught:
        require_columns(pipeline, ["y", "sex"])

    assert f"line 5: `{key}` names the column 'sexx'" in caught.value.message
    assert "Did you mean 'sex'" in caught.value.remedy
    require_columns(pipeline, ["y", "sexx"])


def test_a_hook_may_make_the_columns_that_judge(tmp_path: Path) -> None:
    text = GOOD + "hooks: {features: 'made:columns'}\nreport: {by: [derived]}\n"
    pipeline = load_pipeline(write(tmp_path, text), {})

    require_columns(pipeline, ["y", "x"])
    with pytest.raises(ConfigError, match="derived"):
        require_evaluated(pipeline, ["y", "x"])


def test_a_column_that_the_contract_promises_is_left_to_the_contract(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, GOOD), {})

    require_columns(pipeline, ["x"], promised=["y"])


def test_an_absolute_path_is_a_person_s_own_choice(tmp_path: Path) -> None:
    pipeline = load_pipeline(write(tmp_path, GOOD), {})

    assert confined("/data/contract.yaml", pipeline, "contract") == Path("/data/contract.yaml")
