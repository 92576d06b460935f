"""The parent of every section: unknown keys are refused, values are not converted, nothing changes after loading."""

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

PathText = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path or a name; a leading `~` becomes the home folder."""


class Section(BaseModel):
    """A frozen mapping of documented keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
