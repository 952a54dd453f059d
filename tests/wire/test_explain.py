# SPDX-License-Identifier: Apache-2.0
"""Errors that explain, on the simulated kernel: its log, who is stacked on a device, hints made of facts."""

import errno
import threading
import time

import dmrpc
import pytest

ADDING = "device-mapper: ioctl: error adding target to table"


def line(start, length, kind="zero", params=""):
    return {"start": start, "length": length, "type": kind, "params": params}


def make(client, name, *targets):
    client.device_create(name=name)
    client.table_load(name=name, targets=list(targets) or [line(0, 8)])
    return client.device_resume(name=name)


def fails(error, method, **params):
    with pytest.raises(dmrpc.RpcError) as caught:
        method(**params)
    assert caught.value.name == error, caught.value
    return caught.value.data


def test_a_refused_table_has_the_kernels_words_and_a_hint(client):
    client.device_create(name="a")
    data = fails("table_rejected", client.table_load, name="a", targets=[line(0, 8), line(8, 8, "nosuch")])
    assert data["kernel_log"] == ["device-mapper: table: 254:0: nosuch: unknown target type", ADDING]
    assert data["hint"].startswith("line 2: ") and "dm-nosuch" in data["hint"]
    data = fails("table_rejected", client.table_load, name="a", targets=[line(0, 8), line(16, 8)])
    assert data["hint"] == "line 2 must start at sector 8, where line 1 ends, and not at 16"
    data = fails("table_rejected", client.table_load, name="a", targets=[line(5, 8)])
    assert data["hint"] == "line 1 must start at sector 0, and not at 5"
    client.simulate_disk_add(path="/dev/sim0", sectors=100)
    data = fails("table_rejected", client.table_load, name="a", targets=[line(0, 800, "linear", "/dev/sim0 4")])
    assert data["hint"].startswith("sim0 has 100 sectors, and the table wants 4 to 803 of it")
    data = fails("table_rejected", client.table_load, name="a", targets=[line(0, 8), line(8, 8, "linear", "/dev/sim1 0")])
    assert data["hint"] == "line 2: there is no block device /dev/sim1"


def test_each_call_has_its_own_lines_only(client):
    client.device_create(name="a")
    client.device_create(name="b")
    fails("table_rejected", client.table_load, name="a", targets=[line(0, 8, "one")])
    data = fails("table_rejected", client.table_load, name="b", targets=[line(0, 8, "two")])
    assert data["kernel_log"] == ["device-mapper: table: 254:1: two: unknown target type", ADDING]
    assert "kernel_log" not in fails("device_not_found", client.device_remove, name="none")


def test_reads_have_no_lines(client):
    assert "kernel_log" not in fails("device_not_found", client.table_status, name="none")


def test_a_line_without_a_number_is_nobodys_while_others_run(daemon, client):
    """A call that is held in the kernel runs beside the other."""
    make(client, "a")
    make(client, "b")
    fault = client.simulate_fault_add(ioctl="DM_TABLE_CLEAR", name="a", held=True)["fault"]
    with daemon.client() as other:
        held = other.start("table_clear", name="a")
        while [each["stage"] for each in client.calls_list()["calls"] if each["method"] == "table_clear"] != ["worker"]:
            time.sleep(0.01)
        time.sleep(0.2)
        data = fails("table_rejected", client.table_load, name="b", targets=[line(0, 8, "two")])
        assert data["kernel_log"] == ["device-mapper: table: 254:1: two: unknown target type"]
        client.simulate_fault_remove(fault=fault)
        other.finish(held)
    data = fails("table_rejected", client.table_load, name="b", targets=[line(0, 8, "two")])
    assert len(data["kernel_log"]) == 2


def test_many_at_once(daemon, client):
    names = [f"d{index}" for index in range(32)]
    devices = {name: client.device_create(name=name)["device"] for name in names}
    faults = []

    def work(name):
        own = f"device-mapper: table: 254:{devices[name]['minor']}: {name}: unknown target type"
        with daemon.client() as mine:
            for _ in range(20):
                data = fails("table_rejected", mine.table_load, name=name, targets=[line(0, 8, name)])
                if [each for each in data.get("kernel_log", []) if each != ADDING] != [own]:
                    faults.append((name, data))

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_who_is_stacked_on_a_busy_device(client):
    lower = make(client, "lower")
    upper = make(client, "upper", line(0, 8, "linear", "254:0 0"))
    client.device_create(name="next")
    client.table_load(name="next", targets=[line(0, 8, "linear", "254:0 0")])
    data = fails("device_busy", client.device_remove, name="lower")
    assert [each["name"] for each in data["holders"]] == ["upper", "next"]
    assert data["holders"][0] == {"kind": "holder", "path": "/dev/dm-1", "name": "upper", "device": upper["device"]}
    assert "'upper' is stacked on it" in data["hint"]
    assert data["device"] == lower["device"]
    data = fails("device_busy", client.device_remove, name="lower", retry=True, timeout_ms=1000)
    assert len(data["holders"]) == 2 and "tried" in data["state"]


def test_a_device_that_somebody_has_open(client):
    make(client, "a")
    client.simulate_hold(name="a")
    data = fails("device_busy", client.device_remove, name="a")
    assert "holders" not in data and "fuser -v /dev/dm-0" in data["hint"]
    client.simulate_release(name="a")
    client.simulate_fault_add(ioctl="DM_DEV_REMOVE", errno=errno.EBUSY, calls=1)
    assert fails("device_busy", client.device_remove, name="a")["hint"].startswith("it has been closed meanwhile")
    client.device_remove(name="a")


def test_names_that_are_taken(client):
    client.device_create(name="a", uuid="U")
    client.device_create(name="b")
    assert "device 'a' (254:0)" in fails("device_exists", client.device_create, name="a")["hint"]
    hint = fails("device_exists", client.device_create, name="c", uuid="U")["hint"]
    assert hint.startswith("the uuid is that of device 'a' (254:0)")
    data = fails("device_exists", client.device_rename, name="b", new_name="a")
    assert data["hint"].startswith("the name is that of device 'a'")
    assert data["kernel_log"] == [
        "device-mapper: ioctl: Unable to change name on mapped device b to one that already exists: a"]
    assert "the uuid is that of" in fails("device_exists", client.device_set_uuid, name="b", uuid="U")["hint"]


def test_a_table_that_is_not_live_yet(client):
    client.device_create(name="a")
    hint = fails("no_table", client.target_msg, name="a", message="x")["hint"]
    assert hint == "load a table and resume the device first"
    client.table_load(name="a", targets=[line(0, 8)])
    data = fails("no_table", client.target_msg, name="a", message="x")
    assert "device_resume first" in data["hint"]
    assert data["kernel_log"] == ["device-mapper: ioctl: The device has no table."]


def test_no_memory_and_read_only(client):
    client.device_create(name="a")
    client.simulate_fault_add(ioctl="DM_TABLE_LOAD", errno=errno.ENOMEM, calls=1)
    assert fails("kernel_error", client.table_load, name="a", targets=[line(0, 8)])["hint"].startswith("free memory")
    client.simulate_fault_add(ioctl="DM_TABLE_LOAD", errno=errno.EROFS, calls=1)
    assert "DM_READONLY" in fails("table_rejected", client.table_load, name="a", targets=[line(0, 8)])["hint"]
