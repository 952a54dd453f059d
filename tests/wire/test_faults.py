# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around the daemon: peers that leave, descriptors that run out, the end under load, the path."""

import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

import pytest

import dmrpc

REQUESTS = [
    {"jsonrpc": "2.0", "id": "a", "method": "version"},
    {"jsonrpc": "2.0", "id": 2, "method": "list_devices"},
    {"jsonrpc": "2.0", "id": 3, "method": "table_load", "params": {
        "name": "d", "targets": [{"start": 0, "length": 8, "type": "zero", "params": ""}]}},
    [{"jsonrpc": "2.0", "id": 4, "method": "device_status", "params": {"name": "d"}},
     {"jsonrpc": "2.0", "method": "version"}, 5]]


def start(path, *args):
    command = [str(dmrpc.build_dir() / "server" / "dmrpcd"), "--simulate", "--socket", str(path), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def files(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def processor_seconds(daemon):
    fields = pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(what, seconds=15):
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert what()


# --- the peer goes away ---

@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_peer_goes_at_any_byte_of_a_request(daemon, client, reset):
    """With a reply unread, a close is a reset."""
    client.device_create(name="d")
    before, held = files(daemon), client.server_stats()["held_bytes"]
    for request in REQUESTS:
        text = json.dumps(request).encode()
        for end in range(len(text) + 1):
            with daemon.client() as peer:
                if reset:
                    peer.send(json.dumps(REQUESTS[0]))
                peer.send(text[:end])
    assert client.version()
    until(lambda: files(daemon) <= before)
    until(lambda: client.server_stats()["held_bytes"] <= held + 1000)


def test_peer_goes_at_any_byte_of_a_reply(daemon, client):
    client.device_create(name="d")
    before, held = files(daemon), client.server_stats()["held_bytes"]
    for request in REQUESTS:
        text = json.dumps(request).encode()
        with daemon.client() as peer:
            peer.send(text)
            length = len(peer.read_line()) + 1
        for end in range(length + 1):
            with daemon.client() as peer:
                peer.send(text)
                got = 0
                while got < end:
                    got += len(peer.socket.recv(end - got))
    assert client.version()
    until(lambda: files(daemon) <= before)
    until(lambda: client.server_stats()["held_bytes"] <= held + 1000)


def test_peer_goes_while_its_call_runs_waits_or_is_owed_much(daemon, client):
    client.device_create(name="d")
    client.device_wait(name="d", event_nr=5)  # the first one opens a file of the daemon's, for good
    before, held = files(daemon), client.server_stats()["held_bytes"]
    fault = client.simulate_fault_add(ioctl="DM_LIST_DEVICES", block_ms=200, calls=10)["fault"]
    for request in ('{"jsonrpc":"2.0","id":1,"method":"list_devices"}',
                    '{"jsonrpc":"2.0","id":1,"method":"device_wait","params":{"name":"d","event_nr":0}}',
                    '{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}' * 200,
                    "[" + ",".join(['{"jsonrpc":"2.0","id":1,"method":"version"}'] * 900) + "]"):
        for how in (None, socket.SHUT_RD, socket.SHUT_RDWR):
            with daemon.client() as peer:
                peer.send(request)
                peer.drained()
                if how is not None:
                    peer.socket.shutdown(how)
    client.simulate_fault_remove(fault=fault)
    assert client.version()
    until(lambda: files(daemon) <= before)
    until(lambda: client.server_stats()["held_bytes"] <= held + 1000)
    assert client.server_stats()["waits"] == 0


# --- descriptors run out ---

def test_no_descriptors_left(tmp_path):
    """Those connected go on, those who come wait, and the daemon sleeps meanwhile."""
    with dmrpc.Daemon(tmp_path, "--connections", 1000, "--connections-per-user", 1000) as daemon:
        with daemon.client() as client:
            client.version()
            limit = files(daemon) + 20
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
            others = [daemon.client() for _ in range(60)]
            for other in others:
                other.send('{"jsonrpc":"2.0","id":7,"method":"version"}')
            until(lambda: files(daemon) == limit)
            before = processor_seconds(daemon)
            time.sleep(1.5)
            assert processor_seconds(daemon) - before < 0.3
            assert client.version() and client.list_devices() == {"devices": []}
            while others:  # as one goes another has its place
                other = others.pop(0)
                assert json.loads(other.read_line())["id"] == 7
                other.close()
            assert client.version()


def test_too_few_descriptors_for_the_connections_are_told(tmp_path):
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    command = [str(dmrpc.build_dir() / "server" / "dmrpcd"), "--simulate", "--socket", str(tmp_path / "s")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=lower)
    try:
        line = process.stderr.readline()
        assert "200 files" in line and "LimitNOFILE" in line
        assert "Serving" in process.stderr.readline()
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


# --- the end ---

def test_end_under_load(tmp_path):
    """All that had reached the daemon is answered, in order, by a result or by shutting_down."""
    with dmrpc.Daemon(tmp_path) as daemon:
        count = 1500 if not dmrpc.is_sanitized() else 150  # the daemon reads on for a second only
        clients = [daemon.client() for _ in range(8)]
        for client in clients:
            text = "".join(
                json.dumps({"jsonrpc": "2.0", "id": i, "method": "list_devices" if i % 5 == 0 else "version"})
                for i in range(count))
            client.send(text)
        begin = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        for client in clients:
            lines = client.read_all().splitlines()
            assert [json.loads(line)["id"] for line in lines] == list(range(count))
            refused = [json.loads(line).get("error", {}).get("data", {}).get("error") for line in lines]
            assert set(refused) <= {None, "shutting_down"}
            assert None not in refused[refused.index("shutting_down"):] if "shutting_down" in refused else True
            client.close()
        assert daemon.process.wait(20) == 0
        assert time.monotonic() - begin < 10


def test_who_connected_before_the_signal_is_answered(tmp_path):
    """Though nobody had accepted the connection by then."""
    with dmrpc.Daemon(tmp_path) as daemon:
        daemon.process.send_signal(signal.SIGSTOP)
        clients = [daemon.client() for _ in range(100)]
        for client in clients:
            client.start("version")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGCONT)
        for client in clients:
            reply = json.loads(client.read_line())
            assert "result" in reply or reply["error"]["data"]["error"] == "shutting_down"
            client.close()
        assert daemon.process.wait(20) == 0


def test_end_while_a_client_never_stops(tmp_path):
    """The time for what is still in the sockets is bounded."""
    with dmrpc.Daemon(tmp_path) as daemon:
        command = ["/usr/bin/python3", "-c",
                   "import socket, sys, threading\n"
                   "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
                   "def read():\n"
                   "    while s.recv(65536): pass\n"
                   "threading.Thread(target=read, daemon=True).start()\n"
                   "print('ready', flush=True)\n"
                   "while True: s.sendall(b'{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}' * 100)\n",
                   str(daemon.socket)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as endless:
            assert endless.stdout.readline() == b"ready\n"
            time.sleep(0.2)
            begin = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(20) == 0
            assert time.monotonic() - begin < 8
            endless.wait(20)


def test_a_call_that_runs_at_the_end_is_answered(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client, daemon.client() as other:
        other.simulate_fault_add(ioctl="DM_LIST_DEVICES", block_ms=700)
        client.send('{"jsonrpc":"2.0","id":1,"method":"list_devices"}{"jsonrpc":"2.0","id":2,"method":"version"}')
        client.drained()
        daemon.process.send_signal(signal.SIGTERM)
        first, second = client.read_all().splitlines()
        assert "result" in json.loads(first)
        assert json.loads(second)["error"]["data"]["error"] == "shutting_down"
        assert daemon.process.wait(20) == 0


# --- the path ---

def test_the_socket_file_goes_while_serving(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client:
        daemon.socket.unlink()
        assert client.version()
        # Nobody can reach it any more, so the path goes to the next one, after a while.
        with dmrpc.Daemon(tmp_path) as second, second.client() as other:
            assert other.version() and client.version()
            daemon.stop()
            assert second.socket.exists()


@pytest.mark.parametrize("kind", ["file", "socket", "symlink", "folder"])
def test_what_took_its_place_stays(tmp_path, kind):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client:
        daemon.socket.unlink()
        if kind == "file":
            daemon.socket.write_text("mine")
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(daemon.socket))
        elif kind == "symlink":
            daemon.socket.symlink_to(tmp_path / "elsewhere")
        else:
            daemon.socket.mkdir()
        assert client.version()
        inode = daemon.socket.lstat().st_ino
        daemon.stop()
        assert daemon.socket.lstat().st_ino == inode


@pytest.mark.parametrize("kind", ["file", "symlink to nothing", "symlink to a socket", "folder", "fifo"])
def test_what_is_no_socket_is_left_alone(tmp_path, kind):
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("mine")
    elif kind == "symlink to nothing":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "symlink to a socket":
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(tmp_path / "other"))
        path.symlink_to(tmp_path / "other")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = path.lstat()
    result = start(path)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "move it away" in result.stderr
    assert path.lstat().st_ino == before.st_ino


def test_the_second_on_a_path_says_what_to_do(daemon, client):
    inode = daemon.socket.stat().st_ino
    for _ in range(2):
        result = start(daemon.socket)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1 and "stop that one" in result.stderr
    assert daemon.socket.stat().st_ino == inode and client.version()


def test_after_a_kill_the_next_one_takes_over(tmp_path):
    with dmrpc.Daemon(tmp_path) as first:
        first.process.kill()
        first.process.wait()
        assert first.socket.exists()
        with dmrpc.Daemon(tmp_path) as second, second.client() as client:
            assert client.version()
        first.process.returncode = 0
