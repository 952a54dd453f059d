/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the kernel who is at the other end of a socket, and keeps what it says for as long as
 * somebody wants it. It knows no rules but the form in which they ask.
 */
#include "peer.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

struct credentials {
    atomic_size_t references;
    size_t groups_count;
    gid_t groups[]; /* the supplementary ones */
};

/* Their number is known only when they have been asked for. */
static int read_groups(int fd, struct credentials **ret_credentials)
{
    struct credentials *credentials = NULL;
    socklen_t size = 0;
    int rc;

    do {
        free(credentials);
        credentials = malloc(sizeof(*credentials) + size);
        if (!credentials) {
            return -ENOMEM;
        }
        rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, credentials->groups, &size) < 0 ? -errno : 0;
    } while (rc == -ERANGE);
    if (rc < 0) {
        free(credentials);
        return rc;
    }
    atomic_init(&credentials->references, 1);
    credentials->groups_count = size / sizeof(credentials->groups[0]);
    *ret_credentials = credentials;
    return 0;
}

int peer_read(int fd, struct peer *ret_peer)
{
    struct credentials *rest;
    struct ucred credentials;
    socklen_t size = sizeof(credentials);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
        return -errno;
    }
    int rc = read_groups(fd, &rest);
    if (rc < 0) {
        return rc;
    }
    *ret_peer = (struct peer){.pid = credentials.pid,
                              .uid = credentials.uid,
                              .gid = credentials.gid,
                              .credentials = rest};
    return 0;
}

struct peer peer_ref(const struct peer *peer)
{
    if (peer->credentials) {
        atomic_fetch_add(&peer->credentials->references, 1);
    }
    return *peer;
}

void peer_unref(struct peer *peer)
{
    if (peer->credentials && atomic_fetch_sub(&peer->credentials->references, 1) == 1) {
        free(peer->credentials);
    }
    peer->credentials = NULL;
}

struct rules_who peer_who(const struct peer *peer)
{
    return (struct rules_who){
        .uid = peer->uid,
        .gid = peer->gid,
        .groups = peer->credentials ? peer->credentials->groups : NULL,
        .groups_count = peer->credentials ? peer->credentials->groups_count : 0,
    };
}
