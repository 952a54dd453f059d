/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims a path, if need be from a daemon that does not answer. It knows of that daemon
 * no more than whether there is an answer, and of the socket only where it is.
 */
#include "claim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "peer.h"

/* Without a socket it is about to end: what it still has to do takes a second or two. */
enum { ANSWER_MS = 1000, END_MS = 5000, AGAIN_MS = 10 };

/* A record lock of the open file, which a flock does not meet. False: another has it. */
static bool set_mark(int fd, short type)
{
    struct flock mark = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &mark) == 0;
}

/* Is the open file the one of this name? */
static bool is_named(int fd, const char *name)
{
    struct stat ours;
    struct stat there;

    return fstat(fd, &ours) == 0 && lstat(name, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* --- is anybody there? --- */

static int64_t now_ms(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Whatever is said is an answer: that there are too many connections, for one. */
static bool answers(const struct sockaddr_un *address, int64_t until, pid_t *ret_pid)
{
    static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"server_info\"}\n";
    const size_t length = sizeof(request) - 1;
    struct peer peer;
    char byte;
    bool answered = false;

    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    struct pollfd reply = {.fd = fd, .events = POLLIN};
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 &&
        send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length) {
        if (peer_read(fd, &peer) == 0) {
            *ret_pid = peer.pid; /* of who listens */
            peer_unref(&peer);
        }
        int64_t left = until - now_ms();
        answered = left > 0 && poll(&reply, 1, (int)left) > 0 && recv(fd, &byte, 1, 0) == 1;
    }
    (void)close(fd);
    return answered;
}

enum holder { HOLDER_GONE, HOLDER_ANSWERS, HOLDER_SILENT };

/* `fd` is the file that is locked: its holder may be gone before the time is over. */
static enum holder ask(int fd, const char *path, pid_t *ret_pid)
{
    const struct timespec pause = {.tv_nsec = AGAIN_MS * 1000000L};
    const int64_t began = now_ms();
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        bool there = access(path, F_OK) == 0;
        int64_t until = began + (there ? ANSWER_MS : END_MS);
        if (now_ms() >= until) {
            return HOLDER_SILENT;
        }
        if (there && answers(&address, until, ret_pid)) {
            return HOLDER_ANSWERS;
        }
        (void)nanosleep(&pause, NULL);
    }
    return HOLDER_GONE;
}

/* --- the locks --- */

/* Locked before it has the name: who opens the name finds it held. */
static int make_successor(const char *path, const char *lock, int *ret_fd)
{
    char *name;

    if (asprintf(&name, "%s.new", lock) < 0) {
        return -ENOMEM;
    }
    (void)unlink(name); /* of one that was killed in here */
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = 0;
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || !set_mark(fd, F_WRLCK) ||
        rename(name, lock) < 0) {
        rc = log_errno(path, "take it over", "Check the folder and its permissions.");
        if (fd >= 0) {
            (void)close(fd);
        }
        (void)unlink(name);
    } else {
        *ret_fd = fd;
    }
    free(name);
    return rc;
}

static int take_over(struct claim *claim, const char *path, const char *lock, pid_t pid)
{
    int fd = -1;
    int rc = make_successor(path, lock, &fd);

    if (rc < 0) {
        return rc;
    }
    (void)close(claim->fd);
    *claim = (struct claim){.fd = fd, .taken_over = true};
    if (pid > 0) {
        log_line("%s: taken over from process %d, which holds its lock but does not answer.", path,
                 (int)pid);
    } else {
        log_line("%s: taken over from a process that holds its lock but does not answer.", path);
    }
    return 0;
}

static int contend(struct claim *claim, const char *path, const char *lock)
{
    pid_t pid = 0;

    if (!set_mark(claim->fd, F_WRLCK) || !is_named(claim->fd, lock)) {
        errno = EWOULDBLOCK;
        return log_errno(
            path, "use the path",
            "Another dmrpcd is being started on it: see whether that one serves, or name "
            "another with --socket.");
    }
    switch (ask(claim->fd, path, &pid)) {
    case HOLDER_GONE:
        return 0;
    case HOLDER_ANSWERS:
        errno = EWOULDBLOCK;
        return log_errno(path, "use the path",
                         "Another dmrpcd serves it: stop that one, or name another with --socket.");
    default:
        return take_over(claim, path, lock, pid);
    }
}

int claim_take(struct claim *claim, const char *path)
{
    char *lock;

    *claim = (struct claim){.fd = -1};
    if (asprintf(&lock, "%s.lock", path) < 0) {
        return -ENOMEM;
    }
    claim->fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = claim->fd < 0 ? log_errno(path, "open its lock",
                                       "Run as root, or name a path of your own with "
                                       "--socket.")
                           : contend(claim, path, lock);
    free(lock);
    if (rc < 0) {
        claim_drop(claim);
    }
    return rc;
}

bool claim_hold(const struct claim *claim, const char *path)
{
    char *lock;

    if (claim->fd < 0 || !set_mark(claim->fd, F_WRLCK) || asprintf(&lock, "%s.lock", path) < 0) {
        return false;
    }
    bool ours = is_named(claim->fd, lock);
    free(lock);
    if (!ours) {
        claim_yield(claim);
    }
    return ours;
}

void claim_yield(const struct claim *claim)
{
    (void)set_mark(claim->fd, F_UNLCK);
}

void claim_drop(struct claim *claim)
{
    if (claim->fd >= 0) {
        (void)close(claim->fd);
        claim->fd = -1;
    }
}
