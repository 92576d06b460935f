"""Parent class of all recipe sections: rejects unknown keys, converts no values, and is immutable."""

import os
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

PathText = Annotated[str, AfterValidator(os.path.expanduser)]
"""A path or a name; a leading `~` is replaced by the home folder."""


class Section(BaseModel):
    """An immutable section of documented keys; the docstring under each key is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
