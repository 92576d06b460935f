"""Validates each entry of `stages` with the key class of its kind."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SerializationInfo
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from rlkit.recipe.schema.data_section import RowsKeys
from rlkit.recipe.schema.section import Section
from rlkit.stages.registry import KINDS, find_kind, kind_names


class StageKeys(Section):
    """The keys that every stage has; each stage kind adds its own."""

    kind: str
    """Kind of the stage, such as sft or grpo."""
    learns: ClassVar[bool] = True
    """Whether stages of this kind need training data."""

    @property
    def own_rows(self) -> RowsKeys | None:
        """The stage's own `data` section; None if it uses the recipe's."""
        return None

    def with_context(self, context: int) -> Self:
        """A copy of the keys, with the defaults that depend on the model's context length filled in.

        Args:
            context: The model's context length, in tokens.
        """
        return self

    def model_paths(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """(key, value) of each key of the stage that names a model to load, such as (("critic", "path"), "./rm")."""
        yield from ()


def stage_key_classes() -> dict[str, type[StageKeys]]:
    """The key class of every stage kind, by the kind's name."""
    return {name: find_kind(name).Keys for name in kind_names()}


class ByKind:
    """Pydantic annotation: validates a stage with the key class of its `kind`.

    Works like a discriminated union, but includes stage kinds of other packages, which are looked up at run time.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A schema that looks up the kind when it validates a recipe, not when it is built."""
        serializer = core_schema.plain_serializer_function_ser_schema(self._dump, info_arg=True)
        return core_schema.no_info_plain_validator_function(self._read, serialization=serializer)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON schema: a union of all installed stage kinds."""
        kinds = {name: keys.__pydantic_core_schema__ for name, keys in stage_key_classes().items()}
        return handler(core_schema.tagged_union_schema(kinds, discriminator="kind"))

    @staticmethod
    def _read(raw: Any) -> StageKeys:
        if isinstance(raw, StageKeys):
            return raw
        if not isinstance(raw, dict):
            raise PydanticKnownError("model_attributes_type")
        if not isinstance(kind := raw.get("kind"), str):
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
        # The built-in kinds first: looking through the installed packages takes longer than the rest of this.
        if kind not in KINDS and kind not in (names := kind_names()):
            tags = {"discriminator": "'kind'", "tag": kind, "expected_tags": ", ".join(map(repr, names))}
            raise PydanticKnownError("union_tag_invalid", tags)
        keys: type[StageKeys] = find_kind(kind).Keys
        return keys.model_validate(raw)

    @staticmethod
    def _dump(keys: StageKeys, info: SerializationInfo) -> dict[str, Any]:
        return keys.model_dump(mode=info.mode)
