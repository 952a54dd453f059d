# SPDX-License-Identifier: Apache-2.0
"""The configuration file's form: as JSON Schema, and as structs for cmodel.

It takes limits and names of methods from the document, so that there is one truth of them.
"""

import copy
import json

import jsonschema

from .document import Document, DocumentError

EFFECTS = ["read", "write", "admin"]
OURS = ("x-limits", "x-calls", "x-one-of", "x-c-name", "x-c-struct")


class Config:
    """`source` is the YAML's text, `document` the lint-free openrpc document."""

    def __init__(self, source, file_name, document):
        self.document = document
        parsed = Document(source, file_name)
        self.file_name = file_name
        self.title = parsed.root["title"]
        self.root = parsed.root["root"]
        self.schemas = {name: self._filled(schema) for name, schema in parsed.root["schemas"].items()}
        self._check()

    def _filled(self, schema):
        """A component with x-limits and x-calls put in words of JSON Schema."""
        schema = copy.deepcopy(schema)
        if schema.get("x-limits"):
            limits = copy.deepcopy(self.document.root["components"]["schemas"]["Limits"]["properties"])
            for limit in limits.values():
                limit["default"] = limit.pop("x-default")
            schema.update(type="object", additionalProperties=False, properties=limits)
            schema["x-c-struct"] = "limits"
        calls = EFFECTS + sorted(method["name"] for method in self.document.root["methods"])
        for value in self._below(schema):
            if value.get("x-calls"):
                value["enum"] = calls
        return schema

    @classmethod
    def _below(cls, schema):
        yield schema
        for member in schema.get("properties", {}).values():
            yield from cls._below(member)
        if "items" in schema:
            yield from cls._below(schema["items"])

    def _check(self):
        """What the generator and the decoder rely on."""
        for name, component in self.schemas.items():
            for schema in self._below(component):
                problem = self._problem(schema)
                if problem:
                    raise DocumentError(f"{self.file_name}: {name}: {problem}")
        jsonschema.Draft7Validator.check_schema(self.json_schema())

    def _problem(self, schema):
        if "$ref" in schema:
            return "" if schema["$ref"].rsplit("/", 1)[1] in self.schemas else f"{schema['$ref']} is nothing"
        needed = {"object": {"properties", "additionalProperties"}, "array": {"items", "minItems", "maxItems"},
                  "string": {"maxLength"}, "integer": {"minimum", "maximum"}, "boolean": set()}
        if schema.get("type") not in needed:
            return "type is missing, or none that the decoder knows"
        missing = needed[schema["type"]] - set(schema)
        return f"{', '.join(sorted(missing))} is missing" if missing else ""

    def components(self):
        """All components by name as cmodel takes them, enumerations left to server/config.c."""
        components = copy.deepcopy(self.schemas)
        for component in components.values():
            for schema in self._below(component):
                if schema.get("x-calls"):
                    del schema["enum"]
        return components

    def json_schema(self):
        """What people and editors get."""
        definitions = copy.deepcopy(self.schemas)
        for component in definitions.values():
            for schema in self._below(component):
                if "x-one-of" in schema:
                    schema["oneOf"] = [{"required": [name]} for name in schema["x-one-of"]]
                for key in OURS:
                    schema.pop(key, None)
        root = definitions.pop(self.root)
        return {"$schema": "http://json-schema.org/draft-07/schema#", "title": self.title, **root,
                "definitions": definitions}

    def make_json(self):
        return json.dumps(self.json_schema(), indent=2, ensure_ascii=False) + "\n"
