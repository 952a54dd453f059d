# SPDX-License-Identifier: Apache-2.0
"""Claims of docs/SECURITY.md that no other test shows: folders, containers, strangers, browsers."""

import contextlib
import json
import os
import socket
import subprocess

import pytest

import dmrpc
from others import ASK, another, ask_as
from peers import Peer

OTHER = 65533


@pytest.fixture
def folder(tmp_path):
    """One that other users reach, too."""
    for each in [tmp_path, *tmp_path.parents][:3]:
        os.chmod(each, 0o755)
    return tmp_path


@pytest.mark.parametrize("mode, owner, told", [
    (0o755, 0, False), (0o700, 0, False), (0o1777, 0, False), (0o777, 0, True), (0o775, 0, True), (0o755, OTHER, True)])
def test_a_folder_in_which_others_can_replace_the_socket_is_told(folder, mode, owner, told):
    run = folder / "run"
    run.mkdir()
    os.chown(run, owner, owner)
    os.chmod(run, mode)
    with dmrpc.Daemon(run) as daemon:
        with daemon.client() as client:
            assert client.version()
        assert (f"{run}: others can put a socket" in daemon.log()) == told


def test_root_of_a_container_without_ids_of_its_own_is_root(folder):
    """Whoever mounts the socket into such a container has given it the host's disks."""
    with dmrpc.Daemon(folder) as daemon:
        command = ["unshare", "--uts", "--ipc", "--net", "--pid", "--fork"]
        made, = ask_as(daemon, command, ("device_create", {"name": "x"}))
        assert made["result"]["name"] == "x"


def test_who_is_not_in_the_group_cannot_connect(folder):
    with dmrpc.Daemon(folder) as daemon:
        command = [*another(OTHER), "/usr/bin/python3", "-c", ASK, str(daemon.socket), "{}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "PermissionError" in ended.stderr


def test_one_user_leaves_connections_to_others(folder):
    group = os.getgid()  # the socket's
    with dmrpc.Daemon(folder, "--connections-per-user", 2) as daemon, contextlib.ExitStack() as stack:
        held = [stack.enter_context(Peer(daemon.socket, OTHER, group)) for _ in range(2)]
        assert all(each.version() for each in held)
        with Peer(daemon.socket, OTHER, group) as third:
            assert json.loads(third.read_line())["error"]["data"]["limit"] == 2
        for another_user in (OTHER - 1, OTHER - 2):
            with Peer(daemon.socket, another_user, group) as other:
                assert other.version()
        assert all(each.version() for each in held)


def test_what_a_browser_sends_through_a_forward_is_refused(folder):
    """A forward of TCP adds nothing to what a page sends: its Origin, and the name by which it was reached."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"device_create","params":{"name":"x"}}'
    head = b"POST / HTTP/1.1\r\n%s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    with dmrpc.Daemon(folder) as daemon, daemon.client() as client:
        for more in (b"Host: localhost:8080\r\nOrigin: https://example.org", b"Host: localhost\r\nOrigin: null",
                     b"Host: localhost\r\nSec-Fetch-Site: cross-site", b"Host: rebound.example.org"):
            with socket.socket(socket.AF_UNIX) as forward:
                forward.settimeout(dmrpc.TIMEOUT)
                forward.connect(str(daemon.socket))
                forward.sendall(head % (more, len(body)) + body)
                assert forward.recv(65536).startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")), more
        assert client.list_devices()["devices"] == []
