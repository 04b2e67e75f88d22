"""Run the campaign: `python -m tests.campaign [--only kills,races] [--trials 300] [--seed N]`.

Each part is a module with `run(options) -> list[Row]`. The table goes to stdout, the parts that are
done to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.campaign.table import Options, Row, render

PARTS: dict[str, str] = {
    "failpoints": "tests.campaign.failpoints",
    "kills": "tests.campaign.kills",
    "stack": "tests.campaign.stack",
    "races": "tests.campaign.races",
    "configurations": "tests.campaign.configurations",
    "mutations": "tests.campaign.mutations",
    "stateful": "tests.campaign.stateful",
    "machine": "tests.campaign.machine",
}
"""Name of each part to the module that runs it, in the order of the table."""


def run_parts(names: list[str], options: Options) -> list[Row]:
    """Run some parts, each in a folder of its own."""
    rows: list[Row] = []
    for name in names:
        folder = options.folder / name
        folder.mkdir()
        module = importlib.import_module(PARTS[name])
        rows += module.run(replace(options, folder=folder))
        sys.stderr.write(f"{name} done\n")
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where nothing failed, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--only", help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", action="store_true", help="the share that the gate runs")
    parser.add_argument("--among", help="commands or faults of a part, separated by commas")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of each row at most")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    asked = parser.parse_args(arguments)
    names = asked.only.split(",") if asked.only else list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="keepfit-campaign-") as folder:
        among = tuple(asked.among.split(",")) if asked.among else ()
        options = Options(Path(folder), asked.trials, asked.seed, asked.share, among, asked.minutes)
        rows = run_parts(names, options)
    print(render(rows))
    if asked.json:
        asked.json.write_text(json.dumps([row.answer() for row in rows], indent=1) + "\n")
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
