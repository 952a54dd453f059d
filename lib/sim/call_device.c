/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ioctls on a device as a whole: create, remove, rename, suspend and resume,
 * status, geometry.
 */
#include <errno.h>
#include <string.h>

#include "call.h"
#include "device.h"
#include "wait.h"

static int check_name(struct dmi_sim *sim, const char *name)
{
    if (!strchr(name, '/'))
        return 0;
    sim_log(sim, "ioctl", "invalid device name");
    return -EINVAL;
}

int sim_call_create(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    uint32_t minor = SIM_ANY_MINOR;
    struct sim_device *device;

    int rc = check_name(call->sim, param->name);
    if (rc < 0)
        return rc;
    if (param->flags & DM_PERSISTENT_DEV_FLAG)
        minor = (uint32_t)(param->dev & 0xff) | ((uint32_t)param->dev >> 12 & 0xfff00);
    rc = sim_device_new(call->sim, minor, param->name, *param->uuid ? param->uuid : NULL, &device);
    if (rc < 0)
        return rc;
    param->flags &= ~(uint32_t)DM_INACTIVE_PRESENT_FLAG;
    sim_call_fill(call, device);
    return 0;
}

int sim_call_remove(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;

    bool deferred = param->flags & DM_DEFERRED_REMOVE;
    int rc = sim_device_lock_for_deletion(device, deferred);
    if (rc < 0)
        return deferred ? 0 : rc;
    param->flags &= ~(uint32_t)DM_DEFERRED_REMOVE;
    sim_call_uevent(call, device);
    sim_device_remove(device);
    return 0;
}

/* dm_hash_rename()'s checks, in its order. */
static int check_rename(struct sim_call *call, const char *new, struct sim_device **ret_device)
{
    const struct sim_registry *devices = &call->sim->devices;
    const char *name = call->param->name;
    bool uuid = call->param->flags & DM_UUID_FLAG;

    if (uuid ? sim_registry_by_uuid(devices, new) : sim_registry_by_name(devices, new)) {
        sim_log(call->sim, "ioctl",
                "Unable to change %s on mapped device %s to one that already exists: %s",
                uuid ? "uuid" : "name", name, new);
        return -EBUSY;
    }
    struct sim_device *device = sim_registry_by_name(devices, name);
    if (!device) {
        sim_log(call->sim, "ioctl", "Unable to rename non-existent device, %s to %s%s", name,
                uuid ? "uuid " : "", new);
        return -ENXIO;
    }
    if (uuid && device->uuid) {
        sim_log(call->sim, "ioctl",
                "Unable to change uuid of mapped device %s to %s because uuid is already set to %s",
                name, new, device->uuid);
        return -EINVAL;
    }
    *ret_device = device;
    return 0;
}

int sim_call_rename(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    bool uuid = param->flags & DM_UUID_FLAG;
    struct sim_device *device;

    const char *new =
        param->data_start < SIM_NO_PARAMS_SIZE ? NULL : sim_call_string(call, param->data_start);
    if (!new || !*new || strlen(new) >= (uuid ? DM_UUID_LEN : DM_NAME_LEN)) {
        sim_log(call->sim, "ioctl", "Invalid new mapped device name or uuid string supplied.");
        return -EINVAL;
    }
    int rc = uuid ? 0 : check_name(call->sim, new);
    if (rc == 0)
        rc = check_rename(call, new, &device);
    if (rc == 0)
        rc = uuid ? sim_device_set_uuid(device, new) : sim_device_rename(device, new);
    if (rc < 0)
        return rc;
    if (device->live)
        sim_table_event(device->live);
    sim_call_uevent(call, device);
    sim_call_fill(call, device);
    return 0;
}

static unsigned int suspend_mode(const struct dm_ioctl *param)
{
    return ((param->flags & DM_SKIP_LOCKFS_FLAG) ? 0U : (unsigned int)SIM_LOCKFS) |
           ((param->flags & DM_NOFLUSH_FLAG) ? (unsigned int)SIM_NOFLUSH : 0U);
}

static int do_suspend(struct sim_call *call, struct sim_device *device)
{
    int rc = device->suspended ? 0 : sim_device_suspend(device, suspend_mode(call->param));
    if (rc == 0)
        sim_call_fill(call, device);
    return rc;
}

/* do_resume(), first half: makes the inactive table live. */
static int swap_in(struct sim_call *call, struct sim_device *device, struct sim_table *table,
                   struct sim_table **ret_old)
{
    int rc = device->suspended ? 0 : sim_device_suspend(device, suspend_mode(call->param));
    if (rc < 0) {
        /* Back into its slot, unless the device went away or another load took it. */
        if (!device->deleting && !device->inactive) {
            device->inactive = table;
            return rc;
        }
        (void)sim_table_free(table);
        return -ENXIO;
    }
    rc = sim_device_swap(device, table, ret_old);
    if (rc < 0) {
        (void)sim_table_free(table);
        return rc;
    }
    device->bdev.read_only = !(table->mode & SIM_WRITE);
    return 0;
}

static int do_resume(struct sim_call *call, struct sim_device *device)
{
    struct sim_table *table = device->inactive, *old = NULL;
    int rc = 0;

    device->inactive = NULL;
    call->param->flags &= ~(uint32_t)DM_INACTIVE_PRESENT_FLAG;
    if (table) {
        rc = swap_in(call, device, table, &old);
        if (rc < 0)
            return rc;
    }
    if (device->suspended) {
        rc = sim_device_resume(device);
        if (rc == 0)
            sim_call_uevent(call, device);
    }
    (void)sim_table_free(old);
    if (rc == 0)
        sim_call_fill(call, device);
    return rc;
}

int sim_call_suspend(struct sim_call *call)
{
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;

    device->busy++;
    int rc =
        (call->param->flags & DM_SUSPEND_FLAG) ? do_suspend(call, device) : do_resume(call, device);
    device->busy--;
    sim_wake(call->sim);
    return rc;
}

int sim_call_status(struct sim_call *call)
{
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;
    sim_call_fill(call, device);
    return 0;
}

/* dev_set_geometry(): four numbers, and nothing goes back on success. */
static int parse_geometry(struct sim_call *call, const char *text, struct sim_geometry *ret)
{
    struct sim_geometry geometry;

    if (!sim_scan_prefix(&text, &geometry.cylinders) || !sim_scan_prefix(&text, &geometry.heads) ||
        !sim_scan_prefix(&text, &geometry.sectors) || !sim_scan_u64(text, &geometry.start)) {
        sim_log(call->sim, "ioctl", "Unable to interpret geometry settings.");
        return -EINVAL;
    }
    if (geometry.cylinders > 65535 || geometry.heads > 255 || geometry.sectors > 255) {
        sim_log(call->sim, "ioctl", "Geometry exceeds range limits.");
        return -EINVAL;
    }
    if (geometry.start > geometry.cylinders * geometry.heads * geometry.sectors) {
        sim_log(call->sim, "core", "Start sector is beyond the geometry limits.");
        return -EINVAL;
    }
    *ret = geometry;
    return 0;
}

int sim_call_geometry(struct sim_call *call)
{
    struct dm_ioctl *param = call->param;
    struct sim_device *device = sim_call_find(call);
    if (!device)
        return -ENXIO;

    const char *text =
        param->data_start < SIM_NO_PARAMS_SIZE ? NULL : sim_call_string(call, param->data_start);
    if (!text) {
        sim_log(call->sim, "ioctl", "Invalid geometry supplied.");
        return -EINVAL;
    }
    param->data_size = 0;
    return parse_geometry(call, text, &device->geometry);
}
