/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one client: its socket, the bytes it sent, the replies it is owed.
 *
 * Cuts what comes into JSON texts, has them served one at a time in their order,
 * and writes the replies in that order. Only a device_wait that is parked lets
 * others by. Nothing is read while a request runs or replies pile up. A client
 * whose first byte begins an HTTP request goes to http.h. Loop thread only.
 */
#ifndef DMRPC_CONN_H
#define DMRPC_CONN_H

#include "dispatch.h"
#include "hangup.h"
#include "peer.h"
#include "scan.h"

struct conn;
struct http;

enum { CONN_READ_BYTES = 65536 };

/* How many connections a user has. */
struct conns_user {
    struct conns_user *next;
    uid_t uid;
    size_t count;
};

/* What all connections share. */
struct conns {
    struct dispatcher *dispatcher; /* borrowed */
    struct http *http;             /* borrowed: gets those who speak HTTP; NULL: nobody does */
    struct hangup hangup;
    struct conn *first;
    uint64_t last_number;               /* of all that have been served */
    size_t count;                       /* of those that are served, */
    size_t refused;                     /* and of those that are only told why they are not */
    struct conns_user *users;           /* of those that are served */
    bool closing;                       /* finish what runs, answer, close */
    void (*empty)(struct conns *conns); /* the last one has gone, while closing */
    char read_buffer[CONN_READ_BYTES];
};

/* 0 or -errno. */
int conns_init(struct conns *conns, struct dispatcher *dispatcher, struct http *http,
               void (*empty)(struct conns *conns));

/* Closes them all at once. */
void conns_done(struct conns *conns);

/* Serves no new requests any more: each ends when what it asked for has been answered. */
void conns_close(struct conns *conns);

size_t conns_count_user(const struct conns *conns, uid_t uid);

/* Is the connection of this number still there? */
bool conns_has(const struct conns *conns, uint64_t number);

/* Takes over a connected, non-blocking socket. -ENOMEM: the socket is still the caller's. */
int conn_new(struct conns *conns, int fd, const struct peer *peer);

/*
 * Takes over the socket of one connection too many, to tell the peer why and to close
 * it so that the peer can read that. -EAGAIN, -ENOMEM: the socket is still the caller's;
 * there are many of those already, or there is no memory.
 */
int conn_refuse(struct conns *conns, int fd, const struct peer *peer,
                const struct failure *failure);

#endif
