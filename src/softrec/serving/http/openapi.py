"""The description of the paths at /openapi.json.

Bodies are read by pydantic in a thread of the pool, not by FastAPI, so they are described here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from softrec.serving.http.errors import KINDS
from softrec.serving.http.replies import Error

REF = "#/components/schemas/{model}"


def documented(reply: type[BaseModel], body: type[BaseModel] | None = None) -> dict[str, Any]:
    """Return the arguments of a route that describe its reply, its errors and its body."""
    told: dict[int | str, dict[str, Any]] = {200: {"model": reply, "description": "The answer."}}
    told |= {
        status: {"model": Error, "description": text}
        for status, text in KINDS.items()
        if body is not None or status in (401, 422, 503)
    }
    if body is None:
        return {"responses": told}
    schema = body.model_json_schema(ref_template=REF)
    schema.pop("$defs", None)
    examples = {str(n): {"value": one} for n, one in enumerate(schema.pop("examples", []), 1)}
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {
        "responses": told,
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def describe(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Add the parts of the bodies, and the key, to what an application tells of itself."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        told = made()
        parts = told.setdefault("components", {})
        for body in bodies:
            schema = body.model_json_schema(ref_template=REF)
            parts.setdefault("schemas", {}).update(schema.get("$defs", {}))
        parts["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
        told["security"] = [{}, {"key": []}]
        return told

    app.openapi = openapi
