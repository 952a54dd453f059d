/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_cache.h - what the files of the cache target share.
 */
#ifndef SIM_TARGET_CACHE_H
#define SIM_TARGET_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "table.h"

enum cache_mode { CACHE_WRITEBACK, CACHE_WRITETHROUGH, CACHE_PASSTHROUGH, CACHE_MODES };

extern const char *const sim_cache_modes[CACHE_MODES];

struct cache_metadata {
    uint32_t block_size;
    unsigned int opens;
    uint64_t blocks; /* mapped: none before the first resume */
    bool version_2;  /* made with the feature metadata2 */
    bool has_hints;  /* since the first suspend */
};

struct cache {
    struct sim_dev *metadata, *fast, *origin;
    struct cache_metadata *content; /* of the metadata device */
    uint32_t block_size;
    uint64_t blocks; /* of the fast device */
    enum cache_mode mode;
    bool metadata2, no_passdown;
    const char *policy; /* static */
    uint64_t migration_threshold;
    char *words; /* the constructor's, from the block size on */
};

/* Opens the devices and reads the rest of the line; what was opened stays in `cache` on failure. */
int sim_cache_parse(struct sim_target *target, struct cache *cache, struct sim_args args);

/* set_config_value(): by constructor and message alike. -EINVAL. */
int sim_cache_set_value(struct sim_target *target, struct cache *cache, const char *key,
                        const char *value);

#endif
