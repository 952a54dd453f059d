# SPDX-License-Identifier: Apache-2.0
"""Where a key may be left: ways for it to come in, and the search of a process's memory."""

import re
import socket
import sys
import time

import dmrpc

LARGEST = 256 << 20  # of one mapping of a sanitizer's; it has terabytes
PART = 16  # hex digits of a key, or bytes of it, in a row: such a part tells of it
PATIENCE = 5.0  # seconds
WORD = 8  # bytes of memory that are compared at once
PAGE = 4096
ZEROS = bytes(PAGE)


def parts_of(key, length=PART):
    """Each run of so many digits of the key, and of the bytes that they stand for."""
    return {form[at:at + length] for form in (key.encode(), bytes.fromhex(key)) for at in range(len(form) - length + 1)}


class Search:
    """For parts of some keys: as long for many keys as for one, and prepared once for many places."""

    def __init__(self, *keys):
        self.keys = keys
        # A part covers a whole word of memory, at whatever place it begins.
        self.words = {int.from_bytes(word, sys.byteorder): key for key in keys for word in parts_of(key, WORD)}

    def find(self, data):
        """What of the keys stands in the data, wherever: [part]."""
        seen = set()
        for at in range(0, len(data), PAGE):
            page = data[at:at + PAGE]
            if page != ZEROS:  # most are
                seen.update(memoryview(page)[:len(page) // WORD * WORD].cast("Q"))
        suspects = {self.words[word] for word in seen & self.words.keys()}
        if len(data) < 2 * PART:
            suspects = set(self.keys)
        return sorted(part for key in suspects for part in parts_of(key) if part in data)


def find_parts(data, *keys):
    """What of the keys stands in the data: [part]."""
    return Search(*keys).find(data)


def writable(pid):
    """(line of maps, content) of all that a process can write to: heap, stacks of all threads, data, shared memory."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            start, end = int(start, 16), int(end, 16)
            if not rights.startswith("rw") or (dmrpc.is_sanitized() and end - start > LARGEST):
                continue
            memory.seek(start)
            try:
                yield line.strip(), memory.read(end - start)
            except OSError:  # a mapping that has gone, or that only the kernel can read
                continue


def find_copies(pid, *keys):
    """Where in a process's writable memory any part of the keys stands."""
    search = Search(*keys)
    return [f"{line}: {parts[:4]}" for line, data in writable(pid) if (parts := search.find(data))]


def find_left(pid, *keys):
    """The same, when what still runs has had its time: a client that goes does not wait for the end of its call."""
    deadline = time.monotonic() + PATIENCE
    while (found := find_copies(pid, *keys)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


# --- ways in by the raw protocol: each takes a client and the text of a request, and returns what came back ---

def whole(client, text):
    client.send(text)
    return client.read_line()


def in_pieces(client, text):
    for at in range(0, len(text), 7):
        client.send(text[at:at + 7])
        client.drained()
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
    client.send(text.replace('"params"', '"parasm"').replace('"flags"', '"falgs"'))
    return client.read_line()


def key_as_a_name(client, text):
    """The key stands where a member's name belongs."""
    (word,) = set(re.findall(r'"[^"]*[0-9a-f]{64}[^"]*"', text))
    client.send(text.replace('"params": {', f'"params": {{{word}: 1, ', 1))
    return client.read_line()


def cut_off(client, text):
    client.send(text[:-20])
    client.drained()
    client.close()
    return b""


def unread(client, text):
    """The client goes without having read its reply."""
    client.send(text)
    client.drained()
    client.close()
    return b""


RAW = [whole, in_pieces, in_batch, pipelined, not_json, wrong_params, key_as_a_name, cut_off, unread]


# --- ways in by HTTP: each takes a daemon and the text of a request ---

HEAD = b"POST / HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"


def over_http(daemon, *requests, reads=True):
    """Sends requests on one connection of HTTP and returns all that came back."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(dmrpc.TIMEOUT)
        client.connect(str(daemon.socket))
        for request_bytes in requests:
            client.sendall(request_bytes)
        if not reads:
            return b""
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer


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


def http_unread(daemon, text):
    return over_http(daemon, with_length(text), reads=False)


HTTP = [http_whole, http_in_pieces, http_chunked, http_pipelined, http_in_batch, http_refused, http_not_json,
        http_cut_off, http_unread]


def ask(daemon, way, text):
    """By any of the ways."""
    if way in HTTP:
        return way(daemon, text)
    with daemon.client() as client:
        return way(client, text)
