/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mapped device's life: made, named, opened and closed, removed. It knows its
 * two tables as things to free; suspending and swapping them is device_suspend.c.
 */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "media.h"
#include "state.h"
#include "wait.h"

static int device_take_minor(struct sim_device *device, uint32_t minor)
{
    struct sim_minors *minors = &device->sim->devices.minors;
    int rc = minor == SIM_ANY_MINOR ? sim_minors_take_lowest(minors, &minor)
                                    : sim_minors_take(minors, minor);
    if (rc < 0)
        return rc;
    device->bdev.minor = minor;
    (void)snprintf(device->number, sizeof(device->number), "%u:%u", DMI_SIM_MAJOR + 0U, minor);
    return 0;
}

static int device_register(struct sim_device *device, const char *name, const char *uuid)
{
    struct sim_registry *devices = &device->sim->devices;

    if (sim_registry_by_name(devices, name) || (uuid && sim_registry_by_uuid(devices, uuid)))
        return -EBUSY;
    device->name = strdup(name);
    device->uuid = uuid ? strdup(uuid) : NULL;
    if (!device->name || (uuid && !device->uuid) || sim_registry_add_name(devices, device) < 0)
        return -ENOMEM;
    if (uuid && sim_registry_add_uuid(devices, device) < 0) {
        sim_registry_drop_name(devices, device);
        return -ENOMEM;
    }
    sim_minors_set(&devices->minors, device->bdev.minor, device);
    return 0;
}

static void device_free(struct sim_device *device)
{
    sim_stats_done(&device->stats);
    free(device->name);
    free(device->uuid);
    free(device);
}

int sim_device_new(struct dmi_sim *sim, uint32_t minor, const char *name, const char *uuid,
                   struct sim_device **ret_device)
{
    struct sim_device *device = calloc(1, sizeof(*device));
    if (!device)
        return -ENXIO;
    device->sim = sim;
    device->bdev = (struct sim_bdev){.major = DMI_SIM_MAJOR, .block_size = 512, .mapped = device};
    /* alloc_dev() hides why: dm_create() makes ENXIO of every failure. */
    if (device_take_minor(device, minor) < 0) {
        free(device);
        return -ENXIO;
    }
    int rc = device_register(device, name, uuid);
    if (rc < 0) {
        sim_minors_free(&sim->devices.minors, device->bdev.minor);
        device_free(device);
        return rc;
    }
    *ret_device = device;
    return 0;
}

/* __hash_remove(): nothing finds it any more. */
static void device_unregister(struct sim_device *device)
{
    struct sim_registry *devices = &device->sim->devices;

    sim_registry_drop_name(devices, device);
    if (device->uuid)
        sim_registry_drop_uuid(devices, device);
    sim_minors_set(&devices->minors, device->bdev.minor, NULL);
    if (device->live)
        sim_table_event(device->live);
}

/* __dm_destroy() */
static void device_destroy(struct sim_device *device)
{
    struct dmi_sim *sim = device->sim;

    sim_device_shut(device);
    while (device->busy)
        (void)sim_wait(sim, SIM_WAIT_FOREVER, false);

    struct sim_table *live = device->live;
    device->live = NULL;
    if (live)
        live->bound = false;
    (void)sim_table_free(live);
    sim_media_forget(sim, &device->bdev);
    sim_minors_free(&sim->devices.minors, device->bdev.minor);
    device_free(device);
    sim_wake(sim);
}

void sim_device_remove(struct sim_device *device)
{
    device_unregister(device);
    device->inactive = sim_table_free(device->inactive);
    device_destroy(device);
}

void sim_device_strip(struct sim_device *device)
{
    struct sim_table *live = device->live;

    device->live = NULL;
    (void)sim_table_free(live);
    device->inactive = sim_table_free(device->inactive);
}

int sim_device_lock_for_deletion(struct sim_device *device, bool deferred)
{
    if (device->open_count) {
        device->deferred_remove |= deferred;
        return -EBUSY;
    }
    device->deleting = true;
    return 0;
}

int sim_device_rename(struct sim_device *device, const char *name)
{
    struct sim_registry *devices = &device->sim->devices;
    char *copy = strdup(name), *old = device->name;
    if (!copy)
        return -ENOMEM;

    sim_registry_drop_name(devices, device);
    device->name = copy;
    /* The hash has room for as many names as before. */
    (void)sim_registry_add_name(devices, device);
    free(old);
    return 0;
}

int sim_device_set_uuid(struct sim_device *device, const char *uuid)
{
    device->uuid = strdup(uuid);
    if (device->uuid && sim_registry_add_uuid(&device->sim->devices, device) == 0)
        return 0;
    free(device->uuid);
    device->uuid = NULL;
    return -ENOMEM;
}

void sim_device_opened(struct sim_device *device)
{
    device->open_count++;
}

void sim_device_closed(struct sim_device *device)
{
    device->open_count--;
    if (!device->open_count && device->deferred_remove)
        device->sim->deferred_work = true;
}

void sim_device_event(struct sim_device *device)
{
    device->event_nr++;
    sim_wake(device->sim);
    sim_global_event(device->sim);
}

void sim_device_event_later(struct sim_device *device)
{
    device->event_due = true;
    device->sim->events_due = true;
}

void sim_devices_raise_events(struct dmi_sim *sim)
{
    if (!sim->events_due)
        return;
    sim->events_due = false;
    for (struct sim_device *device = sim_registry_first(&sim->devices); device;
         device = device->entry.after) {
        if (device->event_due)
            sim_device_event(device);
        device->event_due = false;
    }
}

/* One pass in order of names. Removing a device may have closed one that was passed over. */
static bool remove_pass(struct dmi_sim *sim, bool mark_deferred, bool only_deferred,
                        unsigned int *ret_skipped)
{
    bool removed = false;
    struct sim_device *next;

    *ret_skipped = 0;
    for (struct sim_device *device = sim_registry_first(&sim->devices); device; device = next) {
        next = device->entry.after;
        if (only_deferred && !device->deferred_remove) {
            ++*ret_skipped;
            continue;
        }
        if (sim_device_lock_for_deletion(device, mark_deferred) < 0) {
            ++*ret_skipped;
            continue;
        }
        removed = true;
        uint32_t changes = sim->devices.changes;
        sim_device_remove(device);
        /* It slept, and others made or removed devices: `next` may be gone. */
        if (sim->devices.changes != changes + 1)
            return true;
    }
    return removed;
}

void sim_devices_remove_all(struct dmi_sim *sim, bool mark_deferred, bool only_deferred)
{
    unsigned int skipped;

    bool again = true;

    while (again)
        again = remove_pass(sim, mark_deferred, only_deferred, &skipped);
    if (skipped && !only_deferred)
        sim_log(sim, "ioctl", "remove_all left %u open device(s)", skipped);
}
