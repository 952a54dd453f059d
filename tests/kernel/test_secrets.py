# SPDX-License-Identifier: Apache-2.0
"""Keys of real targets: where they may be seen, and that nothing of one is left behind, whatever way it came in."""

import ctypes
import json
import os
import pathlib
import resource
import secrets
import signal
import subprocess

import dm
import keysearch
import pytest
from calls import fails, line
from dmrpc import BUSY_MS, TIMEOUT, RpcError
from forbid import PR_SET_DUMPABLE, forbid
from keysearch import ask, find_copies, find_left, find_parts
from tasks import Task, read, wait_until, write

SECTORS = 1024
TABLE, NEXT = "DM_STATUS_TABLE", "DM_QUERY_INACTIVE_TABLE"
CORE_PATTERN = pathlib.Path("/proc/sys/kernel/core_pattern")


LOGON, USER_KEYRING = b"logon", -4
SYS_ADD_KEY = {"x86_64": 248, "aarch64": 217}


def add_key(name, material):
    """A key that only the kernel can read; its number."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.syscall(SYS_ADD_KEY[os.uname().machine], LOGON, name.encode(), material, len(material), USER_KEYRING)
    assert number > 0, os.strerror(ctypes.get_errno())
    return number


def guardian_of(daemon):
    children = pathlib.Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
    (pid,) = [int(pid) for pid in children.read_text(encoding="ascii").split()]
    assert pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="ascii") == "dmrpc-guardian\n"
    return pid


class Searched:
    """A daemon, its guardian, and all keys that were ever sent to it."""

    def __init__(self, daemon):
        self.daemon, self.keys = daemon, []
        self.guardian = guardian_of(daemon)

    def key(self):
        self.keys.append(secrets.token_hex(32))
        return self.keys[-1]

    def assert_wiped(self, what, *keys):
        """Right after it came: nothing of it is in the daemon's memory."""
        assert (what, find_left(self.daemon.process.pid, *keys)) == (what, [])

    def assert_gone(self):
        """Nothing of any key so far is in the memory of the two, in the log, or in the kernel's."""
        for pid in (self.daemon.process.pid, self.guardian):
            assert find_left(pid, *self.keys) == []
        messages = subprocess.run(["dmesg"], stdout=subprocess.PIPE, timeout=TIMEOUT, check=True).stdout
        assert find_parts(self.daemon.log().encode(), *self.keys) == []
        assert find_parts(messages, *self.keys) == []


@pytest.fixture(scope="module")
def searched(plain_daemons):
    """
    It ends by a core dump, at the last test, for which the system does not let it forbid that. A sanitizer would
    keep what was freed.
    """
    daemon = plain_daemons(within=forbid("prctl", PR_SET_DUMPABLE))
    with daemon.client() as client:
        assert client.server_info()["hardening"]["missing"] == ["not_dumpable"]
    resource.prlimit(daemon.process.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    yield Searched(daemon)
    daemon.kill()


def crypt(disk, key, start=0):
    return line(start, SECTORS, "crypt", f"aes-xts-plain64 {key} 0 {disk.number} 0")


def text_of(method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


# --- nothing is left ---

# The wire tests have the others.
RAW_WAYS = [keysearch.whole, keysearch.in_pieces, keysearch.in_batch, keysearch.pipelined, keysearch.cut_off]
HTTP_WAYS = [keysearch.http_whole, keysearch.http_chunked, keysearch.http_pipelined, keysearch.http_cut_off]
WAYS = pytest.mark.parametrize("ways", [RAW_WAYS, HTTP_WAYS], ids=["raw", "http"])


@WAYS
def test_nothing_is_left_of_a_load(searched, devices, disk, ways):
    drive, small = disk(), disk(64)
    info = devices.create()
    for way in ways:
        for where in (drive, small):  # on the second the kernel refuses it
            key = searched.key()
            text = text_of("table_load", name=info["name"], targets=[crypt(where, key)], flags=[])
            assert find_parts(ask(searched.daemon, way, text), key) == []
            searched.assert_wiped((way, where), key)
    searched.assert_gone()


@WAYS
def test_nothing_is_left_of_a_message(searched, client, devices, disk, ways):
    info = devices.make([crypt(disk(), searched.key())])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    for way in ways:
        for message in ("key set {0}", "KEY Set {0} {0}"):  # the second is refused
            key = searched.key()
            text = text_of("target_msg", name=info["name"], message=message.format(key), flags=[])
            assert find_parts(ask(searched.daemon, way, text), key) == []
            searched.assert_wiped((way, message), key)
    searched.assert_gone()
    with searched.daemon.client() as last:  # after whose request was not waited for
        last.target_msg(name=info["name"], message=f"key set {searched.key()}")
        last.device_resume(name=info["name"])


@pytest.mark.parametrize("way", [keysearch.whole, keysearch.in_batch, keysearch.http_whole])
def test_nothing_is_left_of_a_swap(searched, devices, disk, way):
    drive, small, old = disk(), disk(64), searched.key()
    info = devices.make([crypt(drive, old)])
    # Good; a table that is refused; and one that is refused when it is to become live.
    for targets in ([crypt(drive, searched.key())], [crypt(small, searched.key())],
                    [line(0, SECTORS * 9, "linear", f"{small.number} 0")]):
        ask(searched.daemon, way, text_of("table_swap", name=info["name"], targets=targets, flags=[]))
        searched.assert_wiped((way, targets), *searched.keys)
    searched.assert_gone()


@WAYS
def test_nothing_is_left_of_a_key_that_was_shown(searched, client, devices, disk, ways):
    drive, key, count = disk(), searched.key(), 20
    info = devices.create()
    null = "cipher_null-ecb - 0"  # whose key costs the kernel no time to set up
    targets = [line(8 * at, 8, "crypt", f"{null} {drive.number} 0") for at in range(count)]
    client.table_load(name=info["name"], targets=[*targets, {**crypt(drive, key), "start": 8 * count}])
    read_ways = {keysearch.whole, keysearch.in_pieces, keysearch.in_batch, keysearch.pipelined, keysearch.http_whole,
                 keysearch.http_in_pieces, keysearch.http_chunked, keysearch.http_pipelined, keysearch.http_in_batch}
    for way in ways:
        for show in (False, True):
            text = text_of("table_status", name=info["name"], flags=[TABLE, NEXT], show_keys=show)
            answer = ask(searched.daemon, way, text)
            assert (key.encode() in answer) == (show and way in read_ways)
            searched.assert_wiped((way, show), key)
    searched.assert_gone()


def test_nothing_is_left_of_a_swap_that_was_interrupted(searched, client, devices, disk):
    """It waits for I/O while a signal comes, every 10 ms, to the worker that has just had the keys."""
    drive = disk()
    lower = devices.make([line(0, SECTORS, "linear", f"{drive.number} 0")])
    below = f"{lower['device']['major']}:{lower['device']['minor']}"
    upper = devices.make([line(0, SECTORS, "crypt", f"aes-xts-plain64 {searched.key()} 0 {below} 0")])
    dm.dmsetup("suspend", lower["name"])
    writer = Task(lambda: write(upper["path"], 1, bytes(4096)))
    writer.wait_stuck()
    with searched.daemon.client() as other:
        with pytest.raises(RpcError) as caught:
            new = f"aes-xts-plain64 {searched.key()} 0 {below} 0"
            other.table_swap(name=upper["name"], targets=[line(0, SECTORS, "crypt", new)], timeout_ms=BUSY_MS)
    assert caught.value.name == "timed_out"
    dm.dmsetup("resume", lower["name"])
    assert writer.end() == ""
    wait_until(lambda: not client.calls_list()["calls"], "the swap has ended")
    searched.assert_gone()


def test_the_search_finds_a_key_that_is_there(searched, devices, disk):
    """A request that is half there is kept; without this the tests above could not fail."""
    key = secrets.token_hex(32)
    with searched.daemon.client() as client:
        client.send(text_of("table_load", name="x", targets=[crypt(disk(), key)])[:-20])
        wait_until(lambda: find_copies(searched.daemon.process.pid, key), "the key is found")
    wait_until(lambda: not find_copies(searched.daemon.process.pid, key), "the key is wiped")


# --- what the kernel does with a line that was read without its keys ---

def test_keys_are_shown_to_who_asks(client, devices, disk):
    drive, key = disk(), secrets.token_hex(32)
    info = devices.make([crypt(drive, key)])
    ref = {"name": info["name"], "flags": [TABLE]}
    hidden = {**crypt(drive, "<hidden>"), "keys_hidden": True}
    assert client.table_status(**ref)["targets"] == [hidden]
    assert client.table_status(**ref, show_keys=True)["targets"] == [crypt(drive, key)]
    assert dm.lines("table", info["device"], "--showkeys") == [crypt(drive, key)]
    # The one way to load it again is with the key.
    fails(lambda: client.table_load(name=info["name"], targets=[crypt(drive, "<hidden>")]), "invalid_params",
          path="/targets/0/params", ioctl=None)
    client.table_swap(name=info["name"], targets=client.table_status(**ref, show_keys=True)["targets"])
    assert dm.lines("table", info["device"], "--showkeys") == [crypt(drive, key)]


def test_a_swap_comes_back_with_the_key(client, devices, disk):
    drive, small, key = disk(), disk(64), secrets.token_hex(32)
    info = devices.make([crypt(drive, key)])
    write(info["path"], 1, b"k" * 4096)
    fails(lambda: client.table_swap(name=info["name"], targets=[crypt(small, secrets.token_hex(32))]), "table_rejected")
    assert dm.lines("table", info["device"], "--showkeys") == [crypt(drive, key)]
    assert read(info["path"], 1) == b"k" * 4096


def integrity(disk, key, sectors=64):
    options = f"3 internal_hash:hmac(sha256):{key} journal_crypt:ctr(aes):{key} journal_mac:hmac(sha256):{key}"
    return line(0, sectors, "integrity", f"{disk.number} 0 32 J {options}")


def test_keys_of_integrity_are_hidden(searched, client, devices, disk):
    drive, key = disk(), searched.key()
    info = devices.create()
    with searched.daemon.client() as other:
        other.table_load(name=info["name"], targets=[integrity(drive, key)])
    other = client.table_status(name=info["name"], flags=[TABLE, NEXT], show_keys=True)["targets"][0]
    (line_now,) = client.table_status(name=info["name"], flags=[TABLE, NEXT])["targets"]
    assert other["params"].count(key) == 3 and "keys_hidden" not in other
    assert line_now["params"] == other["params"].replace(key, "<hidden>") and line_now["keys_hidden"]
    fails(lambda: client.table_load(name=info["name"], targets=[integrity(drive, "<hidden>")]), "invalid_params")
    # Without a journal's keys, and without any.
    drive.file.truncate(0)
    drive.file.truncate(4096 * 1024)
    plain = line(0, 64, "integrity", f"{drive.number} 0 4 J 1 internal_hash:crc32c")
    client.table_load(name=info["name"], targets=[plain])
    (line_now,) = client.table_status(name=info["name"], flags=[TABLE, NEXT])["targets"]
    assert "keys_hidden" not in line_now
    assert line_now == dm.lines("table", info["device"], "--inactive")[0]
    searched.assert_gone()


def test_a_blank_in_a_cipher_s_name_shows_no_key(client, devices, disk):
    """The kernel takes it behind a backslash, and shows it without one: who reads that finds the key further back."""
    drive, key = disk(), secrets.token_hex(16)
    info = devices.create()
    cipher = "aes-cbc-plain:x\\ y"
    client.table_load(name=info["name"], targets=[line(0, 8, "crypt", f"{cipher} {key} 0 {drive.number} 0")])
    status = {"name": info["name"], "flags": [TABLE, NEXT]}
    (shown,) = client.table_status(**status, show_keys=True)["targets"]
    assert shown["params"] == f"aes-cbc-plain:x y {key} 0 {drive.number} 0"
    (hidden,) = client.table_status(**status)["targets"]
    assert hidden["params"] == f"aes-cbc-plain:x <hidden> <hidden> 0 {drive.number} 0" and hidden["keys_hidden"]


def refused_by_kernel(name, table):
    """dmsetup asks the kernel, which refuses."""
    before = dm.text("table", "--inactive", name)
    done = subprocess.run(["dmsetup", "reload", name], input=table.encode(), stderr=subprocess.PIPE, timeout=TIMEOUT,
                          check=False)
    refused = done.returncode != 0 and b"Invalid argument" in done.stderr
    return refused and dm.text("table", "--inactive", name) == before


@pytest.mark.parametrize("cipher", ["aes-xts-plain64", "aes-cbc-essiv:sha256", "capi:cbc(aes)-plain64", "aes-cbc-plain",
                                    "des3_ede-cbc-plain", "cipher_null-ecb", "aes:64-cbc-lmk"])
def test_the_kernel_refuses_the_marker_as_a_key_of_crypt(devices, disk, cipher):
    drive = disk()
    info = devices.create()
    assert refused_by_kernel(info["name"], f"0 8 crypt {cipher} <hidden> 0 {drive.number} 0")
    if cipher == "aes-cbc-plain":  # else the refusal might be for another reason
        assert not refused_by_kernel(info["name"], f"0 8 crypt {cipher} {'ab' * 16} 0 {drive.number} 0")
        # A key in its place would be taken, and what dmsetup shows is one.
        assert not refused_by_kernel(info["name"], f"0 8 crypt {cipher} {'00' * 16} 0 {drive.number} 0")


def test_the_kernel_refuses_the_marker_as_a_key_of_integrity(devices, disk):
    drive, key = disk(), "ab" * 32
    info = devices.create()
    good = integrity(drive, key)["params"]
    for at in range(3):
        parts = good.split(key)
        marked = key.join(parts[:at + 1]) + "<hidden>" + key.join(parts[at + 1:])
        assert marked.count(key) == 2 and refused_by_kernel(info["name"], f"0 64 integrity {marked}")
    assert not refused_by_kernel(info["name"], f"0 64 integrity {good}")


def test_the_kernel_refuses_the_marker_in_a_message(client, devices, disk):
    info = devices.make([crypt(disk(), secrets.token_hex(32))])
    client.device_suspend(name=info["name"], flags=["DM_SUSPEND"])
    done = subprocess.run(["dmsetup", "message", info["name"], "0", "key set <hidden>"], stderr=subprocess.PIPE,
                          timeout=TIMEOUT, check=False)
    assert done.returncode != 0 and b"Invalid argument" in done.stderr
    client.device_resume(name=info["name"])


def test_keyring_references_pass(client, devices, disk):
    drive, name = disk(), "dmrpc-test:with-colon"
    info = devices.create()
    add_key(name, secrets.token_bytes(32))
    reference = crypt(drive, f":32:logon:{name}")
    client.table_load(name=info["name"], targets=[reference])
    assert client.table_status(name=info["name"], flags=[TABLE, NEXT])["targets"] == [reference]
    client.table_load(name=info["name"], targets=client.table_status(name=info["name"], flags=[TABLE, NEXT])["targets"])


# --- the last of all ---

PRESENT = b'{"jsonrpc": "2.0", "method": "' + secrets.token_hex(32).encode()


def core_of(searched):
    """Ends the daemon, and returns what the kernel wrote of it."""
    folder, pid = pathlib.Path("/dev/shm"), searched.daemon.process.pid
    before = CORE_PATTERN.read_text(encoding="ascii")
    CORE_PATTERN.write_text(f"{folder}/dmrpc-core-%p", encoding="ascii")
    try:
        pathlib.Path(f"/proc/{pid}/coredump_filter").write_text("0xff", encoding="ascii")
        os.kill(pid, signal.SIGABRT)
        assert searched.daemon.process.wait(TIMEOUT) == -signal.SIGABRT
    finally:
        CORE_PATTERN.write_text(before, encoding="ascii")
    core = folder / f"dmrpc-core-{pid}"
    data = core.read_bytes()
    core.unlink()
    print("a core of", len(data), "bytes")
    return data


def test_no_core_holds_a_key(searched):
    """After all that was done above."""
    with searched.daemon.client() as client:
        client.send(PRESENT)  # a request that is half there
        client.drained()
        text = text_of("target_msg", name="nobody", message=f"key set {searched.key()}", flags=[])
        assert b"device_not_found" in ask(searched.daemon, keysearch.whole, text)  # the last thing it does
        core = core_of(searched)
    assert core.startswith(b"\x7fELF") and b"dmrpcd" in core
    assert PRESENT in core  # the search could find one
    assert find_parts(core, *searched.keys) == []
    wait_until(lambda: not pathlib.Path(f"/proc/{searched.guardian}").exists(), "the guardian has gone")
