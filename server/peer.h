/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h - who connected.
 *
 * The kernel is asked once, at accept: numbers only, and no names are looked up later.
 */
#ifndef DMRPC_PEER_H
#define DMRPC_PEER_H

#include <stdint.h>
#include <sys/types.h>

#include "rules.h"

struct credentials;
struct sink;

struct peer {
    pid_t pid; /* who connected; it may have handed the socket on since */
    uid_t uid;
    gid_t gid;
    struct credentials *credentials; /* what else is known of it, shared; NULL: nothing */
    uint64_t connection;             /* the number of one that stays; 0: it is none, as over HTTP */
    struct sink *sink; /* where its events go, by events.h; NULL: it takes none, as over HTTP */
};

/*
 * Whoever is at the other end of a connected Unix socket, with all supplementary groups; to
 * be given back by peer_unref. 0 or -errno.
 */
int peer_read(int fd, struct peer *ret_peer);

/* The same peer for somebody else, who may keep it for longer; from any thread. */
struct peer peer_ref(const struct peer *peer);

/* Takes one that was zeroed. The numbers stay. */
void peer_unref(struct peer *peer);

/* As rules are asked of it; borrowed. */
struct rules_who peer_who(const struct peer *peer);

#endif
