/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_store.h - where a snapshot keeps what differs from its origin.
 */
#ifndef SIM_SNAPSHOT_STORE_H
#define SIM_SNAPSHOT_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "bdev.h"

enum { SNAPSHOT_HEADER_CHUNKS = 2 }; /* that a persistent store takes for itself */

/* The exception store, which a handover moves to another snapshot. */
struct snapshot_store {
    bool persistent, overflow;
    uint32_t chunk; /* in sectors */
};

/* Reads the words for type and chunk size. -EINVAL. */
int sim_snapshot_store_parse(struct dmi_sim *sim, char **argv, const struct sim_bdev *origin,
                             const struct sim_bdev *cow, struct snapshot_store *store);

/* For persistent ones. -EIO, -ENXIO: the COW device holds something else; -ENOMEM. */
int sim_snapshot_store_open(struct dmi_sim *sim, struct sim_bdev *cow,
                            struct snapshot_store *store);

#endif
