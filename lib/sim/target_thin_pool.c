/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thin-pool: a data device handed out in blocks, with metadata on another.
 * `<metadata> <data> <block size> <low water mark> [<count> <feature>...]`
 *
 * A pool outlives its tables: a new table over the same devices takes over the
 * pool of the old one when it is resumed. Nothing is ever allocated here, as there
 * is no data path; transaction ids and the list of volumes are kept.
 */
#include "target_thin_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device.h"
#include "state.h"

enum { BLOCK_MIN = 128, BLOCK_MAX = 2 << 20, THRESHOLD_MAX = 1024 };

struct pool_table {
    struct thin_pool *pool;
    struct sim_dev *metadata_dev, *data_dev;
    uint64_t low_water;
    struct thin_pool_features requested;
    bool no_passdown; /* the data device cannot discard */
};

static const struct {
    const char *name;
    size_t offset;
} features[] = {
    {"skip_block_zeroing", offsetof(struct thin_pool_features, skip_block_zeroing)},
    {"ignore_discard", offsetof(struct thin_pool_features, ignore_discard)},
    {"no_discard_passdown", offsetof(struct thin_pool_features, no_discard_passdown)},
    {"read_only", offsetof(struct thin_pool_features, read_only)},
    {"error_if_no_space", offsetof(struct thin_pool_features, error_if_no_space)},
};

enum { FEATURES = sizeof(features) / sizeof(features[0]) };

static bool *feature_of(struct thin_pool_features *set, size_t which)
{
    return (bool *)((char *)set + features[which].offset);
}

static int refuse(struct sim_target *target, const char *error, int rc)
{
    target->error = error;
    return rc;
}

/* --- pools of the world --- */

struct thin_pool *sim_thin_pool_find(const struct dmi_sim *sim, const struct sim_device *device)
{
    struct thin_pool *pool = sim->thin_pools;
    while (pool && pool->device != device)
        pool = pool->next;
    return pool;
}

void sim_thin_pool_get(struct thin_pool *pool)
{
    pool->references++;
}

void sim_thin_pool_put(struct thin_pool *pool)
{
    if (--pool->references)
        return;
    struct thin_pool **link = &pool->device->sim->thin_pools;
    while (*link != pool)
        link = &(*link)->next;
    *link = pool->next;
    free(pool);
}

static int pool_new(struct sim_target *target, struct sim_bdev *metadata_bdev,
                    const struct sim_bdev *data_bdev, uint32_t block_size, bool read_only,
                    struct thin_pool **ret_pool)
{
    struct dmi_sim *sim = target->table->device->sim;
    struct thin_pool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return refuse(target, "Error allocating memory for pool", -ENOMEM);

    int rc = sim_thin_metadata_open(sim, metadata_bdev, block_size, !read_only, &pool->metadata);
    if (rc < 0) {
        free(pool);
        return refuse(target, "Error creating metadata object", rc);
    }
    pool->device = target->table->device;
    pool->metadata_bdev = metadata_bdev;
    pool->data_bdev = data_bdev;
    pool->block_size = block_size;
    pool->references = 1;
    pool->suspended = true;
    pool->next = sim->thin_pools;
    sim->thin_pools = pool;
    *ret_pool = pool;
    return 0;
}

/* __pool_find(): the pool of these devices, one reference more; *ret_created if it is new. */
static int pool_find(struct sim_target *target, const struct pool_table *table, uint32_t block_size,
                     struct thin_pool **ret_pool, bool *ret_created)
{
    struct sim_device *device = target->table->device;
    struct sim_bdev *metadata_bdev = table->metadata_dev->open->bdev;
    const struct sim_bdev *data_bdev = table->data_dev->open->bdev;
    struct thin_pool *pool = device->sim->thin_pools;

    while (pool && pool->metadata_bdev != metadata_bdev)
        pool = pool->next;
    if (pool) {
        if (pool->device != device)
            return refuse(target, "metadata device already in use by a pool", -EBUSY);
        if (pool->data_bdev != data_bdev)
            return refuse(target, "data device already in use by a pool", -EBUSY);
    } else if (sim_thin_pool_find(device->sim, device)) {
        return refuse(target, "different pool cannot replace a pool", -EINVAL);
    }
    *ret_created = !pool;
    if (!pool)
        return pool_new(target, metadata_bdev, data_bdev, block_size, table->requested.read_only,
                        ret_pool);
    sim_thin_pool_get(pool);
    *ret_pool = pool;
    return 0;
}

/* --- construction --- */

static int parse_features(struct sim_target *target, struct sim_args *args,
                          struct thin_pool_features *set)
{
    static const struct sim_arg number = {0, 4, "Invalid number of pool feature arguments"};
    uint32_t count = 0;

    if (!args->count)
        return 0;
    if (sim_args_read_group(args, &number, &count, &target->error) < 0)
        return -EINVAL;
    while (count--) {
        const char *name = sim_args_shift(args);
        size_t i = 0;
        while (i < FEATURES && strcasecmp(name, features[i].name) != 0)
            i++;
        if (i == FEATURES)
            return refuse(target, "Unrecognised pool feature requested", -EINVAL);
        *feature_of(set, i) = true;
    }
    return 0;
}

static int open_devices(struct sim_target *target, char **argv, struct pool_table *table)
{
    unsigned int mode = table->requested.read_only ? SIM_READ : SIM_READ | SIM_WRITE;

    int rc = sim_table_get_dev(target, argv[0], mode, &table->metadata_dev);
    if (rc < 0)
        return refuse(target, "Error opening metadata block device", rc);
    rc = sim_table_get_dev(target, argv[1], SIM_READ | SIM_WRITE, &table->data_dev);
    return rc < 0 ? refuse(target, "Error getting data device", rc) : 0;
}

static int pool_parse(struct sim_target *target, unsigned int argc, char **argv,
                      struct pool_table *table)
{
    struct sim_args args = {.count = argc - 4, .words = argv + 4};
    uint64_t block_size;
    bool created;

    if (strcmp(argv[0], argv[1]) == 0)
        return refuse(target, "Error setting metadata or data device", -EINVAL);
    int rc = parse_features(target, &args, &table->requested);
    if (rc == 0)
        rc = open_devices(target, argv, table);
    if (rc < 0)
        return rc;
    if (!sim_parse_u64(argv[2], &block_size) || block_size < BLOCK_MIN || block_size > BLOCK_MAX ||
        block_size % BLOCK_MIN)
        return refuse(target, "Invalid block size", -EINVAL);
    if (!sim_parse_u64(argv[3], &table->low_water))
        return refuse(target, "Invalid low water mark", -EINVAL);
    rc = pool_find(target, table, (uint32_t)block_size, &table->pool, &created);
    if (rc < 0)
        return rc;
    if (!created && table->requested.ignore_discard != table->pool->features.ignore_discard)
        return refuse(target, "Discard support cannot be disabled once enabled", -EINVAL);
    return 0;
}

static void pool_dtr(struct sim_target *target)
{
    struct pool_table *table = target->data;

    if (table->pool && table->pool->target == target)
        table->pool->target = NULL;
    if (table->pool)
        sim_thin_pool_put(table->pool);
    sim_table_put_dev(target, table->metadata_dev);
    sim_table_put_dev(target, table->data_dev);
    free(table);
}

static int pool_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    if (argc < 4)
        return refuse(target, "Invalid argument count", -EINVAL);
    struct pool_table *table = calloc(1, sizeof(*table));
    if (!table)
        return -ENOMEM;
    target->data = table;
    int rc = pool_parse(target, argc, argv, table);
    if (rc < 0)
        pool_dtr(target);
    return rc;
}

/* --- suspending and resuming --- */

/* metadata_operation_failed(): nothing but a new pool object gets out of this. */
static void fail(struct thin_pool *pool, const char *operation, int error)
{
    struct dmi_sim *sim = pool->device->sim;
    const char *device = pool->device->number;

    sim_log(sim, "thin", "%s: metadata operation '%s' failed: error = %d", device, operation,
            error);
    sim_log(sim, "thin", "%s: aborting current metadata transaction", device);
    sim_log(sim, "thin", "%s: failed to set 'needs_check' flag in metadata", device);
    sim_table_event(pool->target->table);
    sim_log(sim, "thin", "%s: switching pool to fail mode", device);
    pool->failed = true;
}

/* maybe_resize_data_dev() */
static int resize_data(struct sim_target *target, struct thin_pool *pool)
{
    struct dmi_sim *sim = pool->device->sim;
    const char *device = pool->device->number;
    struct thin_metadata *metadata = pool->metadata;
    uint64_t data = target->length / pool->block_size;

    if (data < metadata->data_blocks) {
        sim_log(sim, "thin", "%s: pool target (%" PRIu64 " blocks) too small: expected %" PRIu64,
                device, data, metadata->data_blocks);
        return -EINVAL;
    }
    if (data == metadata->data_blocks)
        return 0;
    if (metadata->data_blocks)
        sim_log(sim, "thin", "%s: growing the data device from %" PRIu64 " to %" PRIu64 " blocks",
                device, metadata->data_blocks, data);
    int rc = sim_thin_metadata_grow_data(metadata, data, pool->features.read_only);
    if (rc < 0)
        fail(pool, "dm_pool_resize_data_dev", rc);
    return rc;
}

/* maybe_resize_metadata_dev() */
static int resize_metadata(const struct thin_pool *pool)
{
    struct dmi_sim *sim = pool->device->sim;
    const char *device = pool->device->number;
    struct thin_metadata *metadata = pool->metadata;
    uint64_t blocks = sim_thin_metadata_size(pool->metadata_bdev);

    if (blocks < metadata->metadata_blocks) {
        sim_log(sim, "thin",
                "%s: metadata device (%" PRIu64 " blocks) too small: expected %" PRIu64, device,
                blocks, metadata->metadata_blocks);
        return -EINVAL;
    }
    if (blocks > metadata->metadata_blocks)
        sim_log(sim, "thin",
                "%s: growing the metadata device from %" PRIu64 " to %" PRIu64 " blocks", device,
                metadata->metadata_blocks, blocks);
    metadata->metadata_blocks = blocks;
    return 0;
}

/* bind_control_target() */
static void take_control(struct sim_target *target, struct thin_pool *pool)
{
    const struct pool_table *table = target->data;
    bool was_read_only = pool->features.read_only;

    pool->target = target;
    pool->features = table->requested;
    pool->features.no_discard_passdown |= table->no_passdown;
    if (pool->failed || pool->features.read_only == was_read_only)
        return;
    sim_table_event(target->table);
    sim_log(pool->device->sim, "thin", "%s: switching pool to %s mode", pool->device->number,
            was_read_only ? "write" : "read-only");
}

static int pool_preresume(struct sim_target *target)
{
    struct thin_pool *pool = ((struct pool_table *)target->data)->pool;

    take_control(target, pool);
    if (pool->failed)
        return 0;
    int rc = resize_data(target, pool);
    if (pool->failed)
        return 0;
    if (rc == 0)
        rc = resize_metadata(pool);
    if (rc == 0 && !pool->features.read_only)
        sim_thin_metadata_commit(pool->metadata);
    return rc;
}

static void resume_thins(struct thin_pool *pool)
{
    for (struct thin *thin = pool->thins; thin; thin = thin->next)
        sim_device_internal_resume(thin->target->table->device);
    pool->suspended = false;
}

static void pool_resume(struct sim_target *target)
{
    resume_thins(((struct pool_table *)target->data)->pool);
}

static void pool_presuspend(struct sim_target *target)
{
    struct thin_pool *pool = ((struct pool_table *)target->data)->pool;

    pool->suspended = true;
    for (struct thin *thin = pool->thins; thin; thin = thin->next)
        sim_device_internal_suspend(thin->target->table->device);
}

static void pool_presuspend_undo(struct sim_target *target)
{
    resume_thins(((struct pool_table *)target->data)->pool);
}

static int pool_message(struct sim_target *target, unsigned int argc, char **argv,
                        struct sim_text *out)
{
    (void)out;
    return sim_thin_pool_message(((struct pool_table *)target->data)->pool, argc, argv);
}

/* --- status --- */

static void pool_info(const struct pool_table *table, struct sim_text *out)
{
    const struct thin_pool *pool = table->pool;
    const struct thin_metadata *metadata = pool->metadata;
    uint64_t quarter = sim_thin_metadata_size(table->metadata_dev->open->bdev) / 4;

    if (pool->failed) {
        sim_emit(out, "Fail");
        return;
    }
    sim_emit(out, "%" PRIu64 " %" PRIu64 "/%" PRIu64 " 0/%" PRIu64 " ", metadata->transaction_id,
             sim_thin_metadata_used(metadata), metadata->metadata_blocks, metadata->data_blocks);
    if (metadata->held_root)
        sim_emit(out, "%" PRIu64 " ", metadata->held_root);
    else
        sim_emit(out, "- ");
    const char *discards = pool->features.ignore_discard        ? "ignore_discard"
                           : pool->features.no_discard_passdown ? "no_discard_passdown"
                                                                : "discard_passdown";
    sim_emit(out, "%s %s %s - %" PRIu64 " ", pool->features.read_only ? "ro" : "rw", discards,
             pool->features.error_if_no_space ? "error_if_no_space" : "queue_if_no_space",
             quarter < THRESHOLD_MAX ? quarter : THRESHOLD_MAX);
}

static void pool_table_line(struct pool_table *table, struct sim_text *out)
{
    unsigned int count = 0;

    for (size_t i = 0; i < FEATURES; i++)
        count += *feature_of(&table->requested, i);
    sim_emit(out, "%s %s %u %" PRIu64 " %u ", table->metadata_dev->name, table->data_dev->name,
             table->pool->block_size, table->low_water, count);
    for (size_t i = 0; i < FEATURES; i++)
        if (*feature_of(&table->requested, i))
            sim_emit(out, "%s ", features[i].name);
}

static void pool_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    if (kind == SIM_STATUS_INFO)
        pool_info(target->data, out);
    if (kind == SIM_STATUS_TABLE)
        pool_table_line(target->data, out);
}

static int pool_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    return fn(target, ((struct pool_table *)target->data)->data_dev, 0, target->length, data);
}

/* disable_passdown_if_not_supported() */
static void pool_io_hints(struct sim_target *target, struct sim_limits *limits)
{
    struct pool_table *table = target->data;
    const struct sim_bdev *data = table->data_dev->open->bdev;
    char label[DMI_SIM_PATH_MAX + 1];
    (void)limits;

    if (data->discards || table->no_passdown || table->requested.ignore_discard ||
        table->requested.no_discard_passdown)
        return;
    sim_bdev_label(data, label, sizeof(label));
    sim_log(target->table->device->sim, "thin",
            "Data device (%s) discard unsupported: Disabling discard passdown.", label);
    table->no_passdown = true;
}

const struct sim_target_type sim_target_thin_pool = {
    .name = "thin-pool",
    .version = {1, 22, 0},
    .features = SIM_SINGLETON | SIM_ALWAYS_WRITEABLE | SIM_IMMUTABLE,
    .ctr = pool_ctr,
    .dtr = pool_dtr,
    .status = pool_status,
    .message = pool_message,
    .iterate = pool_iterate,
    .io_hints = pool_io_hints,
    .presuspend = pool_presuspend,
    .presuspend_undo = pool_presuspend_undo,
    .preresume = pool_preresume,
    .resume = pool_resume,
};
