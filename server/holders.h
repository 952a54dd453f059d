/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holders.h - who uses a block device, as far as the host shows it.
 *
 * Devices stacked on it, mounts, swap areas and loop devices; those of a disk's partitions are the
 * disk's too, and those of the whole disk each partition's. A process that has it open is not
 * looked for: that would mean to read the descriptors of all processes. Any thread; it reads
 * files of sysfs and procfs, and waits for no disk.
 */
#ifndef DMRPC_HOLDERS_H
#define DMRPC_HOLDERS_H

#include "arena.h"
#include "block.h"
#include "schema.h"

enum { HOLDERS_MAX = 32 };

/* In the arena, at most HOLDERS_MAX. */
struct holders {
    struct holder *items;
    size_t count;
};

/*
 * Adds those of `device`, as sysfs and procfs below the host's root tell: block_host's
 * add_holders of a real host. Zeroed `holders` are empty. -ENOMEM: some may be missing.
 */
int holders_add(const struct block_host *host, struct dmi_device device, struct arena *arena,
                struct holders *holders);

/* Adds one that is known otherwise; strings are copied, those but `kind` may be NULL. */
int holders_put(struct holders *holders, struct arena *arena, const struct holder *holder);

#endif
