/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A crowd of connections, of which a part is active: each of those has one call
 * under way all the time. What does a connection cost, and how long does a call take?
 *
 * load_crowd SOCKET PID [CONNECTIONS [ACTIVE [CALLS]]]
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}";

static double *began; /* by descriptor */

static void ask(int fd)
{
    began[fd] = now();
    client_send(fd, request, strlen(request));
}

static void answer(int fd)
{
    char line[4096];

    client_read_line(fd, line, sizeof(line));
    if (!strstr(line, "\"result\":")) {
        die("an error came: %s", line);
    }
}

/* `calls` by the active ones; returns how long each took. */
static double *run(const int *fds, size_t active, size_t calls)
{
    double *times = alloc(calls * sizeof(*times));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    size_t asked = 0;

    for (; asked < active && asked < calls; asked++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[asked]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[asked], &event) < 0) {
            die("epoll_ctl: %s", strerror(errno));
        }
        ask(fds[asked]);
    }
    for (size_t done = 0; done < calls;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, 30000);
        if (n == 0) {
            die("replies were lost: %zu of %zu came", done, calls);
        }
        for (int i = 0; i < n && done < calls; i++) {
            int fd = events[i].data.fd;
            answer(fd);
            times[done++] = now() - began[fd];
            if (asked < calls) {
                asked++;
                ask(fd);
            }
        }
    }
    (void)close(epoll);
    return times;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        die("usage: load_crowd SOCKET PID [CONNECTIONS [ACTIVE [CALLS]]]");
    }
    pid_t pid = (pid_t)number_of(argc, argv, 2, 0);
    size_t count = (size_t)number_of(argc, argv, 3, 10000);
    size_t active = (size_t)number_of(argc, argv, 4, 1000);
    size_t calls = (size_t)number_of(argc, argv, 5, 300000);
    int *fds = alloc(count * sizeof(*fds));

    raise_files();
    began = alloc((count + 64) * sizeof(*began));
    long files = files_of(pid);
    long memory = memory_of(pid);
    double begin = now();
    for (size_t i = 0; i < count; i++) {
        fds[i] = client_connect(argv[1], 0);
        ask(fds[i]);
        answer(fds[i]);
    }
    double opened = now() - begin;
    long full = memory_of(pid);

    begin = now();
    double *times = run(fds, active, calls);
    double seconds = now() - begin;
    for (size_t i = 0; i < count; i++) { /* the idle ones are served as before */
        ask(fds[i]);
        answer(fds[i]);
    }
    for (size_t i = 0; i < count; i++) {
        (void)close(fds[i]);
    }
    for (int i = 0; i < 500 && files_of(pid) > files; i++) {
        (void)usleep(10000);
    }
    double p50 = percentile(times, calls, 0.5);
    double p99 = percentile(times, calls, 0.99);
    (void)printf("crowd: connections=%zu opened_in=%.2fs kib_each=%.1f active=%zu calls=%zu "
                 "per_second=%.0f p50=%.0fus p99=%.0fus files=%ld->%ld memory_kib=%ld->%ld\n",
                 count, opened, (double)(full - memory) / (double)count, active, calls,
                 (double)calls / seconds, p50 * 1e6, p99 * 1e6, files, files_of(pid), memory,
                 memory_of(pid));
    free(times);
    free(began);
    free(fds);
    if (files_of(pid) > files) {
        die("descriptors were not given back");
    }
    return EXIT_SUCCESS;
}
