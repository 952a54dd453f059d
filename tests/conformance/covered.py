# SPDX-License-Identifier: Apache-2.0
"""Which commands, flags and errors of the schema occur in the scenarios, and which need not."""

import json
import pathlib

import play

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "proto" / "dmrpc.openrpc.json"

# Errors that no scenario can have on both kernels, whatever the command.
NO_ERROR = {
    "internal_error": "a fault of the daemon, or no memory",
    "permission_denied": "scenarios are played by root; who may do what is the daemon's matter, not the kernel's",
    "kernel_unavailable": "the kernel is there",
    "kernel_too_old": "the kernel is new enough for every command",
    "overloaded": "one client that waits for each reply cannot overload the daemon",
    "shutting_down": "the daemon runs as long as a scenario does",
    "cancelled": "a client that waits for each reply cancels nothing; the daemon's tests of time do",
    "invalid_request": "a command in a batch that may not be there; the daemon refuses it before any kernel is asked",
}
# Errors of one command that no scenario can have on both kernels.
NO_ERROR_OF = {
    ("version", "kernel_error"): "the kernel refuses only versions that the daemon does not send",
    ("list_versions", "kernel_error"): "the kernel has no reason to refuse it",
    ("list_versions", "reply_too_large"): "there are not so many target types",
    ("dev_majors", "kernel_error"): "it is a file that can always be read",
    ("list_devices", "kernel_error"): "the kernel has no reason to refuse it",
    ("list_devices", "reply_too_large"): "it would take tens of thousands of devices, which is too much for a kernel",
    ("device_create", "kernel_error"): "it takes a kernel that has no memory or no minor left",
    ("device_remove", "kernel_error"): "the kernel refuses only devices in use or not there",
    ("device_rename", "kernel_error"): "names that the kernel refuses are refused by the daemon before it asks",
    ("remove_all", "kernel_error"): "the kernel leaves devices in use and says nothing",
    ("remove_all", "reply_too_large"): "it would take tens of thousands of devices, which is too much for a kernel",
    ("device_status", "kernel_error"): "the kernel refuses only devices that are not there",
    ("device_wait", "kernel_error"): "the kernel refuses only devices that are not there",
    ("device_wait", "reply_too_large"): "its reply is the status of one device; see table_status",
    ("table_load", "kernel_error"): "it takes a kernel that has no memory left; all else is table_rejected",
    ("device_suspend", "device_busy"): "only who holds a lease can be in the way, and there is one client",
    ("table_swap", "kernel_error"): "it takes a kernel that has no memory left; all else is table_rejected",
    ("table_clear", "kernel_error"): "the kernel refuses only devices that are not there",
    ("table_status", "kernel_error"): "the kernel refuses only devices that are not there",
    ("table_status", "reply_too_large"): "a table of that size takes the emulated machine minutes to load",
    ("table_deps", "kernel_error"): "the kernel refuses only devices that are not there",
    ("table_deps", "reply_too_large"): "it would take tens of thousands of disks",
}


def followed(schema, node):
    while "$ref" in node:
        target = schema
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def wanted():
    """{(method, what)}: `done`, each flag and each error of every command that asks the kernel."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    found = set()
    for method in schema["methods"]:
        # Events come on when they like; the tests of events have both kernels.
        if "kernel" not in method.get("x-source", {}) or method["x-place"] == "listed":
            continue
        found.add((method["name"], "done"))
        for each in method["params"]:
            param = followed(schema, each)
            if param["name"] == "flags":
                flags = followed(schema, followed(schema, param["schema"])["items"])["enum"]
                found |= {(method["name"], flag) for flag in flags}
        found |= {(method["name"], error["$ref"].rpartition("/")[2]) for error in method["errors"]}
    return found


def occurring(expected):
    """{(method, what)} of all steps of all scenarios that both kernels play."""
    found = set()
    for path in play.SCENARIOS.glob("*.json"):
        for name, scenario in play.load(path).items():
            if "only" in scenario:
                continue
            for step, outcome in zip(play.flatten(scenario["steps"]), expected[path.name][name]):
                method = next(key for key in step if key != "$i")
                error = outcome.get("error")
                if isinstance(error, dict):
                    found.add((method, error["error"]))
                    continue
                found.add((method, "done"))
                found |= {(method, flag) for flag in step[method].get("flags", [])}
    return found


def is_exempt(method, what):
    if what == "timed_out" and method != "device_wait":
        return True  # nothing takes long in these scenarios
    return what in NO_ERROR or (method, what) in NO_ERROR_OF


def missing(expected):
    return {each for each in wanted() - occurring(expected) if not is_exempt(*each)}


def needless(expected):
    """Exemptions of what does occur, or of what the schema does not have."""
    there, all_wanted = occurring(expected), wanted()
    words = {what for _, what in all_wanted}
    return ({each for each in NO_ERROR_OF if each in there or each not in all_wanted}
            | {("any", what) for what in NO_ERROR if what not in words or any(word == what for _, word in there)})
