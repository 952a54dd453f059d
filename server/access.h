/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h - who may do what.
 *
 * Who connected is asked of the kernel once, at accept; numbers only, no names are
 * looked up later. Root and the daemon's own user may do all; who can open the
 * socket besides (its group) may read.
 */
#ifndef DMRPC_ACCESS_H
#define DMRPC_ACCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "method.h"

struct peer {
    pid_t pid; /* who connected; it may have handed the socket on since */
    uid_t uid;
    gid_t gid;
};

/* SO_PEERCRED of a connected Unix socket. 0 or -errno. */
int access_peer(int fd, struct peer *ret_peer);

bool access_allows(const struct peer *peer, enum method_effect effect);

#endif
