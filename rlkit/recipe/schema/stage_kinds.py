"""A stage of a recipe, whatever its kind: read by the keys that its kind brings."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from rlkit.recipe.schema.data_section import RowsKeys
from rlkit.recipe.schema.section import Section
from rlkit.stages.registry import find_kind, kind_names


class StageKeys(Section):
    """What every stage has; each kind adds keys of its own."""

    kind: str
    """What is done to the model: the name of a kind of stage."""
    learns: ClassVar[bool] = True
    """Whether a stage of the kind reads data."""

    @property
    def own_rows(self) -> RowsKeys | None:
        """Its `data`: rows that it reads in place of the recipe's `data`; None: it reads those."""
        return None

    def with_context(self, context: int) -> Self:
        """The keys, with what they leave to the model's context filled in.

        Args:
            context: Longest sequence of the model, in tokens.
        """
        return self

    def model_paths(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """(key, value) of every key of the stage that names a model to start from: (("critic", "path"), "./rm")."""
        yield from ()


def kinds_of_keys() -> dict[str, type[StageKeys]]:
    """The keys of every kind of stage, by its name."""
    return {name: find_kind(name).Keys for name in kind_names()}


class ByKind:
    """Reads a stage by the keys of its kind, as a union told apart by `kind` would, over kinds from outside too."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Looks for the kind when a recipe is read, and not before."""
        written = core_schema.plain_serializer_function_ser_schema(self._dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(self._read, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A union of all kinds."""
        kinds = {name: keys.__pydantic_core_schema__ for name, keys in kinds_of_keys().items()}
        return handler(core_schema.tagged_union_schema(kinds, discriminator="kind"))

    @staticmethod
    def _read(raw: Any) -> StageKeys:
        if isinstance(raw, StageKeys):
            return raw
        if not isinstance(raw, dict):
            raise PydanticKnownError("model_attributes_type")
        if not isinstance(kind := raw.get("kind"), str):
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
        if kind not in (names := kind_names()):
            tags = {"discriminator": "'kind'", "tag": kind, "expected_tags": ", ".join(map(repr, names))}
            raise PydanticKnownError("union_tag_invalid", tags)
        keys: type[StageKeys] = find_kind(kind).Keys
        return keys.model_validate(raw)

    @staticmethod
    def _dump(keys: StageKeys, info: SerializationInfo) -> dict[str, Any]:
        return keys.model_dump(mode=info.mode)
