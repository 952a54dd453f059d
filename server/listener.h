/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.h - the socket in the file system, and who may connect to it.
 *
 * The path is ours by a claim (claim.h): a second daemon on the same path is told so,
 * and a socket that a dead one left, or one that does not answer, is replaced. The
 * socket is never open to more than its final mode and group allow: until listen(2)
 * nobody can connect.
 */
#ifndef DMRPC_LISTENER_H
#define DMRPC_LISTENER_H

#include <ev.h>
#include <sys/types.h>

#include "claim.h"
#include "peer.h"

struct listener {
    struct ev_loop *loop;
    const char *path; /* borrowed */
    int fd;
    struct claim claim;
    dev_t dev; /* of the socket file, to know it again */
    ino_t ino;
    ev_io readable;
    ev_timer pause; /* no descriptors left: try again later rather than spin */
    /* Takes over a connected, non-blocking socket. */
    void (*accepted)(struct listener *listener, int fd, const struct peer *peer);
};

/*
 * Claims `path`: nobody else serves it, or begins to, or takes it over before
 * listener_start has ended. Nobody can connect yet. 0, or as listener_open. May take a
 * second, where the path is held.
 */
int listener_lock(struct listener *listener, struct ev_loop *loop, const char *path);

/* The rest of listener_open, after that. Closed where it fails. */
int listener_start(struct listener *listener, gid_t group,
                   void (*accepted)(struct listener *listener, int fd, const struct peer *peer));

/*
 * Opens `path` with mode 0660, and `group` (-1: leave it). 0; or a negative errno,
 * having said in the log what to do about it.
 */
int listener_open(struct listener *listener, struct ev_loop *loop, const char *path, gid_t group,
                  void (*accepted)(struct listener *listener, int fd, const struct peer *peer));

/* Accepts at once who has connected by now, as far as descriptors reach. */
void listener_accept(struct listener *listener);

/*
 * Takes no more connections: the socket is closed, and its file removed if it is
 * still ours, so that nobody waits in it in vain. The claim stays; but who asks for the
 * path from now on may take it over.
 */
void listener_stop(struct listener *listener);

/* The same, and gives up the claim. Stopped before or not. */
void listener_close(struct listener *listener);

#endif
