/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens the Unix socket without a moment in which others could use it, and
 * accepts. Whose the path is says claim.c; what is done with a connection is the
 * server's business.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

enum { ACCEPTS_A_TURN = 64, BACKLOG = 1024 };
static const ev_tstamp PAUSE = 0.1; /* seconds */

/* The folder is made if its parent is there, as /run is. */
static int make_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy) {
        return -ENOMEM;
    }
    int rc = 0;
    if (mkdir(dirname(copy), 0755) < 0 && errno != EEXIST) {
        rc = log_errno(path, "make its folder", "Make the folder, or name another with --socket.");
    }
    free(copy);
    return rc;
}

/* In a folder that others can write to they can replace the socket; a sticky one keeps them off. */
static bool is_safe_folder(const struct stat *st)
{
    bool ours = st->st_uid == 0 || st->st_uid == geteuid();

    return ours && ((st->st_mode & (S_IWGRP | S_IWOTH)) == 0 || (st->st_mode & S_ISVTX) != 0);
}

static void tell_of_folder(const char *path)
{
    char *copy = strdup(path);
    const char *folder = copy ? dirname(copy) : NULL;
    struct stat st;

    if (folder && stat(folder, &st) == 0 && !is_safe_folder(&st)) {
        log_line("%s: others can put a socket of their own in this folder in place of %s, and "
                 "clients would trust it. Make it root's and writable for root alone, or name "
                 "another with --socket.",
                 folder, path);
    }
    free(copy);
}

/* A socket may be replaced by who has the claim; nothing else is. */
static int check_path(const char *path)
{
    struct sockaddr_un address;
    struct stat st;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return log_errno(path, "listen there", "A socket's path has 107 bytes at the most.");
    }
    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? 0 : log_errno(path, "look at it", "Check the path.");
    }
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return log_errno(path, "listen there", "It is a file of another kind: move it away.");
    }
    return 0;
}

/* Binds to a name at which nothing is, and listens when mode and group are right. */
static int bind_at(struct listener *listener, const char *name, gid_t group)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = listener->path;
    struct stat st;

    memcpy(address.sun_path, name, strlen(name));
    mode_t before = umask(0117);
    int rc = bind(listener->fd, (struct sockaddr *)&address, sizeof(address));
    (void)umask(before);
    if (rc < 0) {
        return log_errno(path, "listen there", "Check the folder and its permissions.");
    }
    if (lstat(name, &st) < 0) {
        return log_errno(path, "listen there", "Somebody removed it just now: try again.");
    }
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    if (group != (gid_t)-1 && lchown(name, (uid_t)-1, group) < 0) {
        return log_errno(path, "give it to the group", "Run as root, or without --group.");
    }
    if (listen(listener->fd, BACKLOG) < 0) {
        return log_errno(path, "listen there", "The system is out of resources.");
    }
    return 0;
}

static int open_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;

    free(copy);
    return fd;
}

/*
 * In the place of a socket that still takes connections: in one step, so that there always
 * is one. By the folder's descriptor, since the path may leave no room for a longer name;
 * the number of our lock's file makes that name ours alone.
 */
static int replace_live(struct listener *listener, gid_t group)
{
    char name[64];
    struct stat st;
    int folder = open_folder(listener->path);

    if (folder < 0 || fstat(listener->claim.fd, &st) < 0) {
        int rc =
            log_errno(listener->path, "open its folder", "Check the folder and its permissions.");
        if (folder >= 0) {
            (void)close(folder);
        }
        return rc;
    }
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d/.dmrpcd-%ju", folder,
                   (uintmax_t)st.st_ino);
    (void)unlink(name); /* of one that was killed in here */
    int rc = bind_at(listener, name, group);
    if (rc == 0 && rename(name, listener->path) < 0) {
        rc = log_errno(listener->path, "replace the old socket", "Check the folder's permissions.");
    }
    if (rc < 0) {
        (void)unlink(name);
    }
    (void)close(folder);
    return rc;
}

static int bind_path(struct listener *listener, gid_t group)
{
    const char *path = listener->path;
    int rc = check_path(path);

    if (rc < 0) {
        return rc;
    }
    if (listener->claim.taken_over) {
        return replace_live(listener, group);
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        return log_errno(path, "replace the old socket", "Check the folder's permissions.");
    }
    return bind_at(listener, path, group);
}

/* False: there is nothing left to hold a connection with. */
static bool accept_up_to(struct listener *listener, int count)
{
    struct peer peer;

    for (int i = 0; i < count; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            return false;
        }
        if (fd < 0 && errno == EAGAIN) {
            return true;
        }
        if (fd >= 0 && peer_read(fd, &peer) == 0) {
            listener->accepted(listener, fd, &peer);
            peer_unref(&peer);
        } else if (fd >= 0) {
            (void)close(fd);
        }
    }
    return true;
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct listener *listener = watcher->data;

    (void)events;
    if (!accept_up_to(listener, ACCEPTS_A_TURN)) {
        ev_io_stop(loop, watcher);
        ev_timer_set(&listener->pause, PAUSE, 0.);
        ev_timer_start(loop, &listener->pause);
    }
}

static void on_pause(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct listener *listener = watcher->data;

    (void)events;
    ev_io_start(loop, &listener->readable);
}

int listener_lock(struct listener *listener, struct ev_loop *loop, const char *path)
{
    *listener = (struct listener){.loop = loop, .path = path, .fd = -1, .claim = {.fd = -1}};
    ev_init(&listener->readable, on_readable);
    ev_init(&listener->pause, on_pause);
    listener->readable.data = listener->pause.data = listener;

    int rc = make_folder(path);
    if (rc == 0) {
        tell_of_folder(path);
        rc = check_path(path);
    }
    if (rc == 0) {
        rc = claim_take(&listener->claim, path);
    }
    if (rc < 0) {
        listener_close(listener);
    }
    return rc;
}

int listener_start(struct listener *listener, gid_t group,
                   void (*accepted)(struct listener *listener, int fd, const struct peer *peer))
{
    listener->accepted = accepted;
    listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc = listener->fd < 0
                 ? log_errno(listener->path, "make a socket", "The system is out of resources.")
                 : bind_path(listener, group);
    if (rc < 0) {
        listener_close(listener);
        return rc;
    }
    claim_yield(&listener->claim);
    ev_io_set(&listener->readable, listener->fd, EV_READ);
    ev_io_start(listener->loop, &listener->readable);
    return 0;
}

int listener_open(struct listener *listener, struct ev_loop *loop, const char *path, gid_t group,
                  void (*accepted)(struct listener *listener, int fd, const struct peer *peer))
{
    int rc = listener_lock(listener, loop, path);

    return rc < 0 ? rc : listener_start(listener, group, accepted);
}

/* Not one that somebody has put there since, nor that of a daemon that took the path over. */
static void remove_own(const struct listener *listener)
{
    struct stat st;

    if (!claim_hold(&listener->claim, listener->path)) {
        return;
    }
    if (lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino) {
        (void)unlink(listener->path);
    }
    claim_yield(&listener->claim);
}

void listener_accept(struct listener *listener)
{
    if (listener->fd >= 0) {
        (void)accept_up_to(listener, BACKLOG + 1);
    }
}

void listener_stop(struct listener *listener)
{
    ev_io_stop(listener->loop, &listener->readable);
    ev_timer_stop(listener->loop, &listener->pause);
    if (listener->ino != 0) {
        remove_own(listener);
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
    claim_drop(&listener->claim);
}
