/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache's table line: devices, block size, features, and the policy with its values.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "device.h"
#include "state.h"
#include "target_cache.h"

enum { BLOCK_MIN = 64, BLOCK_MAX = 2 << 20 };

const char *const sim_cache_modes[CACHE_MODES] = {
    [CACHE_WRITEBACK] = "writeback",
    [CACHE_WRITETHROUGH] = "writethrough",
    [CACHE_PASSTHROUGH] = "passthrough",
};

static struct dmi_sim *world_of(const struct sim_target *target)
{
    return target->table->device->sim;
}

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

static int open_device(struct sim_target *target, struct sim_args *args, const char *error,
                       struct sim_dev **ret_dev)
{
    if (!args->count)
        return refuse(target, "Insufficient args");
    int rc = sim_table_get_dev(target, sim_args_shift(args), SIM_READ | SIM_WRITE, ret_dev);
    if (rc < 0)
        target->error = error;
    return rc;
}

static int open_devices(struct sim_target *target, struct sim_args *args, struct cache *cache)
{
    int rc = open_device(target, args, "Error opening metadata device", &cache->metadata);
    if (rc == 0)
        rc = open_device(target, args, "Error opening cache device", &cache->fast);
    if (rc == 0)
        rc = open_device(target, args, "Error opening origin device", &cache->origin);
    if (rc == 0 && target->length > cache->origin->open->bdev->sectors)
        rc = refuse(target, "Device size larger than cached device");
    return rc;
}

static int parse_block_size(struct sim_target *target, struct sim_args *args, struct cache *cache)
{
    uint64_t size;

    if (!args->count)
        return refuse(target, "Insufficient args");
    if (!sim_parse_u64(sim_args_shift(args), &size) || size < BLOCK_MIN || size > BLOCK_MAX ||
        size % BLOCK_MIN)
        return refuse(target, "Invalid data block size");
    if (size > cache->fast->open->bdev->sectors)
        return refuse(target, "Data block size is larger than the cache device");
    cache->block_size = (uint32_t)size;
    return 0;
}

static int parse_features(struct sim_target *target, struct sim_args *args, struct cache *cache)
{
    static const struct sim_arg number = {0, 3, "Invalid number of cache feature arguments"};
    uint32_t count = 0, modes = 0;

    if (sim_args_read_group(args, &number, &count, &target->error) < 0)
        return -EINVAL;
    while (count--) {
        const char *name = sim_args_shift(args);
        size_t mode = 0;
        while (mode < CACHE_MODES && strcasecmp(name, sim_cache_modes[mode]) != 0)
            mode++;
        if (mode < CACHE_MODES) {
            cache->mode = (enum cache_mode)mode;
            modes++;
        } else if (strcasecmp(name, "metadata2") == 0) {
            cache->metadata2 = true;
        } else if (strcasecmp(name, "no_discard_passdown") == 0) {
            cache->no_passdown = true;
        } else {
            return refuse(target, "Unrecognised cache feature requested");
        }
    }
    return modes > 1 ? refuse(target, "Duplicate cache io_mode features requested") : 0;
}

int sim_cache_set_value(struct sim_target *target, struct cache *cache, const char *key,
                        const char *value)
{
    static const char *const unused[] = {"random_threshold", "sequential_threshold",
                                         "discard_promote_adjustment", "read_promote_adjustment",
                                         "write_promote_adjustment"};
    uint64_t number;
    bool is_number = sim_parse_u64(value, &number);

    if (is_number && strcasecmp(key, "migration_threshold") == 0) {
        cache->migration_threshold = number;
        return 0;
    }
    for (size_t i = 0; is_number && i < sizeof(unused) / sizeof(unused[0]); i++)
        if (strcmp(cache->policy, "mq") == 0 && strcasecmp(key, unused[i]) == 0) {
            sim_log(world_of(target), "cache-policy-smq",
                    "tunable '%s' no longer has any effect, mq policy is now an alias for smq",
                    key);
            return 0;
        }
    sim_log(world_of(target), "cache", "bad config value for %s: %s", key, value);
    return -EINVAL;
}

static int parse_values(struct sim_target *target, struct cache *cache, struct sim_args args)
{
    if (args.count & 1) {
        sim_log(world_of(target), "cache",
                "Odd number of policy arguments given but they should be <key> <value> pairs.");
        return -EINVAL;
    }
    for (; args.count; args.count -= 2, args.words += 2)
        if (sim_cache_set_value(target, cache, args.words[0], args.words[1]) < 0)
            return -EINVAL;
    return 0;
}

static int parse_policy(struct sim_target *target, struct sim_args *args, struct cache *cache)
{
    static const struct {
        const char *name, *real;
    } policies[] = {{"smq", "smq"}, {"mq", "mq"}, {"cleaner", "cleaner"}, {"default", "smq"}};
    static const struct sim_arg number = {0, 1024, "Invalid number of policy arguments"};
    uint32_t count = 0;

    if (!args->count)
        return refuse(target, "Insufficient args");
    const char *name = sim_args_shift(args);
    if (sim_args_read_group(args, &number, &count, &target->error) < 0)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
        if (strcmp(name, policies[i].name) == 0)
            cache->policy = policies[i].real;
    if (!cache->policy) {
        sim_log(world_of(target), "cache-policy", "unknown policy type");
        return refuse(target, "Error creating cache's policy");
    }
    struct sim_args values = {.count = count, .words = args->words};
    return parse_values(target, cache, values) < 0
               ? refuse(target, "Error setting cache policy's config values")
               : 0;
}

int sim_cache_parse(struct sim_target *target, struct cache *cache, struct sim_args args)
{
    int rc = open_devices(target, &args, cache);
    if (rc == 0)
        rc = parse_block_size(target, &args, cache);
    if (rc == 0)
        rc = parse_features(target, &args, cache);
    return rc == 0 ? parse_policy(target, &args, cache) : rc;
}
