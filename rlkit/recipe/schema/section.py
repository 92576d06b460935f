"""The parent of every recipe section: unknown keys are refused and nothing changes after loading."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen mapping of documented keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
