# SPDX-License-Identifier: Apache-2.0
"""Calls as clients make them, against a daemon on the simulated kernel."""

import json
import select
import threading
import time

import pytest

import dmrpc

ZERO = {"start": 0, "length": 2048, "type": "zero", "params": ""}
ERROR = {"start": 0, "length": 2048, "type": "error", "params": ""}


def make(client, name, **params):
    client.device_create(name=name, **params)
    client.table_load(name=name, targets=[ZERO])
    return client.device_resume(name=name)


def fails(error, call, **params):
    with pytest.raises(dmrpc.RpcError) as caught:
        call(**params)
    assert caught.value.name == error, caught.value
    return caught.value


def test_a_device_from_birth_to_end(client):
    info = client.device_create(name="d", uuid="U-1")
    assert info["name"] == "d" and info["uuid"] == "U-1" and info["flags"] == []
    assert info["path"] == f"/dev/dm-{info['device']['minor']}"
    assert client.table_load(name="d", targets=[ZERO])["flags"] == ["DM_INACTIVE_PRESENT"]
    assert "DM_ACTIVE_PRESENT" in client.device_resume(uuid="U-1")["flags"]
    status = client.table_status(device=info["device"], flags=["DM_STATUS_TABLE"])
    assert status["targets"] == [ZERO]
    assert client.table_deps(name="d")["devices"] == []
    assert client.device_rename(name="d", new_name="e")["name"] == "e"
    assert [d["name"] for d in client.list_devices()["devices"]] == ["e"]
    suspended = client.device_suspend(name="e", flags=["DM_SUSPEND"])
    assert "DM_SUSPEND" in suspended["flags"]
    assert "DM_SUSPEND" not in client.device_suspend(name="e")["flags"]
    assert client.device_remove(name="e")["deferred"] is False
    assert client.list_devices()["devices"] == []


def test_every_way_to_name_a_device(client):
    device = make(client, "d", uuid="u")["device"]
    for ref in ({"name": "d"}, {"uuid": "u"}, {"device": device}):
        assert client.device_status(**ref)["name"] == "d"


def test_table_clear_drops_the_inactive_table(client):
    client.device_create(name="d")
    client.table_load(name="d", targets=[ZERO])
    assert client.table_clear(name="d")["flags"] == []


def test_inactive_table_is_shown_on_request(client):
    make(client, "d")
    client.table_load(name="d", targets=[ERROR])
    flags = ["DM_STATUS_TABLE"]
    assert client.table_status(name="d", flags=flags)["targets"][0]["type"] == "zero"
    flags.append("DM_QUERY_INACTIVE_TABLE")
    assert client.table_status(name="d", flags=flags)["targets"][0]["type"] == "error"


def test_five_thousand_targets(client):
    lines = [{**ZERO, "start": 8 * i, "length": 8} for i in range(5000)]
    client.device_create(name="d")
    client.table_load(name="d", targets=lines)
    client.device_resume(name="d")
    assert client.table_status(name="d", flags=["DM_STATUS_TABLE"])["targets"] == lines


def test_two_thousand_devices(client):
    names = [f"device-{i:04}" for i in range(2000)]
    for at in range(0, len(names), 100):
        batch = [client.request("device_create", {"name": name}, name) for name in names[at:at + 100]]
        client.send(json.dumps(batch))
        assert all("result" in reply for reply in json.loads(client.read_line()))
    assert [d["name"] for d in client.list_devices()["devices"]] == names
    assert len(client.list_devices(name_prefix="device-01")["devices"]) == 100
    forecast = client.remove_all()
    assert forecast["confirmed"] is False and len(forecast["removed"]) == 2000
    assert len(client.remove_all(confirm=True)["removed"]) == 2000
    assert client.list_devices()["devices"] == []


def test_names_at_their_limits(client):
    name, uuid = "n" * 127, "u" * 128
    assert client.device_create(name=name, uuid=uuid)["name"] == name
    assert client.device_status(uuid=uuid)["uuid"] == uuid


@pytest.mark.parametrize("name", ["a b", "ä€😀", 'quote"back\\slash', "tab\tnewline\n", "\x7f\x01"])
def test_unusual_names_come_back_as_they_went(client, name):
    client.device_create(name=name)
    assert client.list_devices()["devices"][0]["name"] == name
    assert client.device_status(name=name)["name"] == name


def test_persistent_minor(client):
    info = client.device_create(name="d", flags=["DM_PERSISTENT_DEV"], minor=70000)
    assert info["device"]["minor"] == 70000 and info["path"] == "/dev/dm-70000"
    error = fails("device_exists", client.device_create, name="e", flags=["DM_PERSISTENT_DEV"], minor=70000)
    assert "'d'" in error.message


def test_geometry(client):
    info = make(client, "d")
    after = client.device_set_geometry(name="d", cylinders=16, heads=16, sectors=8, start=0)
    assert after["device"] == info["device"] and after["name"] == "d"


def test_errors_say_what_why_and_what_next(client):
    error = fails("device_not_found", client.device_status, name="nope")
    assert error.data["errno_name"] == "ENXIO" and error.data["ioctl"] == "DM_DEV_STATUS"
    assert error.data["name"] == "nope" and "'nope'" in error.message and error.data["hint"]
    info = make(client, "d", uuid="u")
    assert fails("device_exists", client.device_create, name="d").data["errno_name"] == "EBUSY"
    fails("device_exists", client.device_create, name="e", uuid="u")
    error = fails("table_rejected", client.table_load, name="d", targets=[{**ZERO, "type": "no-such"}])
    assert error.data["device"] == info["device"] and error.data["ioctl"] == "DM_TABLE_LOAD"
    fails("table_rejected", client.table_load, name="d", targets=[{**ZERO, "start": 8}])
    client.device_create(name="bare")
    fails("no_table", client.device_suspend, name="bare", flags=["DM_SUSPEND"])
    fails("no_table", client.device_resume, name="bare")
    fails("no_table", client.target_msg, name="bare", message="hello")
    fails("kernel_error", client.device_set_geometry, name="d", cylinders=1, heads=1, sectors=1, start=2)
    fails("kernel_error", client.device_set_uuid, name="d", uuid="again")
    fails("kernel_error", client.target_msg, name="d", message="no such message")
    fails("kernel_error", client.target_version, type="no-such")


def test_error_leaves_nothing_behind(client):
    client.device_create(name="d")
    fails("table_rejected", client.table_load, name="d", targets=[{**ZERO, "type": "no-such"}])
    assert client.device_status(name="d")["flags"] == []


def test_the_interface_as_a_whole(client):
    version = client.version()
    assert version["backend"] == "simulated"
    assert client.dev_majors()["majors"]
    targets = {t["name"]: t["version"] for t in client.list_versions()["targets"]}
    assert "linear" in targets
    assert client.target_version(type="linear") == {"name": "linear", "version": targets["linear"]}


def test_discover_is_the_published_document(client):
    published = json.loads((dmrpc.ROOT / "proto" / "dmrpc.openrpc.json").read_text())
    assert client.call("rpc.discover") == published


def test_server_info(daemon, client):
    info = client.server_info()
    assert info["pid"] == daemon.process.pid and info["backend"] == "simulated"
    assert abs(time.time() - time.mktime(time.strptime(info["started"], "%Y-%m-%dT%H:%M:%SZ"))
               + time.timezone) < 60
    assert client.server_info()["instance"] == info["instance"]


# --- waiting ---

def test_wait_answers_at_once_where_the_number_differs(client):
    make(client, "d")
    result = client.device_wait(name="d", event_nr=12345)
    assert result["info"]["name"] == "d" and result["targets"][0]["type"] == "zero"


def test_wait_times_out(client):
    info = make(client, "d")
    before = time.monotonic()
    fails("timed_out", client.device_wait, name="d", event_nr=info["event_nr"], timeout_ms=200)
    assert 0.15 < time.monotonic() - before < 10


def test_wait_ends_with_an_event(daemon, client):
    info = make(client, "d")
    ident = client.start("device_wait", name="d", event_nr=info["event_nr"], timeout_ms=20000)
    client.drained()
    with daemon.client() as other:
        # A rename moves the event number.
        renamed = other.device_rename(name="d", new_name="e")
    fails_or = client.read_line()
    reply = json.loads(fails_or)
    assert reply["id"] == ident
    # The device is waited for by its number: the new name is no other device.
    assert reply["result"]["info"]["event_nr"] == renamed["event_nr"]


def test_wait_ends_when_the_device_goes(daemon, client):
    info = make(client, "d")
    ident = client.start("device_wait", name="d", event_nr=info["event_nr"], timeout_ms=20000)
    client.drained()
    with daemon.client() as other:
        other.device_remove(name="d")
    with pytest.raises(dmrpc.RpcError) as caught:
        client.finish(ident)
    assert caught.value.name == "device_not_found"


def test_wait_lets_later_calls_by(client):
    info = make(client, "d")
    waiting = client.start("device_wait", name="d", event_nr=info["event_nr"], timeout_ms=300)
    assert client.call("version")
    with pytest.raises(dmrpc.RpcError):
        client.finish(waiting)


def test_many_waits_cost_no_thread(daemon, client):
    info = make(client, "d")
    count = 2000
    for _ in range(count):
        client.start("device_wait", name="d", event_nr=info["event_nr"], timeout_ms=25000)
    assert client.finish(client.start("version"))
    threads = len(list((dmrpc.pathlib.Path("/proc") / str(daemon.process.pid) / "task").iterdir()))
    assert threads < 10
    with daemon.client() as other:
        other.device_rename(name="d", new_name="e")
    idents = {json.loads(client.read_line())["id"] for _ in range(count)}
    assert len(idents) == count


def test_wait_of_a_half_closed_connection_is_answered(daemon):
    with daemon.client() as setup:
        info = make(setup, "d")
    with daemon.client() as client:
        ident = client.start("device_wait", name="d", event_nr=info["event_nr"], timeout_ms=200)
        client.socket.shutdown(dmrpc.socket.SHUT_WR)
        assert json.loads(client.read_line())["id"] == ident
        assert client.read_all() == b""


def test_wait_goes_with_its_connection(daemon):
    def open_files():
        return len(list((dmrpc.pathlib.Path("/proc") / str(daemon.process.pid) / "fd").iterdir()))

    with daemon.client() as setup:
        info = make(setup, "d")
    client = daemon.client()
    client.start("device_wait", name="d", event_nr=info["event_nr"])
    client.call("version")  # the wait has been taken in, and its files are open
    with daemon.client() as other:
        other.version()
        before = open_files()
        client.close()
        deadline = time.monotonic() + 10
        while open_files() >= before and time.monotonic() < deadline:
            select.select([], [], [], 0.01)
        assert open_files() < before


# --- many clients ---

def test_changes_of_one_device_do_not_cross(daemon):
    """Eight clients rename, load, resume and clear the same devices at once; every reply is accounted for."""
    with daemon.client() as setup:
        for name in ("x", "y"):
            make(setup, name)
    faults = []

    def work(seed):
        with daemon.client() as client:
            for i in range(150):
                name = "xy"[(seed + i) % 2]
                method, params = [
                    ("table_load", {"name": name, "targets": [ZERO]}),
                    ("device_resume", {"name": name}),
                    ("device_rename", {"name": name, "new_name": name + "2"}),
                    ("device_rename", {"name": name + "2", "new_name": name}),
                    ("table_clear", {"name": name}),
                    ("device_status", {"name": name}),
                ][(seed * 7 + i) % 6]
                try:
                    client.call(method, **params)
                except dmrpc.RpcError as error:
                    if error.name not in ("device_not_found", "device_exists"):
                        faults.append(str(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert faults == []


def test_replies_keep_their_order(client):
    """A slow call ahead of quick ones: nothing overtakes on one connection."""
    make(client, "d")
    idents = []
    for i in range(200):
        method = ("table_status", "version", "list_devices")[i % 3]
        params = {"name": "d"} if method == "table_status" else {}
        idents.append(client.start(method, **params))
    for ident in idents:
        client.finish(ident)


def test_notifications_are_carried_out(client):
    client.send('{"jsonrpc":"2.0","method":"device_create","params":{"name":"silent"}}')
    assert client.device_status(name="silent")["name"] == "silent"


# --- the simulated kernel's own methods, and what they show ---

def test_a_blocked_call_holds_up_nobody_else(daemon, client):
    """One stuck table_load holds its connection and its device's line; all else goes on."""
    make(client, "stuck")
    make(client, "free")
    with daemon.client() as blocked, daemon.client() as queued, daemon.client() as other:
        fault = other.simulate_fault_add(ioctl="DM_TABLE_LOAD", name="stuck", held=True)["fault"]
        loading = blocked.start("table_load", name="stuck", targets=[ZERO])
        blocked.drained()  # it came first
        deadline = time.monotonic() + 10
        renaming = queued.start("device_rename", name="stuck", new_name="renamed")
        for _ in range(20):
            assert other.version()
            assert other.device_status(name="stuck")
            other.table_load(name="free", targets=[ERROR])
            other.device_resume(name="free")
        assert not select.select([blocked.socket, queued.socket], [], [], 0.05)[0]
        assert [d["name"] for d in other.list_devices()["devices"]] == ["free", "stuck"]
        other.simulate_fault_remove(fault=fault)
        assert "DM_INACTIVE_PRESENT" in blocked.finish(loading)["flags"]
        assert queued.finish(renaming)["name"] == "renamed"
        assert time.monotonic() < deadline


def test_faults_come_as_asked(client):
    make(client, "d")
    client.simulate_fault_add(ioctl="DM_DEV_STATUS", errno=5)
    assert fails("kernel_error", client.device_status, name="d").data["errno_name"] == "EIO"
    assert client.device_status(name="d")
    error = fails("invalid_params", client.simulate_fault_add, ioctl="DM_NOPE")
    assert error.data["path"] == "/ioctl"


def test_disks_are_mapped_held_and_removed(client):
    disk = client.simulate_disk_add(path="/dev/sim0", sectors=4096)["device"]
    fails("device_exists", client.simulate_disk_add, path="/dev/sim0", sectors=1)
    linear = {"start": 0, "length": 4096, "type": "linear", "params": "/dev/sim0 0"}
    client.device_create(name="d")
    client.table_load(name="d", targets=[linear])
    client.device_resume(name="d")
    assert client.table_deps(name="d")["devices"] == [disk]
    fails("device_busy", client.simulate_disk_remove, number=disk)
    assert client.simulate_hold(name="d")["open_count"] == 1
    assert fails("device_busy", client.device_remove, name="d").data["errno_name"] == "EBUSY"
    deferred = client.device_remove(name="d", flags=["DM_DEFERRED_REMOVE"])
    assert deferred["deferred"] is True and "DM_DEFERRED_REMOVE" in client.device_status(name="d")["flags"]
    fails("device_not_found", client.simulate_release, name="d")
    assert client.list_devices()["devices"] == []
    assert client.simulate_disk_remove(number=disk) == {"done": True}
    fails("device_not_found", client.simulate_disk_remove, number=disk)


def test_an_event_ends_a_wait(daemon, client):
    info = make(client, "d")
    ident = client.start("device_wait", name="d", event_nr=info["event_nr"], timeout_ms=20000)
    client.drained()
    with daemon.client() as other:
        assert other.simulate_event(name="d")["event_nr"] == info["event_nr"] + 1
    assert client.finish(ident)["info"]["event_nr"] == info["event_nr"] + 1


def test_a_suspend_that_drains_holds_up_nobody_else(daemon, client):
    make(client, "d")
    client.simulate_stall(name="d", drain=True)
    ident = client.start("device_suspend", name="d", flags=["DM_SUSPEND"])
    client.drained()
    with daemon.client() as other:
        assert other.version() and other.list_devices()["devices"]
        other.simulate_stall(name="d")
    assert "DM_SUSPEND" in client.finish(ident)["flags"]
