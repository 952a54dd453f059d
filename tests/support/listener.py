# SPDX-License-Identifier: Apache-2.0
"""A client that hears of events, and what must hold of all that it hears."""

import json
import re
import select

import dmrpc
import jsonschema
import schema

DOCUMENT = schema.Document()
EVENT = jsonschema.Draft7Validator({"$ref": "#/components/schemas/Event", "components": DOCUMENT.root["components"]})
PROPERTIES = set(DOCUMENT.root["components"]["schemas"]["Event"]["properties"])


def check(event):
    EVENT.validate(event)
    assert set(event) <= PROPERTIES
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
    return event


class Listener(dmrpc.Client):
    """A client that keeps the events that come between its replies."""

    def __init__(self, daemon, timeout=dmrpc.TIMEOUT):
        super().__init__(daemon.socket, timeout)
        self.events = []

    def read_reply(self):
        while True:
            line = super().read_line()
            message = json.loads(line) if line else {}
            if message.get("method") != "event":
                return line
            assert set(message) == {"jsonrpc", "method", "params"} and message["jsonrpc"] == "2.0"
            self.events.append(check(message["params"]))

    def read_line(self):
        return self.read_reply()

    def next(self):
        """The next event."""
        while not self.events:
            line = super().read_line()
            assert line, "the server closed the connection"
            message = json.loads(line)
            assert message["method"] == "event", message
            self.events.append(check(message["params"]))
        return self.events.pop(0)

    def kinds(self, count):
        return [self.next()["kind"] for _ in range(count)]

    def is_silent(self, seconds=0.1):
        return not self.events and not self.buffer and not select.select([self.socket], [], [], seconds)[0]


def drain(take, last):
    """All that comes until event `last` has been told, or is known to be lost."""
    events = []
    while not events or events[-1]["seq"] < last or events[-1]["kind"] == "lost":
        events.append(take())
    return events


def judge(events, first, last):
    """Nothing is missing that was not told: what came and what was lost make up all; a snapshot follows a loss."""
    at, lost = first, 0
    for number, event in enumerate(events):
        if event["kind"] == "lost":
            assert events[number + 1]["kind"] == "snapshot"
            lost += event["count"]
            at += event["count"]
            assert event["seq"] == at
        elif event["kind"] == "snapshot":
            assert event["seq"] == at
        else:
            at += 1
            assert event["seq"] == at
    assert at == last
    return lost
