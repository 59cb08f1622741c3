"""Shapes: what a value looks like to Cedar. Made from JSON Schema or a type name; they write the Cedar schema and fit values to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from cxplane.domain.values import Json

I64 = 2**63


class Unfit(Exception):
    """A value does not fit its shape. Says where, never what."""

    def __init__(self, where: str, needs: str) -> None:
        self.where, self.needs = where, needs
        super().__init__(f"{where} is not {needs}")


@dataclass(frozen=True, slots=True)
class Scalar:
    """String, Long, Boolean, datetime or decimal."""

    name: str

    def cedar(self) -> dict[str, Any]:
        if self.name in ("datetime", "decimal"):
            return {"type": "Extension", "name": self.name}
        return {"type": self.name}

    def fit(self, value: Json, where: str) -> Any:
        if self.name == "String" and isinstance(value, str):
            return value
        if self.name == "Boolean" and isinstance(value, bool):
            return value
        if self.name == "Long" and isinstance(value, int) and not isinstance(value, bool) and -I64 <= value < I64:
            return value
        if self.name == "datetime" and (moment := _moment(value)) is not None:
            return {"__extn": {"fn": "datetime", "arg": moment}}
        if self.name == "decimal" and (exact := _decimal(value)) is not None:
            return {"__extn": {"fn": "decimal", "arg": exact}}
        raise Unfit(where, f"a {self.name}")

    def sample(self) -> Any:
        samples: dict[str, Json] = {
            "String": "",
            "Boolean": False,
            "Long": 0,
            "datetime": datetime(2000, 1, 1, tzinfo=UTC),
            "decimal": 0.0,
        }
        return samples[self.name]


@dataclass(frozen=True, slots=True)
class SetOf:
    of: Scalar

    def cedar(self) -> dict[str, Any]:
        return {"type": "Set", "element": self.of.cedar()}

    def fit(self, value: Json, where: str) -> Any:
        if not isinstance(value, list | tuple | set | frozenset):
            raise Unfit(where, "a list")
        return [self.of.fit(item, f"{where}[]") for item in value]

    def sample(self) -> Any:
        return []


@dataclass(frozen=True, slots=True)
class Field:
    shape: Shape
    required: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """A closed record: what it does not name is left out, what it requires must be there."""

    fields: Mapping[str, Field]

    def cedar(self) -> dict[str, Any]:
        return {
            "type": "Record",
            "attributes": {
                name: {**field.shape.cedar(), "required": field.required} for name, field in self.fields.items()
            },
        }

    def fit(self, value: Json, where: str) -> Any:
        if not isinstance(value, Mapping):
            raise Unfit(where, "an object")
        fitted: dict[str, Any] = {}
        for name, field in self.fields.items():
            if (item := value.get(name)) is not None:
                fitted[name] = field.shape.fit(item, f"{where}.{name}")
            elif field.required:
                raise Unfit(f"{where}.{name}", "there")
        return fitted

    def sample(self) -> Any:
        return {name: field.shape.sample() for name, field in self.fields.items() if field.required}


Shape = Scalar | SetOf | Record

_NAMED: Mapping[str, Shape] = {
    "Bool": Scalar("Boolean"),
    "Boolean": Scalar("Boolean"),
    "Long": Scalar("Long"),
    "String": Scalar("String"),
    "Datetime": Scalar("datetime"),
    "Decimal": Scalar("decimal"),
    "Set<String>": SetOf(Scalar("String")),
    "Set<Long>": SetOf(Scalar("Long")),
}
TYPES = tuple(sorted(_NAMED))


def named(type_: str | None) -> Shape | None:
    """The shape of a type name as the control repo writes it (`Bool`, `Set<Long>` …); None if there is no such type."""
    return _NAMED.get(type_ or "")


_JSON: Mapping[str, Scalar] = {
    "string": Scalar("String"),
    "integer": Scalar("Long"),
    "boolean": Scalar("Boolean"),
}


def from_json_schema(schema: Json) -> Shape | None:
    """The shape of a JSON Schema, or None where Cedar has no simple word for it: numbers, unions, lists of objects."""
    if not isinstance(schema, Mapping) or any(
        key in schema for key in ("anyOf", "oneOf", "allOf", "$ref", "not", "if")
    ):
        return None
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _JSON:
        return _JSON[kind]
    if kind == "array":
        item = from_json_schema(schema.get("items"))
        return SetOf(item) if isinstance(item, Scalar) else None
    if kind == "object":
        record = record_of(schema)
        return record if record.fields else None
    return None


def record_of(schema: Json) -> Record:
    """The properties of an object schema that Cedar can see; those not required are optional."""
    if not isinstance(schema, Mapping):
        return Record({})
    required = frozenset(schema.get("required", ()))
    fields: dict[str, Field] = {}
    for name, sub in schema.get("properties", {}).items():
        if (shape := from_json_schema(sub)) is not None:
            fields[name] = Field(shape, name in required)
    return Record(fields)


def _moment(value: Json) -> str | None:
    """Cedar's text of a moment; None if it is none or has no time zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        return None
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def _decimal(value: Json) -> str | None:
    """Cedar's text of a decimal: four places, rounded half to even; None if it is no number or too large."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    exact = Decimal(str(value))
    if not exact.is_finite() or abs(exact) >= Decimal("922337203685477.5"):
        return None
    return f"{exact.quantize(Decimal('0.0001'), rounding=ROUND_HALF_EVEN):f}"
