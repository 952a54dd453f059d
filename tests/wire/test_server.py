# SPDX-License-Identifier: Apache-2.0
"""The daemon as a process: start, socket, limits, access, end."""

import contextlib
import grp
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

import dmrpc
from others import another, ask_as

ZERO = {"start": 0, "length": 2048, "type": "zero", "params": ""}


def run(*args, timeout=20):
    command = [str(dmrpc.build_dir() / "server" / "dmrpcd"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def wait_for(holds, timeout=20):
    until = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


# --- command line ---

def test_help_and_version():
    assert run("--help").stdout.startswith("Usage: dmrpcd")
    assert run("--help").returncode == 0
    assert run("--version").stdout.startswith("dmrpcd ")


@pytest.mark.parametrize("args", [
    ["--no-such"], ["word"], ["--socket"], ["--depth", "x"], ["--depth", "-1"], ["--depth", "0"],
    ["--depth", "99999999999999999999"], ["--depth", "5x"]])
def test_wrong_usage_is_2(args):
    result = run("--simulate", *args)
    assert result.returncode == 2 and result.stderr


def has_device_mapper():
    try:
        os.close(os.open("/dev/mapper/control", os.O_RDWR))
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_device_mapper(), reason="this host has device-mapper")
def test_no_kernel_is_1_with_one_line(tmp_path):
    result = run("--socket", tmp_path / "s")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "modprobe dm_mod" in result.stderr


def test_no_such_group_is_1(tmp_path):
    result = run("--simulate", "--socket", tmp_path / "s", "--group", "no-such-group")
    assert result.returncode == 1 and "no group" in result.stderr


@pytest.mark.parametrize("text, part", [
    ("{", "line 1"), ('{"nope": 1}', '"/nope"'), ('{"limits": {"depth": "x"}}', '"/limits/depth"'),
    ('{"limits": {"depth": 1}}', '"/limits/depth"'), ('{"socket": ""}', '"/socket"'), ("[1]", "object")])
def test_bad_configuration_is_1(tmp_path, text, part):
    (tmp_path / "c.json").write_text(text)
    result = run("--simulate", "--config", tmp_path / "c.json")
    assert result.returncode == 1 and part in result.stderr


def test_missing_configuration_is_1(tmp_path):
    assert run("--simulate", "--config", tmp_path / "none").returncode == 1


def test_configuration_file_and_command_line(tmp_path):
    (tmp_path / "c.json").write_text('{"limits": {"depth": 10, "batch": 5}}')
    with dmrpc.Daemon(tmp_path, "--batch", 6, "--config", tmp_path / "c.json") as daemon:
        with daemon.client() as client:
            limits = client.server_info()["limits"]
            assert limits["depth"] == 10 and limits["batch"] == 6 and limits["values"] == 262144


# --- the socket ---

def test_socket_mode_and_group(tmp_path):
    group = grp.getgrgid(os.getgid()).gr_name
    with dmrpc.Daemon(tmp_path, "--group", group) as daemon:
        status = daemon.socket.stat()
        assert stat.S_IMODE(status.st_mode) == 0o660 and status.st_gid == os.getgid()
    assert not daemon.socket.exists()


def test_second_daemon_on_one_path_refuses(daemon):
    result = run("--simulate", "--socket", daemon.socket)
    assert result.returncode == 1 and "Another dmrpcd" in result.stderr
    with daemon.client() as client:
        assert client.version()


def test_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "dmrpcd.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client:
        assert client.version()


def test_other_files_are_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    assert run("--simulate", "--socket", path).returncode == 1
    assert path.read_text() == "data"


def test_a_socket_that_is_no_longer_ours_stays(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon:
        daemon.socket.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(daemon.socket))
    assert daemon.socket.exists()


# --- a daemon that holds the path and does not answer ---

@contextlib.contextmanager
def stopped(daemon):
    """It holds its lock and takes connections, and no more: as one that was killed and cannot die."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def files(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".err"))


def test_the_path_of_one_that_does_not_answer_is_taken_over(tmp_path):
    group = grp.getgrgid(os.getgid()).gr_name
    with dmrpc.Daemon(tmp_path) as old, old.client() as client:
        client.device_create(name="old")
        with stopped(old):
            began = time.monotonic()
            with dmrpc.Daemon(tmp_path, "--group", group) as new:
                # wait_ready may have met the old one's socket, which takes connections.
                wait_for(lambda: "Serving" in new.log())
                assert 0.9 < time.monotonic() - began < 5
                assert f"taken over from process {old.process.pid}," in new.log()
                status = new.socket.stat()
                assert stat.S_IMODE(status.st_mode) == 0o660 and status.st_gid == os.getgid()
                with new.client() as other:
                    assert other.list_devices()["devices"] == []
                    third = run("--simulate", "--socket", new.socket)
                    assert third.returncode == 1 and "Another dmrpcd serves it" in third.stderr
                    # The old one goes on, for those who have it, and takes nothing from the new one at its end.
                    old.process.send_signal(signal.SIGCONT)
                    assert client.device_status(name="old")
                    old.stop()
                    assert other.version() and files(tmp_path) == ["dmrpcd.sock", "dmrpcd.sock.lock"]
                with new.client() as other:
                    assert other.version()
                assert "Another dmrpcd serves it" in run("--simulate", "--socket", new.socket).stderr
            assert files(tmp_path) == ["dmrpcd.sock.lock"]


def test_started_without_standard_files_it_writes_to_no_other(tmp_path):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    with dmrpc.Daemon(tmp_path, within=closed) as daemon, daemon.client() as client:
        assert client.version()
        opened = [os.readlink(f"/proc/{daemon.process.pid}/fd/{number}") for number in range(3)]
        assert opened == ["/dev/null"] * 3


def test_there_is_a_socket_all_along(tmp_path):
    with dmrpc.Daemon(tmp_path) as old, stopped(old):
        process = subprocess.Popen(
            [str(dmrpc.build_dir() / "server" / "dmrpcd"), "--simulate", "--socket", str(old.socket)],
            stderr=subprocess.DEVNULL)
        inodes = set()
        until = time.monotonic() + 10
        while len(inodes) < 2 and time.monotonic() < until:
            inodes.add(old.socket.stat().st_ino)
        assert len(inodes) == 2
        with old.client() as client:
            assert client.version()  # the new one's
        process.terminate()
        assert process.wait(20) == 0


def test_of_several_at_once_one_takes_over(tmp_path):
    with dmrpc.Daemon(tmp_path) as old, stopped(old):
        command = [str(dmrpc.build_dir() / "server" / "dmrpcd"), "--simulate", "--socket", str(old.socket)]
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(8)]
        wait_for(lambda: sum(process.poll() is None for process in processes) == 1)
        (winner,) = [process for process in processes if process.poll() is None]
        for process in processes:
            if process is not winner:
                said = process.communicate()[1]
                assert process.returncode == 1 and len(said.splitlines()) == 1 and "nother dmrpcd" in said
        wait_for(lambda: "Serving" in winner.stderr.readline())
        with old.client() as client:
            assert client.server_info()["pid"] == winner.pid
        winner.terminate()
        assert winner.wait(20) == 0
        winner.communicate()
        assert files(tmp_path) == ["dmrpcd.sock.lock"]


def test_of_several_at_once_one_starts(tmp_path):
    command = [str(dmrpc.build_dir() / "server" / "dmrpcd"), "--simulate", "--socket", str(tmp_path / "s")]
    for _ in range(5):
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
        wait_for(lambda left=processes: sum(process.poll() is None for process in left) == 1)
        (winner,) = [process for process in processes if process.poll() is None]
        wait_for(lambda one=winner: "Serving" in one.stderr.readline())
        with dmrpc.Client(tmp_path / "s") as client:
            assert client.server_info()["pid"] == winner.pid
        winner.terminate()
        assert winner.wait(20) == 0
        for process in processes:
            process.communicate()


def test_a_busy_one_is_not_taken_over(tmp_path):
    """All workers wait, and there are too many connections: it answers all the same."""
    with dmrpc.Daemon(tmp_path, "--workers", 1, "--connections-per-user", 3) as daemon, daemon.client() as client:
        client.simulate_fault_add(ioctl="DM_LIST_DEVICES", block_ms=3000)
        client.start("list_devices")
        client.drained()
        with daemon.client(), daemon.client():
            for _ in range(2):
                result = run("--simulate", "--socket", daemon.socket)
                assert result.returncode == 1 and "Another dmrpcd serves it" in result.stderr
        assert "devices" in client.finish(client.count)


def test_one_that_ends_meanwhile_is_waited_for(tmp_path):
    """Its socket is gone already, and its last call not over yet."""
    with dmrpc.Daemon(tmp_path) as old, old.client() as client, old.client() as other:
        other.simulate_fault_add(ioctl="DM_LIST_DEVICES", block_ms=500)
        client.start("list_devices")
        client.drained()
        old.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not old.socket.exists())
        with dmrpc.Daemon(tmp_path) as new, new.client() as third:
            assert third.version()
            assert "taken over" not in new.log()
            assert old.process.wait(20) == 0


def test_a_file_that_is_no_socket_is_not_replaced_by_a_take_over(tmp_path):
    with dmrpc.Daemon(tmp_path) as old, stopped(old):
        old.socket.unlink()
        old.socket.write_text("mine")
        result = run("--simulate", "--socket", old.socket)
        assert result.returncode == 1 and "move it away" in result.stderr
        assert old.socket.read_text() == "mine"


def test_too_long_a_path_is_1(tmp_path):
    assert run("--simulate", "--socket", tmp_path / ("x" * 120)).returncode == 1


# --- the end ---

@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_clean_exit(tmp_path, signum):
    with dmrpc.Daemon(tmp_path) as daemon:
        daemon.stop(signum)


def test_waits_are_answered_at_the_end(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client:
        client.device_create(name="d")
        ident = client.start("device_wait", name="d", event_nr=0)
        # Another call's answer shows that the wait has been taken in.
        client.finish(client.start("version"))
        daemon.process.send_signal(signal.SIGTERM)
        with pytest.raises(dmrpc.RpcError) as caught:
            client.finish(ident)
        assert caught.value.name == "shutting_down"
        assert client.read_all() == b""


def test_what_was_accepted_is_answered_at_the_end(tmp_path):
    with dmrpc.Daemon(tmp_path) as daemon, daemon.client() as client:
        count = 500
        for _ in range(count):
            client.start("list_devices")
        client.finish(1)
        daemon.process.send_signal(signal.SIGTERM)
        lines = client.read_all().splitlines()
        for number, line in enumerate(lines, 2):
            reply = json.loads(line)
            assert reply["id"] == number
            assert "result" in reply or reply["error"]["data"]["error"] == "shutting_down"


# --- limits: one past each ---

def reply_and_end(client):
    """The one reply there is, and that the connection ends after it."""
    line = client.read_line()
    assert client.read_all() == b""
    return json.loads(line)


def test_limit_of_bytes(tmp_path):
    with dmrpc.Daemon(tmp_path, "--request-bytes", 2000) as daemon:
        text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "version", "x": ""})
        with daemon.client() as client:
            client.send(text[:-2] + "x" * (2000 - len(text)) + text[-2:])
            assert "result" in json.loads(client.read_line())
            client.send(text[:-2] + "x" * (2001 - len(text)) + text[-2:])
            reply = reply_and_end(client)
            assert reply["error"]["code"] == -32600 and reply["error"]["data"]["limit"] == 2000


def test_limit_of_values(tmp_path):
    with dmrpc.Daemon(tmp_path, "--values", 20) as daemon, daemon.client() as client:
        text = '{"jsonrpc":"2.0","id":1,"method":"version","x":[%s]}'
        client.send(text % ",".join(["1"] * 15))  # the object, its four members, fifteen items
        assert "result" in json.loads(client.read_line())
        client.send(text % ",".join(["1"] * 16))
        assert reply_and_end(client)["error"]["data"]["limit"] == 20


def test_limit_of_replies(tmp_path):
    with dmrpc.Daemon(tmp_path, "--reply-bytes", 4096) as daemon, daemon.client() as client:
        for i in range(60):
            client.device_create(name=f"device-{i}")
        with pytest.raises(dmrpc.RpcError) as caught:
            client.list_devices()
        assert caught.value.name == "reply_too_large"
        assert client.list_devices(name_prefix="device-1")["devices"]


def take_places(daemon, count):
    """Connections that are served. One that was closed a moment ago may still hold a place: try again."""
    held = []
    deadline = time.monotonic() + 10
    while len(held) < count and time.monotonic() < deadline:
        client = daemon.client()
        try:
            client.send('{"jsonrpc":"2.0","id":1,"method":"version"}')
            assert "result" in json.loads(client.read_line())
            held.append(client)
        except (AssertionError, OSError):
            client.close()
    assert len(held) == count
    return held


def test_limit_of_connections(tmp_path):
    with dmrpc.Daemon(tmp_path, "--connections", 3, "--connections-per-user", 3) as daemon:
        held = take_places(daemon, 3)
        with daemon.client() as extra:
            assert reply_and_end(extra)["error"]["data"]["error"] == "overloaded"
        held.pop().close()
        held += take_places(daemon, 1)
        for client in held:
            client.close()


def test_limit_of_connections_per_user(tmp_path):
    with dmrpc.Daemon(tmp_path, "--connections-per-user", 2) as daemon:
        held = take_places(daemon, 2)
        with daemon.client() as extra:
            error = reply_and_end(extra)["error"]
            assert error["data"]["limit"] == 2 and "user" in error["message"]
        for client in held:
            client.close()


def test_limit_of_all_memory(tmp_path):
    with dmrpc.Daemon(tmp_path, "--total-bytes", 1 << 20) as daemon, daemon.client() as client:
        client.send(b'{"jsonrpc":"2.0","id":1,"method":"version","x":"')
        for _ in range(40):
            try:
                client.send(b"x" * 65536)
            except (BrokenPipeError, ConnectionResetError):
                break
        assert json.loads(client.read_line())["error"]["data"]["error"] == "overloaded"
        with daemon.client() as other:
            assert other.version()


# --- access ---

@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_others_may_only_read(tmp_path):
    other = 65533
    with dmrpc.Daemon(tmp_path) as daemon:
        with daemon.client() as client:
            client.device_create(name="d")
        os.chmod(daemon.socket, 0o666)
        for folder in [tmp_path, *tmp_path.parents][:3]:
            os.chmod(folder, 0o755)
        calls = [("device_status", {"name": "d"}), ("device_remove", {"name": "d"}),
                 ("table_status", {"name": "d"}), ("remove_all", {"confirm": True})]
        replies = ask_as(daemon, another(other), *calls)
        assert [reply["id"] for reply in replies] == [0, 1, 2, 3]
        assert "result" in replies[0] and "result" in replies[2]
        for refused in (replies[1], replies[3]):
            assert refused["error"]["data"]["error"] == "permission_denied"
        with daemon.client() as client:
            assert client.device_status(name="d")
