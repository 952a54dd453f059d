# SPDX-License-Identifier: Apache-2.0
"""Clients of other users: a process with other ids connects, and hands the connection over.

Who connected is what the kernel tells the server for as long as the connection lasts; who uses it is not.
"""

import os
import socket

import dmrpc
from listener import Listener


def _connect(path, uid, gid, groups, channel):
    """In the child: all ids are given up before it connects."""
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        socket.send_fds(channel, [b"\0"], [connection.fileno()])
    except OSError as error:
        channel.send(bytes([error.errno]))


def connect(path, uid, gid, groups=()):
    """A socket that a process of these ids has connected; or the OSError that it had."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if child == 0:
            try:
                _connect(path, uid, gid, list(groups), theirs)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        data, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:
        raise OSError(data[0], os.strerror(data[0]), str(path))
    return socket.socket(fileno=fds[0])


class Peer(dmrpc.Client):
    """A client of another user."""

    def __init__(self, path, uid, gid, groups=()):  # pylint: disable=super-init-not-called
        self.socket = connect(path, uid, gid, groups)
        self.socket.settimeout(dmrpc.TIMEOUT)
        self.buffer, self.count, self.methods = b"", 0, {}


class PeerListener(Peer, Listener):
    """One that hears events."""

    def __init__(self, path, uid, gid, groups=()):
        Peer.__init__(self, path, uid, gid, groups)
        self.events = []
