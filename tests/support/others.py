# SPDX-License-Identifier: Apache-2.0
"""Calls as another user: a program of its own holds the socket."""

import json
import subprocess

import dmrpc

ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode())
s.shutdown(socket.SHUT_WR)
print(s.makefile().read())
"""


def another(uid):
    """The beginning of a command line that runs as another user, in no group but one of the same number."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


def ask_as(daemon, command, *calls):
    """What somebody else is answered, one reply a line."""
    text = "".join(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
                   for number, (method, params) in enumerate(calls))
    out = subprocess.run([*command, "/usr/bin/python3", "-c", ASK, str(daemon.socket), text],
                         capture_output=True, text=True, check=True, timeout=dmrpc.TIMEOUT).stdout
    return [json.loads(line) for line in out.split("\n") if line]
