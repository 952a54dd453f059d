/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of conn.c: a client at the other end of a socket pair, on the simulated kernel. */
#include "server_rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"
#include "server_memory.h"

enum { CLIENT_BYTES = 4 << 20 };

struct place {
    struct rig rig;
    struct conns conns;
    int emptied;
};

struct client {
    struct place *place;
    int fd;
    char *got;
    size_t length;
    bool eof;
    int error;
};

static void on_empty(struct conns *conns)
{
    struct place *place = (struct place *)(void *)((char *)conns - offsetof(struct place, conns));

    assert_true(conns->closing);
    place->emptied++;
}

static int setup(void **state)
{
    static struct place place;

    rig_init(&place.rig);
    place.emptied = 0;
    assert_int_equal(conns_init(&place.conns, &place.rig.dispatcher, NULL, on_empty), 0);
    *state = &place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;

    conns_done(&place->conns);
    assert_int_equal(place->conns.count, 0);
    rig_done(&place->rig);
    return 0;
}

static void client_init(struct client *client, struct place *place)
{
    const struct peer peer = {.uid = 0, .pid = getpid()};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    *client = (struct client){.place = place, .fd = fds[0], .got = malloc(CLIENT_BYTES)};
    assert_non_null(client->got);
    assert_int_equal(conn_new(&place->conns, fds[1], &peer), 0);
}

static void client_done(struct client *client)
{
    if (client->fd >= 0) {
        (void)close(client->fd);
    }
    free(client->got);
}

static void client_close(struct client *client)
{
    (void)close(client->fd);
    client->fd = -1;
}

static void client_receive(struct client *client)
{
    while (!client->eof && client->length < CLIENT_BYTES) {
        ssize_t n =
            recv(client->fd, client->got + client->length, CLIENT_BYTES - client->length, 0);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        client->error = n < 0 ? errno : 0;
        client->eof = n <= 0;
        client->length += n > 0 ? (size_t)n : 0;
    }
}

/* Sends all, turning the loop where the server does not read for now. */
static void client_send_bytes(struct client *client, const char *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t n = send(client->fd, bytes + at, length - at, MSG_NOSIGNAL);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            rig_turns(&client->place->rig, 1);
        } else {
            at += (size_t)n;
        }
    }
}

static void client_send(struct client *client, const char *text)
{
    client_send_bytes(client, text, strlen(text));
}

struct lines {
    struct client *client;
    size_t count;
};

static size_t lines_of(const struct client *client)
{
    size_t count = 0;

    for (const char *p = client->got;
         (p = memchr(p, '\n', client->length - (size_t)(p - client->got))); p++) {
        count++;
    }
    return count;
}

static bool has_lines(void *what)
{
    struct lines *lines = what;

    client_receive(lines->client);
    return lines_of(lines->client) >= lines->count || lines->client->eof;
}

static bool has_eof(void *what)
{
    struct client *client = what;

    client_receive(client);
    return client->eof;
}

static void client_until_lines(struct client *client, size_t count)
{
    struct lines lines = {client, count};

    rig_until(&client->place->rig, has_lines, &lines);
    assert_int_equal(lines_of(client), count);
}

static void client_until_eof(struct client *client)
{
    rig_until(&client->place->rig, has_eof, client);
    assert_int_equal(client->error, 0); /* an end, and no reset */
}

/* Every reply so far as "id:ok" or "id:code". */
static void assert_got(struct client *client, const char *expected)
{
    char found[8192] = "";
    size_t length = 0;
    const char *line = client->got;
    const char *end = client->got + client->length;

    while (line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        assert_non_null(next);
        json_error_t error;
        json_t *json = json_loadb(line, (size_t)(next - line), 0, &error);
        assert_non_null(json);
        char *id = json_dumps(rig_at(json, "id"), JSON_ENCODE_ANY);
        const json_t *code = rig_at(json, "error/code");
        length += (size_t)(code ? snprintf(found + length, sizeof(found) - length, "%s%s:%d",
                                           length ? " " : "", id, (int)json_integer_value(code))
                                : snprintf(found + length, sizeof(found) - length, "%s%s:ok",
                                           length ? " " : "", id));
        assert_true(length < sizeof(found));
        free(id);
        json_decref(json);
        line = next + 1;
    }
    assert_string_equal(found, expected);
}

static bool is_empty(void *what)
{
    const struct place *place = what;
    return place->conns.count == 0;
}

#define CALL(id, rest) "{\"jsonrpc\":\"2.0\",\"id\":" id "," rest "}"
#define NOTE(rest)     "{\"jsonrpc\":\"2.0\"," rest "}"
#define VERSION        "\"method\":\"version\""
#define LIST           "\"method\":\"list_devices\""
#define CREATE(name)   "\"method\":\"device_create\",\"params\":{\"name\":\"" name "\"}"
#define WAIT(nr)       "\"method\":\"device_wait\",\"params\":{\"name\":\"x\",\"event_nr\":" nr "}"

/* The same call with so many blanks in it that it is parsed on a worker. */
static char *long_text(const char *call)
{
    const size_t length = 100000;
    char *text = malloc(length + 1);

    assert_non_null(text);
    memset(text, ' ', length);
    text[0] = '{';
    memcpy(text + length - strlen(call) + 1, call + 1, strlen(call) - 1);
    text[length] = '\0';
    return text;
}

/* --- framing and order --- */

static void test_in_order(void **state)
{
    struct client client;

    client_init(&client, *state);
    client_send(&client, CALL("1", VERSION) CALL("2", LIST) "\n" CALL("3", VERSION) "\n\n" CALL(
                             "4", CREATE("x")) "[]" CALL("6", LIST));
    client_until_lines(&client, 6);
    assert_got(&client, "1:ok 2:ok 3:ok 4:ok null:-32600 6:ok");
    client_done(&client);
}

/* Cut at every byte, with a turn of the loop between: the same replies. */
static void test_cut(void **state)
{
    static const char text[] = CALL("1", VERSION) " " CALL("\"}{\\\"\"", LIST) "5 \"a\" {\n}\n";
    struct place *place = *state;

    for (size_t cut = 1; cut < sizeof(text) - 1; cut += 3) {
        struct client client;
        client_init(&client, place);
        client_send_bytes(&client, text, cut);
        rig_turns(&place->rig, 1);
        client_send_bytes(&client, text + cut, sizeof(text) - 1 - cut);
        client_until_lines(&client, 5);
        assert_got(&client, "1:ok \"}{\\\"\":ok null:-32600 null:-32600 null:-32600");
        client_done(&client);
        rig_until(&place->rig, is_empty, place);
    }
}

static void test_byte_by_byte(void **state)
{
    static const char text[] = CALL("1", VERSION) CALL("2", LIST) "7 ";
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        client_send_bytes(&client, text + i, 1);
        (void)ev_run(place->rig.loop, EVRUN_NOWAIT);
        (void)ev_run(place->rig.loop, EVRUN_NOWAIT);
    }
    client_until_lines(&client, 3);
    assert_got(&client, "1:ok 2:ok null:-32600");
    client_done(&client);
}

/* More documents in one read than one turn serves. */
static void test_many(void **state)
{
    struct place *place = *state;
    struct client busy, other;
    char *text = calloc(1000, 64);
    char *p = text;

    assert_non_null(text);
    for (int i = 0; i < 500; i++) {
        p += sprintf(p, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"version\"}", i);
    }
    client_init(&busy, place);
    client_init(&other, place);
    client_send(&busy, text);
    client_send(&other, CALL("1", VERSION));
    client_until_lines(&other, 1); /* meanwhile others have their turn */
    client_receive(&busy);
    assert_true(lines_of(&busy) < 500);
    client_until_lines(&busy, 500);
    p = busy.got;
    for (int i = 0; i < 500; i++) {
        char head[48];
        (void)sprintf(head, "{\"jsonrpc\":\"2.0\",\"id\":%d,", i);
        assert_memory_equal(p, head, strlen(head));
        p = (char *)memchr(p, '\n', busy.length) + 1;
    }
    client_done(&busy);
    client_done(&other);
    free(text);
}

/* While a call runs, the next of its connection waits, and those of others do not. */
static void test_one_at_a_time(void **state)
{
    struct place *place = *state;
    struct client slow, other;

    client_init(&slow, place);
    client_init(&other, place);
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "x");
    client_send(&slow, CALL("1", CREATE("x")) CALL("2", VERSION));
    rig_until_held(&place->rig, held, 1);
    client_send(&slow, CALL("3", VERSION));
    client_send(&other, CALL("1", VERSION) CALL("2", LIST));
    client_until_lines(&other, 2);
    client_receive(&slow);
    assert_int_equal(slow.length, 0);
    rig_release(&place->rig, held);
    client_until_lines(&slow, 3);
    assert_got(&slow, "1:ok 2:ok 3:ok");
    client_done(&slow);
    client_done(&other);
}

/* A long text is parsed on a worker, and cut by every read. */
static void test_long(void **state)
{
    struct client client;
    char *text = long_text(CALL("1", VERSION));

    client_init(&client, *state);
    client_send(&client, text);
    client_send(&client, CALL("2", VERSION));
    client_until_lines(&client, 2);
    assert_got(&client, "1:ok 2:ok");
    client_done(&client);
    free(text);
}

/* --- ends --- */

/* `printf ... | socat - UNIX:...`: what runs is finished, answered, and then it closes. */
static void test_half_close(void **state)
{
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "x");
    client_send(&client, CALL("1", CREATE("x")) CALL("2", VERSION) CALL("3", LIST) "7");
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    rig_until_held(&place->rig, held, 1);
    rig_sleep(&place->rig, 10);
    rig_release(&place->rig, held);
    client_until_eof(&client);
    assert_got(&client, "1:ok 2:ok 3:ok null:-32600");
    rig_until(&place->rig, is_empty, place);
    client_done(&client);
}

static void test_end_in_the_middle(void **state)
{
    static const char *const texts[] = {"{", "{\"a", "[1,2", "\"a", "{} {"};
    static const char *const replies[] = {"null:-32700", "null:-32700", "null:-32700",
                                          "null:-32700", "null:-32600 null:-32700"};
    struct place *place = *state;

    for (size_t i = 0; i < 5; i++) {
        struct client client;
        client_init(&client, place);
        client_send(&client, texts[i]);
        assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
        client_until_eof(&client);
        assert_got(&client, replies[i]);
        client_done(&client);
    }
    rig_until(&place->rig, is_empty, place);
}

static void test_nothing(void **state)
{
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    client_until_eof(&client);
    assert_int_equal(client.length, 0);
    client_done(&client);
    client_init(&client, place);
    client_done(&client); /* comes and goes */
    rig_until(&place->rig, is_empty, place);
}

static void test_garbage(void **state)
{
    static const char *const texts[] = {"]", "hello", "\xef\xbb\xbf{}", "//"};
    struct place *place = *state;

    for (size_t i = 0; i < 4; i++) {
        struct client client;
        client_init(&client, place);
        client_send(&client, CALL("1", VERSION));
        client_send(&client, texts[i]);
        client_send(&client, CALL("2", CREATE("never")));
        client_until_eof(&client);
        assert_got(&client, "1:ok null:-32700");
        client_done(&client);
    }
    assert_false(rig_exists(&place->rig, "never"));
    rig_until(&place->rig, is_empty, place);
}

static void assert_limit(struct place *place, const char *text, int limit)
{
    struct client client;

    client_init(&client, place);
    client_send(&client, text);
    client_until_eof(&client);
    client.got[client.length] = '\0';
    json_t *json = rig_json(client.got);
    assert_error(json, -32600, "invalid_request");
    assert_int_equal(json_integer_value(rig_at(json, "error/data/limit")), limit);
    json_decref(json);
    client_done(&client);
}

static void test_limits(void **state)
{
    struct place *place = *state;
    struct limits *limits = &place->rig.dispatcher.host.limits;
    struct client client;

    limits->request_bytes = 100;
    limits->depth = 5;
    limits->values = 20;
    client_init(&client, place);
    client_send(&client, "[[[[[]]]]] [1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9]");
    client_until_lines(&client, 2);
    client_done(&client);
    assert_limit(place, "[[[[[[", 5);
    assert_limit(place, "[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0", 20);
    char text[102];
    memset(text, 'x', sizeof(text));
    text[0] = '"';
    text[101] = '\0';
    assert_limit(place, text, 100);
    rig_until(&place->rig, is_empty, place);
}

/* The peer goes on sending: it reads the reply all the same, and is not listened to for ever. */
static void test_linger(void **state)
{
    struct place *place = *state;
    struct client client;
    char *junk = malloc(1 << 16);

    assert_non_null(junk);
    memset(junk, 'x', 1 << 16);
    client_init(&client, place);
    client_send(&client, "]");
    client_send_bytes(&client, junk, 1 << 16);
    rig_turns(&place->rig, 5);
    client_send_bytes(&client, junk, 1 << 16);
    client_until_lines(&client, 1);
    client_until_eof(&client);
    assert_got(&client, "null:-32700");
    assert_int_equal(place->conns.count, 1);
    for (int i = 0; i < 40 && place->conns.count > 0; i++) { /* more than a megabyte is too much */
        (void)send(client.fd, junk, 1 << 16, MSG_NOSIGNAL);
        rig_turns(&place->rig, 2);
    }
    assert_int_equal(place->conns.count, 0);
    client_done(&client);
    free(junk);
}

/* It neither closes nor sends: a second, and no more. */
static void test_linger_timeout(void **state)
{
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    client_send(&client, "]");
    client_until_eof(&client);
    assert_int_equal(place->conns.count, 1);
    rig_until(&place->rig, is_empty, place);
    client_done(&client);
}

struct connection {
    const struct conns *conns;
    uint64_t number;
};

static bool is_gone(void *what)
{
    const struct connection *connection = what;
    return !conns_has(connection->conns, connection->number);
}

static void test_gone_while_running(void **state)
{
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "x");
    client_send(&client, CALL("1", CREATE("x")) CALL("2", CREATE("never")));
    rig_until_held(&place->rig, held, 1);
    client_close(&client);
    rig_sleep(&place->rig, 5);
    rig_release(&place->rig, held);
    rig_until(&place->rig, is_empty, place);
    rig_until_idle(&place->rig);
    assert_true(rig_exists(&place->rig, "x"));
    client_done(&client);
}

/* Its leases end, though what it had asked for goes on: what that waits for may be what they hold.
 */
static void test_gone_is_noticed_at_once(void **state)
{
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "x");
    client_send(&client, CALL("1", CREATE("x")) CALL("2", VERSION));
    rig_until_held(&place->rig, held, 1);
    struct connection connection = {&place->conns, place->conns.last_number};
    assert_false(is_gone(&connection));
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    rig_sleep(&place->rig, 10);
    assert_false(is_gone(&connection)); /* it still wants to hear */
    client_close(&client);
    rig_until(&place->rig, is_gone, &connection);
    assert_int_equal(place->conns.count, 1);
    rig_release(&place->rig, held);
    rig_until(&place->rig, is_empty, place);
    assert_true(rig_exists(&place->rig, "x"));
    client_done(&client);
}

/* All that it had sent is served: nobody waits for a reply to a notification. */
static void test_gone_is_served(void **state)
{
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "x");
    client_send(&client, NOTE(CREATE("x")) NOTE(CREATE("y")));
    rig_until_held(&place->rig, held, 1);
    client_send_bytes(&client, NOTE(CREATE("z")), strlen(NOTE(CREATE("z"))));
    struct connection connection = {&place->conns, place->conns.last_number};
    client_close(&client);
    rig_until(&place->rig, is_gone, &connection);
    rig_release(&place->rig, held);
    rig_until(&place->rig, is_empty, place);
    assert_true(rig_exists(&place->rig, "x"));
    assert_true(rig_exists(&place->rig, "y"));
    assert_true(rig_exists(&place->rig, "z"));
    client_done(&client);
}

/* All connections at once, as at the daemon's exit, while calls run, wait and are parsed. */
static void test_done_while_running(void **state)
{
    struct place *place = *state;
    struct client clients[4];
    char *text = long_text(CALL("1", VERSION));

    rig_device(&place->rig, "x", NULL);
    for (int i = 0; i < 4; i++) {
        client_init(&clients[i], place);
    }
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "y");
    client_send(&clients[0], CALL("1", CREATE("y")));
    client_send(&clients[1], CALL("1", CREATE("y")));
    client_send(&clients[2], CALL("1", WAIT("0")) CALL("2", WAIT("0")));
    client_send(&clients[3], text);
    rig_until_held(&place->rig, held, 1);
    conns_done(&place->conns);
    assert_int_equal(place->conns.count, 0);
    rig_release(&place->rig, held);
    rig_until_idle(&place->rig);
    for (int i = 0; i < 4; i++) {
        client_done(&clients[i]);
    }
    free(text);
    assert_int_equal(conns_init(&place->conns, &place->rig.dispatcher, NULL, on_empty), 0);
}

/* --- waits --- */

static void test_wait_is_overtaken(void **state)
{
    struct place *place = *state;
    struct client client;

    rig_device(&place->rig, "x", NULL);
    client_init(&client, place);
    client_send(&client,
                CALL("1", WAIT("0")) CALL("2", VERSION) CALL("3", WAIT("0")) CALL("4", LIST));
    client_until_lines(&client, 2);
    assert_got(&client, "2:ok 4:ok");
    client.length = 0;
    rig_event(&place->rig, "x");
    client_until_lines(&client, 2);
    client_send(&client, CALL("5", VERSION)); /* as good as new */
    client_until_lines(&client, 3);
    client_done(&client);
}

/* A wait in a text that was parsed elsewhere is overtaken, too, and ends with its client. */
static void test_long_wait(void **state)
{
    struct place *place = *state;
    struct client client;
    char *text = long_text(CALL("1", WAIT("0")));

    rig_device(&place->rig, "x", NULL);
    for (int round = 0; round < 3; round++) {
        client_init(&client, place);
        client_send(&client, text);
        client_send(&client, CALL("2", VERSION));
        client_until_lines(&client, 1);
        assert_got(&client, "2:ok");
        if (round == 0) {
            assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
            rig_sleep(&place->rig, 5);
            assert_int_equal(place->conns.count, 1);
        } else if (round == 1) {
            rig_event(&place->rig, "x");
            client_until_lines(&client, 2);
            assert_got(&client, "2:ok 1:ok");
            memcpy(strstr(text, "event_nr\":0"), "event_nr\":1", 11);
        }
        client_done(&client);
        rig_until(&place->rig, is_empty, place);
    }
    free(text);
}

/* Half closed and waiting: answered when the time comes, given up when the peer goes. */
static void test_half_closed_wait(void **state)
{
    struct place *place = *state;
    struct client client;

    rig_device(&place->rig, "x", NULL);
    client_init(&client, place);
    client_send(&client, CALL("1", WAIT("0")));
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    rig_sleep(&place->rig, 10);
    assert_int_equal(place->conns.count, 1);
    rig_event(&place->rig, "x");
    client_until_eof(&client);
    assert_got(&client, "1:ok");
    client_done(&client);
    rig_until(&place->rig, is_empty, place);

    client_init(&client, place);
    client_send(&client, CALL("1", WAIT("1")) CALL("2", WAIT("1")));
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    rig_sleep(&place->rig, 10);
    assert_int_equal(place->conns.count, 1);
    client_close(&client);
    rig_until(&place->rig, is_empty, place);
    client_done(&client);
}

static void test_gone_while_waiting(void **state)
{
    struct place *place = *state;
    struct client client;

    rig_device(&place->rig, "x", NULL);
    client_init(&client, place);
    client_send(&client, CALL("1", WAIT("0")) CALL("2", WAIT("0")) CALL("3", VERSION));
    client_until_lines(&client, 1);
    client_close(&client);
    rig_until(&place->rig, is_empty, place);
    rig_event(&place->rig, "x");
    rig_sleep(&place->rig, 15);
    client_done(&client);
}

/*
 * Nobody reads any more when the first of several waits of one connection is
 * answered: the others go with the connection, while they are being gone through.
 */
static void test_deaf_while_waiting(void **state)
{
    struct place *place = *state;

    for (int round = 0; round < 2; round++) {
        struct client client;
        rig_device(&place->rig, "x", NULL);
        client_init(&client, place);
        client_send(&client, CALL("1", WAIT("0")) CALL("2", WAIT("0")) CALL("3", WAIT("0"))
                                 CALL("4", VERSION));
        client_until_lines(&client, 1);
        assert_int_equal(shutdown(client.fd, SHUT_RD), 0);
        if (round == 0) {
            rig_remove(&place->rig, "x");
        } else {
            rig_event(&place->rig, "x");
        }
        rig_until(&place->rig, is_empty, place);
        client_done(&client);
        if (round != 0) {
            rig_until_idle(&place->rig);
            rig_remove(&place->rig, "x");
        }
    }
}

/* Its event has come and a worker makes the answer when the client goes. */
static void test_gone_while_answered(void **state)
{
    struct place *place = *state;
    struct client client;

    rig_device(&place->rig, "x", NULL);
    client_init(&client, place);
    client_send(&client, CALL("1", WAIT("0")));
    rig_turns(&place->rig, 3);
    uint64_t held = rig_hold(&place->rig, DMI_TABLE_STATUS, "x");
    rig_event(&place->rig, "x");
    rig_until_held(&place->rig, held, 1);
    client_close(&client);
    rig_until(&place->rig, is_empty, place);
    rig_release(&place->rig, held);
    rig_until_idle(&place->rig);
    client_done(&client);
}

/* --- a peer that does not read --- */

static char *many_calls(int count)
{
    char *text = calloc((size_t)count, 64);
    char *p = text;

    assert_non_null(text);
    for (int i = 0; i < count; i++) {
        p += sprintf(p, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"rpc.discover\"}", i);
    }
    return text;
}

/* Past the limit nothing more is served, until what there is has been read. */
static void test_unsent(void **state)
{
    struct place *place = *state;
    struct client client;
    char *text = many_calls(40);

    place->rig.dispatcher.host.limits.unsent_bytes = 200000;
    client_init(&client, place);
    client_send(&client, text);
    client_send(&client, CALL("40", CREATE("last")));
    rig_sleep(&place->rig, 20);
    assert_false(rig_exists(&place->rig, "last"));
    assert_true(place->rig.budget.used < 1000000);
    size_t seen = 0; /* replies are large: they are counted and dropped */
    for (int i = 0; seen < 41; i++) {
        assert_true(i < 10000);
        client.length = 0;
        client_receive(&client);
        seen += lines_of(&client);
        assert_false(client.eof);
        rig_turns(&place->rig, 1);
    }
    assert_true(rig_exists(&place->rig, "last"));
    client_done(&client);
    free(text);
}

/* The replies fit into the socket at once, though they are past the limit: it goes on by itself. */
static void test_unsent_at_once(void **state)
{
    struct place *place = *state;

    place->rig.dispatcher.host.limits.unsent_bytes = 50;
    for (int half = 0; half < 2; half++) {
        struct client client;
        client_init(&client, place);
        client_send(&client, CALL("1", VERSION) CALL("2", VERSION) CALL("3", VERSION) "{");
        if (half) {
            assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
            client_until_eof(&client);
            assert_got(&client, "1:ok 2:ok 3:ok null:-32700");
        } else {
            client_until_lines(&client, 3);
            assert_got(&client, "1:ok 2:ok 3:ok");
        }
        client_done(&client);
    }
    struct client client; /* the end is all that is left when the replies are away */
    client_init(&client, place);
    client_send(&client, CALL("1", VERSION) "7");
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    client_until_eof(&client);
    assert_got(&client, "1:ok null:-32600");
    client_done(&client);
}

static void test_stall(void **state)
{
    struct place *place = *state;
    struct client client;
    char *text = many_calls(20);

    place->rig.dispatcher.host.limits.stall_seconds = 0; /* patience is for others */
    client_init(&client, place);
    client_send(&client, text);
    rig_until(&place->rig, is_empty, place);
    assert_int_equal(place->rig.budget.used, 0);
    client_done(&client);
    free(text);
}

/* --- limits of memory --- */

static void test_no_room(void **state)
{
    struct place *place = *state;
    struct client client;

    client_init(&client, place);
    char text[6000];
    memset(text, ' ', sizeof(text));
    memcpy(text, "[", 1);
    memcpy(text + sizeof(text) - 2, "]", 2);
    place->rig.budget.limit = 4096 + 10; /* a reply's first block, not this request */
    client_send(&client, text);
    client_until_eof(&client);
    client.got[client.length] = '\0';
    json_t *json = rig_json(client.got);
    assert_error(json, 11, "overloaded");
    json_decref(json);
    client_done(&client);

    client_init(&client, place);
    client_send(&client, "{"); /* no room to keep it */
    client_until_eof(&client);
    assert_got(&client, "null:11");
    client_done(&client);

    client_init(&client, place);
    place->rig.budget.limit = 10; /* not even for saying so */
    client_send(&client, CALL("1", VERSION));
    rig_until(&place->rig, has_eof, &client);
    assert_int_equal(client.length, 0);
    client_done(&client);
    rig_until(&place->rig, is_empty, place);
}

/* Buffers of idle connections go back. */
static void test_idle_costs_nothing(void **state)
{
    struct place *place = *state;
    struct client clients[50];

    for (int i = 0; i < 50; i++) {
        client_init(&clients[i], place);
        client_send(&clients[i], CALL("1", "\"meth"));
    }
    rig_turns(&place->rig, 5);
    for (int i = 0; i < 50; i++) {
        client_send(&clients[i], "od\":1} ");
        client_until_lines(&clients[i], 1);
    }
    assert_int_equal(place->rig.budget.used, 0);
    for (int i = 0; i < 50; i++) {
        client_done(&clients[i]);
    }
}

static void test_conn_no_memory(void **state)
{
    struct place *place = *state;
    const struct peer peer = {0};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    memory_fail_at(0);
    assert_int_equal(conn_new(&place->conns, fds[0], &peer), -ENOMEM);
    memory_fail_at(-1);
    assert_int_equal(place->conns.count, 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_wiped(void **state)
{
    static const char secret[] = "the-secret-in-the-buffer";
    struct place *place = *state;
    struct client client;
    char text[256];

    (void)snprintf(text, sizeof(text), CALL("1", VERSION) "{\"key\":\"%s", secret);
    client_init(&client, place);
    memory_watch(secret);
    client_send(&client, text);
    client_until_lines(&client, 1);
    assert_null(memmem(place->conns.read_buffer, CONN_READ_BYTES, secret, strlen(secret)));
    client_send(&client, "\"} ");
    client_until_lines(&client, 2);
    assert_null(memmem(place->conns.read_buffer, CONN_READ_BYTES, secret, strlen(secret)));
    assert_int_equal(memory_seen(), 0);

    /* Behind what is kept, when the buffer is moved up. */
    (void)snprintf(text, sizeof(text), "{\"a\":\"some bytes before it\",\"key\":\"%s", secret);
    client_send(&client, text);
    rig_turns(&place->rig, 3);
    client_send(&client, "\"}[1");
    client_until_lines(&client, 3);
    client_send(&client, ",2");
    rig_turns(&place->rig, 3);
    client_send(&client, "]");
    client_until_lines(&client, 4);
    assert_int_equal(place->rig.budget.used, 0); /* the buffer has gone */
    assert_int_equal(memory_seen(), 0);
    memory_watch(NULL);
    client_done(&client);
}

/* --- the daemon's exit --- */

static void test_close(void **state)
{
    struct place *place = *state;
    struct client idle, running, waiting, partial;

    rig_device(&place->rig, "x", NULL);
    client_init(&idle, place);
    client_init(&running, place);
    client_init(&waiting, place);
    client_init(&partial, place);
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "y");
    client_send(&running, CALL("1", CREATE("y")) CALL("2", VERSION));
    client_send(&waiting, CALL("1", WAIT("0")));
    client_send(&partial, "{\"json");
    rig_until_held(&place->rig, held, 1);
    rig_turns(&place->rig, 3);

    place->rig.dispatcher.closing = true;
    waits_end_all(place->rig.dispatcher.waits);
    conns_close(&place->conns);
    client_until_eof(&idle);
    assert_int_equal(idle.length, 0);
    client_until_eof(&waiting);
    assert_got(&waiting, "1:13");
    client_until_eof(&partial);
    assert_int_equal(place->emptied, 0);
    rig_release(&place->rig, held);
    client_until_eof(&running);
    assert_got(&running, "1:ok 2:13"); /* what ran is answered; what did not is refused */
    client_done(&idle);
    client_done(&running);
    client_done(&waiting);
    client_done(&partial);
    rig_until(&place->rig, is_empty, place);
    assert_int_equal(place->emptied, 1);
    conns_close(&place->conns); /* with none: at once */
    assert_int_equal(place->emptied, 2);
}

/* What is behind a call has not been read when that ends, however long that took. */
static void test_close_behind_a_call(void **state)
{
    struct place *place = *state;
    const struct timespec pause = {.tv_sec = 1, .tv_nsec = 100000000};
    struct client client;

    client_init(&client, place);
    uint64_t held = rig_hold(&place->rig, DMI_DEV_CREATE, "x");
    client_send(&client, CALL("1", CREATE("x")));
    rig_until_held(&place->rig, held, 1);
    client_send(&client, CALL("2", VERSION));
    place->rig.dispatcher.closing = true;
    conns_close(&place->conns);
    (void)nanosleep(&pause, NULL);
    rig_turns(&place->rig, 3);
    rig_release(&place->rig, held);
    client_until_eof(&client);
    assert_got(&client, "1:ok 2:13");
    client_done(&client);
}

static void test_count_user(void **state)
{
    struct place *place = *state;
    const struct peer peer = {.uid = 4711};
    struct client client;
    int fds[2];

    client_init(&client, place);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(conn_new(&place->conns, fds[1], &peer), 0);
    assert_int_equal(conns_count_user(&place->conns, 0), 1);
    assert_int_equal(conns_count_user(&place->conns, 4711), 1);
    assert_int_equal(conns_count_user(&place->conns, 1), 0);
    (void)close(fds[0]);
    client_done(&client);
    rig_until(&place->rig, is_empty, place);
    assert_int_equal(conns_count_user(&place->conns, 4711), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_order),
        TEST(test_cut),
        TEST(test_byte_by_byte),
        TEST(test_many),
        TEST(test_one_at_a_time),
        TEST(test_long),
        TEST(test_half_close),
        TEST(test_end_in_the_middle),
        TEST(test_nothing),
        TEST(test_garbage),
        TEST(test_limits),
        TEST(test_linger),
        TEST(test_linger_timeout),
        TEST(test_gone_while_running),
        TEST(test_gone_is_noticed_at_once),
        TEST(test_gone_is_served),
        TEST(test_done_while_running),
        TEST(test_wait_is_overtaken),
        TEST(test_long_wait),
        TEST(test_half_closed_wait),
        TEST(test_gone_while_waiting),
        TEST(test_deaf_while_waiting),
        TEST(test_gone_while_answered),
        TEST(test_unsent),
        TEST(test_unsent_at_once),
        TEST(test_stall),
        TEST(test_no_room),
        TEST(test_idle_costs_nothing),
        TEST(test_conn_no_memory),
        TEST(test_wiped),
        TEST(test_close),
        TEST(test_close_behind_a_call),
        TEST(test_count_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
