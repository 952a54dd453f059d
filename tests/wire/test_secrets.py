# SPDX-License-Identifier: Apache-2.0
"""No copy of a key is left in what the daemon can write to, nor in its log; and only who asks for one sees it."""

import contextlib
import ctypes
import json
import os
import pathlib
import secrets
import signal
import socket
import threading

import pytest

import dmrpc
import keysearch
from dmrpc import BUSY_MS, RpcError
from keysearch import HTTP, RAW, ask, find_copies, find_left

TABLE = ["DM_STATUS_TABLE", "DM_QUERY_INACTIVE_TABLE"]


def crypt(key, length=4096):
    return {"start": 0, "length": length, "type": "crypt", "params": f"aes-xts-plain64 {key} 0 259:0 0"}


def request(key, good, ident=1):
    # The disk has 4,096 sectors.
    params = {"name": "c", "targets": [crypt(key, 4096 if good else 4097)]}
    return {"jsonrpc": "2.0", "id": ident, "method": "table_load", "params": params}


@pytest.fixture
def device(client):
    client.simulate_disk_add(path="/dev/sim0", sectors=4096)
    client.device_create(name="c")


def assert_gone(daemon, *keys):
    """The simulated kernel keeps the key as long as the device is there."""
    with daemon.client() as client:
        client.device_remove(name="c", retry=True, timeout_ms=20000)
        assert find_left(daemon.process.pid, *keys) == []
    assert keysearch.find_parts(daemon.log().encode(), *keys) == []


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("way", [*RAW, *HTTP])
@pytest.mark.parametrize("good", [True, False])
def test_no_copy_of_a_key_is_left(daemon, way, good):
    key = secrets.token_hex(32)
    answer = ask(daemon, way, json.dumps(request(key, good)))
    assert keysearch.find_parts(answer, key) == []
    assert_gone(daemon, key)


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("way", [*RAW, *HTTP])
@pytest.mark.parametrize("good", [True, False])
def test_no_copy_of_a_key_of_a_message_is_left(daemon, client, way, good):
    first, key = secrets.token_hex(32), secrets.token_hex(32)
    client.table_load(name="c", targets=[crypt(first)])
    client.device_resume(name="c")
    client.device_suspend(name="c", flags=["DM_SUSPEND"])
    message = f"key set {key}" if good else f"key set {key} {key}"
    text = json.dumps(client.request("target_msg", {"name": "c", "message": message, "flags": []}))
    answer = ask(daemon, way, text)
    assert keysearch.find_parts(answer, key) == []
    assert_gone(daemon, first, key)


@pytest.mark.parametrize("count", [1, 3000])  # a reply that leaves at once, and one that does not
@pytest.mark.parametrize("way", [way for way in (*RAW, *HTTP) if way is not keysearch.key_as_a_name])
def test_no_copy_of_a_key_that_was_shown_is_left(daemon, client, way, count):
    key = secrets.token_hex(32)
    client.simulate_disk_add(path="/dev/sim0", sectors=4096)
    client.device_create(name="c")
    lines = [{**crypt(key, 8), "start": 8 * at} for at in range(count)]
    client.table_load(name="c", targets=lines)
    text = json.dumps(client.request("table_status", {"name": "c", "flags": TABLE, "show_keys": True}))
    answer = ask(daemon, way, text)
    reads = way not in (keysearch.not_json, keysearch.wrong_params, keysearch.cut_off, keysearch.unread,
                        keysearch.http_refused, keysearch.http_not_json, keysearch.http_cut_off,
                        keysearch.http_unread)
    assert (key.encode() in answer) == reads
    assert_gone(daemon, key)


def test_no_copy_is_left_of_a_reply_that_waits(daemon, client):
    """Its client does not read it, and goes when the daemon has long tried to write it."""
    key = secrets.token_hex(32)
    client.simulate_disk_add(path="/dev/sim0", sectors=4096)
    client.device_create(name="c")
    client.table_load(name="c", targets=[{**crypt(key, 8), "start": 8 * at} for at in range(5000)])
    text = json.dumps(client.request("table_status", {"name": "c", "flags": TABLE, "show_keys": True}))
    with daemon.client() as other, socket.socket(socket.AF_UNIX) as web:
        other.send(text)
        web.connect(str(daemon.socket))
        web.sendall(keysearch.with_length(text))
        assert key.encode() in other.socket.recv(65536) and web.recv(1)
        client.device_remove(name="c")
        assert find_copies(daemon.process.pid, key) != []  # the test could fail
    client.device_create(name="c")
    assert_gone(daemon, key)


@pytest.mark.usefixtures("device")
def test_no_copy_is_left_in_a_connection_of_http_that_stays(daemon, client):
    key, shown = secrets.token_hex(32), secrets.token_hex(32)
    client.table_load(name="c", targets=[crypt(shown)])
    status = json.dumps(client.request("table_status", {"name": "c", "flags": TABLE, "show_keys": True}))
    with socket.socket(socket.AF_UNIX) as kept:
        kept.settimeout(dmrpc.TIMEOUT)
        kept.connect(str(daemon.socket))
        kept.sendall(keysearch.with_length(status))
        assert b"200 OK" in kept.recv(65536)
        kept.sendall(keysearch.with_length(json.dumps(request(key, False))))
        assert b"200 OK" in kept.recv(65536)
        assert_gone(daemon, key, shown)


@pytest.mark.usefixtures("device")
def test_no_copy_is_left_of_a_call_that_was_interrupted(daemon, client):
    """The signal leaves the registers of the worker on its stack."""
    key = secrets.token_hex(32)
    held = client.simulate_fault_add(ioctl="DM_TABLE_LOAD", name="c", held=True, calls=1)["fault"]
    with daemon.client() as other:
        with pytest.raises(RpcError) as caught:
            other.table_load(name="c", targets=[crypt(key)], timeout_ms=BUSY_MS)
        assert caught.value.name == "timed_out" and key not in str(caught.value)
    client.simulate_fault_remove(fault=held)
    assert_gone(daemon, key)


@contextlib.contextmanager
def flooded(send):
    """Signals come for as long as this lasts."""
    ended = threading.Event()

    def flood():
        while not ended.is_set():
            send()

    thread = threading.Thread(target=flood)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.usefixtures("device")
def test_no_copy_is_left_by_signals_to_the_loop(daemon):
    """A handler's frame would have the registers of what was parsed or printed just then."""
    keys = [secrets.token_hex(32) for _ in range(300)]
    pid = daemon.process.pid
    with flooded(lambda: [os.kill(pid, number) for number in (signal.SIGCHLD, signal.SIGUSR1)]):
        for key in keys:
            ask(daemon, keysearch.in_batch, json.dumps(request(key, False)))
    assert_gone(daemon, *keys)


@pytest.mark.usefixtures("device")
def test_no_copy_is_left_by_signals_to_workers(daemon):
    """Which somebody else sends."""
    keys = [secrets.token_hex(32) for _ in range(300)]
    pid = daemon.process.pid
    libc = ctypes.CDLL(None)

    def send():
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            libc.tgkill(pid, int(task.name), signal.SIGUSR1)

    with flooded(send):
        for key in keys:
            ask(daemon, keysearch.whole, json.dumps(request(key, False)))
    assert_gone(daemon, *keys)


def test_the_search_finds_a_key_that_is_there(daemon, client):
    """Without this the tests above could not fail: a table that is live holds its key in the simulation."""
    key = secrets.token_hex(32)
    client.simulate_disk_add(path="/dev/sim0", sectors=4096)
    client.device_create(name="c")
    assert b"result" in ask(daemon, keysearch.whole, json.dumps(request(key, True)))
    assert find_copies(daemon.process.pid, key)


def test_the_search_covers_stacks_of_threads(daemon, client):
    """Those of workers are mappings of their own; what a thread has on its stack is found there."""
    client.list_devices()
    tasks = [task.name for task in pathlib.Path(f"/proc/{daemon.process.pid}/task").iterdir()]
    assert len(tasks) > 1
    lines = [line.split()[0] for line, _ in keysearch.writable(daemon.process.pid)]
    areas = [tuple(int(each, 16) for each in line.split("-")) for line in lines]
    for task in tasks:
        # Number, arguments, stack pointer and program counter of a system call that it is in.
        said = pathlib.Path(f"/proc/{daemon.process.pid}/task/{task}/syscall").read_text(encoding="ascii").split()
        if said[0] != "running":
            assert any(start <= int(said[-2], 16) < end for start, end in areas), (task, said)


# --- what is shown ---

KEY = "00112233445566778899aabbccddeeff" * 2


@pytest.mark.usefixtures("device")
def test_keys_are_shown_to_who_asks(client):
    client.table_load(name="c", targets=[crypt(KEY)])
    hidden = {**crypt("<hidden>"), "keys_hidden": True}
    assert client.table_status(name="c", flags=TABLE)["targets"] == [hidden]
    assert client.table_status(name="c", flags=TABLE, show_keys=False)["targets"] == [hidden]
    assert client.table_status(name="c", flags=TABLE, show_keys=True)["targets"] == [crypt(KEY)]
    # Status lines hold none.
    client.device_resume(name="c")
    assert client.table_status(name="c", show_keys=True)["targets"] == [{**crypt(KEY), "params": ""}]
    assert client.table_status(name="c")["targets"] == [{**crypt(KEY), "params": ""}]
    client.device_remove(name="c")


@pytest.mark.usefixtures("device")
def test_a_line_that_was_read_without_its_key_is_not_loaded(client):
    client.table_load(name="c", targets=[crypt(KEY)])
    (line,) = client.table_status(name="c", flags=TABLE)["targets"]
    del line["keys_hidden"]
    zero = {"start": 0, "length": 8, "type": "zero", "params": ""}
    for method in ("table_load", "table_swap"):
        with pytest.raises(RpcError) as caught:
            client.call(method, name="c", targets=[zero, {**line, "start": 8}])
        assert caught.value.name == "invalid_params" and caught.value.data["path"] == "/targets/1/params"
        assert "show_keys" in caught.value.data["hint"] and "ioctl" not in caught.value.data
    with pytest.raises(RpcError) as caught:
        client.target_msg(name="c", message="key set <hidden>")
    assert caught.value.name == "invalid_params" and caught.value.data["path"] == "/message"
    assert client.table_status(name="c", flags=TABLE, show_keys=True)["targets"] == [crypt(KEY)]


@pytest.mark.usefixtures("device")
def test_keyring_references_pass(client):
    """What was given is what is shown; the simulated kernel has no such key, and refuses it."""
    null = {**crypt(KEY), "params": "cipher_null-ecb - 0 259:0 0"}
    client.table_load(name="c", targets=[null])
    (line,) = client.table_status(name="c", flags=TABLE)["targets"]
    assert line == null
    with pytest.raises(RpcError) as caught:
        client.table_load(name="c", targets=[{**null, "params": "aes-xts-plain64 :64:logon:nobody 0 259:0 0"}])
    assert caught.value.name == "table_rejected"


@pytest.mark.usefixtures("device")
def test_a_wait_shows_no_key(client):
    client.table_load(name="c", targets=[crypt(KEY)])
    info = client.device_resume(name="c")
    client.simulate_event(name="c")
    assert KEY not in json.dumps(client.device_wait(name="c", event_nr=info["event_nr"]))
