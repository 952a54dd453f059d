# SPDX-License-Identifier: Apache-2.0
"""A daemon that was built without HTTP. Not collected by itself: scripts/test names it for such a build."""

import json


def test_http_is_garbage(daemon):
    with daemon.client() as client:
        client.send("POST / HTTP/1.1\r\nHost: d\r\n\r\n")
        assert json.loads(client.read_line())["error"]["code"] == -32700
        assert client.read_all() == b""
