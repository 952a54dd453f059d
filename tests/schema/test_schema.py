# SPDX-License-Identifier: Apache-2.0
"""The schema's document, its generator and its lint.

Needs node and tests/schema/node_modules (`npm ci` in this folder): OpenRPC
publishes its meta-schema as an npm package. Without them the tests fail, because
a document that nobody checked is not a valid one.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROTO = ROOT / "proto"
SOURCE = PROTO / "dmrpc.openrpc.yaml"
PUBLISHED = PROTO / "dmrpc.openrpc.json"
CONFIG = PROTO / "dmrpcd.config.yaml"
COMMITTED = ["proto/dmrpc.openrpc.json", "docs/METHODS.md", "proto/dmrpcd.config.schema.json"]
META_PACKAGE = HERE / "node_modules" / "@open-rpc" / "meta-schema"

sys.path.insert(0, str(PROTO))
sys.dont_write_bytecode = True

import generate  # noqa: E402
from dmrpcgen.config import Config  # noqa: E402
from dmrpcgen.document import Document, DocumentError  # noqa: E402
from dmrpcgen.lint import lint  # noqa: E402

# These numbers are promised to clients. A new error gets a new number; none of these ever changes.
ERROR_NUMBERS = {
    "parse_error": -32700, "invalid_request": -32600, "method_not_found": -32601, "invalid_params": -32602,
    "internal_error": -32603, "device_not_found": 1, "device_exists": 2, "device_busy": 3, "table_rejected": 4,
    "no_table": 5, "permission_denied": 6, "kernel_unavailable": 7, "kernel_too_old": 8, "timed_out": 9,
    "cancelled": 10, "overloaded": 11, "reply_too_large": 12, "shutting_down": 13, "kernel_error": 14,
}


@pytest.fixture(scope="module")
def published():
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def source():
    return yaml.safe_load(SOURCE.read_text(encoding="utf-8"))


def run(*arguments, **environment):
    return subprocess.run([sys.executable, "-B", str(PROTO / "generate.py"), *map(str, arguments)],
                          capture_output=True, text=True, env={**os.environ, **environment}, check=False)


# --- the published document ---

@pytest.fixture(scope="module")
def meta_validator():
    """OpenRPC's meta-schema; it refers to JSON Schema draft 7 by an address of its own."""
    assert META_PACKAGE.is_dir(), f"{META_PACKAGE} is missing: run `npm ci` in {HERE}"
    script = "process.stdout.write(JSON.stringify(require(process.argv[1]).openrpcDocument))"
    output = subprocess.run(["node", "-e", script, str(META_PACKAGE)], capture_output=True, check=True).stdout
    meta = json.loads(output)
    assert "1.3.2" in meta["properties"]["openrpc"]["enum"]
    # What stands at that address is draft 7 in other words; these are the parts that are referred to.
    json_schema = {
        "allOf": [{"$ref": "http://json-schema.org/draft-07/schema#"}],
        "definitions": {"JSONSchemaObject": {"properties": {"$ref": {"type": "string", "format": "uri-reference"}}}},
    }
    resolver = jsonschema.RefResolver.from_schema(meta, store={"https://meta.json-schema.tools/": json_schema,
                                                               "https://meta.json-schema.tools": json_schema})
    return jsonschema.Draft7Validator(meta, resolver=resolver)


def test_published_document_is_openrpc(meta_validator, published):
    errors = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
              for error in meta_validator.iter_errors(published)]
    assert not errors


@pytest.mark.parametrize("path, value", [
    (("openrpc",), "9.9.9"),
    (("methods", 0, "nonsense"), 1),
    (("methods", 0, "paramStructure"), "by-guess"),
    (("components", "errors", "no_table", "description"), "not a member of OpenRPC's error object"),
    (("components", "schemas", "Device", "type"), "number of a device"),
    (("methods", 5, "params", 0, "schema"), 7),
])
def test_meta_schema_is_really_applied(meta_validator, published, path, value):
    broken = copy.deepcopy(published)
    target = broken
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert not meta_validator.is_valid(broken)


def test_published_document_equals_the_source(published, source):
    assert published == source


def test_error_numbers_never_change(published):
    assert {name: error["code"] for name, error in published["components"]["errors"].items()} == ERROR_NUMBERS


def follow(document, value):
    while "$ref" in value:
        keys = value["$ref"][2:].split("/")
        value = document
        for key in keys:
            value = value[key]
    return value


def example_cases():
    document = json.loads(PUBLISHED.read_text(encoding="utf-8")) if PUBLISHED.is_file() else {"methods": []}
    return [pytest.param(method, pairing, id=f"{method['name']}: {pairing['name']}")
            for method in document["methods"] for pairing in method["examples"]]


@pytest.mark.parametrize("method, pairing", example_cases())
def test_example_fits_its_schemas(published, method, pairing):
    """Checked here as any client would, without the generator's own code."""
    resolver = jsonschema.RefResolver.from_schema(published)
    params = {param["name"]: param for param in (follow(published, param) for param in method["params"])}
    given = {param["name"]: param["value"] for param in pairing["params"]}
    assert set(given) <= set(params)
    assert {name for name, param in params.items() if param.get("required")} <= set(given)
    if "x-one-of" in method:
        assert len(set(method["x-one-of"]) & set(given)) == 1
    for name, value in given.items():
        jsonschema.Draft7Validator(params[name]["schema"], resolver=resolver).validate(value)
    jsonschema.Draft7Validator(method["result"]["schema"], resolver=resolver).validate(pairing["result"]["value"])


# --- generate.py ---

@pytest.fixture
def tree(tmp_path):
    """A copy of the committed files, to spoil."""
    for name in COMMITTED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_committed_files_are_current():
    result = run("--check")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", COMMITTED)
@pytest.mark.parametrize("spoil", [
    pytest.param(lambda path: path.write_text(path.read_text() + " "), id="changed"),
    pytest.param(lambda path: path.unlink(), id="missing"),
])
def test_check_names_a_stale_file_and_mends_nothing(tree, name, spoil):
    spoil(tree / name)
    before = (tree / name).read_bytes() if (tree / name).exists() else None
    result = run("--check", "--root", tree)
    assert result.returncode == 1
    assert result.stderr == f"{name} is stale: run proto/generate.py\n"
    assert ((tree / name).read_bytes() if (tree / name).exists() else None) == before


def test_check_notices_a_changed_source(tree, tmp_path):
    changed = tmp_path / SOURCE.name
    changed.write_text(SOURCE.read_text().replace("Number of cylinders.", "How many cylinders."))
    result = run("--check", "--root", tree, "--source", changed)
    assert result.returncode == 1
    assert result.stderr.splitlines() == ["proto/dmrpc.openrpc.json is stale: run proto/generate.py",
                                          "docs/METHODS.md is stale: run proto/generate.py"]


def test_without_options_it_writes_the_committed_files(tree):
    (tree / "docs/METHODS.md").unlink()
    assert run("--root", tree).returncode == 0
    assert (tree / "docs/METHODS.md").read_bytes() == (ROOT / "docs/METHODS.md").read_bytes()


def test_the_same_source_makes_the_same_bytes(tmp_path):
    for seed in ("1", "2"):
        assert run("--c", tmp_path / seed, PYTHONHASHSEED=seed).returncode == 0
    for name in ("schema.h", "schema.c"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_a_broken_source_writes_nothing(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text(SOURCE.read_text().replace("x-effect: read", "x-effect: reads", 1))
    result = run("--source", broken, "--c", tmp_path / "out")
    assert result.returncode == 1
    assert re.match(r"broken\.yaml:\d+: methods\[version\]\.x-effect: 'reads' is not one of", result.stderr)
    assert not (tmp_path / "out").exists()


# --- the configuration file's form ---

@pytest.fixture(scope="module")
def config_schema():
    schema = json.loads((PROTO / "dmrpcd.config.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return schema


def test_an_editor_is_told_all(config_schema):
    assert config_schema["$schema"] == "http://json-schema.org/draft-07/schema#" and config_schema["title"]
    objects = [config_schema, *config_schema["definitions"].values()]
    for schema in objects:
        assert schema["description"].endswith(".") and schema["additionalProperties"] is False
        for name, member in schema["properties"].items():
            assert "$ref" in member or member["description"].endswith("."), name
    assert not re.search(r'"x-', json.dumps(config_schema))


def test_limits_and_calls_are_those_of_the_interface(config_schema, published):
    limits = config_schema["definitions"]["ConfigLimits"]["properties"]
    theirs = published["components"]["schemas"]["Limits"]["properties"]
    assert list(limits) == list(theirs)
    for name, limit in limits.items():
        assert limit == {**{key: value for key, value in theirs[name].items() if key != "x-default"},
                         "default": theirs[name]["x-default"]}
    calls = config_schema["definitions"]["ConfigRule"]["properties"]["what"]["items"]["enum"]
    assert calls == ["read", "write", "admin"] + sorted(method["name"] for method in published["methods"])


@pytest.mark.parametrize("old, new, said", [
    ("maxItems: 1024", "nothing: 1024", "Config: maxItems is missing"),
    ("#/definitions/ConfigWho", "#/definitions/Nix", "ConfigRule: #/definitions/Nix is nothing"),
    ("        maxLength: 107\n", "", "Config: maxLength is missing"),
    ("minimum: 0, maximum: 4294967294", "minimum: 0", "ConfigWho: maximum is missing"),
    ("    additionalProperties: false\n", "", "Config: additionalProperties is missing"),
    ("type: boolean\n", "type: flag\n", "ConfigRule: type is missing, or none that the decoder knows"),
])
def test_a_broken_form_writes_nothing(tmp_path, old, new, said):
    broken = tmp_path / "broken.yaml"
    text = CONFIG.read_text(encoding="utf-8")
    assert old in text
    broken.write_text(text.replace(old, new, 1))
    result = run("--config", broken, "--c", tmp_path / "out")
    assert result.returncode == 1 and result.stderr == f"broken.yaml: {said}\n"
    assert not (tmp_path / "out").exists()


# --- the C tables, as text; that they compile and work is the server's tests' business ---

@pytest.fixture(scope="module")
def c_files():
    document = Document(SOURCE.read_text(encoding="utf-8"), SOURCE.name)
    return generate.make_c(document, Config(CONFIG.read_text(encoding="utf-8"), CONFIG.name, document))


def test_methods_are_sorted_for_binary_search(c_files, published):
    rows = c_files["schema.c"].split("method_table[] = {")[1].split("\n};")[0]
    names = re.findall(r'\.name = "([^"]+)"', rows)
    assert names == sorted(method["name"] for method in published["methods"])


def test_every_method_has_a_prototype(c_files, published):
    for method in published["methods"]:
        assert f"int method_{method['name'].replace('.', '_')}(struct call *call, " in c_files["schema.h"]


def test_error_rows_have_the_promised_numbers(c_files):
    rows = re.findall(r'\.name = "(\w+)",\s+\.code = (-?\d+)', c_files["schema.c"])
    assert {name: int(code) for name, code in rows if name != "none"} == ERROR_NUMBERS


def test_the_document_survives_the_way_through_c(c_files, published):
    text = c_files["schema.c"].split("openrpc_document[] =")[1].split("\nconst size_t")[0]
    lines = re.findall(r'^    "(.*)";?$', text, re.M)
    assert max(map(len, lines)) <= 96
    joined = re.sub(r'\\(["\\?])', r"\1", "".join(lines))
    assert json.loads(joined) == published
    assert "??" not in text  # a trigraph in C11


def test_generated_c_fits_the_column_limit(c_files):
    for name in c_files:
        code = [line for line in c_files[name].splitlines() if not line.startswith('    "')]
        assert [line for line in code if len(line) > 110] == []


# --- docs/METHODS.md ---

def test_every_link_in_the_manual_has_its_heading():
    text = (ROOT / "docs/METHODS.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(anchors) == len(set(anchors)), "two headings share an anchor"
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(anchors)


def test_every_method_error_and_flag_is_in_the_manual(published):
    text = (ROOT / "docs/METHODS.md").read_text(encoding="utf-8")
    for method in published["methods"]:
        assert f"\n## {method['name']}\n" in text
    for name in published["components"]["errors"]:
        assert f"\n### {name}\n" in text
    for name in published["components"]["schemas"]["DmFlag"]["enum"]:
        assert f"| `{name}` |" in text
    assert "A record: [AuditRecord](#type-auditrecord)." in text
    assert all(f"*Example: {example['name']}*" in text for example in published["x-audit"]["examples"])


# --- the lint ---

def method(document, name):
    return next(method for method in document["methods"] if method["name"] == name)


def param(document, method_name, name):
    return next(param for param in method(document, method_name)["params"] if param.get("name") == name)


def schema(document, name):
    return document["components"]["schemas"][name]


def metric(document, name, member):
    return schema(document, name)["properties"][member]["x-metric"]


def declaring(document, error):
    """The names of the methods that declare an error."""
    reference = {"$ref": f"#/components/errors/{error}"}
    return [method["name"] for method in document["methods"] if reference in method["errors"]]


def drop_error(document, method_name, name):
    errors = method(document, method_name)["errors"]
    errors.remove({"$ref": f"#/components/errors/{name}"})


def add_error(document, method_name, name):
    method(document, method_name)["errors"].append({"$ref": f"#/components/errors/{name}"})


def example_params(document, method_name):
    return method(document, method_name)["examples"][0]["params"]


def example_value(document, method_name):
    return method(document, method_name)["examples"][0]["result"]["value"]


# What is done to the document, and a part of what must be said of it.
MUTATIONS = {
    # keys and prose
    "unknown key in a method": (lambda d: method(d, "version").update({"x-efect": "read"}), "'x-efect' was unexpected"),
    "no summary": (lambda d: method(d, "version").pop("summary"), "'summary' is a required property"),
    "no description": (lambda d: method(d, "version").pop("description"), "'description' is a required property"),
    "summary with a full stop": (lambda d: method(d, "version").update(summary="The version."), "does not match"),
    "prose that breaks off": (lambda d: method(d, "version").update(description="It is not"), "does not match"),
    "param without description": (lambda d: param(d, "target_msg", "sector").pop("description"),
                                  "params[sector]: 'description' is a required property"),
    "member without description": (lambda d: schema(d, "DeviceInfo")["properties"]["path"].pop("description"),
                                   "DeviceInfo.properties.path: 'description' is a required property"),
    "unknown effect": (lambda d: method(d, "version").update({"x-effect": "maybe"}), "'maybe' is not one of"),
    "unknown place": (lambda d: method(d, "version").update({"x-place": "elsewhere"}), "'elsewhere' is not one of"),
    "positional params": (lambda d: method(d, "version").update(paramStructure="by-position"), "was expected"),
    "method name in capitals": (lambda d: method(d, "version").update(name="Version"), "does not match"),
    "unknown schema keyword": (lambda d: schema(d, "Device").update(oneOf=[]), "'oneOf' was unexpected"),
    # references
    "reference to nothing": (lambda d: param(d, "table_load", "targets")["schema"]["items"].update(
        {"$ref": "#/components/schemas/Nothing"}), "resolves to nothing"),
    "reference to another file": (lambda d: method(d, "device_status")["result"]["schema"].update(
        {"$ref": "other.yaml#/DeviceInfo"}), "resolves to nothing"),
    "undeclared error": (lambda d: add_error(d, "version", "out_of_cheese"), "resolves to nothing"),
    "reference to the wrong kind": (lambda d: method(d, "device_status")["result"]["schema"].update(
        {"$ref": "#/components/errors/no_table"}), "does not go to #/components/schemas/"),
    "schema that holds itself": (lambda d: schema(d, "Device")["properties"].update(
        deeper={"$ref": "#/components/schemas/DeviceInfo", "description": "Deeper."}), "holds itself"),
    "component that nothing refers to": (lambda d: d["components"]["schemas"].update(
        Lonely={"type": "boolean", "description": "Nobody wants it."}), "nothing refers to it"),
    # schemas
    "integer without bounds": (lambda d: param(d, "target_msg", "sector")["schema"].pop("maximum"),
                               "no minimum and maximum"),
    "bounds past 64 bits": (lambda d: param(d, "target_msg", "sector")["schema"].update(maximum=2**63),
                            "64 bits signed"),
    "schema without type": (lambda d: schema(d, "DeviceName").pop("type"), "neither type nor $ref"),
    "array without items": (lambda d: param(d, "table_load", "targets")["schema"].pop("items"), "no items"),
    "unbounded string in params": (lambda d: schema(d, "DeviceName").pop("maxLength"), "needs maxLength"),
    "unbounded array in params": (lambda d: param(d, "table_load", "targets")["schema"].pop("x-limit"),
                                  "needs maxItems"),
    "unknown limit": (lambda d: param(d, "table_load", "targets")["schema"].update({"x-limit": "patience"}),
                      "no member of Limits"),
    "open object in params": (lambda d: schema(d, "NewTargetLine").pop("additionalProperties"),
                              "additionalProperties: false"),
    "closed result": (lambda d: schema(d, "DeviceInfo").update(additionalProperties=False), "must stay open"),
    "nullable param": (lambda d: schema(d, "DeviceName").update(type=["string", "null"]), "for results only"),
    "required member that is none": (lambda d: schema(d, "Device")["required"].append("micro"), "no property"),
    "object inside an object": (lambda d: schema(d, "DeviceInfo")["properties"].update(
        inner={"type": "object", "description": "Inner.", "properties": {
            "a": {"type": "boolean", "description": "A member."}}}), "must be a component"),
    "default out of range": (lambda d: param(d, "target_msg", "max_output")["schema"].update(default=1),
                             "less than the minimum"),
    "limit without a default": (lambda d: schema(d, "Limits")["properties"]["depth"].pop("x-default"),
                                "needs x-default"),
    "limit whose default is out of range": (lambda d: schema(d, "Limits")["properties"]["depth"].update(
        {"x-default": 100000}), "greater than the maximum"),
    "default of something else": (lambda d: schema(d, "Version")["properties"]["major"].update({"x-default": 4}),
                                  "nothing else has one"),
    "C keyword as a member": (lambda d: schema(d, "ErrorData")["properties"]["errno"].pop("x-c-name"),
                              "cannot be the name of a C member"),
    "two structs of one name": (lambda d: method(d, "device_status")["result"].update(schema=d["components"]["schemas"]
        .setdefault("TargetMsgResult", {"type": "object", "description": "A clash.", "properties": {
            "a": {"type": "boolean", "description": "A member."}}})), "struct target_msg_result is made from"),
    # methods
    "method twice": (lambda d: method(d, "list_versions").update(name="version"), "the method stands twice"),
    "param twice": (lambda d: param(d, "device_rename", "new_name").update(name="name"), "the param name stands twice"),
    "changes a device by reading": (lambda d: method(d, "device_resume").update({"x-effect": "read"}),
                                    "x-orders says"),
    "ordered on the loop": (lambda d: method(d, "device_resume").update({"x-place": "loop"}), "x-orders needs"),
    "drains by no flag": (lambda d: method(d, "device_suspend").update({"x-drains": "DM_HURRY"}), "is no flag of it"),
    "one-of names no param": (lambda d: method(d, "version").update({"x-one-of": ["name", "uuid", "device"]}),
                              "there is no param"),
    "one-of without a component": (lambda d: method(d, "device_rename").update({"x-one-of": ["name", "new_name"]}),
                                   "no schema in components"),
    "one-of that is required": (lambda d: d["components"]["contentDescriptors"]["SelectName"].update(required=True),
                                "cannot be required"),
    "one-of that differs": (lambda d: d["components"]["contentDescriptors"]["SelectName"].update(
        schema={"$ref": "#/components/schemas/DeviceUuid"}), "is not what DeviceRef says"),
    # flags
    "unknown flag": (lambda d: param(d, "device_resume", "flags")["schema"]["items"]["enum"].append("DM_HURRY"),
                     "DM_HURRY: no flag of DmFlag"),
    "flags out of order": (lambda d: param(d, "device_resume", "flags")["schema"]["items"]["enum"].reverse(),
                           "not in the order of their bits"),
    "obsolete flag": (lambda d: param(d, "device_resume", "flags")["schema"]["items"].update(
        enum=["DM_SKIP_BDGET"]), "obsolete flag"),
    "flags that may repeat": (lambda d: param(d, "device_resume", "flags")["schema"].pop("uniqueItems"),
                              "need uniqueItems"),
    "bit twice": (lambda d: schema(d, "DmFlag")["x-flags"]["DM_SUSPEND"].update(bit=0), "order of their bits"),
    "flag without a bit": (lambda d: schema(d, "DmFlag")["x-flags"].pop("DM_UUID"), "do not name the same flags"),
    # errors
    "code twice": (lambda d: d["components"]["errors"]["no_table"].update(code=4), "the code 4 is that of"),
    "our own number below zero": (lambda d: d["components"]["errors"]["no_table"].update(code=-5), "are positive"),
    "JSON-RPC's code changed": (lambda d: d["components"]["errors"]["parse_error"].update(code=15),
                                "JSON-RPC has the code -32700"),
    "wrong name in data": (lambda d: d["components"]["errors"]["no_table"]["data"].update(error="table"),
                           "data.error is not"),
    "error without explanation": (lambda d: d["x-errors"].pop("no_table"), "x-errors does not explain it"),
    "explanation without error": (lambda d: d["x-errors"].update(
        gone={"description": "Gone.", "action": "Nothing."}), "components.errors has no such error"),
    "reserved error declared": (lambda d: d["x-errors"]["cancelled"].update(reserved=True), "cancelled is reserved"),
    "error that nobody declares": (lambda d: [drop_error(d, name, "cancelled") for name in declaring(d, "cancelled")],
                                   "no method declares it"),
    "invalid_params not declared": (lambda d: drop_error(d, "version", "invalid_params"),
                                    "invalid_params is not declared"),
    "worker without shutting_down": (lambda d: drop_error(d, "table_load", "shutting_down"),
                                     "shutting_down is not declared"),
    "kernel call without kernel_error": (lambda d: drop_error(d, "table_load", "kernel_error"),
                                         "kernel_error is not declared"),
    "new ioctl without kernel_too_old": (lambda d: drop_error(d, "device_set_uuid", "kernel_too_old"),
                                         "kernel_too_old is not declared"),
    "device without device_not_found": (lambda d: drop_error(d, "table_load", "device_not_found"),
                                        "device_not_found is not declared"),
    "error twice": (lambda d: add_error(d, "version", "kernel_error"), "uniqueItems"),
    "errors out of order": (lambda d: method(d, "version")["errors"].reverse(), "not in the order of"),
    # metrics
    "number without a metric": (lambda d: schema(d, "Stats")["properties"]["waits"].pop("x-metric"),
                                "waits: what is told in Stats needs x-metric"),
    "entry's number without a metric": (lambda d: schema(d, "ErrorStats")["properties"]["given"].pop("x-metric"),
                                        "given: what is told in Stats needs x-metric"),
    "metric of something else": (lambda d: schema(d, "Device")["properties"]["major"].update(
        {"x-metric": {"name": "dmrpc_major", "type": "gauge"}}), "only Stats and the entries of its lists"),
    "metric twice": (lambda d: metric(d, "Stats", "workers").update(name="dmrpc_waits"),
                     "the metric dmrpc_waits stands twice"),
    "counter that is not _total": (lambda d: metric(d, "MethodStats", "ended").update(name="dmrpc_calls"),
                                   "counter: its name ends in _total"),
    "gauge that is _total": (lambda d: metric(d, "Stats", "waits").update(name="dmrpc_waits_total"),
                             "counter: its name ends in _total"),
    "gauge that is _info": (lambda d: metric(d, "Stats", "waits").update(name="dmrpc_waits_info"),
                            "info: its name ends in _info"),
    "unit that the name does not end in": (lambda d: metric(d, "Stats", "waits").update(unit="bytes"),
                                           "the unit is what the name ends in"),
    "name with a unit that is not given": (lambda d: metric(d, "ProtocolStats", "sent_bytes").pop("unit"),
                                           "the unit is what the name ends in"),
    "unknown unit": (lambda d: metric(d, "Stats", "duration").update(unit="minutes"), "'minutes' is not one of"),
    "number as a histogram": (lambda d: metric(d, "Stats", "waits").update(type="histogram"),
                              "this does not fit the type histogram"),
    "histogram as a number": (lambda d: metric(d, "Stats", "duration").update(type="gauge"), "this does not fit the type gauge"),
    "number as an info": (lambda d: metric(d, "Stats", "waits").update(type="info"), "this does not fit the type info"),
    "info with a number": (lambda d: schema(d, "BuildStats")["properties"]["api"].update(
        type="integer", minimum=0, maximum=1), "this does not fit the type info"),
    "counter that may be negative": (lambda d: schema(d, "Stats")["properties"]["limited"].update(minimum=-1),
                                     "this does not fit the type counter"),
    "statistics that may be missing": (lambda d: schema(d, "Stats")["required"].remove("waits"), "is always there"),
    "list in a list": (lambda d: schema(d, "MethodStats")["properties"]["ended"].update(
        {"$ref": "#/components/schemas/Histogram"}), "has numbers, and strings as their labels"),
    "entries without a label": (lambda d: schema(d, "ErrorStats")["properties"]["error"].update(
        {"$ref": "#/components/schemas/ErrorNumber"}) or d["components"]["schemas"].update(
        ErrorNumber={"type": "integer", "minimum": 0, "maximum": 1, "description": "A number."}),
                                "needs a string as its label"),
    # examples
    "no example": (lambda d: method(d, "version").pop("examples"), "'examples' is a required property"),
    "example without a required param": (lambda d: example_params(d, "target_version").clear(),
                                         "'type' is a required property"),
    "example with an unknown param": (lambda d: example_params(d, "version").append({"name": "x", "value": 1}),
                                      "'x' was unexpected"),
    "example with two devices": (lambda d: example_params(d, "device_status").append({"name": "name", "value": "a"}),
                                 "is valid under each of"),
    "example without a device": (lambda d: example_params(d, "device_status").clear(),
                                 "is not valid under any of the given schemas"),
    "example out of range": (lambda d: example_params(d, "device_status")[0]["value"].update(major=4096),
                             "greater than the maximum"),
    "example with a flag not taken": (lambda d: example_params(d, "table_status")[1].update(value=["DM_SUSPEND"]),
                                      "'DM_SUSPEND' is not one of"),
    "example result without a member": (lambda d: example_value(d, "device_status").pop("path"),
                                        "'path' is a required property"),
    "example result with a misspelt member": (lambda d: example_value(d, "device_status").update(nmae="a"),
                                              "'nmae' was unexpected"),
    "example result of the wrong type": (lambda d: example_value(d, "dev_majors").update(majors="254"),
                                         "is not of type 'array'"),
    "example result by another name": (lambda d: method(d, "version")["examples"][0]["result"].update(name="it"),
                                       "the result is called version"),
    "record with a misspelt member": (lambda d: d["x-audit"]["examples"][0]["record"].update(methd="x"),
                                      "x-audit.examples[A device was renamed]: Additional properties"),
    "record without a number": (lambda d: d["x-audit"]["examples"][0]["record"].pop("seq"),
                                "'seq' is a required property"),
    "record whose member has no bounds": (lambda d: schema(d, "AuditRecord")["properties"]["lost"].pop("maximum"),
                                          "the integer has no minimum and maximum"),
}


def dump(document):
    return json.dumps(document, indent=1)  # JSON is YAML, and quicker to write


def test_lint_accepts_the_unchanged_document(source):
    assert lint(Document(dump(source), "test.yaml")) == []


@pytest.mark.parametrize("name", MUTATIONS)
def test_lint_refuses(source, name):
    mutate, expected = MUTATIONS[name]
    document = copy.deepcopy(source)
    mutate(document)
    problems = lint(Document(dump(document), "test.yaml"))
    assert any(expected in problem for problem in problems), problems
    assert all(re.match(r"test\.yaml:\d+", problem) for problem in problems)


def test_lint_points_at_the_line():
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    number = next(i for i, line in enumerate(lines) if "maximum: 65535" in line)
    lines[number] = lines[number].replace("minimum: 0, ", "")
    (problem,) = lint(Document("\n".join(lines), "test.yaml"))
    assert problem == (f"test.yaml:{number + 1}: methods[device_set_geometry].params[cylinders].schema: "
                       "the integer has no minimum and maximum")


@pytest.mark.parametrize("text, expected", [
    ("a: 1\nb: 2\na: 3\n", "t.yaml:3: the key 'a' stands twice"),
    ("a: [1\n", "t.yaml: while parsing"),
    ("- a\n", "not a mapping"),
    ("", "not a mapping"),
    ("yes: 1\n", "t.yaml:1: the key True is not a string"),
])
def test_unreadable_yaml_is_refused(text, expected):
    with pytest.raises(DocumentError, match=re.escape(expected)):
        Document(text, "t.yaml")
