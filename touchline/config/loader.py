"""From a TOML file to a frozen model, or to one line per mistake: file, key, what stands there, what is allowed."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from touchline.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_CONFIG_BYTES = 1 << 20


class Section(BaseModel):
    """Base of every table: unknown keys are errors, values are not coerced, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


def _beside_the_file(value: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return value if base is None or value.is_absolute() else Path(base) / value


ConfigPath = Annotated[Path, Field(strict=False), AfterValidator(_beside_the_file)]
"""A path; a relative one is taken from the folder of the configuration file."""


def _field_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[FieldInfo | None, type[BaseModel]]:
    """Follow an error's location through nested models; return the field and the model that holds the last step."""
    field: FieldInfo | None = None
    here = model
    for step in loc:
        if isinstance(step, int):
            continue
        field = here.model_fields.get(step)
        if field is None:
            return None, here
        for part in (field.annotation, *get_args(field.annotation)):
            if get_origin(part) is None and isinstance(part, type) and issubclass(part, BaseModel):
                here = part
    return field, here


_KINDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words: its kind, its choices or its range."""
    choices = get_args(field.annotation)
    if choices and all(isinstance(c, str) for c in choices):
        return "one of " + ", ".join(f'"{c}"' for c in choices)
    kind = _KINDS.get(field.annotation, "") if isinstance(field.annotation, type) else ""
    low = high = pattern = ""
    for rule in field.metadata:
        low = _bound(rule, "ge", ">=") or _bound(rule, "gt", ">") or low
        high = _bound(rule, "le", "<=") or _bound(rule, "lt", "<") or high
        if getattr(rule, "pattern", None):
            pattern = f"matching {rule.pattern}"
    return " ".join(word for word in (kind, low, "and" if low and high else "", high, pattern) if word)


def _bound(rule: object, name: str, sign: str) -> str:
    value = getattr(rule, name, None)
    return "" if value is None else f"{sign} {value}"


def _key(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc).lstrip(".") or "(file)"


def _sentence(model: type[BaseModel], error: ErrorDetails) -> tuple[str, str]:
    loc = error["loc"]
    field, holder = _field_at(model, loc)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(loc[-1]), list(holder.model_fields), 1)
        known = ", ".join(holder.model_fields)
        return (
            f"unknown key {_key(loc)}",
            f"did you mean {near[0]!r}?" if near else f"known keys here: {known}",
        )
    if error["type"] == "missing":
        what = allowed(field) if field else ""
        return f"{_key(loc)} is missing", f"add it: {(field.description if field else '') or what}".rstrip(": ")
    range_text = allowed(field) if field else ""
    reason = error["msg"].removeprefix("Value error, ")
    hint = f"allowed: {range_text}" if range_text else (field.description or "" if field else "")
    shown = "" if isinstance(error["input"], Mapping | list) else f" = {error['input']!r}"
    return f"{_key(loc)}{shown}: {reason}", hint


def parse(text: str, model: type[ModelT], *, name: str = "configuration", base: Path | None = None) -> ModelT:
    """Return the model for a TOML text; raises :class:`ConfigError` that names every mistake with its fix."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}", hint="check quotes, brackets and '='") from error
    try:
        return model.model_validate(table, context={"base": base})
    except ValidationError as error:
        found = [_sentence(model, item) for item in error.errors(include_url=False)]
    message = "; ".join(f"{what} ({hint})" if hint and len(found) > 1 else what for what, hint in found)
    raise ConfigError(f"{name}: {message}", hint=found[0][1] if len(found) == 1 else "mend each of these keys")


def load(path: Path, model: type[ModelT]) -> ModelT:
    """Read ``path`` and return the model; relative paths inside are taken from its folder."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} is larger than 1 MiB", hint="this is no configuration file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="name an existing TOML file") from error
    return parse(text, model, name=str(path), base=path.resolve().parent)
