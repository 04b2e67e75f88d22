from __future__ import annotations

import json
import subprocess
import sys

import pytest

_TELL = """
import json, sys
import mlflow, numpy, prefect, sklearn.ensemble, scipy.special
{how}
from skops.io import _trusted_types as types, _utils as utils
names = {{n: list(v) for n, v in vars(types).items() if n.endswith("_NAMES")}}
print(json.dumps([names, utils.whichmodule.__module__, len(sys.meta_path)]))
"""


def told(how: str) -> list[object]:
    command = [sys.executable, "-c", _TELL.format(how=how)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr
    return list(json.loads(done.stdout))


@pytest.mark.slow
def test_skops_trusts_what_it_would_and_is_left_as_it_is() -> None:
    plain = told("import skops.io")
    fast = told("from tasks.models.persistence.skops_io import skops_io; skops_io(); skops_io()")
    assert fast == plain
    assert len(plain[0]["NUMPY_UFUNC_TYPE_NAMES"]) > 50  # type: ignore[call-overload,index]


def test_it_looks_where_ufuncs_are() -> None:
    """What makes it fast: modules of others are not asked."""
    code = (
        "import sys, types, numpy, scipy.special\n"
        "from tasks.models.persistence.skops_io import skops_io\n"
        "class Asked(types.ModuleType):\n"
        "    names = []\n"
        "    def __getattr__(self, name):\n"
        "        self.names.append(name)\n"
        "        raise AttributeError(name)\n"
        "sys.modules['another'] = Asked('another')\n"
        "skops_io()\n"
        "from skops.io import _trusted_types as types\n"
        "assert any(n.endswith('.expit') for n in types.SCIPY_UFUNC_TYPE_NAMES)\n"
        "asked = [n for n in Asked.names if not n.startswith('_')]\n"
        "assert len(asked) < 5, asked\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
