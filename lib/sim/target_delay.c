/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delay: one device, its I/O late; reads, writes and flushes may go to different
 * ones. `<device> <start> <ms>`, once, twice or three times.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "table.h"

enum { READS, WRITES, FLUSHES, CLASSES };

struct delay_class {
    struct sim_dev *dev;
    uint64_t start;
    uint32_t ms;
};

struct delay {
    unsigned int argc;
    struct delay_class classes[CLASSES];
};

static int class_parse(struct sim_target *target, struct delay_class *class, char **argv)
{
    if (!sim_scan_u64(argv[1], &class->start)) {
        target->error = "Invalid device sector";
        return -EINVAL;
    }
    if (!sim_scan_u32(argv[2], &class->ms)) {
        target->error = "Invalid delay";
        return -EINVAL;
    }
    int rc = sim_table_get_dev(target, argv[0], target->table->mode, &class->dev);
    if (rc < 0)
        target->error = "Device lookup failed";
    return rc;
}

static void delay_dtr(struct sim_target *target)
{
    struct delay *delay = target->data;
    for (unsigned int i = 0; i < CLASSES; i++)
        sim_table_put_dev(target, delay->classes[i].dev);
    free(delay);
}

static int delay_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    if (argc != 3 && argc != 6 && argc != 9) {
        target->error = "Requires exactly 3, 6 or 9 arguments";
        return -EINVAL;
    }
    struct delay *delay = calloc(1, sizeof(*delay));
    if (!delay) {
        target->error = "Cannot allocate context";
        return -ENOMEM;
    }
    target->data = delay;
    delay->argc = argc;
    for (unsigned int i = 0; i < CLASSES; i++) {
        unsigned int given = i * 3 < argc ? i * 3 : argc - 3;
        int rc = class_parse(target, &delay->classes[i], argv + given);
        if (rc < 0) {
            delay_dtr(target);
            return rc;
        }
    }
    return 0;
}

static void delay_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    const struct delay *delay = target->data;

    if (kind == SIM_STATUS_INFO)
        sim_emit(out, "0 0 0");
    if (kind != SIM_STATUS_TABLE)
        return;
    for (unsigned int i = 0; i * 3 < delay->argc; i++) {
        const struct delay_class *class = &delay->classes[i];
        sim_emit(out, "%s%s %" PRIu64 " %u", i ? " " : "", class->dev->name, class->start,
                 class->ms);
    }
}

static int delay_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct delay *delay = target->data;
    int rc = 0;
    for (unsigned int i = 0; rc == 0 && i < CLASSES; i++)
        rc = fn(target, delay->classes[i].dev, delay->classes[i].start, target->length, data);
    return rc;
}

static void delay_map(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                      uint64_t *ret_sector)
{
    const struct delay *delay = target->data;
    *ret_dev = delay->classes[READS].dev;
    *ret_sector = delay->classes[READS].start + offset;
}

const struct sim_target_type sim_target_delay = {
    .name = "delay",
    .version = {1, 3, 0},
    .features = SIM_DISCARDS,
    .ctr = delay_ctr,
    .dtr = delay_dtr,
    .status = delay_status,
    .iterate = delay_iterate,
    .map = delay_map,
};
