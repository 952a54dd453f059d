/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the handlers of ioctls share: finding the device that a request names,
 * describing a device in a reply, and the room for output.
 */
#include "call.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "device.h"

uint64_t sim_encode_dev(uint32_t major, uint32_t minor)
{
    return (minor & 0xff) | (uint64_t)major << 8 | (uint64_t)(minor & ~0xffU) << 12;
}

size_t sim_align(size_t value)
{
    return (value + 7) & ~(size_t)7;
}

/* huge_decode_dev(), which looks at the low 32 bits only. */
static struct sim_device *find_by_number(const struct dmi_sim *sim, uint64_t dev)
{
    uint32_t major = (uint32_t)dev >> 8 & 0xfff;
    uint32_t minor = (uint32_t)(dev & 0xff) | ((uint32_t)dev >> 12 & 0xfff00);
    return major == DMI_SIM_MAJOR ? sim_minors_find(&sim->devices.minors, minor) : NULL;
}

struct sim_device *sim_call_peek(struct dmi_sim *sim, const struct dm_ioctl *param)
{
    if (*param->uuid)
        return *param->name || param->dev ? NULL : sim_registry_by_uuid(&sim->devices, param->uuid);
    if (*param->name)
        return param->dev ? NULL : sim_registry_by_name(&sim->devices, param->name);
    return param->dev ? find_by_number(sim, param->dev) : NULL;
}

static void log_overspecified(struct sim_call *call)
{
    const struct dm_ioctl *param = call->param;
    unsigned long long dev = param->dev;

    if (*param->uuid && (*param->name || dev))
        sim_log(call->sim, "ioctl", "Invalid ioctl structure: uuid %s, name %s, dev %llx",
                param->uuid, param->name, dev);
    else if (!*param->uuid && *param->name && dev)
        sim_log(call->sim, "ioctl", "Invalid ioctl structure: name %s, dev %llx", param->name, dev);
}

struct sim_device *sim_call_find(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    struct sim_device *device = sim_call_peek(call->sim, param);

    if (!device) {
        log_overspecified(call);
        return NULL;
    }
    (void)snprintf(param->name, sizeof(param->name), "%s", device->name);
    (void)snprintf(param->uuid, sizeof(param->uuid), "%s", device->uuid ? device->uuid : "");
    if (device->inactive)
        param->flags |= DM_INACTIVE_PRESENT_FLAG;
    else
        param->flags &= ~(uint32_t)DM_INACTIVE_PRESENT_FLAG;
    return device;
}

static void fill_table(struct dm_ioctl *param, const struct sim_device *device)
{
    bool inactive = param->flags & DM_QUERY_INACTIVE_TABLE_FLAG;
    const struct sim_table *table = inactive ? device->inactive : device->live;

    if (device->live)
        param->flags |= DM_ACTIVE_PRESENT_FLAG;
    param->target_count = table ? table->count : 0;
    if (table && (inactive ? !(table->mode & SIM_WRITE) : device->bdev.read_only))
        param->flags |= DM_READONLY_FLAG;
}

void sim_call_fill(struct sim_call *call, const struct sim_device *device)
{
    struct dm_ioctl *param = call->param;

    param->flags &= ~(uint32_t)(DM_SUSPEND_FLAG | DM_READONLY_FLAG | DM_ACTIVE_PRESENT_FLAG |
                                DM_INTERNAL_SUSPEND_FLAG);
    if (device->suspended)
        param->flags |= DM_SUSPEND_FLAG;
    if (device->suspended_internally)
        param->flags |= DM_INTERNAL_SUSPEND_FLAG;
    if (device->deferred_remove)
        param->flags |= DM_DEFERRED_REMOVE;
    param->dev = sim_encode_dev(device->bdev.major, device->bdev.minor);
    param->open_count = (int32_t)device->open_count;
    param->event_nr = device->event_nr;
    fill_table(param, device);
}

char *sim_call_result(struct sim_call *call, size_t *ret_length)
{
    size_t start = sim_align(sizeof(struct dm_ioctl));

    if (start > call->size)
        start = call->size;
    call->param->data_start = (uint32_t)start;
    *ret_length = call->size - start;
    return (char *)call->param + start;
}

char *sim_call_string(const struct sim_call *call, uint64_t offset)
{
    char *base = (char *)call->param;
    return offset < call->size && memchr(base + offset, '\0', call->size - offset) ? base + offset
                                                                                   : NULL;
}

struct sim_table *sim_call_table(const struct sim_call *call, const struct sim_device *device)
{
    return call->param->flags & DM_QUERY_INACTIVE_TABLE_FLAG ? device->inactive : device->live;
}

void sim_call_uevent(struct sim_call *call, const struct sim_device *device)
{
    if (device->has_disk)
        call->param->flags |= DM_UEVENT_GENERATED_FLAG;
}
