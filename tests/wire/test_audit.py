# SPDX-License-Identifier: Apache-2.0
"""The audit: one record for each change, refusal and roll-back, as a line of JSON or in a journal, and what is lost."""

import grp
import json
import os
import pathlib
import secrets
import shlex
import signal
import subprocess
import time

import pytest

import dmrpc
import schema
from journal import Journal, within
from peers import Peer
from stuck import Stuck

NOBODY = 65534
ZERO = {"start": 0, "length": 8, "type": "zero", "params": ""}
DEVICE = {"name": "d"}
DISK = {"path": "/dev/sim7", "sectors": 8}
CHANGES = {name: method for name, method in schema.Document().methods.items() if method["x-effect"] != "read"}

# Of each method that changes something: params that are good for device d, and some that fail, with their error.
CASES = {
    "target_version": ({"type": "linear"}, {"type": "no-such"}, "kernel_error"),
    "device_create": ({"name": "e", "uuid": "U-e"}, DEVICE, "device_exists"),
    "device_remove": (DEVICE, {"name": "x"}, "device_not_found"),
    "device_rename": ({"name": "d", "new_name": "e"}, {"name": "x", "new_name": "e"}, "device_not_found"),
    "device_set_uuid": ({"name": "d", "uuid": "U"}, {"name": "x", "uuid": "U"}, "device_not_found"),
    "remove_all": ({"confirm": True}, {"confirm": 1}, "invalid_params"),
    "device_suspend": (DEVICE | {"flags": ["DM_SUSPEND"]}, {"name": "x", "flags": ["DM_SUSPEND"]}, "device_not_found"),
    "device_resume": (DEVICE, {"name": "x"}, "device_not_found"),
    "device_set_geometry": ({"name": "d", "cylinders": 1, "heads": 1, "sectors": 8, "start": 0},
                            {"name": "d", "cylinders": 1, "heads": 1, "sectors": 8, "start": 99}, "kernel_error"),
    "table_load": (DEVICE | {"targets": [ZERO]}, DEVICE | {"targets": [ZERO | {"type": "no-such"}]}, "table_rejected"),
    "table_clear": (DEVICE, {"name": "x"}, "device_not_found"),
    "table_swap": (DEVICE | {"targets": [ZERO]}, DEVICE | {"targets": [ZERO | {"start": 8}]}, "table_rejected"),
    "target_msg": (DEVICE | {"message": "@stats_list"}, DEVICE | {"message": "nonsense"}, "kernel_error"),
    "simulate_disk_add": (DISK, {"path": "", "sectors": 8}, "invalid_params"),
    "simulate_disk_remove": ({"number": {"major": 259, "minor": 0}}, {"number": {"major": 1, "minor": 1}},
                             "device_not_found"),
    "simulate_event": (DEVICE, {"name": "x"}, "device_not_found"),
    "simulate_hold": (DEVICE, {"name": "x"}, "device_not_found"),
    "simulate_release": (DEVICE, {"name": "x"}, "device_not_found"),
    "simulate_stall": (DEVICE, {"name": "x"}, "device_not_found"),
    "simulate_fault_add": ({"ioctl": "DM_DEV_CREATE", "errno": 5}, {"ioctl": "no"}, "invalid_params"),
    "simulate_fault_remove": ({"fault": 1}, {"fault": -1}, "invalid_params"),
}
# What must be there before the good call.
BEFORE = {
    "simulate_disk_remove": [("simulate_disk_add", DISK)],
    "simulate_release": [("simulate_hold", DEVICE)],
    "simulate_fault_remove": [("simulate_fault_add", {"ioctl": "DM_DEV_CREATE", "errno": 5})],
}


def make(client, name="d", **params):
    client.device_create(name=name, **params)
    client.table_load(name=name, targets=[ZERO])
    return client.device_resume(name=name)


def fails(client, method, **params):
    with pytest.raises(dmrpc.RpcError) as caught:
        client.call(method, **params)
    return caught.value


def wait_until(is_so, seconds=10):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_cases_are_all_methods():
    assert set(CASES) == set(CHANGES)


@pytest.mark.parametrize("method", CASES)
def test_every_change_has_one_record(daemon, client, method):
    good, _, _ = CASES[method]
    make(client, **({} if method == "device_set_uuid" else {"uuid": "U-d"}))
    for before, params in BEFORE.get(method, []):
        client.call(before, **params)
    made = client.server_stats()["audit_records"]
    client.call(method, **good)
    assert client.server_stats()["audit_records"] == made + 1
    (record,) = daemon.audited(seq=made + 1)
    assert record["kind"] == "call" and record["outcome"] == "ok" and record["method"] == method
    assert record["effect"] == CHANGES[method]["x-effect"] and "error" not in record
    assert record["pid"] == os.getpid() and record["uid"] == os.getuid() and record["gid"] == os.getgid()
    assert record["connection"] > 0 and record["duration_us"] > 0
    for given in {"new_name", "flags"} & set(good):
        assert record[given] == good[given]
    if "name" in good and method != "device_create":
        assert record["name"] == "d" and record["device"]["major"] == 254 or method.startswith("simulate_")


@pytest.mark.parametrize("method", CASES)
def test_every_failure_has_one_record(daemon, client, method):
    _, bad, name = CASES[method]
    make(client)
    made = client.server_stats()["audit_records"]
    error = fails(client, method, **bad)
    assert error.name == name
    assert client.server_stats()["audit_records"] == made + 1
    (record,) = daemon.audited(seq=made + 1)
    assert record["outcome"] == "failed" and record["method"] == method and record["error"] == error.name
    for member in {"errno_name", "ioctl", "state"} & (set(error.data) | set(record)):
        assert record[member] == error.data[member]
    assert record["call"] == error.data["call"]


def test_what_reads_has_none(daemon, client):
    device = make(client)
    made = client.server_stats()["audit_records"]
    client.version()
    client.list_devices()
    client.table_status(**DEVICE)
    fails(client, "device_status", name="x")
    fails(client, "no_such_method")
    fails(client, "device_wait", **DEVICE, event_nr=device["event_nr"], timeout_ms=1)
    client.send("nonsense\n")
    assert json.loads(client.read_line())["error"]["code"] == -32700
    assert client.server_stats()["audit_records"] == made
    assert [each["kind"] for each in daemon.audit()][:1] == ["started"]


def test_what_is_known_of_a_device(daemon, client):
    number = client.device_create(name="d", uuid="U-1")["device"]
    client.table_load(uuid="U-1", targets=[ZERO, ZERO | {"start": 8, "type": "error"}, ZERO | {"start": 16}],
                      flags=["DM_READONLY"])
    client.device_rename(name="d", new_name="f")
    client.device_remove(device=number)
    created, loaded, renamed, removed = daemon.audited(4, kind="call")
    assert created["name"] == "d" and created["new_uuid"] == "U-1" and created["device"] == number
    assert loaded["name"] == "d" and loaded["uuid"] == "U-1" and loaded["device"] == number
    assert loaded["targets"] == ["zero", "error"] and loaded["target_count"] == 3
    assert loaded["flags"] == ["DM_READONLY"]
    assert renamed["name"] == "d" and renamed["new_name"] == "f" and renamed["uuid"] == "U-1"
    assert removed["name"] == "f" and removed["uuid"] == "U-1" and removed["device"] == number
    numbers = [each["seq"] for each in daemon.audit()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {each["instance"] for each in daemon.audit()} == {client.server_info()["instance"]}


def test_batches_and_notifications(daemon, client):
    batch = [client.request("device_create", {"name": f"b{i}"}, i) for i in range(3)]
    batch.append({"jsonrpc": "2.0", "method": "device_create", "params": {"name": "silent"}})
    client.send(json.dumps(batch) + "\n")
    assert len(json.loads(client.read_line())) == 3
    names = [each["name"] for each in daemon.audited(4, method="device_create", outcome="ok")]
    assert names == ["b0", "b1", "b2", "silent"]


def test_over_http(daemon, client):
    body = json.dumps(client.request("device_create", {"name": "h"}))
    with daemon.client() as http:
        http.send(f"POST / HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n"
                  f"Content-Length: {len(body)}\r\n\r\n{body}")
        assert b"200 OK" in http.read_all()
    (record,) = daemon.audited(method="device_create")
    assert record["name"] == "h" and record["pid"] == os.getpid() and "connection" not in record


def test_a_change_whose_reply_fails_was_made(tmp_path):
    with dmrpc.Daemon(tmp_path, "--reply-bytes", 4096) as daemon, daemon.client() as client:
        for i in range(50):  # in JSON they take more than in the kernel's list
            client.device_create(name=f"{i:020}")
        assert fails(client, "remove_all", confirm=True).name == "reply_too_large"
        (record,) = daemon.audited(method="remove_all")
        assert record["outcome"] == "ok" and record["error"] == "reply_too_large" and record["effect"] == "admin"


def test_who_leaves_before_the_reply(daemon, client):
    make(client)
    client.simulate_stall(**DEVICE, drain=True)
    with daemon.client() as gone:
        gone.start("device_suspend", **DEVICE, flags=["DM_SUSPEND"])
        wait_until(lambda: [each for each in client.calls_list()["calls"] if each["method"] == "device_suspend"])
    client.simulate_stall(**DEVICE)
    (record,) = daemon.audited(method="device_suspend")
    assert record["outcome"] == "ok" and record["flags"] == ["DM_SUSPEND"]


def test_a_call_that_is_given_up_and_its_end(daemon, client):
    make(client)
    client.simulate_stall(**DEVICE, freeze=True)
    error = fails(client, "device_suspend", **DEVICE, flags=["DM_SUSPEND"], timeout_ms=dmrpc.BUSY_MS)
    (record,) = daemon.audited(method="device_suspend")
    assert record["outcome"] == "given_up" and record["error"] == "timed_out" and record["state"] == "still running"
    client.simulate_stall(**DEVICE)
    (record,) = daemon.audited(kind="call_ended")
    assert record["method"] == "device_suspend" and record["call"] == error.data["call"]
    assert record["outcome"] == "failed" and record["duration_us"] > 250000 and "error" in record
    daemon.audited(2, method="device_suspend")


def test_a_call_that_is_given_up_and_carried_out(daemon, client):
    client.simulate_fault_add(ioctl="DM_DEV_CREATE", held=True)
    error = fails(client, "device_create", name="late", timeout_ms=dmrpc.BUSY_MS)
    client.simulate_fault_remove(fault=1)
    (record,) = daemon.audited(kind="call_ended")
    assert record["outcome"] == "ok" and record["call"] == error.data["call"] and record["name"] == "late"


def test_a_name_is_no_line_of_the_log(daemon, client):
    """Lines of the log and records may be read from one stream: a name ends no line of it, and begins none."""
    name = 'd\n{"audit":1,"kind":"call","outcome":"ok"}\n\x1b[2J'
    client.simulate_fault_add(ioctl="DM_DEV_CREATE", held=True)
    fails(client, "device_create", name=name, timeout_ms=dmrpc.BUSY_MS)
    client.simulate_fault_remove(fault=1)
    assert daemon.said("which had been given up, has ended")
    assert daemon.audited(kind="call_ended")[0]["name"] == name
    daemon.stop()
    for line in daemon.log().split("\n")[:-1]:
        assert line.isprintable() and (line.startswith("dmrpcd: ") or json.loads(line)["instance"]), line


def test_who_ended_a_call(daemon, client):
    make(client)
    client.simulate_stall(**DEVICE, drain=True)
    with daemon.client() as other:
        ident = other.start("device_suspend", **DEVICE, flags=["DM_SUSPEND"])
        wait_until(lambda: [each for each in client.calls_list()["calls"] if each["method"] == "device_suspend"])
        client.device_resume(**DEVICE)
        with pytest.raises(dmrpc.RpcError):
            other.finish(ident)
    (suspend,) = daemon.audited(method="device_suspend")
    assert suspend["outcome"] == "failed" and suspend["error"] == "cancelled"
    assert suspend["by"] == daemon.audited(2, method="device_resume")[-1]["call"]


@pytest.mark.parametrize("terms, reason", [({"resume_after_ms": 50}, "timeout"),
                                           ({"resume_on_disconnect": True}, "disconnect")])
def test_a_lease_that_ends(daemon, client, terms, reason):
    make(client, uuid="U-d")
    with daemon.client() as holder:
        holder.device_suspend(**DEVICE, flags=["DM_SUSPEND"], **terms)
    (record,) = daemon.audited(kind="lease_ended")
    assert record["outcome"] == "rolled_back" and record["reason"] == reason and record["duration_us"] > 0
    assert record["name"] == "d" and record["uuid"] == "U-d" and record["device"]["major"] == 254
    assert record["pid"] == os.getpid() and record["uid"] == os.getuid()
    assert ("connection" in record) == (reason == "disconnect")
    assert record["seq"] > daemon.audited(method="device_suspend")[0]["seq"]


def test_a_lease_that_its_holder_ends_is_the_call_alone(daemon, client):
    make(client)
    client.device_suspend(**DEVICE, flags=["DM_SUSPEND"], resume_after_ms=60000)
    client.device_resume(**DEVICE)
    assert client.lease_list()["leases"] == []
    daemon.audited(2, method="device_resume")
    daemon.audited(0, kind="lease_ended")


def test_a_roll_back_that_fails(daemon, client):
    make(client)
    client.device_suspend(**DEVICE, flags=["DM_SUSPEND"], resume_after_ms=50)
    client.simulate_fault_add(ioctl="DM_DEV_SUSPEND", errno=5, calls=1)
    (record,) = daemon.audited(kind="lease_ended", outcome="failed")
    assert record["errno_name"] == "EIO" and record["ioctl"] == "DM_DEV_SUSPEND" and record["name"] == "d"
    daemon.audited(kind="lease_ended", outcome="rolled_back")


def test_the_end_of_the_server(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon:
        with daemon.client() as client:
            make(client)
            client.device_suspend(**DEVICE, flags=["DM_SUSPEND"], resume_after_ms=60000)
        daemon.stop()
        records = daemon.audit()
        assert [each["kind"] for each in records] == ["started", *["call"] * 4, "lease_ended", "stopped"]
        assert records[0]["detail"] == str(daemon.socket) and records[-2]["reason"] == "shutdown"


# --- refusals ---

@pytest.fixture
def shared(tmp_path):
    """A daemon whose socket a group has, too."""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder != pathlib.Path("/") and not folder.stat().st_mode & 1:
            folder.chmod(0o711)
    with dmrpc.Daemon(tmp_path, "--group", grp.getgrgid(NOBODY).gr_name) as daemon:
        yield daemon


def test_every_refusal_has_one_record(shared):
    with Peer(shared.socket, NOBODY, NOBODY) as reader:
        for method, (params, _, _) in CASES.items():
            assert fails(reader, method, **params).name == "permission_denied"
        reader.version()
    refused = shared.audited(len(CASES), kind="call", outcome="refused", error="permission_denied")
    assert [each["method"] for each in refused] == list(CASES)
    for record in refused:
        assert record["uid"] == NOBODY and record["gid"] == NOBODY and record["pid"] != os.getpid()
        assert record.get("name") == CASES[record["method"]][0].get("name")
    assert len([each for each in shared.audit() if each["kind"] == "call"]) == len(refused)


def test_refusals_in_a_batch_and_of_notifications(shared):
    with Peer(shared.socket, NOBODY, NOBODY) as reader:
        batch = [reader.request("device_remove", {"name": f"b{i}"}, i) for i in range(3)]
        batch.append({"jsonrpc": "2.0", "method": "device_remove", "params": {"name": "silent"}})
        reader.send(json.dumps(batch) + "\n")
        assert len(json.loads(reader.read_line())) == 3
    names = [each["name"] for each in shared.audited(4, method="device_remove", outcome="refused")]
    assert names == ["b0", "b1", "b2", "silent"]


def test_a_refusal_of_what_reads(shared):
    """To end somebody else's call is refused by the method itself."""
    with shared.client() as client, shared.client() as other, Peer(shared.socket, NOBODY, NOBODY) as reader:
        device = make(client)
        ident = other.start("device_wait", **DEVICE, event_nr=device["event_nr"], timeout_ms=20000)
        wait_until(lambda: client.calls_list()["calls"])
        (call,) = client.calls_list()["calls"]
        assert fails(reader, "call_cancel", call=call["call"]).name == "permission_denied"
        (record,) = shared.audited(outcome="refused")
        assert record["method"] == "call_cancel" and record["effect"] == "read" and record["uid"] == NOBODY
        client.call_cancel(call=call["call"])
        with pytest.raises(dmrpc.RpcError):
            other.finish(ident)


def test_a_refusal_of_what_reads_says_of_which_device(tmp_path):
    file = tmp_path / "dmrpcd.json"
    file.write_text(json.dumps({"rules": [
        {"name": "own", "who": [{"any": True}], "what": ["read"], "devices": [{"name": "own-*"}]}]}))
    with dmrpc.Daemon(tmp_path, "--config", file) as daemon, daemon.client() as client:
        for params in ({"name": "other"}, {"uuid": "U-other"}, {"device": {"major": 254, "minor": 7}}):
            assert fails(client, "device_status", **params).name == "permission_denied"
        assert fails(client, "device_status", name="own-1").name == "device_not_found"
        records = daemon.audited(3, method="device_status", outcome="refused")
        assert records[0]["name"] == "other" and records[1]["uuid"] == "U-other"
        assert records[2]["device"] == {"major": 254, "minor": 7} and "name" not in records[2]


def test_what_is_configured_anew_is_recorded(tmp_path):
    file = tmp_path / "dmrpcd.json"
    file.write_text('{"rules": []}')
    with dmrpc.Daemon(tmp_path, "--config", file) as daemon:
        daemon.process.send_signal(signal.SIGHUP)
        (record,) = daemon.audited(kind="configured", outcome="ok")
        assert record["detail"] == str(file)
        file.write_text('{"rules": 1}')
        daemon.process.send_signal(signal.SIGHUP)
        (record,) = daemon.audited(kind="configured", outcome="failed")
        assert "/rules" in record["detail"]


# --- secrets ---

def test_no_record_holds_a_key(daemon, client):
    key, new_key = secrets.token_hex(32), secrets.token_hex(32)
    client.simulate_disk_add(path="/dev/sim0", sectors=64)
    client.device_create(name="c")
    crypt = {"start": 0, "length": 8, "type": "crypt", "params": f"aes-xts-plain64 {key} 0 /dev/sim0 0"}
    client.table_load(name="c", targets=[crypt])
    client.device_resume(name="c")
    client.device_suspend(name="c", flags=["DM_SUSPEND"])
    client.target_msg(name="c", message=f"key set {new_key}")
    for message in (new_key, f"{new_key} key"):
        fails(client, "target_msg", name="c", message=message)
    records = daemon.audited(3, method="target_msg")
    assert [each["outcome"] for each in records] == ["ok", "failed", "failed"]
    assert [each.get("message") for each in records] == ["key", None, None]
    assert daemon.audited(method="table_load")[0]["targets"] == ["crypt"]
    daemon.stop()
    assert key not in daemon.log() and new_key not in daemon.log()


# --- a log that is stuck ---

@pytest.fixture
def stuck(tmp_path):
    made = Stuck(tmp_path)
    yield made
    made.close()


def test_a_stuck_log_stops_nothing_and_says_what_it_lost(stuck):
    with stuck.client() as client:
        make(client)
        for _ in range(400):
            client.device_suspend(**DEVICE, flags=["DM_SUSPEND"])
            began = time.monotonic()
            client.device_resume(**DEVICE)
            assert time.monotonic() - began < 2
        stats = client.server_stats()
        dropped = stats["audit_dropped"]
        assert stats["audit_records"] == 1 + 3 + 800 and 200 < dropped < 400
        assert stats["log_lines_dropped"] == 0
        records = stuck.records_until(b'"kind":"lost"')
        lost = records[-1]
        assert lost["lost"] == dropped and lost["kind"] == lost["outcome"] == "lost"
        assert [each["seq"] for each in records[:-1]] == list(range(1, 805 - dropped))
        assert lost["seq"] == 804 - dropped
        stuck.lines_until(f"dmrpcd: {dropped} records of the audit were dropped.".encode())
        client.device_remove(**DEVICE)
        assert stuck.records_until(b'"device_remove"')[-1]["seq"] == 805
        assert client.server_stats()["audit_dropped"] == dropped
    assert stuck.end() < 10


def test_a_daemon_with_a_stuck_log_ends(stuck):
    with stuck.client() as client:
        make(client)
        client.device_suspend(**DEVICE, flags=["DM_SUSPEND"], resume_after_ms=60000)
    assert stuck.end() < 10


# --- the journal ---

@pytest.fixture
def home(tmp_path):
    """A folder that lies at /run/systemd for a daemon."""
    folder = tmp_path / "systemd"
    folder.mkdir()
    return folder


@pytest.fixture
def journal(home):
    made = Journal(home)
    yield made
    if made.path.exists():
        made.close()


def test_records_go_to_the_journal(tmp_path, home, journal):
    with dmrpc.Daemon(tmp_path, within=within(home)) as daemon:
        with daemon.client() as client:
            client.device_create(name="d", uuid="a\nb")
            client.table_load(name="d", targets=[ZERO, ZERO | {"start": 8, "type": "error"}], flags=["DM_READONLY"])
            fails(client, "device_rename", name="x", new_name="y")
            instance = client.server_info()["instance"]
        daemon.stop()
        assert daemon.audit() == [] and "Serving" in daemon.log()
        started, created, loaded, failed, stopped = journal.read_until(kind="stopped")
    assert started["DMRPC_KIND"] == ["started"] and stopped["DMRPC_SEQ"] == ["5"]
    for message in (started, created, loaded, failed, stopped):
        assert message["SYSLOG_IDENTIFIER"] == ["dmrpcd"] and message["DMRPC_INSTANCE"] == [instance]
        assert message["MESSAGE_ID"] == ["9b3f46b3844b4e4299360cbd6d01c04d"] and message["DMRPC_AUDIT"] == ["1"]
        assert len(message["MESSAGE"]) == 1 and message["PRIORITY"][0] in "456"
    assert created["DMRPC_NEW_UUID"] == ["a\nb"], "a value with a line end is sent by its length"
    assert loaded["DMRPC_TARGETS"] == ["zero", "error"] and loaded["DMRPC_FLAGS"] == ["DM_READONLY"]
    assert loaded["DMRPC_DEVICE_MAJOR"] == ["254"] and loaded["DMRPC_PID"] == [str(os.getpid())]
    assert loaded["MESSAGE"] == [f"table_load of 'd' (254:0) by process {os.getpid()} of user id {os.getuid()}: ok"]
    assert failed["DMRPC_ERROR"] == ["device_not_found"] and failed["DMRPC_ERRNO_NAME"] == ["ENXIO"]
    assert failed["PRIORITY"] == ["5"]


def test_a_journal_that_goes_and_comes_back(tmp_path, home, journal):
    with dmrpc.Daemon(tmp_path, within=within(home)) as daemon, daemon.client() as client:
        client.device_create(name="one")
        journal.read_until(name="one")
        journal.close()
        client.device_create(name="two")
        (record,) = daemon.audited(name="two")  # and perhaps the one that was under way
        again = Journal(home)
        client.device_create(name="three")
        (message,) = again.read_until(name="three")
        assert int(message["DMRPC_SEQ"][0]) == record["seq"] + 1
        client.device_remove(name="one")
        again.read_until(method="device_remove")
        daemon.audited(0, name="three")
        again.close()


def test_a_socket_that_nobody_reads_any_more(tmp_path, home, journal):
    """As a journald that was killed."""
    journal.socket.close()
    with dmrpc.Daemon(tmp_path, within=within(home)) as daemon, daemon.client() as client:
        client.device_create(name="one")
        assert daemon.audited(method="device_create")[0]["name"] == "one"


def test_a_stuck_journal_stops_nothing_and_is_told_what_it_lost(tmp_path, home, journal):
    with dmrpc.Daemon(tmp_path, within=within(home)) as daemon, daemon.client() as client:
        make(client)
        for _ in range(500):
            client.device_suspend(**DEVICE, flags=["DM_SUSPEND"])
            began = time.monotonic()
            client.device_resume(**DEVICE)
            assert time.monotonic() - began < 2
        dropped = client.server_stats()["audit_dropped"]
        assert 100 < dropped < 600
        *before, lost = journal.read_until(kind="lost")
        assert lost["DMRPC_LOST"] == [str(dropped)] and lost["PRIORITY"] == ["4"]
        assert len(before) == 1 + 3 + 1000 - dropped
        assert daemon.said(f"{dropped} records of the audit were dropped.")
        assert daemon.audit() == []


def test_the_real_journald(tmp_path, home):
    """What journalctl shows of a record, by the README's command, is what was recorded."""
    readme = (dmrpc.ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    command = next(each for each in readme if each.startswith("journalctl -o json"))
    run = tmp_path / "run"
    (run / "systemd" / "journal").mkdir(parents=True)
    with subprocess.Popen([*within(run, "/run"), "/lib/systemd/systemd-journald"]) as journald:
        try:
            wait_until((run / "systemd" / "journal" / "socket").exists)
            with dmrpc.Daemon(tmp_path, within=within(run / "systemd")) as daemon:
                with daemon.client() as client:
                    client.device_create(name="d", uuid="a\nb")
                    client.table_load(name="d", targets=[ZERO, ZERO | {"start": 8, "type": "error"}])
                    fails(client, "device_remove", name="x")
                daemon.stop()
                assert daemon.audit() == []

            def shown():
                result = subprocess.run([*shlex.split(command), "-D", run / "log" / "journal"],
                                        capture_output=True, text=True, check=False)
                return [json.loads(line) for line in result.stdout.splitlines()]

            wait_until(lambda: len(shown()) == 5)
            started, created, loaded, failed, stopped = shown()
        finally:
            journald.terminate()
    assert started["DMRPC_KIND"] == "started" and stopped["DMRPC_KIND"] == "stopped"
    assert created["DMRPC_NEW_UUID"] == "a\nb" and created["_TRANSPORT"] == "journal"
    assert loaded["DMRPC_TARGETS"] == ["zero", "error"] and loaded["DMRPC_TARGET_COUNT"] == "2"
    assert failed["DMRPC_OUTCOME"] == "failed" and failed["_PID"] == str(daemon.process.pid)
