from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.base.config import PipelineConfig
from tasks.base.settings.training import DaskEngine, Engine, ThreadsEngine

ENGINE: TypeAdapter[Engine] = TypeAdapter(Engine)


def engine(address: str, **more: object) -> Engine:
    return ENGINE.validate_python({"kind": "dask", "address": address, **more})


def test_without_an_engine_the_machine_itself_fits() -> None:
    assert PipelineConfig.model_fields["engine"].default == ThreadsEngine()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://[::1]:1", "tls://dask.lan:1"])
def test_a_scheduler_here_or_behind_tls_is_accepted(address: str) -> None:
    assert engine(address) == DaskEngine(kind="dask", address=address)


def test_plain_tcp_to_another_machine_has_to_be_acknowledged() -> None:
    with pytest.raises(ValidationError, match="insecure: true"):
        engine("tcp://10.0.0.7:8786")
    assert engine("tcp://10.0.0.7:8786", insecure=True)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8786", "tcp://127.0.0.1", "ucx://127.0.0.1:1", "tcp://127.0.0.1:99999",
     "tcp://me:secret@127.0.0.1:1", "tls://h:1/path", "inproc://a", "", "tls://h:1?x=1"],
)  # fmt: skip
def test_what_is_no_address_of_a_scheduler_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match=r"engine\.address"):
        engine(address)
