# SPDX-License-Identifier: Apache-2.0
"""Clients that nobody here wrote: curl, socat, Python's and Node's HTTP, a JSON-RPC client of npm, promtool."""

import http.client
import json
import pathlib
import re
import socket
import subprocess

import pytest

import dmrpc

HERE = pathlib.Path(__file__).resolve().parent
JSON = "Content-Type: application/json"
VERSION = '{"jsonrpc": "2.0", "id": 1, "method": "version"}'
NOTHING = '{"jsonrpc": "2.0", "id": 2, "method": "nothing"}'
NOTIFICATION = '{"jsonrpc": "2.0", "method": "version"}'


def run(*command, stdin=""):
    done = subprocess.run([str(word) for word in command], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=dmrpc.TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- curl -------------------------------------------------------------------------------------------------------------

@pytest.fixture
def curl(daemon):
    def call(*arguments, stdin=""):
        return run("curl", "--silent", "--show-error", "--unix-socket", daemon.socket, *arguments, stdin=stdin)
    return call


def test_curl_posts(curl):
    """As people type it: -d alone sends a form's content type."""
    assert json.loads(curl("-d", VERSION, "http://dm/"))["result"]["backend"] == "simulated"
    assert json.loads(curl("-d", VERSION, "-H", JSON, "http://localhost/"))["id"] == 1
    assert json.loads(curl("--json", VERSION, "http://127.0.0.1/"))["id"] == 1
    assert json.loads(curl("--http1.0", "-d", VERSION, "http://dm/"))["id"] == 1
    assert json.loads(curl("-d", "@-", "-H", "Transfer-Encoding: chunked", "http://dm/", stdin=VERSION))["id"] == 1
    assert json.loads(curl("-d", NOTHING, "--fail", "http://dm/"))["error"]["code"] == -32601
    assert curl("-d", NOTIFICATION, "-w", "%{http_code}", "http://dm/") == "204"


def test_curl_keeps_its_connection(daemon, curl):
    one = ["-d", VERSION, "-w", "%{num_connects} ", "-o", "/dev/null", "http://dm/"]
    shown = curl(*one, *["--next", "--unix-socket", daemon.socket, *one] * 4)
    assert shown.split() == ["1", "0", "0", "0", "0"]


def test_curl_sends_much(curl, tmp_path):
    """Past 1 MiB it asks first (Expect: 100-continue), and it hears of a refusal before it has sent all."""
    run_create = '{"jsonrpc": "2.0", "id": 1, "method": "device_create", "params": {"name": "a"}}'
    assert "result" in json.loads(curl("-d", run_create, "http://dm/"))
    targets = [{"start": start, "length": 1, "type": "error", "params": ""} for start in range(30000)]
    load = {"jsonrpc": "2.0", "id": 2, "method": "table_load", "params": {"name": "a", "targets": targets}}
    body = tmp_path / "load.json"
    body.write_text(json.dumps(load))
    assert body.stat().st_size > 1 << 20
    assert "result" in json.loads(curl("--data-binary", f"@{body}", "http://dm/"))
    body.write_text(json.dumps(load).ljust(5 << 20))
    for more in ([], ["-H", "Expect:"]):
        assert curl("--data-binary", f"@{body}", "-o", "/dev/null", "-w", "%{http_code}", *more, "http://dm/") == "413"


def test_curl_reads(curl):
    assert curl("http://dm/healthz") == "ok\n"
    assert "POST /" in curl("http://dm/")
    assert json.loads(curl("http://dm/openrpc.json"))["openrpc"].startswith("1.")
    assert curl("http://dm/metrics").endswith("# EOF\n")
    assert "200 OK" in curl("--head", "http://dm/healthz")
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "http://example.org/healthz") == "403"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "-H", "Origin: null", "http://dm/healthz") == "403"


# --- socat ------------------------------------------------------------------------------------------------------------

def test_socat(daemon):
    told = run("socat", "-t", "30", "-", f"UNIX-CONNECT:{daemon.socket}", stdin=VERSION + "\n" + NOTHING)
    assert [json.loads(line)["id"] for line in told.splitlines()] == [1, 2]


# --- Python -----------------------------------------------------------------------------------------------------------

class UnixConnection(http.client.HTTPConnection):
    """Python's own client, on a Unix socket, in the way that its documents suggest."""

    def __init__(self, path):
        super().__init__("localhost", timeout=dmrpc.TIMEOUT)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def test_python(daemon):
    connection = UnixConnection(daemon.socket)
    for _ in range(3):
        connection.request("POST", "/", VERSION, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200 and json.load(response)["id"] == 1
    connection.request("POST", "/", iter([VERSION[:9].encode(), VERSION[9:].encode()]),
                       {"Content-Type": "application/json"}, encode_chunked=True)
    assert json.load(connection.getresponse())["id"] == 1
    connection.request("POST", "/", NOTIFICATION, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 204 and response.read() == b""
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()


# --- Node -------------------------------------------------------------------------------------------------------------

def test_node(daemon):
    replies = json.loads(run("node", HERE / "http.js", daemon.socket, VERSION, NOTHING, NOTIFICATION, VERSION))
    assert [(status, reused) for status, _, reused in replies] == [(200, False), (200, True), (204, True), (200, True)]
    assert json.loads(replies[0][1])["result"]["version"]["major"] == 4
    assert json.loads(replies[1][1])["error"]["code"] == -32601
    assert replies[2][1] == ""


def test_jayson(daemon):
    calls = [["version", {}], ["device_create", {"name": "a b", "uuid": "Ü"}], ["device_status", {"name": "a b"}],
             ["device_status", {"name": "none"}], ["device_remove", {"name": "a b"}]]
    replies = json.loads(run("node", HERE / "jayson.js", daemon.socket, json.dumps(calls)))
    assert sorted(replies) == ["http", "http batch", "raw", "raw batch"]
    for way, those in replies.items():
        assert len(those) == len(calls), way
        assert len({reply["id"] for reply in those}) == len(calls)
        assert those[2]["result"]["uuid"] == "Ü", way
        assert those[3]["error"]["data"]["error"] == "device_not_found", way
        assert all("result" in those[index] for index in (0, 1, 4)), way


# --- Prometheus -------------------------------------------------------------------------------------------------------

PROMTOOL = dmrpc.ROOT / "build" / "tools" / "promtool"  # scripts/install-deps puts it there


@pytest.fixture
def exposition(daemon, curl):
    with daemon.client() as client:
        client.version()
        client.device_create(name="a")
        client.send('{"jsonrpc": "2.0", "id": 1, "method": "nothing"}')
        assert client.read_line()
    return curl("http://dm/metrics").splitlines()


def test_promtool_reads_the_metrics(exposition, tmp_path):
    """As OpenMetrics, of which it wants a time with each sample."""
    file = tmp_path / "metrics"
    file.write_text("".join(f"{line}\n" if line.startswith("#") else f"{line} 1700000000\n" for line in exposition))
    told = run(PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", file, tmp_path / "blocks")
    samples = [line for line in exposition if not line.startswith("#")]
    assert re.search(rf"\s{len(samples)}\s+{len(samples)}\s+{len(samples)}\s", told), told


def test_promtool_finds_nothing_to_improve(exposition):
    """Its linter knows the older format only, where a counter bears its _total in the comments too."""
    counters = {line.split()[2] for line in exposition if re.match(r"# TYPE \S+ counter$", line)}
    assert "dmrpc_calls" in counters
    older = [re.sub(r"^(# (?:TYPE|HELP) )(\S+)", lambda found: found[1] + found[2] + "_total" * (found[2] in counters),
                    line) for line in exposition if not line.startswith("# UNIT")]
    assert run(PROMTOOL, "check", "metrics", stdin="\n".join(older) + "\n") == ""
