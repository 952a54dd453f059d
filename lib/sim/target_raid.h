/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_raid.h - what the files of the raid target share.
 */
#ifndef SIM_TARGET_RAID_H
#define SIM_TARGET_RAID_H

#include <stdbool.h>
#include <stdint.h>

#include "table.h"

enum { RAID_DISKS_MAX = 253 };

enum raid_family { RAID_0, RAID_1, RAID_10, RAID_45, RAID_6 };

struct raid_type {
    const char *name;
    enum raid_family family;
    uint32_t parity, layout; /* layout: of raid10, its place among the formats */
};

/* Optional parameters, in the order in which a table line has them. */
enum raid_key {
    RAID_SYNC,
    RAID_NOSYNC,
    RAID_REBUILD,
    RAID_DAEMON_SLEEP,
    RAID_MIN_RECOVERY_RATE,
    RAID_MAX_RECOVERY_RATE,
    RAID_WRITE_MOSTLY,
    RAID_MAX_WRITE_BEHIND,
    RAID_STRIPE_CACHE,
    RAID_REGION_SIZE,
    RAID_10_COPIES,
    RAID_10_FORMAT,
    RAID_DELTA_DISKS,
    RAID_DATA_OFFSET,
    RAID_JOURNAL_DEV,
    RAID_JOURNAL_MODE,
    RAID_10_NEAR_SETS, /* not shown */
    RAID_KEYS,
};

struct raid_disk {
    struct sim_dev *metadata, *data;
    bool rebuild, write_mostly;
};

struct raid {
    const struct raid_type *type;
    uint32_t chunk;
    uint32_t given; /* a bit for each key */
    int32_t values[RAID_KEYS];
    const char *format, *journal_mode; /* static */
    struct sim_dev *journal;
    uint64_t disk_sectors;
    bool unsynced;   /* its superblocks tell of no resync that came to its end */
    bool recovering; /* some of its disks are yet to be rebuilt */
    bool frozen;     /* suspended */
    uint32_t count;
    struct raid_disk disks[];
};

/* Reads chunk size and optional parameters; `count` words of them by the line's own account. */
int sim_raid_params_parse(struct sim_target *target, struct raid *raid, struct sim_args *args,
                          uint32_t count);

/* The parameters as in a table line, with their number. */
void sim_raid_params_emit(const struct raid *raid, struct sim_text *out);

#endif
