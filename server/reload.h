/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.h - SIGHUP: the configuration file is read again, while calls go on.
 *
 * It counts whole, or not at all: a file with a fault changes nothing. It is not read while
 * there are leases, because it might lie on a device that we have suspended; and not on the loop
 * thread, because it might lie on one that somebody else has.
 */
#ifndef DMRPC_RELOAD_H
#define DMRPC_RELOAD_H

#include "dispatch.h"
#include "options.h"

struct reload;

/* Notices SIGHUP from now on, and heeds it when the loop runs. Both are borrowed. 0 or -ENOMEM. */
int reload_new(struct dispatcher *dispatcher, const struct options *options,
               struct reload **ret_reload);

/* Takes NULL. Returns NULL. No worker may run. */
struct reload *reload_free(struct reload *reload);

#endif
