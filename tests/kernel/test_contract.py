# SPDX-License-Identifier: Apache-2.0
"""What a whole run has shown of the schema. `run` has it judge what its machines left below $DMRPC_RESULTS."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "support"))

from contract import Contract  # noqa: E402

# Why a declared error need not be seen here. The wire tests and the unit tests reach the rest.
NOT_THE_KERNELS = {
    "invalid_params": "is said before the kernel is asked",
    "invalid_request": "is said before the kernel is asked",
    "internal_error": "is a fault of the server or a broken reply of the kernel, which this kernel does not give",
    "kernel_too_old": "this kernel has all that is asked for",
}
OPEN_SINCE_THE_START = "without the control node the server does not start, and then it has it open"
WITHOUT_A_WORKER = "does not queue for a worker: only want of memory would do it"
NEVER_REFUSED = "all that the kernel refuses it for has an error of its own, but want of memory"
EXEMPT = {
    "overloaded": {method: WITHOUT_A_WORKER for method in (
        "version", "list_versions", "dev_majors", "device_status", "device_wait", "table_deps", "rpc.discover",
        "server_info", "server_stats", "calls_list", "call_cancel", "lease_list", "events_subscribe",
        "events_unsubscribe", "access_explain")} | {"device_resume": "what frees others has as much room again: the wire tests fill it"},
    "kernel_error": {method: NEVER_REFUSED for method in (
        "version", "list_versions", "dev_majors", "list_devices", "device_create", "device_remove", "device_rename",
        "remove_all", "device_suspend", "device_resume", "device_status", "device_wait", "table_clear",
        "table_swap", "table_status", "table_deps", "events_subscribe", "access_explain")},
    "cancelled": {"events_subscribe": "calls_list shows it only for the moment in which its reply is printed"},
    "shutting_down": {method: "it is over at once: the wire tests end a server at that moment" for method in (
        "events_subscribe", "lease_list", "calls_list", "call_cancel")},
    "reply_too_large": {
        "events_subscribe": "its list is that of list_devices",
        "lease_list": "it would take a thousand suspended devices",
        "calls_list": "it would take a thousand calls",
        "access_explain": "rules with so many patterns are longer than any other answer of this test",
        "list_versions": "all target types together stay below the smallest limit",
        "server_stats": "only large numbers make it longer than the smallest limit",
    },
}


def exempt(method, error):
    if error == "kernel_unavailable" and method != "device_wait":
        return OPEN_SINCE_THE_START
    return EXEMPT.get(error, {}).get(method)


def test_every_method_and_every_error_that_a_kernel_gives_was_seen():
    contract = Contract()
    for path in pathlib.Path(os.environ["DMRPC_RESULTS"]).glob("*/contract.json"):
        contract.add(path)
    print(f"{sum(contract.replies.values())} replies came")
    print("errors:", *(f"{method}/{error}:{count}" for (method, error), count in sorted(contract.errors.items())))
    simulated = {name for name, method in contract.methods.items() if method.get("x-simulated")}
    assert set(contract.never_answered()) == simulated
    assert contract.never_failed(
        lambda method, error: method in simulated or error in NOT_THE_KERNELS or exempt(method, error)) == []
    assert contract.exempt_but_seen(exempt) == [], "these exemptions are not needed"
