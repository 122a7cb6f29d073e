"""What every table of a job or a settings file is made of: strict models, and the types of their values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.names import LABEL, NAME

Name = Annotated[str, Field(pattern=NAME)]
Label = Annotated[str, Field(pattern=LABEL)]
Positive = Annotated[float, Field(gt=0)]


class Table(BaseModel):
    """One table: no unknown keys, no NaN, no change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
