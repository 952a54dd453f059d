# SPDX-License-Identifier: Apache-2.0
"""The document as C sees it: structs, field tables, rows.

Takes a document that has passed the lint. The meaning of each kind of field is
in server/field.h.
"""

import re
from dataclasses import dataclass, field

U32_MAX = 2**32 - 1


def snake(name):
    """`DeviceInfo` -> `device_info`, `rpc.discover` -> `rpc_discover`."""
    name = name.replace(".", "_")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def scope(method):
    """What a right to the method is bound to, by server/method.h."""
    return method.get("x-scope", "device" if "x-one-of" in method else "server")


def number(value):
    """A 64-bit constant, signed ones in two's complement."""
    if value < 0:
        return f"(uint64_t)INT64_C({value})" if value > -(2**63) else "(uint64_t)INT64_MIN"
    return "UINT64_MAX" if value == 2**64 - 1 else f"UINT64_C({value})"


@dataclass
class Field:
    """One row of a field table, and the members of the struct that it needs."""

    name: str
    member: str  # where it lies in the struct, such as `ref.name`; "" for an item
    kind: str
    absence: str
    declarations: list = field(default_factory=list)  # (type, member, comment)
    count_member: str = ""
    has_member: str = ""
    min: str = "0"
    max: str = "0"
    preset: int = 0
    flags: list = field(default_factory=list)
    type: str = ""
    item: "Field" = None
    item_name: str = ""
    item_ctype: str = ""
    metric: dict = None


@dataclass
class Struct:
    name: str
    comment: str
    fields: list
    one_of: int = 0
    members: list = field(default_factory=list)
    layout: str = ""  # the name of the C struct, where that is another one's

    def __post_init__(self):
        self.layout = self.layout or self.name


SCALARS = {
    "FIELD_BOOL": "bool ",
    "FIELD_U32": "uint32_t ",
    "FIELD_U64": "uint64_t ",
    "FIELD_I64": "int64_t ",
    "FIELD_STRING": "const char *",
    "FIELD_FLAGS": "uint32_t ",
    "FIELD_BITS": "uint32_t ",
    "FIELD_JSON": "const char *",
}


class Model:
    """Everything that the C templates print."""

    def __init__(self, document, config):
        """`config` (config.Config) adds the structs of the configuration file."""
        self.document = document
        root = document.root
        self.components = {**root["components"]["schemas"], **config.components()}
        self.api = root["info"]["version"]
        self.flag_component = root["components"]["schemas"]["DmFlag"]
        self.structs = []
        self._done = set()
        self.flags = self._flags()
        self.errors = self._errors()
        self.methods = [self._method(method) for method in root["methods"]]
        self.methods.sort(key=lambda row: row["name"])
        self._component("ErrorData")
        for event in root["x-events"].values():
            self._component(event["params"]["$ref"].rsplit("/", 1)[1])
        self._component(config.root)
        self._component(root["x-audit"]["record"]["$ref"].rsplit("/", 1)[1])

    def _flags(self):
        rows = self.flag_component["x-flags"]
        return [
            {"name": name, "bit": rows[name]["bit"], "dmi": "DMI_" + name[len("DM_"):],
             "description": rows[name]["description"]}
            for name in sorted(rows, key=lambda name: rows[name]["bit"])
        ]

    def _errors(self):
        return [
            {"id": "ERROR_" + name.upper(), "name": name, "code": error["code"], "message": error["message"]}
            for name, error in self.document.root["components"]["errors"].items()
        ]

    # --- schemas ---

    def _component(self, name):
        """The struct of an object component, made with those that it needs before it."""
        if name in self._done:
            return snake(name)
        self._done.add(name)
        schema = self.components[name]
        self._struct(snake(name), schema.get("description", ""), self._properties(schema),
                     schema.get("x-one-of", []), nested_ref=False)
        self.structs[-1].layout = schema.get("x-c-struct", snake(name))
        return snake(name)

    def _follow(self, schema):
        """The schema behind a `$ref`, of the document or of the configuration."""
        while "$ref" in schema:
            schema = self.components[schema["$ref"].rsplit("/", 1)[1]]
        return schema

    @staticmethod
    def _properties(schema):
        required = schema.get("required", [])
        return [(name, value, name in required) for name, value in schema["properties"].items()]

    def _struct(self, name, comment, properties, one_of, nested_ref):
        struct = Struct(name, comment, [])
        if one_of and nested_ref:
            ref = next(key for key, value in self.document.root["components"]["schemas"].items()
                       if value.get("x-one-of") == one_of)
            ref_struct = self._component(ref)
            struct.members.append((f"struct {ref_struct} ", "ref", ""))
        for position, (json_name, schema, required) in enumerate(properties):
            row = self._field(name, json_name, schema, required)
            if json_name in one_of:
                struct.one_of |= 1 << position
                if nested_ref:
                    row.member = "ref." + row.member
                    row.has_member = row.has_member and "ref." + row.has_member
                    row.declarations = []
            struct.members += row.declarations
            struct.fields.append(row)
        self.structs.append(struct)
        return name

    def _kind(self, schema):
        """The kind, and the schema behind `$ref`s with the component's name, if it is one."""
        component = ""
        if "$ref" in schema:
            component = schema["$ref"].rsplit("/", 1)[1]
        target = self._follow(schema)
        types = target.get("type")
        base = types if isinstance(types, str) else next(t for t in types if t != "null")
        if target.get("x-c-kind") == "json":
            return "FIELD_JSON", target, component
        if target.get("x-c-kind") == "bits":
            return "FIELD_BITS", target, component
        if base == "object":
            return "FIELD_OBJECT", target, component
        if base == "array":
            return ("FIELD_FLAGS" if self.is_flags(target) else "FIELD_ARRAY"), target, component
        if base == "integer":
            if target["minimum"] < 0:
                return "FIELD_I64", target, component
            return ("FIELD_U32" if target["maximum"] <= U32_MAX else "FIELD_U64"), target, component
        return {"boolean": "FIELD_BOOL", "string": "FIELD_STRING"}[base], target, component

    def is_flags(self, schema):
        """Whether an array is one of flag names."""
        items = self._follow(schema.get("items", {}))
        return bool(items) and set(items.get("enum", [""])) <= set(self.flag_component["enum"])

    def _field(self, owner, json_name, schema, required):
        kind, target, component = self._kind(schema)
        nullable = isinstance(target.get("type"), list)
        absence = "FIELD_NULLABLE" if nullable else "FIELD_REQUIRED" if required else "FIELD_OPTIONAL"
        member = schema.get("x-c-name", target.get("x-c-name", json_name))
        row = Field(json_name, member, kind, absence)
        row.metric = self._metric(schema)
        optional_value = not required and kind in ("FIELD_BOOL", "FIELD_U32", "FIELD_U64", "FIELD_I64",
                                                   "FIELD_OBJECT") and "default" not in target
        if optional_value:
            row.has_member = "has_" + member
            row.declarations.append(("bool ", row.has_member, ""))
        if kind == "FIELD_OBJECT":
            row.type = self._component(component)
            row.declarations.append((f"struct {target.get('x-c-struct', row.type)} ", member, ""))
        elif kind == "FIELD_ARRAY":
            self._array(row, owner, target)
        else:
            comment = "enum dmi_flag" if kind == "FIELD_FLAGS" else ""
            row.declarations.append((SCALARS[kind], member, comment))
        self._bounds(row, target)
        return row

    @staticmethod
    def _metric(schema):
        """What metrics.c is told of a member; a counter's family has no `_total`."""
        metric = schema.get("x-metric")
        return metric and {"type": "METRIC_" + metric["type"].upper(), "unit": metric.get("unit", ""),
                           "family": metric["name"].removesuffix("_total"), "help": " ".join(schema["description"].split())}

    def _array(self, row, owner, target):
        item = self._field(owner, "", target["items"], True)
        item.member = ""
        item.declarations = []
        row.item = item
        row.item_name = f"item_{owner}_{row.member}"
        row.count_member = row.member + "_count"
        row.item_ctype = f"struct {item.type}" if item.kind == "FIELD_OBJECT" else SCALARS[item.kind].strip()
        pointer = f"const {row.item_ctype} *" if "*" not in row.item_ctype else f"{row.item_ctype}const *"
        row.declarations += [(pointer, row.member, ""), ("size_t ", row.count_member, "")]

    def _bounds(self, row, target):
        if row.kind in ("FIELD_U32", "FIELD_U64", "FIELD_I64"):
            row.min, row.max = number(target["minimum"]), number(target["maximum"])
            row.preset = target.get("default", target.get("x-default", 0))
        elif row.kind == "FIELD_BOOL":
            row.preset = int(target.get("default", False))
        elif row.kind == "FIELD_STRING":
            row.min = number(target.get("minLength", 0))
            row.max = number(target.get("maxLength", 2**64 - 1))
        elif row.kind == "FIELD_ARRAY":
            row.min = number(target.get("minItems", 0))
            row.max = number(target.get("maxItems", 2**64 - 1))
        elif row.kind == "FIELD_FLAGS":
            items, _ = self.document.follow(target["items"])
            rows = self.flag_component["x-flags"]
            names = [name for name in items["enum"] if not rows[name].get("obsolete")]
            row.flags = ["DMI_" + name[len("DM_"):] for name in names]

    # --- methods ---

    def _method(self, method):
        name = snake(method["name"])
        params = [self.document.follow(param)[0] for param in method["params"]]
        properties = [(p["name"], p["schema"], p.get("required", False)) for p in params]
        self._struct(f"{name}_params", f"Params of {method['name']}.", properties,
                     method.get("x-one-of", []), nested_ref=True)
        schema = method["result"]["schema"]
        if "$ref" in schema:
            result = self._component(schema["$ref"].rsplit("/", 1)[1])
        else:
            result = f"{name}_result"
            comment = f"Result of {method['name']}."
            if schema.get("x-c-kind") == "json":
                row = Field(None, "json", "FIELD_JSON", "FIELD_REQUIRED", [("const char *", "json", "")])
                self.structs.append(Struct(result, comment, [row], 0, list(row.declarations)))
            else:
                self._struct(result, comment, self._properties(schema), [], nested_ref=False)
        return {
            "name": method["name"],
            "c_name": name,
            "summary": method["summary"],
            "effect": "EFFECT_" + method["x-effect"].upper(),
            "scope": "SCOPE_" + scope(method).upper(),
            "place": "PLACE_" + method["x-place"].upper(),
            "orders": method.get("x-orders", False),
            "solo": method.get("x-solo", False),
            "drains": method.get("x-drains"),
            "releases": method.get("x-releases", False),
            "simulated": method.get("x-simulated", False),
            "errors": ["ERROR_" + e["$ref"].rsplit("/", 1)[1].upper() for e in method["errors"]],
            "params": f"{name}_params",
            "result": result,
        }
