/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the load programs share. It knows lines and sockets; of JSON only what a
 * result looks like from outside.
 */
#include "client.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

void *alloc(size_t size)
{
    void *memory = calloc(1, size ? size : 1);

    if (!memory) {
        die("no memory");
    }
    return memory;
}

int client_try_connect(const char *path, int flags)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd < 0) {
        die("socket: %s", strerror(errno));
    }
    if (strlen(path) >= sizeof(address.sun_path)) {
        die("%s: too long a path", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        return fd;
    }
    if (errno != EAGAIN) {
        die("%s: %s", path, strerror(errno));
    }
    (void)close(fd);
    return -1;
}

int client_connect(const char *path, int flags)
{
    int fd;

    while ((fd = client_try_connect(path, flags)) < 0) {
        (void)usleep(1000);
    }
    return fd;
}

void client_send(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
        if (n < 0) {
            die("send: %s", strerror(errno));
        }
        bytes += n;
        length -= (size_t)n;
    }
}

void client_read_line(int fd, char *line, size_t size)
{
    size_t at = 0;

    do {
        ssize_t n = at < size ? recv(fd, line + at, size - at, 0) : 0;
        if (n <= 0) {
            die("no reply: %s", n < 0 ? strerror(errno) : "the connection was closed");
        }
        at += (size_t)n;
    } while (line[at - 1] != '\n');
    line[at - 1] = '\0';
}

void client_repeat(int fd, const char *request, size_t count)
{
    char line[4096];

    for (size_t i = 0; i < count; i++) {
        client_send(fd, request, strlen(request));
        client_read_line(fd, line, sizeof(line));
        if (!strstr(line, "\"result\":")) {
            die("an error came: %s", line);
        }
    }
}

void client_make_devices(const char *path, const char *prefix, size_t count)
{
    int fd = client_connect(path, 0);
    char request[256];

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(request, sizeof(request),
                       "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"device_create\","
                       "\"params\":{\"name\":\"%s-%zu\"}}",
                       prefix, i);
        client_repeat(fd, request, 1);
    }
    (void)close(fd);
}

double now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

double percentile(double *values, size_t count, double share)
{
    if (count == 0) {
        return 0;
    }
    qsort(values, count, sizeof(*values), compare);
    return values[(size_t)((double)(count - 1) * share)];
}

long memory_of(pid_t pid)
{
    char path[64];
    char line[256];
    long kib = -1;

    (void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
    FILE *file = fopen(path, "re");
    while (file && kib < 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            kib = strtol(line + 6, NULL, 10);
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return kib;
}

long files_of(pid_t pid)
{
    char path[64];
    long count = -2; /* . and .. */

    (void)snprintf(path, sizeof(path), "/proc/%ld/fd", (long)pid);
    DIR *folder = opendir(path);
    if (!folder) {
        return -1;
    }
    while (readdir(folder)) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

long held_bytes(const char *path)
{
    static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server_stats\"}";
    static const char member[] = "\"held_bytes\":";
    static char line[1 << 20];
    int fd = client_connect(path, 0);

    client_send(fd, request, strlen(request));
    client_read_line(fd, line, sizeof(line));
    (void)close(fd);
    const char *at = strstr(line, member);
    if (!at) {
        die("server_stats says nothing of held_bytes: %s", line);
    }
    return strtol(at + strlen(member), NULL, 10);
}

/* splitmix64 */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

void raise_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

long number_of(int argc, char **argv, int at, long preset)
{
    if (at >= argc) {
        return preset;
    }
    char *end;
    long value = strtol(argv[at], &end, 10);
    if (*end || value < 0) {
        die("'%s' is no number", argv[at]);
    }
    return value;
}
