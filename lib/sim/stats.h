/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - the @stats_* messages: regions of a device whose I/O is counted.
 */
#ifndef SIM_STATS_H
#define SIM_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

struct sim_device;

struct sim_region {
    struct sim_region *next;
    int id;
    uint64_t start, end, step, entries;
    bool precise;
    unsigned int bound_count;
    uint64_t *bounds; /* of the histogram */
    char *program, *aux;
};

struct sim_stats {
    struct sim_region *regions; /* by id */
};

void sim_stats_done(struct sim_stats *stats);

/*
 * dm_stats_message(): 0; 1 with an answer in `out`; 2 if it is none of these
 * messages; or a negative errno.
 */
int sim_stats_message(struct sim_device *device, unsigned int argc, char **argv,
                      struct sim_text *out);

/* --- regions (stats.c), for stats_message.c --- */

/*
 * Takes `region` and what it points to, also on failure; counts its entries and
 * gives it the lowest free id, which it returns. -EINVAL, -EOVERFLOW, -ENOMEM.
 */
int sim_stats_add(struct sim_stats *stats, struct sim_region *region);

/* -ENOENT: no such region. Each returns what the message does. */
int sim_stats_delete(struct sim_stats *stats, int id);
int sim_stats_clear(struct sim_stats *stats, int id);
int sim_stats_set_aux(struct sim_stats *stats, int id, const char *aux);
int sim_stats_print(struct sim_stats *stats, int id, uint64_t first, uint64_t count,
                    struct sim_text *out);

/* `program` NULL: all. */
int sim_stats_list(const struct sim_stats *stats, const char *program, struct sim_text *out);

struct sim_region *sim_region_free(struct sim_region *region);

#endif
