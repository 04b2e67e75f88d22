"""OpenAPI 3.1 of a prediction server, from the signatures of the versions that predict."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from tasks.serving.current_champion import CurrentChampion
from tasks.serving.request_columns import CellType, Column
from tasks.serving.served_model import ServedModel

_TYPES: dict[CellType, dict[str, Any]] = {
    "number": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "time": {"type": ["string", "null"], "format": "date-time"},
    "text": {"type": ["string", "null"]},
    "any": {"type": ["string", "number", "boolean", "null"]},
}
_FAULT = {
    "type": "object",
    "properties": {
        "column": {"type": ["string", "null"]},
        "rule": {"type": "string"},
        "message": {"type": "string"},
        "remedy": {"type": "string"},
    },
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "kind": {"type": "string"},
                "message": {"type": "string"},
                "remedy": {"type": "string"},
            },
        }
    },
}
_STATUSES = {
    "400": "The body is no JSON of the form described.",
    "401": "The bearer token is absent or wrong.",
    "408": "The body did not come in time.",
    "413": "More bytes or rows than one request may have.",
    "415": "The body is not application/json.",
    "422": "None of the rows could be predicted.",
    "429": "More requests a second than one client may send.",
    "503": "No champion, or the predictions could not be recorded; nothing was recorded.",
}


def openapi(champions: Iterable[CurrentChampion], *, token: bool) -> dict[str, Any]:
    """Return the OpenAPI description, with or without a bearer token."""
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "keepfit", "version": version("keepfit")},
        "paths": {
            f"/pipelines/{one.name}/predict": {"post": _operation(one.name, one.model)}
            for one in champions
            if one.model is not None
        },
    }
    if token:
        described["components"] = {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}
        }
        described["security"] = [{"token": []}]
    return described


def _operation(name: str, model: ServedModel) -> dict[str, Any]:
    body = {"application/json": {"schema": request_schema(model)}}
    return {
        "operationId": f"predict_{name}",
        "summary": f"Predicts {model.roles.target} with version {model.version.version}.",
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {
                "description": "One entry per row, in the order of the request.",
                "content": {"application/json": {"schema": response_schema(model)}},
            },
            **{
                status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
                for status, text in _STATUSES.items()
            },
        },
    }


def request_schema(model: ServedModel) -> dict[str, Any]:
    """Return the JSON schema of a request: rows as objects, or columns as lists."""
    needed = [column.name for column in model.sent if column.needed]
    cells = {column.name: _cell(model, column) for column in model.sent}
    lists = {name: {"type": "array", "items": cell} for name, cell in cells.items()}
    record = {"type": "object", "properties": cells, "required": needed}
    return {
        "oneOf": [
            _only("rows", {"type": "array", "items": record, "minItems": 1}),
            _only("columns", {"type": "object", "properties": lists, "required": needed}),
        ]
    }


def _only(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: schema},
        "required": [key],
        "additionalProperties": False,
    }


def _cell(model: ServedModel, column: Column) -> dict[str, Any]:
    roles = model.roles
    cell = dict(_TYPES[column.type])
    if column.name in roles.id_columns:
        cell["description"] = "Identifies the row: by it its label is found."
    elif column.name == roles.time_column:
        cell["description"] = "When the row is of; absent: the moment of its arrival."
    rule = model.rules.contract.columns.get(column.name)
    if rule is not None and rule.categories is not None:
        cell["examples"] = list(rule.categories.values[:5])
    return cell


def response_schema(model: ServedModel) -> dict[str, Any]:
    """Return the JSON schema of a response."""
    classes = model.roles.classes
    predicted: dict[str, Any] = {"prediction": {} if classes else {"type": "number"}}
    if classes:
        share = {"type": "number", "minimum": 0, "maximum": 1}
        predicted["probability"] = {"type": "object", "properties": dict.fromkeys(classes, share)}
    if model.roles.group is not None:
        predicted["rank"] = {"type": "integer"}
    faults = {"type": "array", "items": _FAULT}
    row = {"type": "object", "properties": {**predicted, "errors": faults}}
    return {
        "type": "object",
        "properties": {
            "request_id": {"type": "string"},
            "pipeline": {"type": "string"},
            "version": {"type": "string"},
            "answered": {"type": "integer"},
            "refused": {"type": "integer"},
            "rows": {"type": "array", "items": row},
            "warnings": {"type": "array", "items": {"type": "object"}},
            "ignored": {"type": "array", "items": {"type": "string"}},
        },
    }
