/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of access. It knows peers and effects; not calls or sockets' owners.
 */
#include "access.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

int access_peer(int fd, struct peer *ret_peer)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) {
        return -errno;
    }
    *ret_peer = (struct peer){credentials.pid, credentials.uid, credentials.gid};
    return 0;
}

bool access_allows(const struct peer *peer, enum method_effect effect)
{
    return effect == EFFECT_READ || peer->uid == 0 || peer->uid == geteuid();
}
