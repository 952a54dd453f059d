/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many calls of many kinds over many connections, some of which are cut at any
 * moment, with suspends that stick and are given up, waits, events and cancellations
 * among them. No reply may be lost, swapped or doubled, and in the end the daemon must
 * hold no more than before.
 *
 * load_mixed SOCKET PID [CALLS [CONNECTIONS [SEED]]]
 */
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WINDOW = 16, DEVICES = 50, TEXT_BYTES = 16384, LINE_BYTES = 65536, CUT_EACH = 400 };

enum kind {
    VERSION,
    STATUS,
    LIST,
    CREATE,
    LOAD,
    REMOVE,
    NOTE,
    BATCH,
    GARBLED,
    SUSPEND,
    RESUME,
    STALL,
    WAIT,
    CALLS,
    CANCEL,
    SUBSCRIBE,
    KINDS
};

/* What a reply must be to: by its id, its kind and its device. */
struct expected {
    enum kind kind;
    uint64_t id;
    unsigned device;
};

struct connection {
    int fd;
    struct expected owed[WINDOW]; /* in order, from `first` */
    size_t first, count;
    bool subscribed;
    char text[TEXT_BYTES]; /* to send */
    size_t length, sent;
    char line[LINE_BYTES]; /* of a reply, as far as it has come */
    size_t filled;
};

struct load {
    const char *path;
    int epoll;
    uint64_t random, id;
    size_t answered, wanted, cuts, lost; /* lost: owed to connections that were cut */
    size_t events, cancelled, timed_out;
    uint64_t call; /* one that has not ended, as far as is known; 0: none is known */
};

static void open_connection(struct load *load, struct connection *c)
{
    *c = (struct connection){.fd = client_connect(load->path, SOCK_NONBLOCK)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0) {
        die("epoll_ctl: %s", strerror(errno));
    }
}

/* --- requests --- */

__attribute__((format(printf, 2, 3))) static void put(struct connection *c, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    c->length +=
        (size_t)vsnprintf(c->text + c->length, sizeof(c->text) - c->length, format, arguments);
    va_end(arguments);
}

static void put_call(struct connection *c, const struct expected *e, const char *method,
                     const char *more)
{
    put(c,
        "{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64
        ",\"method\":\"%s\",\"params\":{\"name\":\"m-%u\"%s}}",
        e->id, method, e->device, more);
}

static void put_version(struct connection *c, uint64_t id)
{
    put(c, "{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64 ",\"method\":\"version\"}", id);
}

static void put_batch(struct connection *c, uint64_t id)
{
    put(c, "[");
    put_version(c, id);
    put(c, ",{\"jsonrpc\":\"2.0\",\"method\":\"version\"},");
    put_version(c, id + 1);
    put(c, ",5]");
}

/* Asks what runs or waits, or cancels what the latest answer told of. */
static void put_cancel(struct load *load, struct connection *c, struct expected *e)
{
    if (load->call == 0) {
        e->kind = CALLS;
        put(c, "{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64 ",\"method\":\"calls_list\"}", e->id);
        return;
    }
    put(c,
        "{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64
        ",\"method\":\"call_cancel\",\"params\":{\"call\":%" PRIu64 "}}",
        e->id, load->call);
    e->kind = CANCEL;
    load->call = 0;
}

static void add_request(struct load *load, struct connection *c)
{
    static const char targets[] =
        ",\"targets\":[{\"start\":0,\"length\":8,\"type\":\"zero\",\"params\":\"\"}]";
    static const char *const plain[KINDS] = {[STATUS] = "device_status",
                                             [CREATE] = "device_create",
                                             [REMOVE] = "device_remove",
                                             [SUBSCRIBE] = "events_subscribe"};
    uint64_t random = random_next(&load->random);
    struct expected e = {.kind = (enum kind)(random % KINDS),
                         .id = load->id,
                         .device = (unsigned)(random >> 32) % DEVICES};
    bool is_long = random >> 61 == 0; /* enough for a cancellation to find it */

    load->id += 2;
    if (e.kind == SUBSCRIBE && c->subscribed) {
        e.kind = CANCEL;
    }
    c->subscribed = c->subscribed || e.kind == SUBSCRIBE;
    switch (e.kind) {
    case NOTE:
        put(c, "{\"jsonrpc\":\"2.0\",\"method\":\"version\"} ");
        return;
    case VERSION:
        put_version(c, e.id);
        break;
    case LIST:
        put(c, "{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64 ",\"method\":\"list_devices\"}\n", e.id);
        break;
    case LOAD:
        put_call(c, &e, "table_load", targets);
        break;
    case BATCH:
        put_batch(c, e.id);
        break;
    case SUSPEND:
        put_call(c, &e, "device_suspend",
                 is_long ? ",\"flags\":[\"DM_SUSPEND\"],\"timeout_ms\":100,\"resume_after_ms\":20"
                         : ",\"flags\":[\"DM_SUSPEND\"],\"timeout_ms\":5,\"resume_after_ms\":20");
        break;
    case RESUME: /* of a table that waits for I/O as well */
        put_call(c, &e, "device_resume", ",\"timeout_ms\":5");
        break;
    case STALL:
        put_call(c, &e, "simulate_stall", random >> 60 == 0 ? ",\"drain\":true" : "");
        break;
    case WAIT:
        put_call(c, &e, "device_wait",
                 is_long ? ",\"event_nr\":0,\"timeout_ms\":200"
                         : ",\"event_nr\":0,\"timeout_ms\":3");
        break;
    case CALLS:
    case CANCEL:
        put_cancel(load, c, &e);
        break;
    case GARBLED:
        put(c, "{\"jsonrpc\":\"2.0\",\"id\":01}");
        break;
    default:
        put_call(c, &e, plain[e.kind], "");
        break;
    }
    c->owed[(c->first + c->count++) % WINDOW] = e;
}

/* --- replies --- */

static void check(const struct expected *e, const char *line)
{
    char wanted[128];
    char name[32];
    char second[64];

    (void)snprintf(wanted, sizeof(wanted), "%s{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64 ",",
                   e->kind == BATCH ? "[" : "", e->id);
    (void)snprintf(name, sizeof(name), "\"m-%u\"", e->device);
    (void)snprintf(second, sizeof(second),
                   ",{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64 ",\"result\":", e->id + 1);
    if (e->kind == GARBLED) {
        (void)snprintf(wanted, sizeof(wanted), "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":");
    }
    bool good = strncmp(line, wanted, strlen(wanted)) == 0;
    if (e->kind == VERSION) {
        good = good && strstr(line, "\"major\":4");
    } else if (e->kind == BATCH) {
        good = good && strstr(line, second) && strstr(line, ",{\"jsonrpc\":\"2.0\",\"id\":null,");
    } else if (e->kind == STATUS || e->kind == LOAD || e->kind == CREATE) {
        good = good && strstr(line, name); /* in errors, too */
    }
    if (!good) {
        die("a wrong reply: %.300s\nwanted: %s", line, wanted);
    }
}

static struct expected *at(struct connection *c, size_t i)
{
    return &c->owed[(c->first + i) % WINDOW];
}

/* A wait is overtaken, and answers when it likes; all others answer in their order. */
static struct expected take_expected(struct connection *c, const char *line)
{
    char id[64];
    size_t found = 0;

    while (found < c->count && at(c, found)->kind == WAIT) {
        (void)snprintf(id, sizeof(id), "{\"jsonrpc\":\"2.0\",\"id\":%" PRIu64 ",",
                       at(c, found)->id);
        if (strncmp(line, id, strlen(id)) == 0) {
            break;
        }
        found++;
    }
    if (found == c->count) {
        die("a reply that nobody asked for: %.300s", line);
    }
    const struct expected e = *at(c, found);
    for (; found > 0; found--) {
        *at(c, found) = *at(c, found - 1);
    }
    c->first = (c->first + 1) % WINDOW;
    c->count--;
    return e;
}

/* Of those in the list the one that began last: it has most of its time before it. */
static uint64_t last_call(const char *line)
{
    static const char key[] = "\"call\":";
    uint64_t last = 0;

    while ((line = strstr(line, key))) {
        line += strlen(key);
        last = strtoull(line, NULL, 10);
    }
    return last;
}

static void count(struct load *load, const struct expected *e, const char *line)
{
    if (e->kind == CALLS) {
        load->call = last_call(line);
    }
    load->cancelled += strstr(line, "\"error\":\"cancelled\"") != NULL;
    load->timed_out += strstr(line, "\"error\":\"timed_out\"") != NULL;
    load->answered++;
}

static void take_line(struct load *load, struct connection *c)
{
    static const char event[] = "{\"jsonrpc\":\"2.0\",\"method\":\"event\",";

    if (strncmp(c->line, event, strlen(event)) == 0) {
        load->events++;
        return;
    }
    const struct expected e = take_expected(c, c->line);
    check(&e, c->line);
    count(load, &e, c->line);
}

static void take_lines(struct load *load, struct connection *c)
{
    char *end;

    while ((end = memchr(c->line, '\n', c->filled))) {
        size_t length = (size_t)(end - c->line) + 1;
        *end = '\0';
        take_line(load, c);
        memmove(c->line, c->line + length, c->filled - length);
        c->filled -= length;
    }
}

static void receive(struct load *load, struct connection *c)
{
    ssize_t n;

    while ((n = recv(c->fd, c->line + c->filled, sizeof(c->line) - c->filled, 0)) > 0) {
        c->filled += (size_t)n;
        take_lines(load, c);
    }
    if (n == 0 || errno != EAGAIN) {
        die("a connection ended: %s", n == 0 ? "closed" : strerror(errno));
    }
}

/* --- all of it --- */

static void transmit(struct connection *c)
{
    ssize_t n = send(c->fd, c->text + c->sent, c->length - c->sent, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN) {
        die("send: %s", strerror(errno));
    }
    c->sent += n > 0 ? (size_t)n : 0;
    if (c->sent == c->length) {
        c->sent = c->length = 0;
    }
}

/* In the middle of whatever goes on, a part of a request sent perhaps. */
static void cut(struct load *load, struct connection *c)
{
    load->cuts++;
    load->lost += c->count;
    if (c->length > c->sent) {
        c->length = c->sent + (c->length - c->sent) / 2;
        (void)send(c->fd, c->text + c->sent, c->length - c->sent, MSG_NOSIGNAL);
    }
    (void)close(c->fd);
    open_connection(load, c);
}

static void serve(struct load *load, struct connection *c)
{
    receive(load, c);
    /* What is on its way counts as well: the last calls are not cut. */
    bool more = load->answered + (size_t)WINDOW < load->wanted;
    if (more && random_next(&load->random) % CUT_EACH == 0) {
        cut(load, c);
    }
    if (c->length == 0) {
        size_t room = more ? 1 + random_next(&load->random) % WINDOW : 0;
        while (c->count < room && c->length < TEXT_BYTES / 2) {
            add_request(load, c);
        }
    }
    if (c->length > 0) {
        transmit(c);
    }
}

static size_t owed(const struct connection *connections, size_t count)
{
    size_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += connections[i].count;
    }
    return sum;
}

static void run(struct load *load, size_t count)
{
    struct connection *connections = alloc(count * sizeof(*connections));

    for (size_t i = 0; i < count; i++) {
        open_connection(load, &connections[i]);
    }
    while (load->answered + (size_t)WINDOW < load->wanted || owed(connections, count) > 0) {
        struct epoll_event events[64];
        int n = epoll_wait(load->epoll, events, 64, 30000);
        if (n == 0) {
            die("replies were lost: %zu are owed, and none comes", owed(connections, count));
        }
        for (int i = 0; i < n; i++) {
            serve(load, events[i].data.ptr);
        }
    }
    for (size_t i = 0; i < count; i++) {
        (void)close(connections[i].fd);
    }
    free(connections);
}

/* What the daemon holds once it has noticed that its clients are gone. */
struct held {
    long files, bytes;
};

enum { HELD_BYTES = 100 }; /* of one reply */

static bool is_within(const struct held *held, const struct held *before)
{
    return held->files <= before->files && held->bytes <= before->bytes + HELD_BYTES;
}

static struct held settled(const char *path, pid_t pid, const struct held *before)
{
    struct held held = {0};

    for (int i = 0; i < 300; i++) {
        held = (struct held){.files = files_of(pid), .bytes = held_bytes(path)};
        if (is_within(&held, before)) {
            break;
        }
        (void)usleep(10000);
    }
    return held;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        die("usage: load_mixed SOCKET PID [CALLS [CONNECTIONS [SEED]]]");
    }
    pid_t pid = (pid_t)number_of(argc, argv, 2, 0);
    size_t count = (size_t)number_of(argc, argv, 4, 64);
    struct load load = {.path = argv[1], .epoll = epoll_create1(EPOLL_CLOEXEC)};
    load.random = (uint64_t)number_of(argc, argv, 5, 1);
    load.wanted = 20000;
    run(&load, count); /* so that what it needs once is there */
    const struct held before = settled(load.path, pid, &(struct held){0});
    long memory = memory_of(pid);

    load.answered = load.cuts = load.lost = load.events = load.cancelled = load.timed_out = 0;
    load.wanted = (size_t)number_of(argc, argv, 3, 1000000);
    double begin = now();
    run(&load, count);
    double seconds = now() - begin;
    const struct held after = settled(load.path, pid, &before);
    (void)printf(
        "mixed: answered=%zu seconds=%.1f per_second=%.0f cuts=%zu unanswered_on_cut=%zu "
        "events=%zu cancelled=%zu timed_out=%zu files=%ld->%ld memory_kib=%ld->%ld held=%ld->%ld\n",
        load.answered, seconds, (double)load.answered / seconds, load.cuts, load.lost, load.events,
        load.cancelled, load.timed_out, before.files, after.files, memory, memory_of(pid),
        before.bytes, after.bytes);
    if (!is_within(&after, &before)) {
        die("something was not given back");
    }
    if (load.events == 0 || load.cancelled == 0 || load.timed_out == 0) {
        die("not all that was wanted has happened");
    }
    return EXIT_SUCCESS;
}
