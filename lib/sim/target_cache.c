/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache: a slow device behind a fast one, with metadata on a third.
 * `<metadata> <cache> <origin> <block size> <count> <feature>... <policy> <count> [<key>
 * <value>]...`
 *
 * No block is ever cached, as there is no data path.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device.h"
#include "media.h"
#include "state.h"
#include "table.h"
#include "thin_metadata.h"

enum {
    BLOCK_MIN = 64,
    BLOCK_MAX = 2 << 20,
    MIGRATION_THRESHOLD = 2048,
    FIXED_BLOCKS = 5,       /* of metadata: superblock, roots and indexes */
    VERSION_2_BLOCKS = 2,   /* more of them with the feature metadata2 */
    BITMAP_ENTRIES = 16320, /* of a space map, in one metadata block */
    ARRAY_ENTRIES = 509,    /* mappings in one metadata block */
    HINT_ENTRIES = 1018,
};

enum io_mode { WRITEBACK, WRITETHROUGH, PASSTHROUGH };

static const char *const io_modes[] = {
    [WRITEBACK] = "writeback", [WRITETHROUGH] = "writethrough", [PASSTHROUGH] = "passthrough"};

enum { IO_MODES = sizeof(io_modes) / sizeof(io_modes[0]) };

struct cache_metadata {
    uint32_t block_size;
    unsigned int opens;
    bool has_hints; /* since the first suspend */
};

struct cache {
    struct sim_dev *metadata, *fast, *origin;
    struct cache_metadata *content; /* of the metadata device */
    uint32_t block_size;
    uint64_t blocks; /* of the fast device */
    enum io_mode mode;
    bool metadata2, no_passdown;
    const char *policy; /* static */
    uint64_t migration_threshold;
    char *words; /* the constructor's, from the block size on */
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

/* --- construction --- */

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
        while (mode < IO_MODES && strcasecmp(name, io_modes[mode]) != 0)
            mode++;
        if (mode < IO_MODES) {
            cache->mode = (enum io_mode)mode;
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

/* set_config_value(): by constructor and message alike. */
static int set_value(struct sim_target *target, struct cache *cache, const char *key,
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
        if (set_value(target, cache, args.words[0], args.words[1]) < 0)
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

/* dm_cache_metadata_open(): formats a blank device. */
static int open_metadata(struct dmi_sim *sim, struct cache *cache)
{
    struct sim_media *media;
    int rc = sim_media_find(sim, cache->metadata->open->bdev, &media);
    if (rc < 0)
        return rc;
    if (media->kind == SIM_MEDIA_BLANK) {
        struct cache_metadata *metadata = calloc(1, sizeof(*metadata));
        if (!metadata)
            return -ENOMEM;
        metadata->block_size = cache->block_size;
        media->kind = SIM_MEDIA_CACHE;
        media->content = metadata;
        media->content_free = free;
    }
    if (media->kind != SIM_MEDIA_CACHE)
        return -EILSEQ;
    struct cache_metadata *content = media->content;
    if (content->block_size == cache->block_size) {
        content->opens++;
        cache->content = content;
        return 0;
    }
    if (content->opens)
        sim_log(sim, "cache metadata", "data_block_size (%u) different from that in metadata (%u)",
                cache->block_size, content->block_size);
    else
        sim_log(sim, "cache metadata",
                "changing the data block size (from %u to %u) is not supported",
                content->block_size, cache->block_size);
    return -EINVAL;
}

static int keep_words(struct cache *cache, unsigned int argc, char **argv)
{
    size_t size = 1;

    for (unsigned int i = 0; i < argc; i++)
        size += strlen(argv[i]) + 1;
    cache->words = malloc(size);
    if (!cache->words)
        return -ENOMEM;
    struct sim_text text = {.data = cache->words, .size = size};
    cache->words[0] = '\0';
    for (unsigned int i = 0; i < argc; i++)
        sim_emit(&text, " %s", argv[i]);
    return 0;
}

static int cache_parse(struct sim_target *target, struct cache *cache, unsigned int argc,
                       char **argv)
{
    struct sim_args args = {.count = argc, .words = argv};

    int rc = open_devices(target, &args, cache);
    if (rc == 0)
        rc = parse_block_size(target, &args, cache);
    if (rc == 0)
        rc = parse_features(target, &args, cache);
    if (rc == 0)
        rc = parse_policy(target, &args, cache);
    if (rc < 0)
        return rc;
    cache->blocks = cache->fast->open->bdev->sectors / cache->block_size;
    rc = open_metadata(world_of(target), cache);
    if (rc < 0) {
        target->error = "Error creating metadata object";
        return rc;
    }
    return keep_words(cache, argc - 3, argv + 3);
}

static void cache_dtr(struct sim_target *target)
{
    struct cache *cache = target->data;

    if (cache->content)
        cache->content->opens--;
    sim_table_put_dev(target, cache->metadata);
    sim_table_put_dev(target, cache->fast);
    sim_table_put_dev(target, cache->origin);
    free(cache->words);
    free(cache);
}

static int cache_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    struct cache *cache = calloc(1, sizeof(*cache));
    if (!cache) {
        target->error = "Error allocating memory for cache";
        return -ENOMEM;
    }
    cache->migration_threshold = MIGRATION_THRESHOLD;
    target->data = cache;
    int rc = cache_parse(target, cache, argc, argv);
    if (rc < 0)
        cache_dtr(target);
    return rc;
}

/* --- the rest --- */

static uint64_t blocks_of(uint64_t entries, uint64_t per_block)
{
    return (entries + per_block - 1) / per_block;
}

static uint64_t metadata_used(const struct cache *cache)
{
    uint64_t total = sim_thin_metadata_size(cache->metadata->open->bdev);
    return FIXED_BLOCKS + (cache->metadata2 ? (uint64_t)VERSION_2_BLOCKS : 0) +
           blocks_of(total, BITMAP_ENTRIES) + blocks_of(cache->blocks, ARRAY_ENTRIES) +
           (cache->content->has_hints ? blocks_of(cache->blocks, HINT_ENTRIES) + 2 : 0);
}

/* Suspending writes the policy's hints, an array of their own. */
static void cache_postsuspend(struct sim_target *target)
{
    ((struct cache *)target->data)->content->has_hints = true;
}

static int cache_preresume(struct sim_target *target)
{
    struct cache *cache = target->data;
    uint64_t blocks = cache->fast->open->bdev->sectors / cache->block_size;

    if (blocks > cache->blocks) {
        sim_log(world_of(target), "cache",
                "%s: unable to extend cache due to missing cache table reload",
                target->table->device->number);
        return -EINVAL;
    }
    cache->blocks = blocks;
    /* Growing the mappings needs room for copies of what changes. */
    if (metadata_used(cache) * 4 > sim_thin_metadata_size(cache->metadata->open->bdev) * 3) {
        sim_log(world_of(target), "cache", "%s: could not resize cache metadata",
                target->table->device->number);
        return -ENOSPC;
    }
    return 0;
}

static bool parse_range(const char *word, uint32_t *ret_begin, uint32_t *ret_end)
{
    uint64_t begin, end;

    if (!sim_scan_prefix(&word, &begin))
        return false;
    *ret_begin = (uint32_t)begin;
    if (!*word) {
        *ret_end = *ret_begin + 1;
        return true;
    }
    if (*word++ != '-' || !sim_scan_u64(word, &end))
        return false;
    *ret_end = (uint32_t)end;
    return true;
}

/* process_invalidate_cblocks_message(): there is nothing to drop, but ranges are checked. */
static int invalidate(struct sim_target *target, const struct cache *cache, unsigned int count,
                      char **words)
{
    struct dmi_sim *sim = world_of(target);
    const char *device = target->table->device->number;
    uint32_t begin, end;

    if (cache->mode != PASSTHROUGH) {
        sim_log(sim, "cache", "%s: cache has to be in passthrough mode for invalidation", device);
        return -EPERM;
    }
    for (unsigned int i = 0; i < count; i++) {
        if (!parse_range(words[i], &begin, &end)) {
            sim_log(sim, "cache", "%s: invalid cblock range '%s'", device, words[i]);
            return -EINVAL;
        }
        if (begin >= cache->blocks) {
            sim_log(sim, "cache", "%s: begin cblock out of range: %u >= %" PRIu64, device, begin,
                    cache->blocks);
            return -EINVAL;
        }
        if (end > cache->blocks) {
            sim_log(sim, "cache", "%s: end cblock out of range: %u > %" PRIu64, device, end,
                    cache->blocks);
            return -EINVAL;
        }
        if (begin >= end) {
            sim_log(sim, "cache", "%s: invalid cblock range: %u >= %u", device, begin, end);
            return -EINVAL;
        }
    }
    return 0;
}

static int cache_message(struct sim_target *target, unsigned int argc, char **argv,
                         struct sim_text *out)
{
    struct cache *cache = target->data;
    (void)out;

    if (strcasecmp(argv[0], "invalidate_cblocks") == 0)
        return invalidate(target, cache, argc - 1, argv + 1);
    return argc == 2 ? set_value(target, cache, argv[0], argv[1]) : -EINVAL;
}

static void cache_info(const struct cache *cache, struct sim_text *out)
{
    sim_emit(out, "8 %" PRIu64 "/%" PRIu64 " %u 0/%" PRIu64 " 0 0 0 0 0 0 0 ", metadata_used(cache),
             sim_thin_metadata_size(cache->metadata->open->bdev), cache->block_size, cache->blocks);
    sim_emit(out, "%d %s%s %s", 1 + cache->metadata2 + cache->no_passdown,
             cache->metadata2 ? "metadata2 " : "", io_modes[cache->mode],
             cache->no_passdown ? "no_discard_passdown " : "");
    sim_emit(out, "2 migration_threshold %" PRIu64 " %s ", cache->migration_threshold,
             cache->policy);
    if (strcmp(cache->policy, "mq") == 0)
        sim_emit(out, "10 random_threshold 0 sequential_threshold 0 discard_promote_adjustment 0 "
                      "read_promote_adjustment 0 write_promote_adjustment 0 ");
    else
        sim_emit(out, "0 ");
    sim_emit(out, "rw - ");
}

static void cache_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    const struct cache *cache = target->data;

    switch (kind) {
    case SIM_STATUS_INFO:
        cache_info(cache, out);
        break;
    case SIM_STATUS_TABLE:
        sim_emit(out, "%s %s %s%s", cache->metadata->name, cache->fast->name, cache->origin->name,
                 cache->words);
        break;
    case SIM_STATUS_IMA:
        sim_emit_type(out, target->type);
        sim_emit(out,
                 ",metadata_mode=rw,cache_metadata_device=%s,cache_device=%s,"
                 "cache_origin_device=%s,writethrough=%c,writeback=%c,passthrough=%c,"
                 "metadata2=%c,no_discard_passdown=%c;",
                 cache->metadata->name, cache->fast->name, cache->origin->name,
                 cache->mode == WRITETHROUGH ? 'y' : 'n', cache->mode == WRITEBACK ? 'y' : 'n',
                 cache->mode == PASSTHROUGH ? 'y' : 'n', cache->metadata2 ? 'y' : 'n',
                 cache->no_passdown ? 'y' : 'n');
        break;
    }
}

static int cache_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct cache *cache = target->data;
    int rc = fn(target, cache->fast, 0, cache->fast->open->bdev->sectors, data);
    return rc ? rc : fn(target, cache->origin, 0, target->length, data);
}

const struct sim_target_type sim_target_cache = {
    .name = "cache",
    .version = {2, 3, 0},
    .ctr = cache_ctr,
    .dtr = cache_dtr,
    .status = cache_status,
    .message = cache_message,
    .iterate = cache_iterate,
    .postsuspend = cache_postsuspend,
    .preresume = cache_preresume,
};
