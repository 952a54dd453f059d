/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim.h - whose a socket's path is.
 *
 * Who serves PATH holds a lock (flock) on PATH.lock. A daemon that was killed while a
 * thread of it is stuck in the kernel is not dead: it holds that lock on, and its socket
 * takes connections. So who finds the lock held asks at the path, and one that does not
 * answer within a second loses it: another file, locked by its next owner, is put in the
 * place of PATH.lock. One that has no socket any more is ending, and gets five.
 *
 * Only who has the mark (a lock on the first byte) of the file may do that. Whoever
 * starts has it on the file of his own as well, until his socket is there. So of
 * several that start at once exactly one gets the path, and none that is still starting
 * loses it.
 */
#ifndef DMRPC_CLAIM_H
#define DMRPC_CLAIM_H

#include <stdbool.h>

struct claim {
    int fd;          /* holds the locks; -1: there is no claim */
    bool taken_over; /* from a daemon that is not dead, and may even go on some day */
};

/*
 * Claims the path, and holds it (below). 0; or a negative errno, having said in the log
 * what to do about it.
 */
int claim_take(struct claim *claim, const char *path);

/* Is the path still ours? Then nobody takes it over before claim_yield. */
bool claim_hold(const struct claim *claim, const char *path);

/* From now on it is ours for as long as we answer. */
void claim_yield(const struct claim *claim);

/* Gives it up. Takes one that there is not. */
void claim_drop(struct claim *claim);

#endif
