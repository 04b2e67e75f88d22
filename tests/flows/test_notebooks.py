"""keepfit in a kernel: the documentation's notebooks, an interruption, a kill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from tasks.contracts.shared_checker import VARIABLE as SHARED_CHECKER
from tests.tables import FAST, write_churn

pytestmark = [
    pytest.mark.slow,
    # jupyter_client's, about its loopback sockets, and of its own event loop.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
PATIENCE = 1500.0


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_of_the_documentation_runs(file: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)

    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3", resources=place).execute()

    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    drawn = [cell.outputs[0].data for cell in notebook.cells if ".plot()" in cell.source]
    assert all("image/png" in data for data in drawn)
    assert any("text/html" in o.get("data", {}) for o in outputs)
    assert [o.text for o in outputs if "Warning" in o.get("text", "")] == []


class Kernel:
    """A kernel in a folder, and what it prints."""

    def __init__(self, folder: Path) -> None:
        self._manager = KernelManager(kernel_name="python3")
        # Its contracts are checked by processes of its own.
        environ = {name: value for name, value in os.environ.items() if name != SHARED_CHECKER}
        self._manager.start_kernel(cwd=str(folder), env=environ)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=PATIENCE)
        self.process = psutil.Process(self._manager.provisioner.pid)  # type: ignore[union-attr]

    def children(self) -> list[psutil.Process]:
        return self.process.children(recursive=True)

    def begin(self, code: str, until: str) -> list[psutil.Process]:
        """Let a cell run until it prints a text; return the processes that it has started."""
        self._client.execute(code)
        printed = ""
        while until not in printed:
            content = self._message()
            printed += content.get("text", "") + content.get("data", {}).get("text/plain", "")
        return self.children()

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def end(self) -> str:
        """Return what the running cell prints, errors too, until it has ended."""
        printed = ""
        while (content := self._message()).get("execution_state") != "idle":
            printed += content.get("text", "") + "\n".join(content.get("traceback", ()))
            printed += content.get("data", {}).get("text/plain", "")
        return printed

    def run(self, code: str) -> str:
        self._client.execute(code)
        return self.end()

    def shut_down(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def _message(self) -> dict[str, Any]:
        content: dict[str, Any] = self._client.get_iopub_msg(timeout=PATIENCE)["content"]
        return content


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    write_churn(tmp_path / "churn.csv")
    started = Kernel(tmp_path)
    try:
        yield started
    finally:
        started.shut_down()


def test_an_interrupted_or_killed_kernel_leaves_no_process_and_a_state_to_go_on_from(
    kernel: Kernel,
) -> None:
    kernel.run(
        f"""
import keepfit
pipeline = keepfit.init("churn.csv", "Churned?", folder="churn", time="when", id_columns="customer")
pipeline.file.write_text(pipeline.file.read_text().split("\\ntraining:")[0] + "\\n" + {FAST!r})
"""
    )

    started = kernel.begin("pipeline.run()", until="to train on")
    kernel.interrupt()
    printed = kernel.end()

    assert len(started) >= 2
    assert kernel.children() == []
    assert "Traceback" not in printed
    assert printed.count("Interrupted") == 1
    assert "no champion" in kernel.run("pipeline.status()")
    assert "Error" in (mistake := kernel.run("pipeline.why(99)"))
    assert mistake.startswith("line 1: ")
    assert len(mistake.splitlines()) == 2
    assert "Promoted" in kernel.run("pipeline.run()")

    started = kernel.begin("pipeline.run(fresh=True)", until="to train on")
    kernel.process.kill()

    assert psutil.wait_procs(started, timeout=PATIENCE)[1] == []
