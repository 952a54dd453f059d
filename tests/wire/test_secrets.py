# SPDX-License-Identifier: Apache-2.0
"""After a load, no copy of a key is left in what the daemon can write to, nor in its log."""

import json
import re
import secrets
import socket

import pytest

import dmrpc

LARGEST = 256 << 20  # of one mapping; a sanitizer's own are larger


def find_copies(pid, key):
    """Where in the daemon's writable memory the key, its bytes, or a half of either stands."""
    raw = bytes.fromhex(key)
    wanted = [key.encode(), key[:32].encode(), key[32:].encode(), raw[:16], raw[16:]]
    found = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            start, end = int(start, 16), int(end, 16)
            if not rights.startswith("rw") or end - start > LARGEST:
                continue
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:
                continue
            found += [f"{line.strip()} {len(part)} bytes" for part in wanted if part in data]
    return found


def request(key, good, ident=1):
    length = 4096 if good else 4097  # the disk has 4,096 sectors
    line = {"start": 0, "length": length, "type": "crypt", "params": f"aes-xts-plain64 {key} 0 /dev/sim0 0"}
    return {"jsonrpc": "2.0", "id": ident, "method": "table_load", "params": {"name": "c", "targets": [line]}}


def whole(client, text):
    client.send(text)
    return client.read_line()


def in_pieces(client, text):
    for at in range(0, len(text), 7):
        client.send(text[at:at + 7])
    return client.read_line()


def in_batch(client, text):
    client.send("[" + text + "," + text + "]")
    return client.read_line()


def pipelined(client, text):
    client.send(text * 5)
    return b"".join(client.read_line() for _ in range(5))


def not_json(client, text):
    client.send(text[:-1] + "x}")
    return client.read_line()


def wrong_params(client, text):
    client.send(text.replace('"length"', '"lenght"'))
    return client.read_line()


def over_http(daemon, *requests):
    """Sends requests on one connection of HTTP and returns all that came back."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(dmrpc.TIMEOUT)
        client.connect(str(daemon.socket))
        for request_bytes in requests:
            client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


HEAD = b"POST / HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"


def with_length(text, more=b""):
    return HEAD + more + b"Content-Length: %d\r\n\r\n%s" % (len(text), text.encode())


def http_whole(daemon, text):
    return over_http(daemon, with_length(text))


def http_in_pieces(daemon, text):
    data = with_length(text)
    return over_http(daemon, *(data[at:at + 7] for at in range(0, len(data), 7)))


def http_chunked(daemon, text):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(text[at:at + 30]), text[at:at + 30].encode())
                      for at in range(0, len(text), 30))
    return over_http(daemon, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")


def http_pipelined(daemon, text):
    return over_http(daemon, with_length(text) * 5)


def http_in_batch(daemon, text):
    return over_http(daemon, with_length("[" + text + "," + text + "]"))


def http_refused(daemon, text):
    return over_http(daemon, with_length(text, b"Origin: null\r\n"))


def http_not_json(daemon, text):
    return over_http(daemon, with_length(text[:-1] + "x}"))


def http_cut_off(daemon, text):
    return over_http(daemon, with_length(text)[:-20])


@pytest.mark.parametrize("way", [http_whole, http_in_pieces, http_chunked, http_pipelined, http_in_batch, http_refused,
                                 http_not_json, http_cut_off])
@pytest.mark.parametrize("good", [True, False])
def test_no_copy_of_a_key_is_left_by_http(daemon, way, good):
    key = secrets.token_hex(32)
    with daemon.client() as client:
        client.simulate_disk_add(path="/dev/sim0", sectors=4096)
        client.device_create(name="c")
        answer = way(daemon, json.dumps(request(key, good)))
        assert key.encode() not in answer
        client.device_remove(name="c")
        assert find_copies(daemon.process.pid, key) == []
    assert key not in daemon.log()


def test_no_copy_is_left_in_a_connection_of_http_that_stays(daemon):
    key = secrets.token_hex(32)
    with daemon.client() as client, socket.socket(socket.AF_UNIX) as kept:
        client.simulate_disk_add(path="/dev/sim0", sectors=4096)
        client.device_create(name="c")
        kept.settimeout(dmrpc.TIMEOUT)
        kept.connect(str(daemon.socket))
        kept.sendall(with_length(json.dumps(request(key, False))))
        assert b"200 OK" in kept.recv(65536)
        client.device_remove(name="c")
        assert find_copies(daemon.process.pid, key) == []


@pytest.mark.parametrize("way", [whole, in_pieces, in_batch, pipelined, not_json, wrong_params])
@pytest.mark.parametrize("good", [True, False])
def test_no_copy_of_a_key_is_left(daemon, way, good):
    key = secrets.token_hex(32)
    with daemon.client() as client:
        client.simulate_disk_add(path="/dev/sim0", sectors=4096)
        client.device_create(name="c")
        answer = way(client, json.dumps(request(key, good)))
        assert key.encode() not in answer
        client.device_remove(name="c")
        client.version()
        assert find_copies(daemon.process.pid, key) == []
    assert key not in daemon.log()


def test_no_copy_is_left_of_what_was_cut_off(daemon):
    key = secrets.token_hex(32)
    with daemon.client() as client:
        client.send(json.dumps(request(key, True))[:-20])
        with daemon.client() as other:
            assert other.version()
    with daemon.client() as other:
        for _ in range(100):
            other.version()
        assert find_copies(daemon.process.pid, key) == []


def test_the_search_finds_a_key_that_is_there(daemon):
    """Without this the tests above could not fail: a table that is live holds its key in the simulation."""
    key = secrets.token_hex(32)
    with daemon.client() as client:
        client.simulate_disk_add(path="/dev/sim0", sectors=4096)
        client.device_create(name="c")
        assert b"result" in whole(client, json.dumps(request(key, True)))
        assert find_copies(daemon.process.pid, key)
