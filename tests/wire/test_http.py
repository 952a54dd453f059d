# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on the same socket: what is served, what is refused, and what is left of a client that goes away."""

import contextlib
import http.client
import json
import re
import signal
import socket
import time

import pytest

import dmrpc
import test_cases

VERSION = {"jsonrpc": "2.0", "id": 1, "method": "version"}
JSON = {"Content-Type": "application/json"}


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Http:
    """A connection for raw bytes of HTTP. Replies are read by Python's own parser."""

    def __init__(self, daemon, timeout=dmrpc.TIMEOUT):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(daemon.socket))
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def makefile(self, _mode):
        """For HTTPResponse: one buffer for all replies, or pipelined ones would be lost."""
        file = self.file

        class Kept:
            readline, read, readinto, flush = file.readline, file.read, file.readinto, file.flush

            def close(self):
                pass

        return Kept()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self, method="POST"):
        response = http.client.HTTPResponse(self, method=method)
        response.begin()
        return Reply(response)

    def ask(self, data, method="POST"):
        self.send(data)
        return self.reply(method)

    def is_closed(self):
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


def head(line="POST / HTTP/1.1", *headers, host="Host: d"):
    return "".join(f"{each}\r\n" for each in (line, *([host] if host else []), *headers, "")).encode()


def post(body, *headers, line="POST / HTTP/1.1", kind="Content-Type: application/json"):
    body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return head(line, kind, f"Content-Length: {len(body)}", *headers) + body


def get(path, *headers):
    return head(f"GET {path} HTTP/1.1", *headers)


@pytest.fixture
def http_client(shared_daemon):
    with Http(shared_daemon) as client:
        yield client


# --- requests and replies ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", [
    "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=utf-8",
    "application/x-www-form-urlencoded"])
def test_a_call(http_client, kind):
    reply = http_client.ask(post(VERSION, kind=f"Content-Type: {kind}"))
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert int(reply.headers["Content-Length"]) == len(reply.body)
    assert reply.json()["id"] == 1 and reply.json()["result"]["version"]["major"] == 4


@pytest.mark.parametrize("kind", ["Content-Type: text/plain", "Content-Type: application/jsonx", "Content-Type:",
                                  "X-None: 1"])
def test_other_types_are_refused(http_client, kind):
    reply = http_client.ask(post(VERSION, kind=kind))
    assert reply.status == 415 and b"application/json" in reply.body
    assert http_client.ask(post(VERSION)).status == 200


def test_errors_of_json_rpc_have_status_200(http_client):
    for body, code in (('{"jsonrpc":"2.0","id":1,"method":"nothing"}', -32601), ("{", -32700), ("[]", -32600),
                       ('{"jsonrpc":"2.0","id":1,"method":"device_status","params":{"name":"none"}}', 1),
                       ("", -32700), ("  ", -32700), ("7", -32600), ('{"a":1} {"b":2}', -32700), ("\ufeff{}", -32700),
                       ("[" * 40 + "]" * 40, -32600)):
        reply = http_client.ask(post(body))
        assert reply.status == 200 and reply.json()["error"]["code"] == code, body


def test_blanks_around_the_text(http_client):
    assert http_client.ask(post(f" \r\n\t{json.dumps(VERSION)}\n\n ")).json()["id"] == 1


def test_of_two_texts_none_is_carried_out(daemon):
    create = '{"jsonrpc":"2.0","id":1,"method":"device_create","params":{"name":"a"}}'
    with Http(daemon) as client, daemon.client() as raw:
        assert client.ask(post(create + "\n" + create)).json()["error"]["code"] == -32700
        assert raw.list_devices()["devices"] == []


def test_notifications_have_no_content(http_client):
    for body in ('{"jsonrpc":"2.0","method":"version"}', '[{"jsonrpc":"2.0","method":"version"}]'):
        reply = http_client.ask(post(body))
        assert reply.status == 204 and reply.body == b""
        assert http_client.ask(post(VERSION)).status == 200


def test_a_batch(http_client):
    reply = http_client.ask(post([VERSION, {**VERSION, "id": "b"}, {"jsonrpc": "2.0", "method": "version"}]))
    assert [each["id"] for each in reply.json()] == [1, "b"]


SINGLE = [name for name in test_cases.NAMES if len(test_cases.Case(name).replies) == 1]


@pytest.mark.parametrize("name", SINGLE)
def test_the_same_reply_as_raw(http_client, name):
    """The cases of the raw protocol that are one text: a body is one text, so what comes after it is the fault."""
    case = test_cases.Case(name)
    reply = http_client.ask(post(case.input))
    assert reply.status == 200 and reply.body.endswith(b"\n")
    test_cases.check(case.replies[0], reply.body.rstrip(b"\n"))


def test_a_long_reply(daemon):
    with daemon.client() as raw:
        for first in range(0, 3000, 500):
            raw.send("[" + ",".join(
                json.dumps(raw.request("device_create", {"name": f"{index:0100}"}, index))
                for index in range(first, first + 500)) + "]")
            assert b"error" not in raw.read_line()
    with Http(daemon) as client:
        for _ in range(3):
            reply = client.ask(post({"jsonrpc": "2.0", "id": 1, "method": "list_devices"}))
            assert len(reply.json()["result"]["devices"]) == 3000
            assert int(reply.headers["Content-Length"]) == len(reply.body)


def test_a_long_request(daemon):
    targets = [{"start": start, "length": 1, "type": "error", "params": ""} for start in range(20000)]
    with Http(daemon) as client:
        client.ask(post({"jsonrpc": "2.0", "id": 1, "method": "device_create", "params": {"name": "a"}}))
        load = {"jsonrpc": "2.0", "id": 2, "method": "table_load", "params": {"name": "a", "targets": targets}}
        assert client.ask(post(load)).json()["result"]["flags"] == ["DM_INACTIVE_PRESENT"]


# --- what there is ----------------------------------------------------------------------------------------------------

def test_paths(http_client):
    root = http_client.ask(get("/"), "GET")
    assert root.status == 200
    for line in re.findall(r"^GET +(/\S+)", root.body.decode(), re.MULTILINE):
        if line == "/events":  # has no end: test_events.py
            continue
        reply = http_client.ask(get(line), "GET")
        assert reply.status == 200 and reply.body, line
    assert http_client.ask(get("/healthz"), "GET").body == b"ok\n"
    assert http_client.ask(get("/healthz?from=a&to=%20b"), "GET").status == 200
    document = http_client.ask(get("/openrpc.json"), "GET")
    assert document.headers["Content-Type"] == "application/json"
    with open(dmrpc.ROOT / "proto" / "dmrpc.openrpc.json", encoding="utf-8") as committed:
        assert document.json() == json.load(committed)


@pytest.mark.parametrize("path", ["/", "/healthz", "/openrpc.json"])
def test_head_is_get_without_the_body(http_client, path):
    full = http_client.ask(get(path), "GET")
    reply = http_client.ask(head(f"HEAD {path} HTTP/1.1"), "HEAD")
    assert reply.status == 200 and reply.body == b""
    assert reply.headers["Content-Length"] == str(len(full.body))
    assert http_client.ask(post(VERSION)).status == 200


def test_unknown_paths_and_methods(http_client):
    assert http_client.ask(get("/nothing"), "GET").status == 404
    assert http_client.ask(get("/healthz/"), "GET").status == 404
    assert http_client.ask(post(VERSION, line="POST /rpc HTTP/1.1")).status == 404
    for method in ("DELETE", "PUT", "PATCH", "TRACE", "CONNECT", "GE", "POS"):
        reply = http_client.ask(head(f"{method} / HTTP/1.1"))
        assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD, OPTIONS, POST", method
    reply = http_client.ask(post(VERSION, line="POST /healthz HTTP/1.1"))
    assert reply.status == 405 and reply.headers["Allow"] == "GET, HEAD, OPTIONS"
    reply = http_client.ask(head("OPTIONS / HTTP/1.1"))
    assert reply.status == 204 and reply.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


# --- who asks ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("header", ["Origin: http://localhost", "origin: null", "Sec-Fetch-Mode: cors",
                                    "Sec-Fetch-Site: none"])
def test_browsers_get_nothing(http_client, header):
    assert http_client.ask(post(VERSION, header)).status == 403
    assert http_client.ask(get("/openrpc.json", header), "GET").status == 403


@pytest.mark.parametrize("host", ["localhost", "d", "d:80", "", "127.0.0.1", "127.1.2.3:8080", "[::1]", "[::1]:80"])
def test_hosts_that_are_served(http_client, host):
    assert http_client.ask(head("GET /healthz HTTP/1.1", host=f"Host: {host}"), "GET").status == 200


@pytest.mark.parametrize("host", ["example.org", "a.b", "localhost.", "127.0.0.1.example.org", "10.0.0.1", "[fe80::1]",
                                  "[::1].org", "a.b:80", "127.x.1"])
def test_hosts_that_are_not(http_client, host):
    assert http_client.ask(head("GET /healthz HTTP/1.1", host=f"Host: {host}"), "GET").status == 403


# --- framing ----------------------------------------------------------------------------------------------------------

BODY = json.dumps(VERSION).encode()
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = "Transfer-Encoding: chunked"
KIND = "Content-Type: application/json"


def chunks(data, size, extra=b""):
    pieces = [data[at:at + size] for at in range(0, len(data), size)] + [b""]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(each), extra, each) for each in pieces)


@pytest.mark.parametrize("data", [
    head("POST / HTTP/1.1", KIND, LENGTH, CHUNKED) + BODY,
    head("POST / HTTP/1.1", KIND, CHUNKED, LENGTH) + chunks(BODY, 5),
    head("POST / HTTP/1.1", KIND, LENGTH, LENGTH) + BODY,
    head("POST / HTTP/1.1", KIND, LENGTH, "Content-Length: 7") + BODY,
    head("POST / HTTP/1.1", KIND, "Content-Length : 5") + BODY,
    head("POST / HTTP/1.1", KIND, "Transfer-Encoding : chunked") + chunks(BODY, 5),
    head("POST / HTTP/1.1", KIND, "Transfer-Encoding: gzip, chunked") + chunks(BODY, 5),
    head("POST / HTTP/1.1", KIND, "Transfer-Encoding: identity") + BODY,
    head("POST / HTTP/1.1", KIND, CHUNKED, CHUNKED) + chunks(BODY, 5),
    head("POST / HTTP/1.0", KIND, CHUNKED) + chunks(BODY, 5),
    head("GET / HTTP/1.1", "Host: e"),
    head("GET / HTTP/1.1", host=None),
    head("GET / HTTP/1.1", "X-Folded: a", " b"),
    head("GET / HTTP/1.1", "X-Folded: a", "\tb"),
    head("GET / HTTP/1.1", "X-Folded:", " b"),
    b"GET / HTTP/1.1\nHost: d\nX-Folded: a\n b\n\n",
    head("GET / HTTP/1.1", "X-Nul: a\0b"),
    head("GET / HTTP/1.1", "X-Nul: a\0\0Origin: b"),
    head("GET / HTTP/1.1", "No colon"),
    head("POST / HTTP/1.1", KIND, CHUNKED) + b"5\r\n{\"a\":\r\nxyz\r\n",
    head("POST / HTTP/1.1", KIND, CHUNKED) + b"-5\r\n",
], ids=lambda data: repr(data[:90]))
def test_ambiguous_requests_are_refused_and_closed(http_client, data):
    reply = http_client.ask(data + get("/healthz"), "POST")
    assert reply.status == 400, reply.body
    assert http_client.is_closed()


@pytest.mark.parametrize("length", ["5, 5", "+5", "-5", "0x5", "", "5 5", "9" * 30])
def test_lengths_that_are_no_numbers(http_client, length):
    """libmicrohttpd refuses these by itself; then it sends its header twice, so only the status is of use."""
    reply = http_client.ask(head("POST / HTTP/1.1", KIND, f"Content-Length: {length}") + BODY + get("/healthz"))
    assert reply.status == (413 if length.isdigit() else 400)
    assert b"ok" not in http_client.file.read()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunked_bodies(http_client, size):
    for extra in (b"", b";name=value"):
        reply = http_client.ask(head("POST / HTTP/1.1", KIND, CHUNKED) + chunks(BODY, size, extra))
        assert reply.status == 200 and reply.json()["id"] == 1


def test_expect_continue(http_client):
    http_client.send(head("POST / HTTP/1.1", KIND, LENGTH, "Expect: 100-continue"))
    assert http_client.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert http_client.file.readline() == b"\r\n"
    assert http_client.ask(BODY).json()["id"] == 1


def test_expect_continue_of_too_much(http_client):
    http_client.send(head("POST / HTTP/1.1", KIND, "Content-Length: 4194305", "Expect: 100-continue"))
    assert http_client.reply().status == 413
    assert http_client.is_closed()


def test_bodies_past_the_limit(tmp_path):
    with dmrpc.Daemon(tmp_path, "--request-bytes", "1024") as daemon:
        for framing in (lambda body: post(body),
                        lambda body: head("POST / HTTP/1.1", KIND, CHUNKED) + chunks(body, 300)):
            for size, status in ((1024, 200), (1025, 413), (20000, 413), (2000000, 413), (1024, 200)):
                with Http(daemon) as client:
                    reply = client.ask(framing(BODY.ljust(size)))
                    assert reply.status == status
                    assert client.ask(post(VERSION)).status == 200


def test_headers_past_the_limit(http_client):
    reply = http_client.ask(head("GET / HTTP/1.1", *(f"X-Long-{each}: {'a' * 1000}" for each in range(100))), "GET")
    assert reply.status == 431
    assert http_client.is_closed()


def test_http_1_0_closes(http_client):
    reply = http_client.ask(post(VERSION, line="POST / HTTP/1.0"))
    assert reply.status == 200 and reply.json()["id"] == 1
    assert http_client.is_closed()


def test_http_1_0_needs_no_host(http_client):
    assert http_client.ask(head("GET /healthz HTTP/1.0", host=None), "GET").body == b"ok\n"


def test_connection_close(http_client):
    assert http_client.ask(post(VERSION, "Connection: close")).headers["Connection"] == "close"
    assert http_client.is_closed()


def test_pipelining(http_client):
    http_client.send(b"".join(post({**VERSION, "id": ident}) for ident in range(200)) + get("/healthz"))
    assert [http_client.reply().json()["id"] for _ in range(200)] == list(range(200))
    assert http_client.reply("GET").body == b"ok\n"


@pytest.mark.parametrize("data", [post(VERSION), head("POST / HTTP/1.1", KIND, CHUNKED) + chunks(BODY, 9)],
                         ids=["length", "chunked"])
def test_cut_at_every_byte(shared_daemon, data):
    with shared_daemon.client() as raw:
        for cut in range(1, len(data)):
            with Http(shared_daemon) as client:
                client.send(data[:cut])
                assert raw.call("version")
                assert client.ask(data[cut:]).json()["id"] == 1, cut


def test_byte_by_byte(http_client):
    for byte in post(VERSION):
        http_client.send(bytes([byte]))
    assert http_client.reply().json()["id"] == 1


def test_half_close_after_the_request(http_client):
    http_client.send(post(VERSION))
    http_client.socket.shutdown(socket.SHUT_WR)
    assert http_client.reply().json()["id"] == 1
    assert http_client.is_closed()


@pytest.mark.parametrize("data", [post(VERSION), head("POST / HTTP/1.1", KIND, CHUNKED) + chunks(BODY, 9)],
                         ids=["length", "chunked"])
def test_half_close_at_every_byte(shared_daemon, data):
    """What is cut off is not waited for."""
    for cut in range(len(data)):
        with Http(shared_daemon) as client:
            client.send(data[:cut])
            client.socket.shutdown(socket.SHUT_WR)
            assert client.is_closed() or cut > 0, cut


@pytest.mark.parametrize("rest", [b"GET / HT", post(VERSION)[:-20], post(b" " * 200000)[:-20]])
def test_half_close_in_the_next_request(shared_daemon, rest):
    """In pieces, so that the end comes while there is still something to read."""
    for pause in (0, 0.001, 0.02):
        with Http(shared_daemon) as client:
            client.send(post(VERSION))
            for at in range(0, len(rest), max(1, len(rest) // 4)):
                client.send(rest[at:at + max(1, len(rest) // 4)])
                time.sleep(pause)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.reply().json()["id"] == 1
            client.socket.settimeout(5)
            assert client.is_closed()


# --- what takes time --------------------------------------------------------------------------------------------------

def wait_until(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true within 10 s")


def make_device(raw):
    raw.device_create(name="a")
    raw.table_load(name="a", targets=[{"start": 0, "length": 8, "type": "zero", "params": ""}])
    raw.device_resume(name="a")


def test_a_wait(daemon):
    with daemon.client() as raw, Http(daemon) as client, Http(daemon) as other:
        make_device(raw)
        client.send(post({"jsonrpc": "2.0", "id": 1, "method": "device_wait", "params": {"name": "a", "event_nr": 0}}))
        assert other.ask(post(VERSION)).status == 200
        raw.simulate_event(name="a")
        assert client.reply().json()["result"]["info"]["event_nr"] == 1
        assert client.ask(post(VERSION)).status == 200


def test_a_wait_whose_client_leaves(daemon):
    with daemon.client() as raw:
        raw.device_create(name="a")
        for end in (socket.SHUT_RDWR, None):
            with Http(daemon) as client:
                client.send(post({"jsonrpc": "2.0", "id": 1, "method": "device_wait",
                                  "params": {"name": "a", "event_nr": 0}}))
                wait_until(lambda: raw.server_stats()["waits"] == 1)
                if end is not None:
                    client.socket.shutdown(end)
            wait_until(lambda: raw.server_stats()["waits"] == 0)


def test_a_call_whose_client_leaves_is_carried_out(daemon):
    with daemon.client() as raw:
        raw.simulate_fault_add(ioctl="DM_DEV_CREATE", block_ms=200)
        with Http(daemon) as client:
            client.send(post({"jsonrpc": "2.0", "id": 1, "method": "device_create", "params": {"name": "a"}}))
            time.sleep(0.05)
        wait_until(lambda: raw.list_devices()["devices"])
        assert raw.version()


def test_the_client_leaves_at_any_byte_of_the_reply(daemon):
    with daemon.client() as raw:
        for index in range(50):
            raw.device_create(name=f"{index:0120}")
        for count in (1, 10, 100, 1000, 5000):
            for _ in range(20):
                with Http(daemon) as client:
                    client.send(post({"jsonrpc": "2.0", "id": 1, "method": "list_devices"}) * 3)
                    client.socket.recv(count)
        assert raw.version()


# --- the end ----------------------------------------------------------------------------------------------------------

def test_at_the_end_what_runs_is_answered_and_the_idle_are_closed(daemon):
    with daemon.client() as raw, Http(daemon) as busy, Http(daemon) as idle, Http(daemon) as waiting:
        assert idle.ask(post(VERSION)).status == 200
        make_device(raw)
        raw.simulate_fault_add(ioctl="DM_DEV_CREATE", block_ms=300)
        busy.send(post({"jsonrpc": "2.0", "id": 1, "method": "device_create", "params": {"name": "b"}}))
        waiting.send(post({"jsonrpc": "2.0", "id": 1, "method": "device_wait", "params": {"name": "a", "event_nr": 0}}))
        wait_until(lambda: raw.server_stats()["waits"] == 1)
        time.sleep(0.05)
        daemon.process.send_signal(signal.SIGTERM)
        assert idle.is_closed()
        reply = waiting.reply()
        assert reply.json()["error"]["data"]["error"] == "shutting_down"
        assert reply.headers["Connection"] == "close"
        assert busy.reply().json()["result"]["name"] == "b"
        assert busy.is_closed() and waiting.is_closed()
    assert daemon.process.wait(10) == 0


def test_idle_connections_end(tmp_path):
    with dmrpc.Daemon(tmp_path, "--stall-seconds", "1") as daemon, Http(daemon) as client:
        assert client.ask(post(VERSION)).status == 200
        client.socket.settimeout(10)
        assert client.is_closed()


def connections(daemon):
    with daemon.client() as raw:
        return sum(each["open"] for each in raw.server_stats()["connections"])


def is_served(daemon):
    with Http(daemon) as client:
        try:
            return client.ask(post(VERSION)).status == 200
        except (http.client.HTTPException, OSError):
            return False


def test_they_count_as_connections(tmp_path):
    with dmrpc.Daemon(tmp_path, "--connections", "3") as daemon, contextlib.ExitStack() as stack:
        wait_until(lambda: connections(daemon) == 1)  # who looked whether it listens has gone
        for _ in range(3):
            assert stack.enter_context(Http(daemon)).ask(post(VERSION)).status == 200
        with Http(daemon) as one_more:
            assert json.loads(one_more.file.readline())["error"]["data"]["error"] == "overloaded"
        stack.close()
        wait_until(lambda: is_served(daemon))


def test_bytes_that_are_no_http_are_json(shared_daemon):
    """What begins like HTTP gets an answer of HTTP, all else one of JSON-RPC."""
    with shared_daemon.client() as client:
        client.send("NaN\n")
        assert json.loads(client.read_line())["error"]["code"] == -32700
    with Http(shared_daemon) as client:
        client.send(b"GARBAGE\r\n\r\n")
        assert client.is_closed()
