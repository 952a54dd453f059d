/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long does one client's `version` take while others ask for as much as they
 * can? Compares rounds without and with the others.
 *
 * load_fair SOCKET KIND [OTHERS [ROUNDS [CALLS]]]
 *   KIND  pipeline  `version` without end
 *         batch     batches of 1,000 `version`
 *         load      table_load of 4 MiB, back to back
 *         list      list_devices (make the devices first: KIND `devices`, OTHERS of them)
 *         mixed     all of these by turns
 * It prints one line: the medians of all rounds, and the smallest ratio of any.
 */
#include "client.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL(id, method) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\""

enum {
    BATCH = 1000,
    PIPELINE = 200,
    TARGETS = 50000,
    LOAD_BYTES = 4 * 1024 * 1024,
    READ_BYTES = 256 * 1024,
    PAUSE = 500 /* microseconds between two calls */
};

/* What one of the others sends, again and again. */
struct hog {
    int fd;
    char *text;
    size_t length, sent;
    bool pipelines; /* does not wait for the reply */
};

static void hog_fill(struct hog *hog, const char *prefix, const char *item, const char *suffix,
                     size_t count)
{
    size_t length = strlen(item);
    char *at = hog->text = alloc(strlen(prefix) + count * length + strlen(suffix) + 1);

    at = stpcpy(at, prefix);
    for (size_t i = 0; i < count; i++) {
        at = stpcpy(at, item);
    }
    at = stpcpy(at, suffix);
    hog->length = (size_t)(at - hog->text);
}

static void hog_load(struct hog *hog, size_t number)
{
    char *at = hog->text = alloc(LOAD_BYTES + 1);
    const char *end = at + LOAD_BYTES - 8;

    at += sprintf(at, CALL("1", "table_load") ",\"params\":{\"name\":\"hog-%zu\",\"targets\":[",
                  number);
    for (size_t i = 0; i < TARGETS; i++) {
        at += sprintf(at, "%s{\"start\":%zu,\"length\":8,\"type\":\"zero\",\"params\":\"\"}",
                      i ? "," : "", i * 8);
    }
    while (at < end) {
        *at++ = ' ';
    }
    at = stpcpy(at, "]}}");
    hog->length = (size_t)(at - hog->text);
}

static void hog_init(struct hog *hog, const char *path, const char *kind, size_t number)
{
    static const char *const kinds[] = {"pipeline", "batch", "load", "list"};

    hog->fd = client_connect(path, SOCK_NONBLOCK);
    if (strcmp(kind, "mixed") == 0) {
        kind = kinds[number % 4];
    }
    if (strcmp(kind, "pipeline") == 0) {
        hog_fill(hog, "", CALL("1", "version") "}", "", PIPELINE);
        hog->pipelines = true;
    } else if (strcmp(kind, "batch") == 0) {
        hog_fill(hog, "[", CALL("1", "version") "},", CALL("1", "version") "}]", BATCH - 1);
    } else if (strcmp(kind, "load") == 0) {
        hog_load(hog, number);
    } else if (strcmp(kind, "list") == 0) {
        hog_fill(hog, CALL("1", "list_devices") "}", "", "", 1);
    } else {
        die("'%s' is no kind of load; see the top of load_fair.c", kind);
    }
}

/* Sends what there is room for. */
static void hog_send(struct hog *hog)
{
    while (hog->sent < hog->length) {
        ssize_t n = send(hog->fd, hog->text + hog->sent, hog->length - hog->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n < 0) {
            die("a hog's connection: %s", strerror(errno));
        }
        hog->sent += (size_t)n;
        if (hog->pipelines && hog->sent == hog->length) {
            hog->sent = 0;
        }
    }
}

/* Drops what comes; the end of a reply is the end of a line. */
static void hog_read(struct hog *hog)
{
    static char buffer[READ_BYTES];
    ssize_t n = recv(hog->fd, buffer, sizeof(buffer), 0);

    if (n == 0) {
        die("a hog's connection was closed");
    }
    if (n > 0 && !hog->pipelines && buffer[n - 1] == '\n') {
        hog->sent = 0;
    }
}

/* Never returns: it is killed. */
static void hogs_run(const char *path, const char *kind, size_t count, int ready)
{
    struct hog *hogs = alloc(count * sizeof(*hogs));
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The server is measured, not who of its clients gets the processor. */
    (void)setpriority(PRIO_PROCESS, 0, 10);
    for (size_t i = 0; i < count; i++) {
        hog_init(&hogs[i], path, kind, i);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &hogs[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, hogs[i].fd, &event) < 0) {
            die("epoll_ctl: %s", strerror(errno));
        }
    }
    (void)!write(ready, "", 1);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct hog *hog = events[i].data.ptr;
            struct epoll_event again = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = hog};
            if (events[i].events & EPOLLIN) {
                hog_read(hog);
            }
            hog_send(hog);
            /* Told again of what is left: one turn is one read. */
            (void)epoll_ctl(epoll, EPOLL_CTL_MOD, hog->fd, &again);
        }
    }
}

static pid_t hogs_start(const char *path, const char *kind, size_t count)
{
    int ready[2];
    char byte;

    if (pipe(ready) < 0) {
        die("pipe: %s", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        hogs_run(path, kind, count, ready[1]);
    }
    (void)close(ready[1]);
    if (pid < 0 || read(ready[0], &byte, 1) != 1) {
        die("the others did not start");
    }
    (void)close(ready[0]);
    (void)usleep(200000); /* until they are at it */
    return pid;
}

/* At a steady pace: call after call would see few of the moments in which others are served. */
static void measure(int fd, double *times, size_t calls)
{
    for (size_t i = 0; i < calls; i++) {
        (void)usleep(PAUSE);
        double begin = now();
        client_repeat(fd, CALL("1", "version") "}", 1);
        times[i] = now() - begin;
    }
}

static void compare(const char *path, const char *kind, size_t others, size_t rounds, size_t calls)
{
    double *times = alloc(calls * sizeof(*times));
    double *quiet = alloc(rounds * sizeof(*quiet));
    double *loaded = alloc(rounds * sizeof(*loaded));
    double *middle = alloc(rounds * sizeof(*middle));
    double best = 1e9;
    int fd = client_connect(path, 0);

    measure(fd, times, calls); /* to warm up */
    for (size_t i = 0; i < rounds; i++) {
        measure(fd, times, calls);
        quiet[i] = percentile(times, calls, 0.99);
        pid_t pid = hogs_start(path, kind, others);
        measure(fd, times, calls);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        loaded[i] = percentile(times, calls, 0.99);
        middle[i] = percentile(times, calls, 0.5);
        best = loaded[i] / quiet[i] < best ? loaded[i] / quiet[i] : best;
        (void)usleep(300000); /* until what they left is done */
    }
    double q = percentile(quiet, rounds, 0.5);
    double l = percentile(loaded, rounds, 0.5);
    (void)printf("%-8s others=%-3zu quiet_p99=%.0fus loaded_p50=%.0fus loaded_p99=%.0fus "
                 "ratio=%.2f best=%.2f\n",
                 kind, others, q * 1e6, percentile(middle, rounds, 0.5) * 1e6, l * 1e6, l / q,
                 best);
    (void)close(fd);
    free(times);
    free(quiet);
    free(loaded);
    free(middle);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        die("usage: load_fair SOCKET KIND [OTHERS [ROUNDS [CALLS]]]");
    }
    size_t others = (size_t)number_of(argc, argv, 3, 1);
    if (strcmp(argv[2], "devices") == 0) {
        client_make_devices(argv[1], "hog", others);
    } else {
        compare(argv[1], argv[2], others, (size_t)number_of(argc, argv, 4, 5),
                (size_t)number_of(argc, argv, 5, 2000));
    }
    return EXIT_SUCCESS;
}
