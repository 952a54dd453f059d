/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot-origin: a whole device whose writes snapshots watch. `<device>`
 */
#include <errno.h>
#include <stdlib.h>

#include "device.h"
#include "state.h"
#include "table.h"
#include "target_snapshot.h"

struct origin {
    struct origin *next; /* of those that are resumed */
    struct sim_target *target;
    struct sim_dev *dev;
};

static int origin_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    if (argc != 1) {
        target->error = "origin: incorrect number of arguments";
        return -EINVAL;
    }
    struct origin *origin = calloc(1, sizeof(*origin));
    if (!origin) {
        target->error = "Cannot allocate private origin structure";
        return -ENOMEM;
    }
    int rc = sim_table_get_dev(target, argv[0], target->table->mode, &origin->dev);
    if (rc < 0) {
        target->error = "Cannot get target device";
        free(origin);
        return rc;
    }
    origin->target = target;
    target->data = origin;
    return 0;
}

static void origin_forget(struct origin *origin)
{
    struct origin **link = &origin->target->table->device->sim->origins;
    while (*link && *link != origin)
        link = &(*link)->next;
    if (*link)
        *link = origin->next;
}

static void origin_dtr(struct sim_target *target)
{
    struct origin *origin = target->data;
    origin_forget(origin);
    sim_table_put_dev(target, origin->dev);
    free(origin);
}

static void origin_resume(struct sim_target *target)
{
    struct origin *origin = target->data;
    struct dmi_sim *sim = target->table->device->sim;

    origin_forget(origin);
    origin->next = sim->origins;
    sim->origins = origin;
}

static void origin_postsuspend(struct sim_target *target)
{
    origin_forget(target->data);
}

struct sim_device *sim_snapshot_origin_device(const struct dmi_sim *sim,
                                              const struct sim_bdev *bdev)
{
    const struct origin *origin = sim->origins;
    while (origin && origin->dev->open->bdev != bdev)
        origin = origin->next;
    return origin ? origin->target->table->device : NULL;
}

static void origin_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    if (kind == SIM_STATUS_TABLE)
        sim_emit(out, "%s", ((struct origin *)target->data)->dev->name);
}

static int origin_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    return fn(target, ((struct origin *)target->data)->dev, 0, target->length, data);
}

static void origin_map(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                       uint64_t *ret_sector)
{
    *ret_dev = ((struct origin *)target->data)->dev;
    *ret_sector = target->start + offset;
}

const struct sim_target_type sim_target_snapshot_origin = {
    .name = "snapshot-origin",
    .version = {1, 9, 0},
    .ctr = origin_ctr,
    .dtr = origin_dtr,
    .status = origin_status,
    .iterate = origin_iterate,
    .map = origin_map,
    .resume = origin_resume,
    .postsuspend = origin_postsuspend,
};
