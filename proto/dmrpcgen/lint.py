# SPDX-License-Identifier: Apache-2.0
"""What the document must keep to, beyond OpenRPC.

shape.yaml says which keys there are; the rules here say what they must be to each
other. A rule is a generator of (path, message); they run in the order of RULES, in
stages: a later stage may rely on what an earlier one found to be in order.
"""

import copy
from pathlib import Path

import jsonschema
import yaml

from .cmodel import snake

INT64_MAX = 2**63 - 1
JSON_RPC = {"parse_error": -32700, "invalid_request": -32600, "method_not_found": -32601,
            "invalid_params": -32602, "internal_error": -32603}
# Given before a method is known, so that no method declares them.
ENVELOPE = {"parse_error", "invalid_request", "method_not_found"}
NOT_IN_C = set("""auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef union unsigned
    void volatile while errno bool true false""".split())


# --- walking ---

def walk(value, path=()):
    """Every value of the document, but what stands in examples."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "examples":
                yield from walk(item, path + (key,))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from walk(item, path + (i,))


def methods(document):
    for i, method in enumerate(document.root["methods"]):
        yield ("methods", i), method


def params(document, path, method):
    """The path and the content descriptor of each param, references followed."""
    for i, param in enumerate(method["params"]):
        yield document.follow(param, path + ("params", i))[::-1]


def declared(method):
    """Names of the errors that a method declares."""
    return [error["$ref"].rsplit("/", 1)[1] for error in method["errors"]]


def schemas(document, direction):
    """(path, schema) of all that is used in params ("in") or results ("out"), each once."""
    seen = set()

    def below(schema, path):
        if path in seen:
            return
        seen.add(path)
        if "$ref" in schema:
            yield from below(*document.follow(schema, path))
            return
        yield path, schema
        for name, item in schema.get("properties", {}).items():
            yield from below(item, path + ("properties", name))
        if "items" in schema:
            yield from below(schema["items"], path + ("items",))

    for path, method in methods(document):
        if direction == "in":
            for param_path, param in params(document, path, method):
                yield from below(param["schema"], param_path + ("schema",))
        else:
            yield from below(method["result"]["schema"], path + ("result", "schema"))
    if direction == "out":
        yield from below(document.root["components"]["schemas"]["ErrorData"],
                         ("components", "schemas", "ErrorData"))
        for name, event in document.root["x-events"].items():
            yield from below(event["params"], ("x-events", name, "params"))
        yield from below(document.root["x-audit"]["record"], ("x-audit", "record"))


def is_flags(document, schema):
    """Whether an array is one of flag names."""
    items, _ = document.follow(schema.get("items", {}))
    names = set(items.get("enum", []))
    return bool(names) and any(name.startswith("DM_") for name in names)


# --- stage 1: the shape ---

def shape(document):
    schema = yaml.safe_load((Path(__file__).parent / "shape.yaml").read_text(encoding="utf-8"))
    errors = jsonschema.Draft7Validator(schema).iter_errors(document.root)
    for error in sorted(errors, key=lambda error: [str(key) for key in error.absolute_path]):
        message = error.message if len(error.message) < 200 else f"not valid: {error.validator}"
        yield tuple(error.absolute_path), message


# --- stage 2: references ---

def references(document):
    """Each goes to a component of the kind that belongs there."""
    for path, value in walk(document.root):
        if not isinstance(value, dict) or "$ref" not in value or not isinstance(value["$ref"], str):
            continue
        kind = "schemas"
        if isinstance(path[-1], int):
            kind = {"errors": "errors", "params": "contentDescriptors"}.get(path[-2], kind)
        target = document.target(value["$ref"])
        if target is None or document.get(target) is None:
            yield path, f"the reference {value['$ref']} resolves to nothing"
        elif target[:2] != ("components", kind) or len(target) != 3:
            yield path, f"the reference {value['$ref']} does not go to #/components/{kind}/NAME"


def no_cycles(document):
    """A C struct cannot hold itself."""
    components = document.root["components"]["schemas"]
    edges = {name: {document.target(value["$ref"])[2] for _, value in walk(schema)
                    if isinstance(value, dict) and isinstance(value.get("$ref"), str)}
             for name, schema in components.items()}
    for name in components:
        reached, todo = set(), set(edges[name])
        while todo:
            reached |= todo
            todo = set().union(*(edges[other] for other in todo)) - reached
        if name in reached:
            yield ("components", "schemas", name), "the schema holds itself"


# --- stage 3: what the generator relies on ---

def typed(document):
    """Every schema has a type, and what belongs to it."""
    for direction in ("in", "out"):
        for path, schema in schemas(document, direction):
            kind = schema.get("type")
            if kind is None:
                yield path, "the schema has neither type nor $ref"
            elif kind == "integer" and not ("minimum" in schema and "maximum" in schema):
                yield path, "the integer has no minimum and maximum"
            elif kind == "integer" and not -INT64_MAX - 1 <= schema["minimum"] <= schema["maximum"] <= INT64_MAX:
                yield path, "minimum and maximum must be in order and fit into 64 bits signed"
            elif kind == "array" and "items" not in schema:
                yield path, "the array has no items"
            elif kind == "array" and document.follow(schema["items"])[0].get("type") == "array":
                yield path, "an array of arrays has no form in C"
            elif kind == "object" and "properties" not in schema and schema.get("x-c-kind") != "json":
                yield path, "the object has no properties"
            for name in schema.get("required", []):
                if name not in schema.get("properties", {}):
                    yield path + ("required",), f"{name} is required and no property"


def objects_named(document):
    """An object below the top is a component, so that its C struct has a name."""
    inline_ok = {path + ("result", "schema") for path, _ in methods(document)}
    for direction in ("in", "out"):
        for path, schema in schemas(document, direction):
            component = path[:2] == ("components", "schemas") and len(path) == 3
            if schema.get("type") == "object" and path not in inline_ok and not component:
                yield path, "an object in here must be a component of its own"


def bounded_params(document):
    """What a caller sends is bounded, and unknown keys are refused."""
    limits = document.root["components"]["schemas"]["Limits"]["properties"]
    for path, schema in schemas(document, "in"):
        kind = schema["type"]
        if schema.get("x-limit", next(iter(limits))) not in limits:
            yield path, f"x-limit {schema['x-limit']} is no member of Limits"
        if kind == "string" and "enum" in schema and path[-1] != "items":
            yield path, "params take no enumerated strings; the decoder knows flags only"
        if kind == "string" and not ({"maxLength", "x-limit", "enum"} & set(schema)):
            yield path, "a string in params needs maxLength or x-limit"
        if kind == "array" and is_flags(document, schema):
            if not schema.get("uniqueItems"):
                yield path, "flags in params need uniqueItems"
        elif kind == "array" and not ({"maxItems", "x-limit"} & set(schema)):
            yield path, "an array in params needs maxItems or x-limit"
        if kind == "object" and schema.get("additionalProperties") is not False:
            yield path, "an object in params needs additionalProperties: false"
        if isinstance(kind, list) or "x-c-kind" in schema:
            yield path, "null, json and bits are for results only"


def open_results(document):
    """Results may gain members, so that nothing closes them."""
    used_in = {path for path, _ in schemas(document, "in")}
    for path, schema in schemas(document, "out"):
        if path not in used_in and "additionalProperties" in schema:
            yield path, "a result must stay open: no additionalProperties"
        if path not in used_in and "default" in schema:
            yield path, "a result has no default"


def c_names(document):
    """Members are C identifiers, and no two structs have one name."""
    names = {}
    for name, schema in document.root["components"]["schemas"].items():
        if schema.get("type") == "object":
            names.setdefault(snake(name), []).append(("components", "schemas", name))
    for path, method in methods(document):
        names.setdefault(snake(method["name"]) + "_params", []).append(path)
        if "$ref" not in method["result"]["schema"]:
            names.setdefault(snake(method["name"]) + "_result", []).append(path)
        for param_path, param in params(document, path, method):
            if param["schema"].get("x-c-name", param["name"]) in NOT_IN_C:
                yield param_path, f"{param['name']} cannot be the name of a C member"
    for name, paths in names.items():
        for path in paths[1:]:
            yield path, f"struct {name} is made from {document.place(paths[0])} too"
    for path, value in walk(document.root["components"], ("components",)):
        if path[-2:-1] == ("properties",) and value.get("x-c-name", path[-1]) in NOT_IN_C:
            yield path, f"{path[-1]} cannot be the name of a C member; give x-c-name"


def unique_names(document):
    """No method and no param stands twice."""
    seen = set()
    for path, method in methods(document):
        if method["name"] in seen:
            yield path, "the method stands twice"
        seen.add(method["name"])
        names = [param["name"] for _, param in params(document, path, method)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield path, f"the param {name} stands twice"


def flags(document):
    """Every flag has one bit, and sets of flags are in the order of the bits."""
    path = ("components", "schemas", "DmFlag")
    component = document.get(path)
    rows = component.get("x-flags", {})
    if list(rows) != component.get("enum"):
        yield path, "enum and x-flags do not name the same flags in the same order"
        return
    bits = [row["bit"] for row in rows.values()]
    if bits != sorted(set(bits)):
        yield path, "the flags are not in the order of their bits, each its own"
    for direction in ("in", "out"):
        for place, schema in schemas(document, direction):
            if schema["type"] != "array" or not is_flags(document, schema):
                continue
            names = document.follow(schema["items"])[0]["enum"]
            unknown = [name for name in names if name not in rows]
            if unknown:
                yield place, f"{', '.join(unknown)}: no flag of DmFlag"
            elif names != sorted(names, key=lambda name: rows[name]["bit"]):
                yield place, "the flags are not in the order of their bits"
            elif direction == "in" and any(rows[name].get("obsolete") for name in names):
                yield place, "an obsolete flag is taken"


def one_of(document):
    """x-one-of has a component, whose members the params of that name equal."""
    components = document.root["components"]["schemas"]
    refs = {tuple(schema["x-one-of"]): name for name, schema in components.items() if "x-one-of" in schema}
    for names, name in refs.items():
        if set(names) != set(components[name].get("properties", {})):
            yield ("components", "schemas", name, "x-one-of"), "it must name every property of the schema"
    for path, method in methods(document):
        names = method.get("x-one-of")
        if names is None:
            continue
        if tuple(names) not in refs:
            yield path + ("x-one-of",), "no schema in components has this x-one-of"
            continue
        properties = components[refs[tuple(names)]].get("properties", {})
        by_name = {param["name"]: (place, param) for place, param in params(document, path, method)}
        for name in names:
            place, param = by_name.get(name, (path + ("x-one-of",), None))
            if param is None:
                yield place, f"there is no param {name}"
            elif param.get("required"):
                yield place, f"{name} is one of several, and cannot be required"
            elif document.follow(param["schema"])[0] is not document.follow(properties.get(name, {}))[0]:
                yield place, f"{name} is not what {refs[tuple(names)]} says"


def errors(document):
    """Names, numbers and explanations of errors agree."""
    table = document.root["components"]["errors"]
    notes = document.root["x-errors"]
    codes = {}
    for name, error in table.items():
        path = ("components", "errors", name)
        if error["data"]["error"] != name:
            yield path, "data.error is not the error's name"
        if error["code"] in codes:
            yield path, f"the code {error['code']} is that of {codes[error['code']]}"
        codes[error["code"]] = name
        if name in JSON_RPC and error["code"] != JSON_RPC[name]:
            yield path, f"JSON-RPC has the code {JSON_RPC[name]} for it"
        if name not in JSON_RPC and error["code"] <= 0:
            yield path, "the numbers of our own errors are positive"
        if name not in notes:
            yield path, "x-errors does not explain it"
    for name in sorted(set(JSON_RPC) - set(table)):
        yield ("components", "errors"), f"{name} is missing"
    for name in sorted(set(notes) - set(table)):
        yield ("x-errors", name), "components.errors has no such error"


def declared_errors(document):
    """Methods declare what follows from their place and source, and nothing reserved."""
    notes = document.root["x-errors"]
    used = set()
    for path, method in methods(document):
        names = declared(method)
        used.update(names)
        needed = {"invalid_params", "internal_error", "permission_denied", "overloaded"}
        if method["x-place"] != "loop":
            needed.add("shutting_down")
        if "ioctl" in method["x-source"]:
            needed |= {"kernel_unavailable", "kernel_error"}
        if "since" in method["x-source"]:
            needed.add("kernel_too_old")
        if "x-one-of" in method:
            needed.add("device_not_found")
        for name in sorted(needed - set(names)):
            yield path + ("errors",), f"the error {name} is not declared"
        for name in names:
            if notes[name].get("reserved"):
                yield path + ("errors",), f"the error {name} is reserved"
        order = list(document.root["components"]["errors"])
        if names != sorted(names, key=order.index):
            yield path + ("errors",), "the errors are not in the order of components.errors"
    for name in sorted(set(document.root["components"]["errors"]) - used - ENVELOPE):
        if not notes[name].get("reserved"):
            yield ("components", "errors", name), "no method declares it; it should be reserved in x-errors"


def effects(document):
    """What changes devices is no reading."""
    for path, method in methods(document):
        if method.get("x-orders") and method["x-effect"] == "read":
            yield path, "x-orders says that it changes a device, x-effect that it reads"
        if method.get("x-orders") and method["x-place"] != "worker":
            yield path, "x-orders needs x-place: worker"
        drains = method.get("x-drains")
        known = {param["name"]: param["schema"] for _, param in params(document, path, method)}
        if drains and drains not in known.get("flags", {}).get("items", {}).get("enum", []):
            yield path, f"x-drains: {drains} is no flag of it"


def unused(document):
    """No component is left over."""
    used = {document.target(value["$ref"]) for _, value in walk(document.root)
            if isinstance(value, dict) and isinstance(value.get("$ref"), str)}
    for kind in ("schemas", "contentDescriptors"):
        for name, schema in document.root["components"][kind].items():
            path = ("components", kind, name)
            if path not in used and name != "ErrorData" and "x-one-of" not in schema:
                yield path, "nothing refers to it"


# --- stage 4: examples ---

def params_schema(document, path, method):
    """The JSON Schema of a method's whole params object."""
    known = {param["name"]: param for _, param in params(document, path, method)}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, param in known.items() if param.get("required")],
        "properties": {name: param["schema"] for name, param in known.items()},
    }
    if "x-one-of" in method:
        schema["oneOf"] = [{"required": [name]} for name in method["x-one-of"]]
    return schema


def closed(root):
    """A copy in which no object takes members that it does not name, to find misspelt ones."""
    root = copy.deepcopy(root)
    for _, value in walk(root):
        if isinstance(value, dict) and isinstance(value.get("properties"), dict) and value.get("type") == "object":
            value["additionalProperties"] = False
    return root


def faults(root, schema, value):
    validator = jsonschema.Draft7Validator(schema, resolver=jsonschema.RefResolver.from_schema(root))
    for error in validator.iter_errors(value):
        where = "/".join(str(key) for key in error.absolute_path)
        yield f"{where}: {error.message}" if where else error.message


def examples(document):
    """Every example is what its schemas say."""
    root = closed(document.root)
    for (path, method), closed_method in zip(methods(document), root["methods"]):
        for i, pairing in enumerate(method["examples"]):
            place = path + ("examples", i)
            given = {param["name"]: param["value"] for param in pairing["params"]}
            if len(given) != len(pairing["params"]):
                yield place + ("params",), "a param stands twice"
            for fault in faults(root, params_schema(document, path, method), given):
                yield place + ("params",), fault
            result = pairing["result"]
            if result["name"] != method["result"]["name"]:
                yield place + ("result",), f"the result is called {method['result']['name']}"
            for fault in faults(root, closed_method["result"]["schema"], result["value"]):
                yield place + ("result",), fault
    for name, event in document.root["x-events"].items():
        for i, example in enumerate(event["examples"]):
            for fault in faults(root, event["params"], example["params"]):
                yield ("x-events", name, "examples", i), fault
    audit = root["x-audit"]
    for i, example in enumerate(audit["examples"]):
        for fault in faults(root, audit["record"], example["record"]):
            yield ("x-audit", "examples", i), fault


def defaults(document):
    """A default is a value that could be given."""
    for direction, key in (("in", "default"), ("out", "x-default")):
        for path, schema in schemas(document, direction):
            if key in schema:
                for fault in faults(document.root, schema, schema[key]):
                    yield path + (key,), fault


def limits(document):
    """Every limit has a default, and nothing else of a result has one."""
    component = ("components", "schemas", "Limits")
    for path, schema in schemas(document, "out"):
        if ("x-default" in schema) != (path[:3] == component and len(path) == 5):
            yield path, "a member of Limits needs x-default, and nothing else has one"


def all_strings(document, schema):
    return all(document.follow(member)[0].get("type") == "string" for member in schema["properties"].values())


def metric_faults(document, schema):
    """What is wrong with the x-metric of one member."""
    target, _ = document.follow(schema)
    name, kind, unit = (schema["x-metric"].get(key) for key in ("name", "type", "unit"))
    if kind == "histogram":
        fits = schema.get("$ref") == "#/components/schemas/Histogram"
    elif kind == "info":
        fits = target["type"] == "object" and all_strings(document, target)
    else:
        fits = target["type"] == "integer" and target["minimum"] >= 0
    if not fits:
        yield f"this does not fit the type {kind}"
    for kind_of, end in (("counter", "_total"), ("info", "_info")):
        if (kind == kind_of) != name.endswith(end):
            yield f"{kind_of}: its name ends in {end}, and nothing else has"
    words = name.removesuffix("_total").split("_")
    if unit != (words[-1] if words[-1] in ("bytes", "seconds") else None):
        yield "the unit is what the name ends in"


def metrics(document):
    """What is told in Stats is told in /metrics, each under a name of its own."""
    components = document.root["components"]["schemas"]
    parts = ["Stats"] + [document.target(schema["items"]["$ref"])[2]
                         for schema in components["Stats"]["properties"].values()
                         if schema.get("type") == "array" and "$ref" in schema["items"]]
    used = {}
    for part in parts:
        path = ("components", "schemas", part)
        component = components[part]
        for name, schema in component["properties"].items():
            place = path + ("properties", name)
            target, _ = document.follow(schema)
            metric = schema.get("x-metric")
            if name not in component.get("required", []):
                yield place, "what is told in Stats is always there"
            if part != "Stats" and target["type"] not in ("integer", "string"):
                yield place, "an entry of a list in Stats has numbers, and strings as their labels"
            elif metric:
                used[place] = metric["name"]
                for fault in metric_faults(document, schema):
                    yield place + ("x-metric",), fault
            elif target["type"] in ("integer", "object"):
                yield place, "what is told in Stats needs x-metric"
        if part != "Stats" and not any(document.follow(schema)[0]["type"] == "string"
                                       for schema in component["properties"].values()):
            yield path, "an entry of a list in Stats needs a string as its label"
    for path, value in walk(document.root):
        if path[-1:] == ("x-metric",) and path[:-1] not in used:
            yield path, "only Stats and the entries of its lists have metrics"
    for place, name in used.items():
        if list(used.values()).count(name) > 1:
            yield place, f"the metric {name} stands twice"


STAGES = [
    [shape],
    [references],
    [no_cycles],
    [typed],
    [objects_named, bounded_params, open_results, c_names, unique_names, flags, one_of, errors, effects, unused],
    [declared_errors, limits, metrics, examples, defaults],
]


def lint(document):
    """Messages with their places; none if all is well."""
    for stage in STAGES:
        problems = [f"{document.place(path)}: {message}" for rule in stage for path, message in rule(document)]
        if problems:
            return problems
    return []
