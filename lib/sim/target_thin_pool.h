/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_thin_pool.h - pools, for the thin target.
 */
#ifndef SIM_TARGET_THIN_POOL_H
#define SIM_TARGET_THIN_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "table.h"
#include "thin_metadata.h"

struct thin;

struct thin_pool_features {
    bool skip_block_zeroing, ignore_discard, no_discard_passdown, read_only, error_if_no_space;
};

/* One of a world, shared by the pool's tables and its thin targets. */
struct thin_pool {
    struct thin_pool *next;
    struct sim_device *device;
    const struct sim_bdev *metadata_bdev, *data_bdev;
    struct thin_metadata *metadata;
    uint32_t block_size;
    unsigned int references;
    struct sim_target *target; /* the one in control, or NULL */
    struct thin_pool_features features;
    bool suspended, failed;
    struct thin *thins; /* active ones, oldest first */
};

struct thin_pool *sim_thin_pool_find(const struct dmi_sim *sim, const struct sim_device *device);
void sim_thin_pool_get(struct thin_pool *pool);
void sim_thin_pool_put(struct thin_pool *pool);

/* target_thin_message.c */
int sim_thin_pool_message(struct thin_pool *pool, unsigned int argc, char **argv);

/* A thin target that belongs to a pool (target_thin.c). */
struct thin {
    struct thin *next;
    struct sim_target *target;
    struct thin_pool *pool;
    struct sim_dev *pool_dev, *origin_dev;
    uint64_t id;
};

#endif
