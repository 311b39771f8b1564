"""Registries: the members of a kind (methods, tasks) by the word in their `type` field, usable as a pydantic type.

A member registers itself with a decorator; the models that hold a member read it by its `type`, so a new one is a file
and a decorator, and nothing else changes.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MemberT = TypeVar("MemberT", bound=BaseModel)


class Registry(Generic[MemberT]):
    """Members by `type`. As the metadata of an `Annotated`, reads and writes any of them; without `type`, `default`."""

    def __init__(self, what: str, default: str) -> None:
        self._what = what
        self._default = default
        self._members: dict[str, type[MemberT]] = {}

    def register(self, member: type[MemberT]) -> type[MemberT]:
        """Add a member, named by the default of its `type` field."""
        self._members[member.model_fields["type"].default] = member
        return member

    def __getitem__(self, name: str) -> type[MemberT]:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._members))

    def _validate(self, value: Any) -> MemberT:
        if isinstance(value, BaseModel) and type(value) in self._members.values():
            return value  # type: ignore[return-value]  # it is one of ours
        if not isinstance(value, dict):
            raise PydanticCustomError(
                "member_type", "{what} is an object, such as {example}", self._words(self._default)
            )
        name = value.get("type", self._default)
        member = self._members.get(name) if isinstance(name, str) else None
        if member is None:
            raise PydanticCustomError(
                "member_unknown", "there is no {what} of type '{name}'; there are: {known}", self._words(_told(name))
            )
        return member.model_validate(value)  # its errors keep their places: pydantic nests a ValidationError

    def _words(self, name: str) -> dict[str, Any]:
        return {"what": self._what, "name": name, "example": f'{{"type": "{name}"}}', "known": ", ".join(self)}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def dump(value: BaseModel, info: SerializationInfo) -> dict[str, Any]:
            return value.model_dump(
                mode=info.mode,
                exclude_none=info.exclude_none,
                exclude_unset=info.exclude_unset,
                exclude_defaults=info.exclude_defaults,
            )

        written = core_schema.plain_serializer_function_ser_schema(dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(self._validate, serialization=written)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        members = [self._schema_of(name, handler) for name in self]
        return members[0] if len(members) == 1 else {"oneOf": members, "discriminator": {"propertyName": "type"}}

    def _schema_of(self, name: str, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Whoever leaves `type` out means the default, and no other."""
        schema = handler(self._members[name].__pydantic_core_schema__)
        if name == self._default:
            return schema
        whole = handler.resolve_ref_schema(schema)
        whole["required"] = sorted({"type", *whole.get("required", ())})
        return schema


def _told(name: object) -> str:
    """What was given as a name, cut; half a surrogate pair, which no message can hold, as its code."""
    return str(name)[:64].encode("utf-8", "backslashreplace").decode()
