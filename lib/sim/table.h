/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - a table: targets side by side, and the devices that they have open.
 */
#ifndef SIM_TABLE_H
#define SIM_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "bdev.h"
#include "type.h"

struct sim_device;

enum { SIM_READ = 1, SIM_WRITE = 2 }; /* modes of opening, or'ed */

enum { SIM_TARGETS_MAX = 1 << 20 }; /* DM_MAX_TARGETS */

struct sim_target {
    struct sim_table *table;
    const struct sim_target_type *type;
    uint64_t start, length;
    const char *error; /* why the constructor refused; static */
    void *data;        /* the constructor's */
};

/* One of a mapped device's opens of another device: shared by its tables (table_device). */
struct sim_open {
    struct sim_open *next;
    struct sim_bdev *bdev;
    unsigned int mode, count;
};

/* A device of a table, shared by its targets (dm_dev_internal). */
struct sim_dev {
    struct sim_dev *next;
    struct sim_open *open;
    unsigned int count;
    char name[24]; /* "major:minor" */
};

struct sim_table {
    struct sim_device *device; /* whose table it is; borrowed */
    unsigned int mode;
    struct sim_target *targets;
    uint32_t count, room;
    struct sim_dev *devs; /* the latest first: the order of table_deps */
    const struct sim_target_type *immutable;
    bool singleton;
    bool bound; /* events reach the device from now on */
};

/* dm_table_create(): room for `count` targets. -EOVERFLOW, -ENOMEM. */
int sim_table_new(struct sim_device *device, unsigned int mode, uint32_t count,
                  struct sim_table **ret_table);

/* Takes NULL. Returns NULL. */
struct sim_table *sim_table_free(struct sim_table *table);

/* dm_table_add_target(). `params` is split in place. */
int sim_table_add(struct sim_table *table, const char *type, uint64_t start, uint64_t length,
                  char *params);

/* Do all targets pass discards down (dm_table_supports_discards())? */
bool sim_table_discards(const struct sim_table *table);

uint64_t sim_table_size(const struct sim_table *table);

/* dm_table_find_target(): the one that holds `sector`, or NULL. */
struct sim_target *sim_table_find(const struct sim_table *table, uint64_t sector);

bool sim_table_has_wildcard(const struct sim_table *table);

/* dm_table_event(): the device's event number moves if the table is live. */
void sim_table_event(struct sim_table *table);

/* --- devices of a table (table_dev.c) --- */

/* dm_get_device(): -ENODEV, -ENXIO, -EOVERFLOW, -EBUSY, -ENOMEM. */
int sim_table_get_dev(struct sim_target *target, const char *word, unsigned int mode,
                      struct sim_dev **ret_dev);

/* Takes NULL. */
void sim_table_put_dev(struct sim_target *target, struct sim_dev *dev);

/* --- limits (limits.c) --- */

/* What of the kernel's queue_limits a caller can see. */
struct sim_limits {
    uint32_t block_size; /* logical, in bytes */
};

/* dm_calculate_queue_limits(): do the targets fit on their devices? 0 or -EINVAL. */
int sim_table_limits(struct sim_table *table, struct sim_limits *ret_limits);

#endif
