# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Answers of the escrow against its OpenAPI document."""

import json
import pathlib

import jsonschema

DOCUMENT = json.loads((pathlib.Path(__file__).parents[3] / "mod_escrow" / "openapi.json")
                      .read_text())


def check(method, path, response):
    """What the document says of an answer is so."""
    operation = DOCUMENT["paths"][path.split("?")[0]][method.lower()]
    said = operation["responses"][str(response.status)]
    if "$ref" in said:
        said = DOCUMENT["components"]["responses"]["Problem"]
    (kind, media), = said["content"].items()
    assert response.headers["Content-Type"] == kind, (response, response.body)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **media["schema"],
              "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(json.loads(response.body))
    return response
