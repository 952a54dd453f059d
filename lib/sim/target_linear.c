/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linear: a range of one device. `<device> <start>`
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "table.h"

struct linear {
    struct sim_dev *dev;
    uint64_t start;
};

static int linear_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    if (argc != 2) {
        target->error = "Invalid argument count";
        return -EINVAL;
    }
    struct linear *linear = calloc(1, sizeof(*linear));
    if (!linear) {
        target->error = "Cannot allocate linear context";
        return -ENOMEM;
    }
    int rc = -EINVAL;
    if (!sim_scan_u64(argv[1], &linear->start)) {
        target->error = "Invalid device sector";
    } else {
        rc = sim_table_get_dev(target, argv[0], target->table->mode, &linear->dev);
        if (rc < 0)
            target->error = "Device lookup failed";
    }
    if (rc < 0) {
        free(linear);
        return rc;
    }
    target->data = linear;
    return 0;
}

static void linear_dtr(struct sim_target *target)
{
    struct linear *linear = target->data;
    sim_table_put_dev(target, linear->dev);
    free(linear);
}

static void linear_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    const struct linear *linear = target->data;

    switch (kind) {
    case SIM_STATUS_INFO:
        break;
    case SIM_STATUS_TABLE:
        sim_emit(out, "%s %" PRIu64, linear->dev->name, linear->start);
        break;
    case SIM_STATUS_IMA:
        sim_emit_type(out, target->type);
        sim_emit(out, ",device_name=%s,start=%" PRIu64 ";", linear->dev->name, linear->start);
        break;
    }
}

static int linear_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct linear *linear = target->data;
    return fn(target, linear->dev, linear->start, target->length, data);
}

static void linear_map(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                       uint64_t *ret_sector)
{
    const struct linear *linear = target->data;
    *ret_dev = linear->dev;
    *ret_sector = linear->start + offset;
}

const struct sim_target_type sim_target_linear = {
    .name = "linear",
    .version = {1, 4, 0},
    .features = SIM_DISCARDS,
    .ctr = linear_ctr,
    .dtr = linear_dtr,
    .status = linear_status,
    .iterate = linear_iterate,
    .map = linear_map,
};
