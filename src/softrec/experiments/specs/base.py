"""What all sections of a recipe have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """Plain data that does not change; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Alpha = Annotated[float, Field(ge=0, le=1)]
Trained = str | dict[str, Any]
"""Another run: the folder of a finished one, or its recipe, by which it is found or made."""
