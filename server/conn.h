/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one client: its socket, the bytes it sent, the replies it is owed.
 *
 * Cuts what comes into JSON texts, has them served one at a time in their order,
 * and writes the replies in that order. Only a device_wait that is parked lets
 * others by. Nothing is read while a request runs or replies pile up. Loop thread
 * only.
 */
#ifndef DMRPC_CONN_H
#define DMRPC_CONN_H

#include "access.h"
#include "dispatch.h"
#include "hangup.h"
#include "scan.h"

struct conn;

enum { CONN_READ_BYTES = 65536 };

/* What all connections share. */
struct conns {
    struct dispatcher *dispatcher; /* borrowed */
    struct hangup hangup;
    struct conn *first;
    size_t count;
    bool closing;                       /* finish what runs, answer, close */
    void (*empty)(struct conns *conns); /* the last one has gone, while closing */
    char read_buffer[CONN_READ_BYTES];
};

/* 0 or -errno. */
int conns_init(struct conns *conns, struct dispatcher *dispatcher,
               void (*empty)(struct conns *conns));

/* Closes them all at once. */
void conns_done(struct conns *conns);

/* Serves no new requests any more: each ends when what it asked for has been answered. */
void conns_close(struct conns *conns);

size_t conns_count_user(const struct conns *conns, uid_t uid);

/* Takes over a connected, non-blocking socket. -ENOMEM: the socket is still the caller's. */
int conn_new(struct conns *conns, int fd, const struct peer *peer);

#endif
