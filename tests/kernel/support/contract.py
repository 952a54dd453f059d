# SPDX-License-Identifier: Apache-2.0
"""Holds every reply of a test run against the schema, more strictly than a client should.

Clients ignore members that they do not know; here an undeclared member, or an error that the method does not
declare, is a fault. What was seen is counted, so that a run can say what it never hit.
"""

import collections
import json
import pathlib

import jsonschema

DOCUMENT = pathlib.Path(__file__).resolve().parents[3] / "proto" / "dmrpc.openrpc.json"
# Long lists are all of one kind, and so are the results of a call that one test makes thousands of times: this many
# of each are looked at, from everywhere in it. Errors are all looked at.
SAMPLE = 50


def resolve(schema, document):
    """The schema with its references filled in and its objects closed; lengths count bytes and are left to others."""
    if isinstance(schema, list):
        return [resolve(each, document) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    reference = schema.pop("$ref", None)
    if reference:
        target = document
        for key in reference.removeprefix("#/").split("/"):
            target = target[key]
        schema = {**resolve(target, document), **schema}
    schema = {key: value if key in ("enum", "const") else resolve(value, document) for key, value in schema.items()}
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def sample(items):
    step = max(1, len(items) // SAMPLE)
    return items[::step] + items[-1:] if step > 1 else items


def thin(value):
    """The value with a sample of each long list."""
    if isinstance(value, dict):
        return {key: thin(each) for key, each in value.items()}
    if isinstance(value, list):
        return [thin(each) for each in sample(value)]
    return value


class Contract:
    def __init__(self):
        document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
        self.methods = {method["name"]: method for method in document["methods"]}
        self.results = {
            name: jsonschema.Draft7Validator(resolve(method["result"]["schema"], document))
            for name, method in self.methods.items()
        }
        self.codes = {name: error["code"] for name, error in document["components"]["errors"].items()}
        data = resolve(document["components"]["schemas"]["ErrorData"], document)
        self.data = jsonschema.Draft7Validator(data)
        self.declared = {
            name: [each["$ref"].rpartition("/")[2] for each in method["errors"]]
            for name, method in self.methods.items()
        }
        self.replies = collections.Counter()
        self.errors = collections.Counter()

    def check(self, recorded):
        """Faults of the replies of one test, [(method, reply)], as sentences."""
        faults, results = set(), collections.defaultdict(list)
        for method, reply in recorded:
            self.replies[method] += 1
            if "error" in reply:
                faults.update(self.check_error(method, reply["error"]))
            else:
                results[method].append(reply["result"])
        for method, values in results.items():
            for value in sample(values):
                faults.update(f"{method}: result{self.tell(fault)}" for fault in
                              self.results[method].iter_errors(thin(value)))
        return sorted(faults)

    def check_error(self, method, error):
        name = error.get("data", {}).get("error")
        self.errors[method, name] += 1
        faults = [f"{method}: error data{self.tell(fault)}" for fault in self.data.iter_errors(error.get("data"))]
        if set(error) != {"code", "message", "data"} or not error["message"]:
            faults.append(f"{method}: an error is code, message and data, not {error}")
        if self.codes.get(name) != error["code"]:
            faults.append(f"{method}: {name} is not error {error['code']}")
        if name not in self.declared[method]:
            faults.append(f"{method} does not declare {name}: {error}")
        return faults

    @staticmethod
    def tell(fault):
        return f" at /{'/'.join(map(str, fault.absolute_path))}: {fault.message}"

    def save(self, path):
        seen = {"replies": self.replies, "errors": [[*key, count] for key, count in self.errors.items()]}
        path.write_text(json.dumps(seen), encoding="utf-8")

    def add(self, path):
        """What another one has saved comes to what this one has seen."""
        seen = json.loads(path.read_text(encoding="utf-8"))
        self.replies.update(seen["replies"])
        self.errors.update({(method, error): count for method, error, count in seen["errors"]})

    def never_answered(self):
        return sorted(name for name in self.methods if not self.replies[name])

    def never_failed(self, exempt):
        """Declared errors that did not come, but those for which `exempt(method, error)` has a reason."""
        return sorted(
            (method, error) for method, errors in self.declared.items() for error in errors
            if not self.errors[method, error] and not exempt(method, error))

    def exempt_but_seen(self, exempt):
        return sorted(key for key, count in self.errors.items() if count and exempt(*key))
