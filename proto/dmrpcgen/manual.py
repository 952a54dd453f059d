# SPDX-License-Identifier: Apache-2.0
"""The document as people read it: what docs/METHODS.md is filled with."""

import json
import re

from .lint import declared, is_flags, params

SOURCES = [("ioctl", "ioctl"), ("since", "from interface version"), ("kernel", "kernel"),
           ("libdm", "libdm"), ("dmsetup", "dmsetup")]
PLACES = {
    "loop": "Answered at once: it cannot block.",
    "worker": "Runs on a worker thread: it may block, or its result may be long.",
    "parked": "Waits without a thread.",
    "listed": "Answered when the next list of devices has come, in 10 ms or so.",
}


def anchor(heading):
    """The fragment that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def one_line(text):
    """For a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def fold(value, indent=0, used=0, width=96):
    """JSON that stays on one line where it fits; `used` columns of the line are taken."""
    flat = json.dumps(value, ensure_ascii=False)
    if used + len(flat) <= width or not isinstance(value, (dict, list)) or not value:
        return flat
    inner = indent + 2
    if isinstance(value, dict):
        items = []
        for key, item in value.items():
            label = json.dumps(key) + ": "
            items.append(label + fold(item, inner, inner + len(label), width))
        left, right = "{", "}"
    else:
        items = [fold(item, inner, inner, width) for item in value]
        left, right = "[", "]"
    return left + "\n" + ",\n".join(" " * inner + item for item in items) + "\n" + " " * indent + right


def count(number):
    """65,536; but 2^63 - 1 where digits would tell nobody anything."""
    bits = number.bit_length()
    return f"2^{bits} - 1" if bits > 24 and number == 2**bits - 1 else f"{number:,}"


class Manual:
    def __init__(self, document):
        self.document = document
        self.components = document.root["components"]

    def values(self):
        root = self.document.root
        return {
            "info": root["info"],
            "source": self.document.file_name,
            "methods": [self.method(i, method) for i, method in enumerate(root["methods"])],
            "types": [self.type(name, schema) for name, schema in self.components["schemas"].items()
                      if schema.get("type") == "object" and "x-one-of" not in schema],
            "flags": [{"name": name, **row} for name, row in self.components["schemas"]["DmFlag"]["x-flags"].items()],
            "errors": self.errors(),
            "events": self.events(),
            "audit": self.audit(),
            "anchor": anchor,
            "one_line": one_line,
        }

    # --- types in words ---

    def type_words(self, schema):
        """`string, 1 to 127 bytes`; objects as a link to their table."""
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            target, _ = self.document.follow(schema)
            if target.get("type") == "object":
                return f"[{name}](#type-{anchor(name)})"
            return self.type_words(target)
        kind = schema["type"]
        if isinstance(kind, list):
            return f"{self.type_words({**schema, 'type': kind[0]})} or null"
        if kind == "array" and is_flags(self.document, schema):
            return self.flag_words(schema)
        if kind == "array":
            return f"array of {self.type_words(schema['items'])}{self.count_words(schema)}"
        if kind == "string":
            return self.string_words(schema)
        if kind == "integer":
            preset = f", default {count(schema['x-default'])}" if "x-default" in schema else ""
            return f"integer, {count(schema['minimum'])} to {count(schema['maximum'])}{preset}"
        return {"boolean": "boolean", "object": "object"}[kind]

    def flag_words(self, schema):
        if "$ref" in schema["items"]:
            return "array of [flags](#flags)"
        return "array of " + ", ".join(f"`{name}`" for name in schema["items"]["enum"])

    @staticmethod
    def string_words(schema):
        if "enum" in schema:
            return " or ".join(f'`"{value}"`' for value in schema["enum"])
        low, high = schema.get("minLength", 0), schema.get("maxLength")
        if high is not None:
            return f"string, {low} to {count(high)} bytes"
        if "x-limit" in schema:
            return f"string, {low or 'no'} byte{'s' * (low != 1)} up to the limit `{schema['x-limit']}`"
        return "string"

    @staticmethod
    def count_words(schema):
        low, high = schema.get("minItems"), schema.get("maxItems")
        if high is not None:
            return f", {low or 0} to {count(high)} items"
        if "x-limit" in schema:
            return f", {low or 'no'} item{'s' * (low != 1)} up to the limit `{schema['x-limit']}`"
        return ""

    # --- tables ---

    def members(self, schema):
        schema, _ = self.document.follow(schema)
        required = schema.get("required", [])
        return [{"name": name, "type": self.type_words(value), "always": name in required,
                 "description": one_line(value["description"] + self.metric_words(value))}
                for name, value in schema["properties"].items()]

    @staticmethod
    def metric_words(schema):
        return f" In `/metrics`: `{schema['x-metric']['name']}`." if "x-metric" in schema else ""

    def type(self, name, schema):
        return {"name": name, "description": schema["description"], "members": self.members(schema)}

    def params(self, path, method):
        rows = []
        for _, param in params(self.document, path, method):
            target, _ = self.document.follow(param["schema"])
            if param.get("required"):
                need = "yes"
            elif param["name"] in method.get("x-one-of", []):
                need = "one of " + ", ".join(f"`{name}`" for name in method["x-one-of"])
            elif "default" in target:
                need = f"`{json.dumps(target['default'])}`"
            else:
                need = "no"
            rows.append({"name": param["name"], "type": self.type_words(param["schema"]), "need": need,
                         "description": one_line(param["description"])})
        return rows

    def method(self, i, method):
        result = method["result"]
        inline = "properties" in result["schema"]
        return {
            "name": method["name"],
            "summary": method["summary"],
            "description": method["description"],
            "effect": method["x-effect"],
            "place": PLACES[method["x-place"]],
            "orders": method.get("x-orders", False),
            "source": self.source(method["x-source"]),
            "params": self.params(("methods", i), method),
            "result": result["description"],
            "result_type": "" if inline else self.type_words(result["schema"]),
            "members": self.members(result["schema"]) if inline else [],
            "errors": declared(method),
            "examples": [self.example(method, pairing) for pairing in method["examples"]],
        }

    @staticmethod
    def source(source):
        words = [f"{words} `{source[key]}`" for key, words in SOURCES if key in source]
        return ", ".join(words + [source["spec"]] if "spec" in source else words)

    @staticmethod
    def example(method, pairing):
        request = {"jsonrpc": "2.0", "id": 1, "method": method["name"]}
        if pairing["params"]:
            request["params"] = {param["name"]: param["value"] for param in pairing["params"]}
        reply = {"jsonrpc": "2.0", "id": 1, "result": pairing["result"]["value"]}
        return {"name": pairing["name"], "request": fold(request), "reply": fold(reply)}

    def events(self):
        return [{"name": name, "summary": event["summary"], "description": event["description"],
                 "params": self.type_words(event["params"]),
                 "examples": [{"name": example["name"],
                               "text": fold({"jsonrpc": "2.0", "method": name, "params": example["params"]})}
                              for example in event["examples"]]}
                for name, event in self.document.root["x-events"].items()]

    def audit(self):
        audit = self.document.root["x-audit"]
        return {"description": audit["description"], "record": self.type_words(audit["record"]),
                "examples": [{"name": example["name"], "text": fold(example["record"])}
                             for example in audit["examples"]]}

    def errors(self):
        notes = self.document.root["x-errors"]
        return [{"name": name, "code": error["code"], "message": error["message"], "reserved": False,
                 **notes[name]}
                for name, error in self.components["errors"].items()]
