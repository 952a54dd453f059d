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
#include "target_cache.h"
#include "thin_metadata.h"

enum {
    MIGRATION_THRESHOLD = 2048,
    FIXED_BLOCKS = 5,       /* of metadata: superblock, roots and indexes */
    BLOCKS_MIN = 6,         /* fewer cannot be formatted */
    BITMAP_ENTRIES = 16320, /* of a space map, in one metadata block */
    ARRAY_ENTRIES = 509,    /* mappings in one metadata block */
    HINT_ENTRIES = 1018,
    DIRTY_ENTRIES = 509 * 64, /* bits, that only metadata2 has */
};

static struct dmi_sim *world_of(const struct sim_target *target)
{
    return target->table->device->sim;
}

static int format_metadata(struct dmi_sim *sim, const struct cache *cache, struct sim_media *media)
{
    uint64_t blocks = sim_thin_metadata_size(cache->metadata->open->bdev);
    if (blocks < BLOCKS_MIN)
        return sim_metadata_too_small(sim, "cache metadata", blocks);

    struct cache_metadata *metadata = calloc(1, sizeof(*metadata));
    if (!metadata)
        return -ENOMEM;
    metadata->block_size = cache->block_size;
    metadata->version_2 = cache->metadata2;
    media->kind = SIM_MEDIA_CACHE;
    media->content = metadata;
    media->content_free = free;
    return 0;
}

/* dm_cache_metadata_open(): formats a blank device. */
static int open_metadata(struct dmi_sim *sim, struct cache *cache)
{
    struct sim_media *media;
    int rc = sim_media_find(sim, cache->metadata->open->bdev, &media);
    if (rc == 0 && media->kind == SIM_MEDIA_BLANK)
        rc = format_metadata(sim, cache, media);
    if (rc < 0)
        return rc;
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
    const struct sim_args args = {.count = argc, .words = argv};

    int rc = sim_cache_parse(target, cache, args);
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
    const struct cache_metadata *content = cache->content;
    uint64_t total = sim_thin_metadata_size(cache->metadata->open->bdev);

    return FIXED_BLOCKS + blocks_of(total, BITMAP_ENTRIES) +
           blocks_of(content->blocks, ARRAY_ENTRIES) +
           (content->version_2 ? 1 + blocks_of(content->blocks, DIRTY_ENTRIES) : 0) +
           (content->has_hints ? blocks_of(content->blocks, HINT_ENTRIES) + 2 : 0);
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
    uint64_t before = cache->content->blocks;
    cache->content->blocks = blocks;
    /* Growing the mappings needs room for copies of what changes. */
    if (metadata_used(cache) * 4 > sim_thin_metadata_size(cache->metadata->open->bdev) * 3) {
        sim_log(world_of(target), "cache", "%s: could not resize cache metadata",
                target->table->device->number);
        cache->content->blocks = before;
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

    if (cache->mode != CACHE_PASSTHROUGH) {
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
    return argc == 2 ? sim_cache_set_value(target, cache, argv[0], argv[1]) : -EINVAL;
}

static void cache_info(const struct cache *cache, struct sim_text *out)
{
    sim_emit(out, "8 %" PRIu64 "/%" PRIu64 " %u 0/%" PRIu64 " 0 0 0 0 0 0 0 ", metadata_used(cache),
             sim_thin_metadata_size(cache->metadata->open->bdev), cache->block_size, cache->blocks);
    sim_emit(out, "%d %s%s %s", 1 + cache->metadata2 + cache->no_passdown,
             cache->metadata2 ? "metadata2 " : "", sim_cache_modes[cache->mode],
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
                 cache->mode == CACHE_WRITETHROUGH ? 'y' : 'n',
                 cache->mode == CACHE_WRITEBACK ? 'y' : 'n',
                 cache->mode == CACHE_PASSTHROUGH ? 'y' : 'n', cache->metadata2 ? 'y' : 'n',
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
