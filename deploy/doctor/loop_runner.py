"""The runner of the scratch pipeline of `keepfit doctor --loop`; ends with its parent.

`python -m deploy.doctor.loop_runner FILE`. Not the stack's runner: that one looks after
the runs of every pipeline on its server, and two of them would take each other's for dead.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from deploy.child_processes import TyingLoop
from deploy.prefect.automations import apply_automations
from deploy.prefect.deployments import runner_deployments
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.environment import RUNNER_VARIABLE


async def run(pipeline: Pipeline) -> None:
    """Make the pipeline's deployments and automations, then start what is due."""
    from prefect.runner import Runner  # defers prefect

    runner = Runner(name="keepfit doctor", query_seconds=2, pause_on_shutdown=False)
    for deployment in await asyncio.to_thread(runner_deployments, [pipeline]):
        await runner.aadd_deployment(deployment)
    await asyncio.to_thread(apply_automations, [pipeline])
    await runner.start()


if __name__ == "__main__":
    os.environ[RUNNER_VARIABLE] = str(os.getpid())
    with asyncio.Runner(loop_factory=TyingLoop) as loop:
        loop.run(run(load_pipeline(Path(sys.argv[1]))))
