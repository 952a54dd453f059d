# SPDX-License-Identifier: Apache-2.0
"""Small words for what tests do with the API."""

import contextlib
import errno
import json

import pytest
from dmrpc import Client, RpcError


def line(start, length, kind, params=""):
    return {"start": start, "length": length, "type": kind, "params": params}


def linear(disk, length=None, offset=0, start=0):
    """One line of a table, on a disk."""
    return line(start, length or disk.sectors - offset, "linear", f"{disk.number} {offset}")


def on(info, length, offset=0):
    """One line of a table, on another device-mapper device."""
    return line(0, length, "linear", f"{info['device']['major']}:{info['device']['minor']} {offset}")


def fails(call, error, **data):
    """The call fails with this error, and its data holds these members; returns the data."""
    with pytest.raises(RpcError) as caught:
        call()
    failure = caught.value
    assert failure.name == error, failure
    assert {key: failure.data.get(key) for key in data} == data, failure
    if "errno_name" in data:
        assert errno.errorcode[failure.data["errno"]] == data["errno_name"]
    return failure.data


def state(info):
    """The flags of a device's tables and of its being suspended, in short."""
    return set(info["flags"]) & {"DM_SUSPEND", "DM_ACTIVE_PRESENT", "DM_INACTIVE_PRESENT"}


LIVE, INACTIVE, SUSPENDED = {"DM_ACTIVE_PRESENT"}, {"DM_INACTIVE_PRESENT"}, {"DM_SUSPEND"}


class Many(Client):
    """A connection with many calls on their way, whose replies come in any order."""

    def take(self):
        """The next reply: (id, result or RpcError)."""
        text = self.read_line()
        assert text, "the server closed the connection instead of answering"
        reply = json.loads(text)
        method = self.methods.pop(reply["id"])
        if Client.recorded is not None:
            Client.recorded.append((method, reply))
        return reply["id"], RpcError(reply["error"]) if "error" in reply else reply["result"]

    def take_all(self):
        """{id: result or RpcError} of all calls that are on their way; no reply comes twice."""
        replies = {}
        while self.methods:
            ident, reply = self.take()
            replies[ident] = reply
        return replies

    def has_reply(self):
        """Has anything come? Asked once, without waiting."""
        if b"\n" in self.buffer:
            return True
        timeout = self.socket.gettimeout()
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.buffer += self.socket.recv(65536)
        self.socket.settimeout(timeout)
        return b"\n" in self.buffer
