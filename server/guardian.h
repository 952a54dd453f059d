/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guardian.h - the process that resumes suspended devices where the daemon cannot.
 *
 * A child of the daemon, forked before there are threads. It holds the lease table,
 * device-mapper's control file and the end of a pipe, has all of its memory locked and its
 * threads made, and from then on only sleeps, reads the table and issues ioctls (it may do
 * nothing else): the device that it resumes may be the one that its own binary lies on. It
 * acts on a lease that is overdue although the daemon lives, and on all of them when the
 * daemon is dead. When no lease is left then, it exits.
 */
#ifndef DMRPC_GUARDIAN_H
#define DMRPC_GUARDIAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lease.h"

struct dmi_transport;

/* --- in the daemon --- */

struct guardian {
    pid_t pid;
    int pipe; /* its end means that the daemon is dead; a byte, that a lease has changed */
};

/*
 * Forks. `table_fd` is the table's file, whose lock the child keeps (-1: there is none).
 * 0, or -errno; with *ret_missing, for people, what protection it could not get (or NULL).
 */
int guardian_start(struct guardian *guardian, struct lease_table *table, int table_fd,
                   struct dmi_transport *transport, const char **ret_missing);

/* Any thread. A lease is new, or ends at another time than before. */
void guardian_wake(const struct guardian *guardian);

/* Closes the pipe: if leases are left they are the guardian's now. */
void guardian_stop(struct guardian *guardian);

/* --- in the child; here for the tests --- */

struct guard;

/* All that it needs, with its threads. Times in nanoseconds. NULL: no memory. */
struct guard *guard_new(struct lease_table *table, struct dmi_transport *transport, int pipe,
                        int death, uint64_t grace);

/*
 * Until the daemon is dead (`pipe` at its end, or `death` readable; -1: none) and no lease
 * is left. 0, or -errno where it could not begin.
 */
int guard_run(struct guard *guard);

/* Takes NULL. Returns NULL. */
struct guard *guard_free(struct guard *guard);

#endif
