/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ioctls on a device's tables: load, clear, dependencies, status, and the wait
 * for an event, which answers with a status.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "device.h"
#include "wait.h"

/* --- load --- */

/* A line of the request. */
struct line {
    struct dm_target_spec spec;
    char type[64]; /* long enough to tell that it is none: the kernel reads on to a NUL */
    char *params;
};

/* next_target(): `offset` of the line in the request. */
static int read_line(const struct sim_call *call, uint64_t before, uint64_t offset,
                     struct line *ret_line)
{
    ret_line->params = sim_call_string(call, offset + sizeof(struct dm_target_spec));
    if (offset < before + sizeof(struct dm_target_spec) || !ret_line->params) {
        sim_log(call->sim, "ioctl", "unable to find target");
        return -EINVAL;
    }
    const char *spec = (const char *)call->param + offset;
    memcpy(&ret_line->spec, spec, sizeof(ret_line->spec));
    (void)snprintf(ret_line->type, sizeof(ret_line->type), "%s",
                   spec + offsetof(struct dm_target_spec, target_type));
    return 0;
}

/* populate_table() */
static int add_targets(struct sim_call *call, struct sim_table *table)
{
    uint64_t offset = 0, next = call->param->data_start;
    uint32_t count = call->param->target_count;

    if (!count) {
        sim_log(call->sim, "ioctl", "populate_table: no targets specified");
        return -EINVAL;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct line line;
        int rc = read_line(call, offset, offset + next, &line);
        if (rc < 0)
            return rc;
        offset += next;
        rc = sim_table_add(table, line.type, line.spec.sector_start, line.spec.length, line.params);
        if (rc < 0) {
            sim_log(call->sim, "ioctl", "error adding target to table");
            return rc;
        }
        memcpy(&next, (const char *)call->param + offset + offsetof(struct dm_target_spec, next),
               sizeof(uint32_t));
    }
    return 0;
}

/* What is checked once a table is whole, and the block device that comes with the first one. */
static int check_table(struct sim_device *device, struct sim_table *table)
{
    struct sim_limits limits;

    if (device->immutable && device->immutable != table->immutable &&
        !sim_table_has_wildcard(table)) {
        sim_log(device->sim, "ioctl", "can't replace immutable target type %s",
                device->immutable->name);
        return -EINVAL;
    }
    if (device->has_disk)
        return 0;
    if (sim_table_limits(table, &limits) < 0) {
        sim_log(device->sim, "core", "Cannot calculate initial queue limits");
        sim_log(device->sim, "ioctl", "unable to set up device queue for new table.");
        return -EINVAL;
    }
    device->bdev.block_size = limits.block_size;
    device->has_disk = true;
    device->diskseq = ++device->sim->last_diskseq;
    return 0;
}

int sim_call_load(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    struct sim_table *table;
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;

    unsigned int mode = (param->flags & DM_READONLY_FLAG) ? SIM_READ : SIM_READ | SIM_WRITE;
    int rc = sim_table_new(device, mode, param->target_count, &table);
    if (rc < 0)
        return rc;
    rc = add_targets(call, table);
    if (rc == 0)
        rc = check_table(device, table);
    if (rc < 0) {
        (void)sim_table_free(table);
        return rc;
    }

    struct sim_table *old = device->inactive;
    device->inactive = table;
    param->flags |= DM_INACTIVE_PRESENT_FLAG;
    /* The table that was in the slot still counts in the reply. */
    sim_call_fill(call, device);
    (void)sim_table_free(old);
    return 0;
}

int sim_call_clear(struct sim_call *call)
{
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;

    struct sim_table *old = device->inactive;
    device->inactive = NULL;
    call->param->flags &= ~(uint32_t)DM_INACTIVE_PRESENT_FLAG;
    sim_call_fill(call, device);
    (void)sim_table_free(old);
    return 0;
}

/* --- dependencies --- */

/* retrieve_deps() */
static void write_deps(struct sim_call *call, const struct sim_table *table)
{
    uint32_t count = 0;
    size_t room;
    char *out = sim_call_result(call, &room);

    for (const struct sim_dev *dev = table->devs; dev; dev = dev->next)
        count++;
    size_t needed = sizeof(struct dm_target_deps) + count * sizeof(uint64_t);
    if (room < needed) {
        call->param->flags |= DM_BUFFER_FULL_FLAG;
        return;
    }
    memcpy(out, &count, sizeof(count));
    out += sizeof(struct dm_target_deps);
    for (const struct sim_dev *dev = table->devs; dev; dev = dev->next) {
        uint64_t number = sim_encode_dev(dev->open->bdev->major, dev->open->bdev->minor);
        memcpy(out, &number, sizeof(number));
        out += sizeof(number);
    }
    call->param->data_size = call->param->data_start + (uint32_t)needed;
}

int sim_call_deps(struct sim_call *call)
{
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;
    sim_call_fill(call, device);
    const struct sim_table *table = sim_call_table(call, device);
    if (table)
        write_deps(call, table);
    return 0;
}

/* --- status --- */

static enum sim_status status_kind(uint32_t flags)
{
    if (flags & DM_STATUS_TABLE_FLAG)
        return SIM_STATUS_TABLE;
    return (flags & DM_IMA_MEASUREMENT_FLAG) ? SIM_STATUS_IMA : SIM_STATUS_INFO;
}

/* One line at out[at]; the offset where the next one goes, or 0 if it did not fit. */
static size_t write_line(struct sim_target *target, enum sim_status kind, char *out, size_t at,
                         size_t room)
{
    if (room - at <= sizeof(struct dm_target_spec))
        return 0;

    struct dm_target_spec *spec = (struct dm_target_spec *)(void *)(out + at);
    struct sim_text text = {.data = (char *)(spec + 1)};
    text.size = room - at - sizeof(*spec);
    spec->status = 0;
    spec->sector_start = target->start;
    spec->length = target->length;
    memset(spec->target_type, 0, sizeof(spec->target_type) - 1);
    memcpy(spec->target_type, target->type->name, strlen(target->type->name));
    text.data[0] = '\0';
    if (target->type->status)
        target->type->status(target, kind, &text);

    size_t length = strlen(text.data) + 1;
    return length == text.size ? 0 : at + sizeof(*spec) + length;
}

/* retrieve_status() */
static void write_status(struct sim_call *call, struct sim_table *table)
{
    struct dm_ioctl *param = call->param;
    size_t room, at = 0;
    char *out = sim_call_result(call, &room);
    enum sim_status kind = status_kind(param->flags);

    for (uint32_t i = 0; i < table->count; i++) {
        size_t start = at, end = write_line(&table->targets[i], kind, out, at, room);
        if (!end) {
            param->flags |= DM_BUFFER_FULL_FLAG;
            break;
        }
        param->data_size = param->data_start + (uint32_t)end;
        at = sim_align(end);
        if (at > room) {
            param->flags |= DM_BUFFER_FULL_FLAG;
            break;
        }
        uint32_t next = (uint32_t)at;
        memcpy(out + start + offsetof(struct dm_target_spec, next), &next, sizeof(next));
    }
    param->target_count = table->count;
}

int sim_call_table_status(struct sim_call *call)
{
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;
    sim_call_fill(call, device);
    struct sim_table *table = sim_call_table(call, device);
    if (table)
        write_status(call, table);
    return 0;
}

int sim_call_wait(struct sim_call *call)
{
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;

    /* A remove waits for this one, and nothing wakes it on a device without a table. */
    int rc = 0;
    device->busy++;
    while (rc == 0 && device->event_nr == call->param->event_nr)
        rc = sim_wait(call->sim, SIM_WAIT_FOREVER, true);
    if (rc == 0) {
        sim_call_fill(call, device);
        struct sim_table *table = sim_call_table(call, device);
        if (table)
            write_status(call, table);
    }
    device->busy--;
    sim_wake(call->sim);
    return rc;
}
