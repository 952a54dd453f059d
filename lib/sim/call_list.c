/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ioctls about no device in particular: lists of devices and of target types,
 * removing all, arming poll.
 */
#include <errno.h>
#include <string.h>

#include "call.h"
#include "control.h"
#include "device.h"

int sim_call_remove_all(struct sim_call *call)
{
    sim_devices_remove_all(call->sim, call->param->flags & DM_DEFERRED_REMOVE, false);
    call->param->data_size = 0; /* nothing at all goes back */
    return 0;
}

int sim_call_arm_poll(struct sim_call *call)
{
    sim_control_arm(call->file);
    return 0;
}

/* --- devices --- */

static bool has_prefix(const char *string, const char *prefix, size_t size)
{
    return strncmp(string, prefix, strnlen(prefix, size)) == 0;
}

/* filter_device(): the request's name and uuid are prefixes. */
static bool is_wanted(const struct dm_ioctl *param, const struct sim_device *device)
{
    return has_prefix(device->name, param->name, sizeof(param->name)) &&
           has_prefix(device->uuid ? device->uuid : "", param->uuid, sizeof(param->uuid));
}

static size_t name_size(const struct sim_device *device)
{
    return sim_align(offsetof(struct dm_name_list, name) + strlen(device->name) + 1);
}

static size_t entry_size(const struct dm_ioctl *param, const struct sim_device *device)
{
    size_t size = name_size(device) + 2 * sizeof(uint32_t);
    if (param->flags & DM_UUID_FLAG && device->uuid)
        size += sim_align(strlen(device->uuid) + 1);
    return size;
}

static void write_entry(const struct dm_ioctl *param, const struct sim_device *device, char *out,
                        bool last)
{
    struct dm_name_list *head = (struct dm_name_list *)(void *)out;
    uint32_t *tail = (uint32_t *)(void *)(out + name_size(device));

    head->dev = sim_encode_dev(device->bdev.major, device->bdev.minor);
    head->next = last ? 0 : (uint32_t)entry_size(param, device);
    memcpy(out + offsetof(struct dm_name_list, name), device->name, strlen(device->name) + 1);
    tail[0] = device->event_nr;
    tail[1] = 0;
    if (!(param->flags & DM_UUID_FLAG))
        return;
    tail[1] = device->uuid ? DM_NAME_LIST_FLAG_HAS_UUID : DM_NAME_LIST_FLAG_DOESNT_HAVE_UUID;
    if (device->uuid)
        memcpy(tail + 2, device->uuid, strlen(device->uuid) + 1);
}

int sim_call_list_devices(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    const struct sim_device *first = sim_registry_first(&call->sim->devices);
    size_t needed = 0, room;

    for (const struct sim_device *device = first; device; device = device->entry.after)
        if (is_wanted(param, device))
            needed += entry_size(param, device);

    char *out = sim_call_result(call, &room);
    if (room < needed || room < sizeof(uint64_t)) {
        param->flags |= DM_BUFFER_FULL_FLAG;
        return 0;
    }
    /* With no devices this end marker lies behind data_size, and is not copied out. */
    memset(out, 0, sizeof(uint64_t));
    param->data_size = param->data_start + (uint32_t)needed;
    for (const struct sim_device *device = first; device; device = device->entry.after) {
        if (!is_wanted(param, device))
            continue;
        size_t size = entry_size(param, device);
        needed -= size;
        write_entry(param, device, out, needed == 0);
        out += size;
    }
    return 0;
}

/* --- target types --- */

static size_t version_size(const struct sim_target_type *type)
{
    return sizeof(struct dm_target_versions) + strlen(type->name) + 1;
}

/* list_version_get_info() for each type. The kernel reserves 7 bytes too many for each. */
static void list_types(struct sim_call *call, const struct sim_target_type *const *types,
                       size_t count)
{
    struct dm_ioctl *param = call->param;
    size_t needed = 0, room;

    for (size_t i = 0; i < count; i++)
        needed += version_size(types[i]) + 7;
    char *out = sim_call_result(call, &room);
    if (room < needed) {
        param->flags |= DM_BUFFER_FULL_FLAG;
        return;
    }
    param->data_size = param->data_start + (uint32_t)needed;
    for (size_t i = 0; i < count; i++) {
        size_t size = sim_align(version_size(types[i]));
        struct dm_target_versions *entry = (struct dm_target_versions *)(void *)out;
        entry->next = i + 1 < count ? (uint32_t)size : 0;
        memcpy(entry->version, types[i]->version, sizeof(entry->version));
        memcpy(out + sizeof(*entry), types[i]->name, strlen(types[i]->name) + 1);
        out += size;
    }
}

int sim_call_list_versions(struct sim_call *call)
{
    list_types(call, call->sim->types.loaded, call->sim->types.count);
    return 0;
}

int sim_call_target_version(struct sim_call *call)
{
    const struct sim_target_type *type = sim_types_get(call->sim, call->param->name);
    if (!type)
        return -EINVAL;
    list_types(call, &type, 1);
    return 0;
}
