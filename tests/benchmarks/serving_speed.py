"""`keepfit serve` beside `mlflow models serve` on the same champion, in one run.

    python tests/benchmarks/serving_speed.py PIPELINE ROWS.parquet [--seconds 5] [--repeat 3]

PIPELINE is a trained pipeline's file or folder, ROWS.parquet holds rows to predict with their ids.
For 1 and 64 rows a request and 1 and 16 connections both servers are asked in turn, each at its
best of `--repeat` rounds by requests a second, by a loader that speaks HTTP/1.1 over kept
connections and reads answers no further than their length. MLflow is asked for probabilities, and
all answers of the first rows are compared to the last digit. keepfit's answers are on disk and on
their way to the ledger meanwhile. Processor time is that of all processes of a server; on a busy
machine its ratio tells more than that of the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.scoring.batches import champion_of
from tests.opened import opened

CASES = [(1, 1), (1, 16), (64, 1), (64, 16)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and all below it."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


@contextmanager
def running(command: list[str], ready: str, environ: dict[str, str]) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        command, env=environ, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(ready, timeout=2).close()  # noqa: S310 - our own servers
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def request(port: int, path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes
) -> tuple[int, bytes]:
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head[9:12]), body


async def load(
    port: int, sent: bytes, connections: int, seconds: float
) -> tuple[float, list[float]]:
    """Return requests a second and the seconds of each."""
    until = time.perf_counter() + seconds
    taken: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            began = time.perf_counter()
            status, body = await ask(reader, writer, sent)
            taken.append(time.perf_counter() - began)
            if status != 200:
                raise SystemExit(f"status {status}: {body[:300]!r}")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return len(taken) / (time.perf_counter() - began), taken


async def once(port: int, sent: bytes) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _, body = await ask(reader, writer, sent)
    writer.close()
    return json.loads(body)


def bodies(pipeline: Pipeline, rows: pd.DataFrame) -> tuple[bytes, bytes]:
    """Return what both servers are sent for some rows."""
    roles = champion_of(opened(pipeline)).roles
    given = rows.copy()
    for name in given.columns[given.dtypes.map(lambda kind: kind.kind == "M")]:
        given[name] = given[name].dt.strftime("%Y-%m-%dT%H:%M:%S.%f")
    cells = given.astype(object).where(given.notna(), None)
    features = list(roles.features)
    named = [*features, *(c for c in roles.id_columns if c in given and c not in features)]
    split = {"columns": features, "data": cells[features].to_numpy().tolist()}
    mine = {"rows": cells[named].to_dict("records")}
    params = {"predict_method": "predict_proba"} if roles.classes else {}
    theirs = {"dataframe_split": split, "params": params}
    return json.dumps(mine).encode(), json.dumps(theirs).encode()


def compare(mine: Any, theirs: Any) -> None:
    own = [
        list(row.get("probability", {"": row.get("prediction")}).values()) for row in mine["rows"]
    ]
    other = [list(r.values()) if isinstance(r, dict) else [r] for r in theirs["predictions"]]
    assert np.array_equal(np.array(own), np.array(other)), "the predictions differ"


def measure(
    port: int, sent: bytes, connections: int, args: argparse.Namespace, server: psutil.Process
) -> Any:
    before = cpu_seconds(server)
    rounds = [asyncio.run(load(port, sent, connections, args.seconds)) for _ in range(args.repeat)]
    cpu = (cpu_seconds(server) - before) / sum(len(taken) for _, taken in rounds)
    rate, taken = max(rounds, key=lambda one: one[0])
    return rate, np.quantile(taken, 0.5) * 1e3, np.quantile(taken, 0.99) * 1e3, cpu * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    pipeline = load_pipeline(args.pipeline)
    name, table = pipeline.config.name, pd.read_parquet(args.rows)
    programs = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{pipeline.state}/mlflow/mlflow.db")
    own, other = free_port(), free_port()
    serve = [str(programs / "keepfit"), "serve", str(pipeline.path), "--port", str(own)]
    mlflow = [
        str(programs / "mlflow"), "models", "serve", "-m", f"models:/{name}@champion",
        "--env-manager", "local", "--host", "127.0.0.1", "-p", str(other),
    ]  # fmt: skip
    print(f"{'rows':>4} {'conns':>5}  {'keepfit/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'cpu ms':>7}"
          f"  {'mlflow/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'cpu ms':>7}  ratio   cpu")  # fmt: skip
    with (
        running(serve, f"http://127.0.0.1:{own}/ready", environ) as first,
        running(mlflow, f"http://127.0.0.1:{other}/health", environ) as second,
    ):
        for rows, connections in CASES:
            mine, theirs = bodies(pipeline, table.head(rows))
            mine = request(own, f"/pipelines/{name}/predict", mine)
            theirs = request(other, "/invocations", theirs)
            compare(asyncio.run(once(own, mine)), asyncio.run(once(other, theirs)))
            a = measure(own, mine, connections, args, first)
            b = measure(other, theirs, connections, args, second)
            figures = ["  ".join(f"{x:>7.2f}" for x in one) for one in (a, b)]
            print(f"{rows:>4} {connections:>5}  {'    '.join(figures)}"
                  f"  {a[0] / b[0]:>5.1f} {b[3] / a[3]:>5.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
