/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hangup.h - tells when a peer has stopped sending, or has gone altogether.
 *
 * A half-closed socket is readable for good, so it cannot stay among the loop's
 * own watchers. Here it waits in an epoll set of its own. One that asks for
 * nothing reports a full close (EPOLLHUP) and only that; one that asks for
 * EPOLLRDHUP reports a half close as well.
 */
#ifndef DMRPC_HANGUP_H
#define DMRPC_HANGUP_H

#include <ev.h>

enum hangup_kind { HANGUP_FULL, HANGUP_HALF };

struct hangup {
    struct ev_loop *loop;
    ev_io readable;
    int fd;
    enum hangup_kind kind;
    void (*gone)(void *who); /* to remove its descriptor, or it is called again */
};

/* 0 or -errno. */
int hangup_init(struct hangup *hangup, struct ev_loop *loop, enum hangup_kind kind,
                void (*gone)(void *who));
void hangup_done(struct hangup *hangup);

int hangup_add(struct hangup *hangup, int fd, void *who);
void hangup_remove(struct hangup *hangup, int fd);

#endif
