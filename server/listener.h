/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.h - the socket in the file system, and who may connect to it.
 *
 * The path is ours while we hold a lock on PATH.lock: a second daemon on the same
 * path is told so, and a socket that a dead one left is replaced. The socket is
 * never open to more than its final mode and group allow: until listen(2) nobody
 * can connect.
 */
#ifndef DMRPC_LISTENER_H
#define DMRPC_LISTENER_H

#include <ev.h>
#include <sys/types.h>

#include "access.h"

struct listener {
    struct ev_loop *loop;
    const char *path; /* borrowed */
    int fd, lock_fd;
    dev_t dev; /* of the socket file, to know it again */
    ino_t ino;
    ev_io readable;
    ev_timer pause; /* no descriptors left: try again later rather than spin */
    /* Takes over a connected, non-blocking socket. */
    void (*accepted)(struct listener *listener, int fd, const struct peer *peer);
};

/*
 * Opens `path` with mode 0660, and `group` (-1: leave it). 0; or a negative errno,
 * having said in the log what to do about it.
 */
int listener_open(struct listener *listener, struct ev_loop *loop, const char *path, gid_t group,
                  void (*accepted)(struct listener *listener, int fd, const struct peer *peer));

/*
 * Takes no more connections: the socket is closed, and its file removed if it is
 * still ours, so that nobody waits in it in vain. The lock stays.
 */
void listener_stop(struct listener *listener);

/* The same, and gives up the lock. Stopped before or not. */
void listener_close(struct listener *listener);

#endif
