"""The front door: arguments, exit statuses, JSON, and how fast help is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import keepfit
from tests.tables import write_churn, write_pipeline

HEAVY = {
    "prefect", "mlflow", "sklearn", "pandas", "numpy", "lightgbm", "great_expectations",
    "pyarrow", "matplotlib", "scipy", "pydantic", "rich",
}  # fmt: skip
HELPS = [
    [], ["init"], ["run"], ["score"], ["status"], ["contract"], ["contract", "infer"],
    ["contract", "check"], ["contract", "diff"], ["contract", "accept"],
    ["config"], ["config", "check"], ["config", "schema"],
    ["config", "explain"],
]  # fmt: skip


@pytest.mark.parametrize("command", HELPS, ids=" ".join)
def test_every_help_answers_and_imports_no_heavy_library(command: list[str]) -> None:
    code = (
        "import sys\nfrom flows.cli import main\n"
        f"try: main({[*command, '--help']!r})\nexcept SystemExit as end: status = end.code\n"
        "print(status, sorted(m for m in sys.modules if '.' not in m), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    status, _, modules = done.stderr.partition(" ")
    assert status == "0"
    assert "Usage:" in done.stdout
    assert HEAVY.isdisjoint(eval(modules)), HEAVY & set(eval(modules))  # noqa: S307
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_a_mistake_in_the_file_has_status_2_and_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "keepfit.yaml").write_text("name: a\ntarget: y\nsorce: 1\n")

    ran = keepfit("run", cwd=tmp_path)

    assert ran.status == 2
    assert ran.out == ""
    assert "line 3: unknown key `sorce`; did you mean `source`?" in ran.err
    assert "Traceback" not in ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["keepfit.yaml"]


def test_an_error_in_json_is_one_object_on_stdout(tmp_path: Path) -> None:
    ran = keepfit("run", "absent.yaml", "--json", cwd=tmp_path)

    assert ran.status == 2
    assert ran.answer["error"]["kind"] == "configuration"
    assert "absent.yaml" in ran.answer["error"]["message"]
    assert "keepfit init" in ran.answer["error"]["remedy"]


def test_a_usage_error_in_json_is_one_object_too() -> None:
    ran = keepfit("run", "--nope", "--json")

    assert ran.status == 2
    assert ran.answer["error"]["kind"] == "usage"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["init", "new"], "either --data or --demo"),
        (["init", "new", "--data", "nope.csv", "--target", "y"], "No such file"),
        (["init", "new", "--data", "rows.csv"], "the column to predict"),
        (["init", "new", "--data", "rows.csv", "--target", "Churned"], "Churned?"),
        (["init", "new", "--data", "rows.csv", "--target", "plan", "--time", "wen"], "when"),
        pytest.param(
            ["score", "pipe", "--output", "x.xlsx"], ".parquet or .csv", marks=pytest.mark.slow
        ),
        pytest.param(
            ["score", "pipe", "--input", "gone.csv"], "No such file", marks=pytest.mark.slow
        ),
        (["config", "explain", "training.buget"], "training.budget"),
    ],
)
def test_a_slip_on_the_command_line_says_what_is_allowed(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    write_churn(tmp_path / "rows.csv", rows=60)
    write_pipeline(tmp_path / "pipe", tmp_path / "rows.csv")

    ran = keepfit(*arguments, cwd=tmp_path)

    assert ran.status == 2, ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "new").exists()


def test_init_never_overwrites(tmp_path: Path) -> None:
    write_churn(tmp_path / "rows.csv", rows=80)
    made = keepfit("init", "mine", "--data", "rows.csv", "--target", "Churned?", cwd=tmp_path)
    before = (tmp_path / "mine" / "keepfit.yaml").read_bytes()

    again = keepfit("init", "mine", "--data", "rows.csv", "--target", "plan", cwd=tmp_path)

    assert made.status == 0, made.err
    assert again.status == 2
    assert "never overwritten" in again.err
    assert (tmp_path / "mine" / "keepfit.yaml").read_bytes() == before


def test_init_says_what_it_saw_and_one_next_command(tmp_path: Path) -> None:
    write_churn(tmp_path / "rows.csv", rows=120)

    ran = keepfit("init", "mine", "--data", "rows.csv", "--target", "Churned?", cwd=tmp_path)

    assert ran.status == 0, ran.err
    assert "größe" in ran.out
    assert "Next: keepfit run mine" in ran.out
    assert max(len(line) for line in ran.out.splitlines()) <= 80


def test_config_check_and_schema_and_explain(tmp_path: Path) -> None:
    file = write_pipeline(tmp_path, write_churn(tmp_path / "rows.csv", rows=20))

    checked = keepfit("config", "check", file, "--json")
    schema = keepfit("config", "schema")
    explained = keepfit("config", "explain", "training.budget")

    assert checked.answer["pipeline"] == "churn"
    assert json.loads(schema.out)["required"] == ["name", "target", "source"]
    assert explained.out.startswith("training.budget: duration")
    assert not (tmp_path / ".keepfit").exists()


@pytest.mark.slow
def test_a_contract_is_inferred_once_and_checked(tmp_path: Path) -> None:
    data = write_churn(tmp_path / "rows.csv", rows=300)
    file = write_pipeline(tmp_path, data)

    inferred = keepfit("contract", "infer", file, "--output", tmp_path / "c.yaml", "--json")
    again = keepfit("contract", "infer", file, "--output", tmp_path / "c.yaml")
    file.write_text(file.read_text() + "contract: c.yaml\n")
    held = keepfit("contract", "check", file, "--json")
    data.write_text(data.read_text(encoding="utf-8").replace("Monthly fee", "Fee"))
    broken = keepfit("contract", "check", file)

    assert inferred.status == 0, inferred.err
    assert again.status == 2
    assert held.answer["passed"] is True
    assert broken.status == 3
    assert "Monthly fee" in broken.err


def test_a_mistake_in_the_contract_names_its_line(tmp_path: Path) -> None:
    file = write_pipeline(tmp_path, write_churn(tmp_path / "rows.csv", rows=60))
    file.write_text(file.read_text() + "contract: c.yaml\n")
    (tmp_path / "c.yaml").write_text(
        "contract: churn\ncolumns:\n  plan: {kind: categorical}\n  x: {kind: wrong}\n"
    )

    ran = keepfit("contract", "check", file)

    assert ran.status == 2, ran.err
    assert "c.yaml, line 4" in ran.err
