"""The gallery of the site: pages that the product wrote in real runs.

``python -m docs.gallery`` trains the small bundled pipelines, follows the tutorial as it is
written, and keeps the pages of each as soon as it has run in ``dist/gallery``, from where the
build takes them; with ``--pictures`` it takes the README's pictures as well.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from docs.pictures import take

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "dist" / "gallery"
PIPELINES = ("credit", "diabetes", "digits", "movielens", "parkinsons")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
# What a page of the gallery cannot lead to: servers that ran, and Evidently's five megabytes.
_DEAD = re.compile(r'\s(?:xlink:)?href="(?:http://127\.0\.0\.1[^"]*|[^"]*evidently\.html)"')
_DUE = re.compile(r'\sdata-due="[^"]*"')
_PATIENCE = 1500.0


@dataclass(frozen=True)
class Tutorial:
    """The tutorial, followed to its end; its stack runs.

    Parameters
    ----------
    folder
        In which a reader would be.
    printed
        What the commands of each block of shell printed.
    stack
        What `keepfit up` printed, up to the verdict that answers the alarm.
    """

    folder: Path
    printed: tuple[str, ...]
    stack: str

    @property
    def state(self) -> Path:
        """The state folder of its pipeline."""
        return self.folder / "late" / ".keepfit"

    def command(self, *words: str) -> str:
        """Return what a command of keepfit prints in the reader's folder."""
        return _shell(" ".join(("keepfit", *words)), self.folder)


def steps() -> list[tuple[str, str]]:
    """Return the blocks of the tutorial that a reader runs: language and text, in their order.

    Of the first, which installs, only the commands of keepfit are left: this runs installed.
    """
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    found = [(kind, text) for kind, text in _BLOCK.findall(page) if kind in ("sh", "python")]
    (kind, first), *others = found
    installed = "".join(re.findall(r"^keepfit .*\n", first, flags=re.MULTILINE))
    return [(kind, installed), *others]


@contextmanager
def followed(folder: Path) -> Iterator[Tutorial]:
    """Follow the tutorial in `folder`; yield when its alarm is answered, then stop the stack."""
    printed: list[str] = []
    stack: subprocess.Popen[bytes] | None = None
    lines = folder / "up.txt"
    try:
        for kind, text in steps():
            if kind == "python":
                (folder / "flights.py").write_text(text, encoding="utf-8")
            elif text.startswith("keepfit up"):
                with lines.open("wb") as out:
                    stack = subprocess.Popen(
                        text.split(), cwd=folder, env=_environment(), stdout=out, stderr=out
                    )
                _until(lines, "Ctrl-C", stack)
            else:
                printed.append(_shell(text, folder))
        assert stack is not None, "the tutorial starts no stack"
        yield Tutorial(folder, tuple(printed), _until(lines, "trained: ", stack))
    finally:
        if stack is not None:
            stack.send_signal(signal.SIGINT)
            stack.wait(_PATIENCE)


def collect(state: Path, target: Path) -> list[Path]:
    """Replace a gallery's pages of the pipelines of a state folder, without links to servers."""
    for pipeline in state.glob("pipelines/*"):
        shutil.rmtree(target / pipeline.relative_to(state), ignore_errors=True)
    told = f"{state.resolve().parents[1]}{os.sep}"
    pages = [*state.glob("dashboard/*.html"), *state.glob("pipelines/*/*/**/*.html")]
    copied = []
    for page in sorted(pages):
        if page.name == "evidently.html":
            continue
        text = _DUE.sub("", _DEAD.sub("", page.read_text(encoding="utf-8")))
        copy = target / page.relative_to(state)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text.replace(told, ""), encoding="utf-8")
        copied.append(copy)
    return copied


def bundled(name: str, folder: Path, target: Path) -> list[Path]:
    """Train a bundled pipeline in `folder` and collect its pages."""
    _shell(f"keepfit init {name} --demo {name} && keepfit run {name}", folder)
    return collect(folder / name / ".keepfit", target)


def gallery(target: Path, *, pictures: bool = False) -> None:
    """Write the whole gallery to `target`."""
    with tempfile.TemporaryDirectory() as work:
        for name in PIPELINES:
            bundled(name, Path(work), target)
        with followed(Path(work)) as tutorial:
            tutorial.command("backtest late --quick --every 28d")
            collect(tutorial.state, target)
            if pictures:
                take(tutorial)


def _environment() -> dict[str, str]:
    home = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": home, "KEEPFIT_SIGNING_KEY": _KEY, "COLUMNS": "80"}


_KEY = os.environ.get("KEEPFIT_SIGNING_KEY") or secrets.token_hex(32)


def _shell(text: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder, env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{text}\n{done.stdout}{done.stderr}")
    return done.stdout


def _until(file: Path, word: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _PATIENCE
    while word not in (printed := file.read_text(encoding="utf-8")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{word!r} was not printed:\n{printed}")
        time.sleep(0.2)
    return printed


if __name__ == "__main__":
    gallery(KEPT, pictures="--pictures" in sys.argv)
