/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens the Unix socket without a moment in which others could use it, and
 * accepts. What is done with a connection is the server's business.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

enum { ACCEPTS_A_TURN = 64, BACKLOG = 1024 };
static const ev_tstamp PAUSE = 0.1; /* seconds */

static int fail(const char *path, const char *what, const char *advice)
{
    int rc = -errno;
    log_line("%s: cannot %s: %s. %s", path, what, strerror(-rc), advice);
    return rc;
}

/* The folder is made if its parent is there, as /run is. */
static int make_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy) {
        return -ENOMEM;
    }
    int rc = 0;
    if (mkdir(dirname(copy), 0755) < 0 && errno != EEXIST) {
        rc = fail(path, "make its folder", "Make the folder, or name another with --socket.");
    }
    free(copy);
    return rc;
}

static int take_lock(struct listener *listener)
{
    char *path;

    if (asprintf(&path, "%s.lock", listener->path) < 0) {
        return -ENOMEM;
    }
    int rc = 0;
    listener->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (listener->lock_fd < 0) {
        rc = fail(path, "open", "Run as root, or name a path of your own with --socket.");
    } else if (flock(listener->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        rc = fail(listener->path, "use the path",
                  "Another dmrpcd serves it: stop that one, or name another with --socket.");
    }
    free(path);
    return rc;
}

/* With the lock held, a socket at the path is a dead daemon's. Nothing else is removed. */
static int remove_stale(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? 0 : fail(path, "look at it", "Check the path.");
    }
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return fail(path, "listen there", "It is a file of another kind: move it away.");
    }
    if (unlink(path) < 0) {
        return fail(path, "replace the old socket", "Check the folder's permissions.");
    }
    return 0;
}

static int bind_path(struct listener *listener, gid_t group)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;

    if (strlen(listener->path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return fail(listener->path, "listen there", "A socket's path has 107 bytes at the most.");
    }
    memcpy(address.sun_path, listener->path, strlen(listener->path));
    mode_t before = umask(0117);
    int rc = bind(listener->fd, (struct sockaddr *)&address, sizeof(address));
    (void)umask(before);
    if (rc < 0) {
        return fail(listener->path, "listen there", "Check the folder and its permissions.");
    }
    if (lstat(listener->path, &st) < 0) {
        return fail(listener->path, "listen there", "Somebody removed it just now: try again.");
    }
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    if (group != (gid_t)-1 && lchown(listener->path, (uid_t)-1, group) < 0) {
        return fail(listener->path, "give it to the group", "Run as root, or without --group.");
    }
    if (listen(listener->fd, BACKLOG) < 0) {
        return fail(listener->path, "listen there", "The system is out of resources.");
    }
    return 0;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct listener *listener = watcher->data;
    struct peer peer;

    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            ev_io_stop(loop, watcher);
            ev_timer_set(&listener->pause, PAUSE, 0.);
            ev_timer_start(loop, &listener->pause);
            return;
        }
        if (fd < 0 && errno == EAGAIN) {
            return;
        }
        if (fd >= 0 && access_peer(fd, &peer) == 0) {
            listener->accepted(listener, fd, &peer);
        } else if (fd >= 0) {
            (void)close(fd);
        }
    }
}

static void on_pause(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct listener *listener = watcher->data;

    (void)events;
    ev_io_start(loop, &listener->readable);
}

int listener_open(struct listener *listener, struct ev_loop *loop, const char *path, gid_t group,
                  void (*accepted)(struct listener *listener, int fd, const struct peer *peer))
{
    *listener = (struct listener){.loop = loop, .path = path, .fd = -1, .lock_fd = -1};
    listener->accepted = accepted;
    ev_init(&listener->readable, on_readable);
    ev_init(&listener->pause, on_pause);
    listener->readable.data = listener->pause.data = listener;

    int rc = make_folder(path);
    if (rc == 0) {
        rc = take_lock(listener);
    }
    if (rc == 0) {
        rc = remove_stale(path);
    }
    if (rc == 0) {
        listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        rc = listener->fd < 0 ? fail(path, "make a socket", "The system is out of resources.")
                              : bind_path(listener, group);
    }
    if (rc < 0) {
        listener_close(listener);
        return rc;
    }
    ev_io_set(&listener->readable, listener->fd, EV_READ);
    ev_io_start(loop, &listener->readable);
    return 0;
}

void listener_stop(struct listener *listener)
{
    struct stat st;

    ev_io_stop(listener->loop, &listener->readable);
    ev_timer_stop(listener->loop, &listener->pause);
    if (listener->ino != 0 && lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino) {
        (void)unlink(listener->path);
    }
    listener->ino = 0;
    if (listener->fd >= 0) {
        (void)close(listener->fd);
        listener->fd = -1;
    }
}

void listener_close(struct listener *listener)
{
    listener_stop(listener);
    if (listener->lock_fd >= 0) {
        (void)close(listener->lock_fd);
        listener->lock_fd = -1;
    }
}
