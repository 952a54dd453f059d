/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thin: a volume of a thin pool. `<pool> <id> [<external origin>]`
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "state.h"
#include "target_thin_pool.h"

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

static void thin_link(struct thin *thin)
{
    struct thin **link = &thin->pool->thins;
    while (*link)
        link = &(*link)->next;
    *link = thin;
}

static void thin_unlink(struct thin *thin)
{
    struct thin **link = &thin->pool->thins;
    while (*link != thin)
        link = &(*link)->next;
    *link = thin->next;
}

static int open_devices(struct sim_target *target, unsigned int argc, char **argv,
                        struct thin *thin)
{
    if (argc == 3) {
        if (strcmp(argv[0], argv[2]) == 0)
            return refuse(target, "Error setting origin device");
        int rc = sim_table_get_dev(target, argv[2], SIM_READ, &thin->origin_dev);
        if (rc < 0) {
            target->error = "Error opening origin device";
            return rc;
        }
    }
    int rc = sim_table_get_dev(target, argv[0], target->table->mode, &thin->pool_dev);
    if (rc < 0)
        target->error = "Error opening pool device";
    return rc;
}

/* Finds the pool and opens the volume in it, both of which stay with `thin` on success. */
static int open_volume(struct sim_target *target, const char *id, struct thin *thin)
{
    const struct sim_device *device = thin->pool_dev->open->bdev->mapped;

    if (!sim_parse_u64(id, &thin->id) || thin->id > THIN_ID_MAX)
        return refuse(target, "Invalid device id");
    if (!device || device->deleting)
        return refuse(target, "Couldn't get pool mapped device");
    struct thin_pool *pool = sim_thin_pool_find(device->sim, device);
    if (!pool)
        return refuse(target, "Couldn't find pool object");
    if (pool->failed)
        return refuse(target, "Couldn't open thin device, Pool is in fail mode");
    int rc = sim_thin_metadata_open_volume(pool->metadata, thin->id);
    if (rc < 0) {
        target->error = "Couldn't open thin internal device";
        return rc;
    }
    if (pool->suspended) {
        sim_thin_metadata_close_volume(pool->metadata, thin->id);
        return refuse(target, "Unable to activate thin device while pool is suspended");
    }
    sim_thin_pool_get(pool);
    thin->pool = pool;
    return 0;
}

static void thin_free(struct sim_target *target, struct thin *thin)
{
    sim_table_put_dev(target, thin->pool_dev);
    sim_table_put_dev(target, thin->origin_dev);
    free(thin);
}

static int thin_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    if (argc != 2 && argc != 3)
        return refuse(target, "Invalid argument count");
    struct thin *thin = calloc(1, sizeof(*thin));
    if (!thin) {
        target->error = "Out of memory";
        return -ENOMEM;
    }
    thin->target = target;
    int rc = open_devices(target, argc, argv, thin);
    if (rc == 0)
        rc = open_volume(target, argv[1], thin);
    if (rc < 0) {
        thin_free(target, thin);
        return rc;
    }
    thin_link(thin);
    target->data = thin;
    return 0;
}

static void thin_dtr(struct sim_target *target)
{
    struct thin *thin = target->data;

    thin_unlink(thin);
    sim_thin_metadata_close_volume(thin->pool->metadata, thin->id);
    sim_thin_pool_put(thin->pool);
    thin_free(target, thin);
}

static void thin_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    const struct thin *thin = target->data;

    if (thin->pool->failed) {
        sim_emit(out, "Fail");
        return;
    }
    if (kind == SIM_STATUS_INFO)
        sim_emit(out, "0 -");
    if (kind != SIM_STATUS_TABLE)
        return;
    sim_emit(out, "%s %" PRIu64, thin->pool_dev->name, thin->id);
    if (thin->origin_dev)
        sim_emit(out, " %s", thin->origin_dev->name);
}

static int thin_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct thin *thin = target->data;
    const struct thin_pool *pool = thin->pool;
    uint64_t blocks = pool->target ? pool->target->length / pool->block_size : 0;
    return blocks ? fn(target, thin->pool_dev, 0, blocks * pool->block_size, data) : 0;
}

const struct sim_target_type sim_target_thin = {
    .name = "thin",
    .version = {1, 22, 0},
    .ctr = thin_ctr,
    .dtr = thin_dtr,
    .status = thin_status,
    .iterate = thin_iterate,
};
