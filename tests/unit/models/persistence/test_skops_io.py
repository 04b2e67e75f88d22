from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer

from tasks.base.errors import InfrastructureError, ModelRefusedError
from tasks.models.persistence.skops_io import load_model, save_model, skops_io, types_of
from tests.unit.models.factories import fitted, frame, target


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    X = frame(80)
    path = tmp_path_factory.mktemp("models") / "model.skops"
    save_model(fitted("decision_tree", "binary", X, target(X, "binary"))[0], path)
    return path


def _rewritten(source: Path, target: Path, **files: bytes) -> Path:
    """Return a copy of a model file with some of its members replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, files.get(name.replace(".", "_"), old.read(name)))
    return target


def _schema(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as file:
        return dict(json.loads(file.read("schema.json")))


def test_a_type_outside_the_list_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    model = Pipeline([("power", PowerTransformer())])
    with pytest.raises(ModelRefusedError, match="PowerTransformer"):
        save_model(model, tmp_path / "model.skops")
    assert not list(tmp_path.iterdir())


def test_a_function_in_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="FunctionTransformer"):
        save_model(FunctionTransformer(np.log1p), tmp_path / "model.skops")


def test_a_file_that_names_a_function_is_refused_before_it_is_imported(
    saved: Path, tmp_path: Path
) -> None:
    schema = _schema(saved)
    schema["content"]["content"]["verbose"] = {
        "__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "__id__": 1,
        "content": {"module_path": "os", "function": "system"},
    }  # fmt: skip
    path = _rewritten(saved, tmp_path / "m.skops", schema_json=json.dumps(schema).encode())
    with pytest.raises(ModelRefusedError, match=r"os\.system"):
        load_model(path)
    with pytest.raises(ModelRefusedError, match=r"os\.system"):
        types_of(path)


def test_a_trusted_type_rebuilt_in_another_way_is_refused(saved: Path, tmp_path: Path) -> None:
    schema = _schema(saved)
    schema["content"]["content"]["verbose"] = {
        "__class__": "str", "__module__": "builtins", "__loader__": "MethodNode", "__id__": 1,
        "content": {"func": "upper", "obj": {}},
    }  # fmt: skip
    path = _rewritten(saved, tmp_path / "m.skops", schema_json=json.dumps(schema).encode())
    with pytest.raises(ModelRefusedError, match="MethodNode"):
        load_model(path)


def test_an_older_protocol_of_the_file_is_refused(saved: Path, tmp_path: Path) -> None:
    schema = {**_schema(saved), "protocol": 0}
    path = _rewritten(saved, tmp_path / "m.skops", schema_json=json.dumps(schema).encode())
    with pytest.raises(ModelRefusedError, match="protocol 0"):
        load_model(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_is_refused(saved: Path, tmp_path: Path, share: float) -> None:
    whole = saved.read_bytes()
    path = tmp_path / "cut.skops"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelRefusedError, match=r"cut\.skops"):
        load_model(path)


def test_a_changed_byte_is_noticed(saved: Path, tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path = tmp_path / "changed.skops"
    path.write_bytes(bytes(data))
    with pytest.raises(ModelRefusedError):
        load_model(path)


def test_a_schema_that_does_not_unpack_is_refused(saved: Path, tmp_path: Path) -> None:
    """zlib's own error is neither of the standard library's zip file nor an OSError."""
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as file:
        info = file.getinfo("schema.json")
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + 40] = b"\xff" * 40
    broken = tmp_path / "broken.skops"
    broken.write_bytes(data)
    for read in (load_model, types_of):
        with pytest.raises(ModelRefusedError, match="not a model file"):
            read(broken)


@pytest.mark.parametrize("error", [MemoryError(), ImportError("failed to map segment")])
def test_a_process_without_memory_does_not_call_the_file_damaged(
    saved: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def loads(*_: object, **__: object) -> object:
        raise error

    monkeypatch.setattr(skops_io(), "loads", loads)
    with pytest.raises(InfrastructureError, match="cannot be loaded in this process"):
        load_model(saved)


def test_an_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"nowhere\.skops"):
        load_model(tmp_path / "nowhere.skops")


@pytest.mark.parametrize(("node", "child"), [(0, 10_000_000), (1, 1)])
def test_a_tree_that_points_outside_itself_or_back_is_refused(
    saved: Path, tmp_path: Path, node: int, child: int
) -> None:
    model = load_model(saved)
    tree = model[-1].tree_
    assert tree.children_left[node] > 0
    state = tree.__getstate__()
    state["nodes"]["left_child"][node] = child
    tree.__setstate__(state)
    path = tmp_path / "tree.skops"
    save_model(model, path)
    with pytest.raises(ModelRefusedError, match="points outside itself"):
        load_model(path)


def test_the_types_of_a_model_are_told_for_who_loads_it(saved: Path, tmp_path: Path) -> None:
    types = types_of(saved)
    assert "sklearn.tree._tree.Tree" in types
    assert "tasks.models.features.preprocessing.FeatureEncoder" in types
    from skops.io import load

    shutil.copy(saved, tmp_path / "copy.skops")
    assert isinstance(load(tmp_path / "copy.skops", trusted=types), Pipeline)
