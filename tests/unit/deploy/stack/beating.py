"""A part for tests: it beats, and does what its environment says it should do wrong.

Run alone, this module supervises two of them in a process of its own, and says what happens.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from deploy.child_processes import adopt_orphans
from deploy.stack import supervised_part
from deploy.stack import supervisor as supervising
from deploy.stack.supervised_part import Part
from deploy.stack.supervisor import Supervisor


def _beat(descriptor: int) -> None:
    if os.environ.get("CHILD"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if os.environ.get("FAILS"):
        sys.stderr.write("ValueError: the canary is wrong\nsee the manual\n")
        sys.exit(3)
    if os.environ.get("SLOW"):
        os.write(descriptor, b"a line for people\n")
        until = time.monotonic() + float(os.environ["SLOW"])
        while time.monotonic() < until:
            pass
    while True:
        os.write(descriptor, b"\n")
        time.sleep(0.1)


def part(name: str, folder: Path, **environ: str) -> Part:
    return Part(
        name, name, "tests.unit.deploy.stack.beating",
        lambda descriptor: ("beat", str(descriptor)),
        {**os.environ, **environ}, folder,
    )  # fmt: skip


def _supervise(folder: Path) -> None:
    supervising._HANG_SECONDS = 2.0
    supervised_part._SILENCE_SECONDS = 1.0
    supervising._PROBE_EVERY = 0.2
    adopt_orphans()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    parts = [part("one", folder), part("two", folder, CHILD="1")]
    if os.environ.get("SLOW_PART"):
        parts.append(part("three", folder, SLOW=os.environ["SLOW_PART"]))
    supervisor = Supervisor(parts, say)
    supervisor.start()

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() == "pids":
                say(f"pids {parts[0].pid} {parts[1].pid}")
        supervisor.stopping.set()

    threading.Thread(target=listen, daemon=True).start()
    supervisor.run()
    supervisor.stop()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _supervise(Path(sys.argv[1]))
    else:
        _beat(int(sys.argv[2]))
