from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading

import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from tasks.models.persistence import skops_io as module
from tasks.models.persistence.skops_io import skops_io

_CODE = """
import json, sys
{how}
mine = any(n.startswith("skops.io") for n in sys.modules)
swept = [n for n in ("sklearn.datasets", "sklearn.utils._testing") if n in sys.modules]
from skops.io import _trusted_types as types
trusted = {{n: len(v) for n, v in vars(types).items() if n.endswith("_NAMES")}}
print(json.dumps([mine, swept, trusted]))
"""


def _facts(how: str) -> tuple[bool, list[str], dict[str, int]]:
    command = [sys.executable, "-c", _CODE.format(how=how)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mine, swept, trusted = json.loads(done.stdout)
    return mine, swept, trusted


@pytest.mark.slow
def test_skops_of_others_stays_as_it_is() -> None:
    _, _, plain = _facts("import skops.io")
    mine, swept, trusted = _facts(
        "from tasks.models.persistence.skops_io import skops_io; skops_io()"
    )
    assert not mine
    assert not swept
    assert trusted == plain
    assert plain["SKLEARN_ESTIMATOR_TYPE_NAMES"] > 50


def test_it_trusts_no_type_that_is_not_listed() -> None:
    data = skops_io().dumps(LogisticRegression())
    with pytest.raises(Exception, match="LogisticRegression"):
        skops_io().loads(data)


def test_a_skops_that_was_imported_before_is_another_one() -> None:
    data = skops_io().dumps(LogisticRegression(C=3.0))
    assert sys.modules["skops.io"] is skops.io is not skops_io()
    assert skops.io.loads(data).C == 3.0


def test_another_thread_finds_the_skops_of_others_while_the_copy_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("keepfit_skops_io")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    found, loaded = set(), threading.Event()

    def look() -> None:
        while not loaded.is_set():
            found.add(sys.modules.get("skops.io"))
            found.add(importlib.import_module("skops.io"))

    thread = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        copy = module._own_copy.__wrapped__()
    finally:
        loaded.set()
        thread.join()
        sys.setswitchinterval(interval)

    assert found == {skops.io}
    assert copy.loads(copy.dumps([1]), trusted=["builtins.list", "builtins.int"]) == [1]


def test_the_copy_imports_nothing_of_the_skops_of_others() -> None:
    """A file of an older protocol is read by modules that name `skops.io` in full."""
    skops_io()
    modules = [m for n, m in sys.modules.items() if n.startswith("keepfit_skops_io.old.")]
    named = {value.__module__ for m in modules for value in vars(m).values()
             if str(getattr(value, "__module__", "")).startswith("skops.io")}  # fmt: skip

    assert len(modules) >= 2
    assert named == set()
