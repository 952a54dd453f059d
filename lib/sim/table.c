/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table: targets side by side without a gap. It runs the constructors and the
 * rules about which types go together, and says in the log why a target was
 * refused. It does not know whether it is live.
 */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

#include "device.h"
#include "state.h"

int sim_table_new(struct sim_device *device, unsigned int mode, uint32_t count,
                  struct sim_table **ret_table)
{
    if (count > SIM_TARGETS_MAX)
        return -EOVERFLOW;

    struct sim_table *table = calloc(1, sizeof(*table));
    if (!table)
        return -ENOMEM;
    table->device = device;
    table->mode = mode;
    table->room = count ? count : 1;
    table->targets = calloc(table->room, sizeof(*table->targets));
    if (!table->targets) {
        free(table);
        return -ENOMEM;
    }
    *ret_table = table;
    return 0;
}

struct sim_table *sim_table_free(struct sim_table *table)
{
    if (!table)
        return NULL;
    for (uint32_t i = 0; i < table->count; i++)
        if (table->targets[i].type->dtr)
            table->targets[i].type->dtr(&table->targets[i]);
    free(table->targets);
    free(table);
    return NULL;
}

/* The rules about types that may not stand together; NULL if `type` may be the next. */
static const char *type_conflict(struct sim_table *table, const struct sim_target_type *type)
{
    static const char mixed[] = "immutable target type cannot be mixed with other target types";

    if (type->features & SIM_SINGLETON) {
        if (table->count)
            return "singleton target type must appear alone in table";
        table->singleton = true;
    }
    if (type->features & SIM_ALWAYS_WRITEABLE && !(table->mode & SIM_WRITE))
        return "target type may not be included in a read-only table";
    if (table->immutable)
        return table->immutable == type ? NULL : mixed;
    if (type->features & SIM_IMMUTABLE) {
        if (table->count)
            return mixed;
        table->immutable = type;
    }
    return NULL;
}

static int target_construct(struct sim_target *target, char *params)
{
    unsigned int argc;
    char **argv;
    int rc = sim_args_split(params, &argc, &argv);
    if (rc < 0) {
        target->error = "couldn't split parameters";
        return rc;
    }
    target->error = "Unknown error";
    rc = target->type->ctr(target, argc, argv);
    free(argv);
    return rc;
}

static int target_add(struct sim_table *table, struct sim_target *target, char *params)
{
    target->error = type_conflict(table, target->type);
    if (target->error)
        return -EINVAL;
    if (target->start != sim_table_size(table)) {
        target->error = "Gap in table";
        return -EINVAL;
    }
    return target_construct(target, params);
}

int sim_table_add(struct sim_table *table, const char *type, uint64_t start, uint64_t length,
                  char *params)
{
    struct dmi_sim *sim = table->device->sim;
    const char *device = table->device->number;

    if (table->singleton) {
        sim_log(sim, "table", "%s: target type %s must appear alone in table", device,
                table->targets[0].type->name);
        return -EINVAL;
    }
    if (!length) {
        sim_log(sim, "table", "%s: zero-length target", device);
        return -EINVAL;
    }
    if (start + length < start || start + length > (uint64_t)INT64_MAX >> 9) {
        sim_log(sim, "table", "%s: too large device", device);
        return -EINVAL;
    }

    struct sim_target *target = &table->targets[table->count];
    *target = (struct sim_target){.table = table, .start = start, .length = length};
    target->type = sim_types_get(sim, type);
    if (!target->type) {
        sim_log(sim, "table", "%s: %s: unknown target type", device, type);
        return -EINVAL;
    }
    int rc = target_add(table, target, params);
    if (rc < 0) {
        char error[32];
        sim_log(sim, "table", "%s: %s: %s (%s)", device, type, target->error,
                sim_errno(rc, error, sizeof(error)));
        return rc;
    }
    table->count++;
    return 0;
}

uint64_t sim_table_size(const struct sim_table *table)
{
    const struct sim_target *last = table->count ? &table->targets[table->count - 1] : NULL;
    return last ? last->start + last->length : 0;
}

struct sim_target *sim_table_find(const struct sim_table *table, uint64_t sector)
{
    uint32_t low = 0, high = table->count;

    if (sector >= sim_table_size(table))
        return NULL;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (table->targets[middle].start <= sector)
            low = middle;
        else
            high = middle;
    }
    return &table->targets[low];
}

bool sim_table_has_wildcard(const struct sim_table *table)
{
    for (uint32_t i = 0; i < table->count; i++)
        if (table->targets[i].type->features & SIM_WILDCARD)
            return true;
    return false;
}

static int cannot_discard(struct sim_target *target, struct sim_dev *dev, uint64_t start,
                          uint64_t length, void *data)
{
    (void)target, (void)start, (void)length, (void)data;
    return !dev->open->bdev->discards;
}

bool sim_table_discards(const struct sim_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        struct sim_target *target = &table->targets[i];
        const struct sim_target_type *type = target->type;
        if (!(type->features & SIM_DISCARDS) || !type->iterate ||
            type->iterate(target, cannot_discard, NULL))
            return false;
    }
    return true;
}

void sim_table_event(struct sim_table *table)
{
    if (table->bound)
        sim_device_event(table->device);
}
