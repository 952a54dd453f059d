# SPDX-License-Identifier: Apache-2.0
"""Holds replies against the published schema: results, declared errors and the shape of their data."""

import json
import pathlib

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What any request can get, whatever it calls.
ENVELOPE = {"parse_error", "invalid_request", "method_not_found"}


class Document:
    def __init__(self):
        self.root = json.loads((ROOT / "proto" / "dmrpc.openrpc.json").read_text())
        self.methods = {method["name"]: method for method in self.root["methods"]}
        self.errors = self.root["components"]["errors"]
        self._validators = {}

    def _validator(self, key, schema):
        if key not in self._validators:
            whole = {**schema, "components": self.root["components"]}
            self._validators[key] = jsonschema.Draft7Validator(whole)
        return self._validators[key]

    def declared(self, method):
        """The names of the errors that a method may give."""
        return {error["$ref"].rsplit("/", 1)[1] for error in self.methods[method]["errors"]}

    def fault(self, method, reply):
        """What is wrong with a reply, or None."""
        if "error" in reply:
            return self._error_fault(method, reply["error"])
        if method not in self.methods:
            return "a result of a method that the schema does not have"
        validator = self._validator(method, self.methods[method]["result"]["schema"])
        error = jsonschema.exceptions.best_match(validator.iter_errors(reply["result"]))
        return error and f"{'/'.join(map(str, error.path))}: {error.message}"

    def _error_fault(self, method, error):
        name = error.get("data", {}).get("error")
        if name not in self.errors or self.errors[name]["code"] != error["code"]:
            return f"error {error['code']} named {name}"
        if method in self.methods and name not in self.declared(method) | ENVELOPE:
            return f"{name} is not declared"
        data = {"$ref": "#/components/schemas/ErrorData"}
        fault = jsonschema.exceptions.best_match(self._validator("data", data).iter_errors(error["data"]))
        unknown = set(error["data"]) - set(self.root["components"]["schemas"]["ErrorData"]["properties"])
        return (fault and fault.message) or (unknown and f"undeclared members {sorted(unknown)}") or None

    def record_fault(self, record):
        """What is wrong with a record of the audit, or None."""
        ref = self.root["x-audit"]["record"]
        fault = jsonschema.exceptions.best_match(self._validator("audit", ref).iter_errors(record))
        unknown = set(record) - set(self.root["components"]["schemas"]["AuditRecord"]["properties"])
        return (fault and fault.message) or (unknown and f"undeclared members {sorted(unknown)}") or None

    def record_faults(self, records):
        """One line for each fault among records."""
        return sorted({f"{fault}: {record}" for record in records if (fault := self.record_fault(record))})

    def faults(self, recorded):
        """One line for each fault among (method, reply) pairs."""
        lines = []
        for method, reply in recorded:
            fault = self.fault(method, reply)
            if fault:
                lines.append(f"{method}: {fault}")
        return sorted(set(lines))
