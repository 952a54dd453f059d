/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do a table's targets fit on their devices? As dm_calculate_queue_limits(): each
 * area must lie within its device and on its logical blocks, and the lines of the
 * table must meet at the blocks of the device that they make together.
 */
#include "device.h"
#include "state.h"
#include "table.h"

#include <errno.h>
#include <inttypes.h>

enum { NO_LIMIT = 512 };

static struct dmi_sim *sim_of(const struct sim_target *target)
{
    return target->table->device->sim;
}

static int stack_limits(struct sim_target *target, struct sim_dev *dev, uint64_t start,
                        uint64_t length, void *data)
{
    struct sim_limits *limits = data;
    (void)target, (void)start, (void)length;
    if (limits->block_size < dev->open->bdev->block_size)
        limits->block_size = dev->open->bdev->block_size;
    return 0;
}

/* device_area_is_invalid(). A mapped device that is not live yet has no size, and then all is well.
 */
static int area_is_invalid(struct sim_target *target, struct sim_dev *dev, uint64_t start,
                           uint64_t length, void *data)
{
    const struct sim_limits *limits = data;
    const char *device = target->table->device->number;
    uint64_t size = dev->open->bdev->sectors, block = limits->block_size / 512;
    char label[DMI_SIM_PATH_MAX + 1];

    if (!size)
        return 0;
    sim_bdev_label(dev->open->bdev, label, sizeof(label));
    if (start >= size || start + length > size) {
        sim_log(sim_of(target), "table",
                "%s: %s too small for target: start=%" PRIu64 ", len=%" PRIu64
                ", dev_size=%" PRIu64,
                device, label, start, length, size);
        return 1;
    }
    if (block <= 1 || ((start | length) & (block - 1)) == 0)
        return 0;
    bool start_is_off = start & (block - 1);
    sim_log(sim_of(target), "table",
            "%s: %s=%" PRIu64 " not aligned to h/w logical block size %u of %s", device,
            start_is_off ? "start" : "len", start_is_off ? start : length, limits->block_size,
            label);
    return 1;
}

/* validate_hardware_logical_block_alignment() */
static int check_joints(const struct sim_table *table, uint32_t block_size)
{
    uint64_t block = block_size / 512, next = 0, remaining = 0;
    uint32_t i;

    for (i = 0; i < table->count; i++) {
        struct sim_target *target = &table->targets[i];
        struct sim_limits limits = {NO_LIMIT};
        if (target->type->iterate)
            (void)target->type->iterate(target, stack_limits, &limits);
        if (remaining < target->length && remaining & (limits.block_size / 512 - 1))
            break;
        next = (next + target->length) & (block - 1);
        remaining = next ? block - next : 0;
    }
    if (!remaining)
        return 0;

    const struct sim_target *target = &table->targets[i < table->count ? i : table->count - 1];
    sim_log(sim_of(target), "table",
            "%s: table line %u (start sect %" PRIu64 " len %" PRIu64
            ") not aligned to h/w logical block size %u",
            table->device->number, i, target->start, target->length, block_size);
    return -EINVAL;
}

int sim_table_limits(struct sim_table *table, struct sim_limits *ret_limits)
{
    struct sim_limits all = {NO_LIMIT};

    for (uint32_t i = 0; i < table->count; i++) {
        struct sim_target *target = &table->targets[i];
        struct sim_limits limits = {NO_LIMIT};
        if (!target->type->iterate)
            continue;
        (void)target->type->iterate(target, stack_limits, &limits);
        if (target->type->io_hints)
            target->type->io_hints(target, &limits);
        if (target->type->iterate(target, area_is_invalid, &limits))
            return -EINVAL;
        if (all.block_size < limits.block_size)
            all.block_size = limits.block_size;
    }
    int rc = check_joints(table, all.block_size);
    if (rc == 0)
        *ret_limits = all;
    return rc;
}
