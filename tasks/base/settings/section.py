"""Shared parts of the pipeline file's sections: base, names, addresses, errors with a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from tasks.base.settings.database_addresses import EXAMPLE, fault_of
from tasks.base.settings.object_addresses import object_fault

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]

Column = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int | float) else v)]


def _database_url(value: SecretStr) -> SecretStr:
    """Refuse what is no database URL; the message never shows it."""
    fault = fault_of(value.get_secret_value())
    if fault:
        raise contradiction_at((), f"the database URL cannot be used: {fault}. {EXAMPLE}")
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]


def _place(path: str) -> str:
    """Refuse the address of an object that cannot be used; the message never shows it."""
    fault = object_fault(path)
    if fault:
        raise contradiction_at((), f"the address cannot be used: {fault}")
    return path


FilesPath = Annotated[str, Field(min_length=1), AfterValidator(_place)]


def _label(value: Any) -> Any:
    """Return a label as text, as labels of a table are read: true is True, 1 and 1.0 stay apart."""
    return str(value) if isinstance(value, bool | int | float) else value


def _one_or_many(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Label = Annotated[str, BeforeValidator(_label)]

Spellings = Annotated[tuple[Label, ...], BeforeValidator(_one_or_many)]


class Section(BaseModel):
    """A frozen part of the file; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, hide_input_in_errors=True, allow_inf_nan=False
    )

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_switches(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        found = validate(given)
        places = _switches_as_numbers(given, found.__dict__)
        faults = [finding_at(at[:-1], at[-1], _no_number(at)) for at in places]
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return found


def _switches_as_numbers(given: Any, found: Any) -> Iterator[tuple[str, ...]]:
    """Yield where `given` has true or false and pydantic took 1 or 0 for it."""
    if isinstance(given, dict) and isinstance(found, dict):
        for key in given.keys() & found.keys():
            if isinstance(given[key], bool) and type(found[key]) in (int, float):
                yield (key,)
            yield from ((key, *at) for at in _switches_as_numbers(given[key], found[key]))


def _no_number(at: tuple[str, ...]) -> str:
    return f"`{at[-1]}` takes a number; got true or false"


def finding_at(location: tuple[str, ...], key: str | int, text: str) -> InitErrorDetails:
    """Return an error at `location` that points at the line of `key` below it."""
    error = PydanticCustomError("contradiction", "{text}", {"text": text, "at": key})
    return InitErrorDetails(type=error, loc=location, input=None)


def form_of(value: Any) -> str:
    """Return which form a setting has that may be one word or a whole section."""
    return "word" if isinstance(value, str) else "section"


def contradiction_at(key: str | tuple[str, ...], message: str) -> PydanticCustomError:
    """Return an error that points at the line of `key` below it and does not show the value."""
    return PydanticCustomError("contradiction", "{text}", {"text": message, "at": key})


def plain(section: Section) -> dict[str, Any]:
    """Return `section` as plain values; secrets stay hidden."""
    return section.model_dump(mode="json", exclude_defaults=True)
