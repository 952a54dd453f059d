/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One simulated kernel: made, locked, freed; its clock; and what happens to its
 * devices from outside of device-mapper's interface.
 */
#include "sim.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "control.h"
#include "device.h"
#include "fault.h"
#include "media.h"
#include "state.h"
#include "wait.h"

int dmi_sim_new(struct dmi_sim **ret_sim)
{
    struct dmi_sim *sim = calloc(1, sizeof(*sim));
    if (!sim)
        return -ENOMEM;
    if (sim_log_init(&sim->log) < 0 || sim_registry_init(&sim->devices) < 0) {
        sim_log_done(&sim->log);
        free(sim);
        return -ENOMEM;
    }
    int rc = pthread_mutex_init(&sim->lock, NULL);
    if (rc != 0) {
        sim_registry_done(&sim->devices);
        sim_log_done(&sim->log);
        free(sim);
        return -rc;
    }
    sim_types_init(&sim->types);
    *ret_sim = sim;
    return 0;
}

struct dmi_sim *dmi_sim_free(struct dmi_sim *sim)
{
    if (!sim)
        return NULL;
    for (struct sim_device *device = sim_registry_first(&sim->devices); device;
         device = device->entry.after)
        sim_device_strip(device);
    for (struct sim_device *device = sim_registry_first(&sim->devices), *next; device;
         device = next) {
        next = device->entry.after;
        sim_device_remove(device);
    }
    sim_faults_done(sim);
    sim_media_forget(sim, NULL);
    sim_keys_done(&sim->keys);
    sim_disks_done(&sim->disks);
    sim_registry_done(&sim->devices);
    sim_log_done(&sim->log);
    (void)pthread_mutex_destroy(&sim->lock);
    free(sim);
    return NULL;
}

void sim_lock(struct dmi_sim *sim)
{
    (void)pthread_mutex_lock(&sim->lock);
}

void sim_unlock(struct dmi_sim *sim)
{
    sim_devices_raise_events(sim);
    while (sim->deferred_work) {
        sim->deferred_work = false;
        sim_devices_remove_all(sim, false, true);
    }
    (void)pthread_mutex_unlock(&sim->lock);
}

void sim_global_event(struct dmi_sim *sim)
{
    sim->event_nr++;
    for (struct sim_file *file = sim->files; file; file = file->next) {
        if (file->readable || (int32_t)(sim->event_nr - file->event_nr) <= 0)
            continue;
        file->readable = true;
        (void)eventfd_write(file->fd, 1);
    }
}

uint64_t sim_now_ms(struct dmi_sim *sim)
{
    struct timespec now;
    if (sim->clock_stopped)
        return sim->now_ms;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void dmi_sim_clock_advance(struct dmi_sim *sim, uint64_t ms)
{
    sim_lock(sim);
    sim->now_ms = sim_now_ms(sim) + ms;
    sim->clock_stopped = true;
    sim_wake(sim);
    sim_unlock(sim);
}

static struct sim_device *find(const struct dmi_sim *sim, const struct dmi_id *id)
{
    switch (id->kind) {
    case DMI_BY_NAME:
        return sim_registry_by_name(&sim->devices, id->name);
    case DMI_BY_UUID:
        return sim_registry_by_uuid(&sim->devices, id->uuid);
    case DMI_BY_DEVICE:
        if (id->device.major == DMI_SIM_MAJOR)
            return sim_minors_find(&sim->devices.minors, id->device.minor);
        break;
    }
    return NULL;
}

int dmi_sim_event(struct dmi_sim *sim, const struct dmi_id *id)
{
    sim_lock(sim);
    struct sim_device *device = find(sim, id);
    int rc = !device ? -ENXIO : device->live ? 0 : -ENODATA;
    if (rc == 0)
        sim_table_event(device->live);
    sim_unlock(sim);
    return rc;
}

int dmi_sim_hold(struct dmi_sim *sim, const struct dmi_id *id)
{
    sim_lock(sim);
    struct sim_device *device = find(sim, id);
    int rc = !device ? -ENXIO : !device->has_disk ? -ENODATA : 0;
    if (rc == 0 && device->open_count == INT_MAX)
        rc = -EMFILE;
    if (rc == 0) {
        sim_device_opened(device);
        device->held++;
    }
    sim_unlock(sim);
    return rc;
}

int dmi_sim_release(struct dmi_sim *sim, const struct dmi_id *id)
{
    sim_lock(sim);
    struct sim_device *device = find(sim, id);
    int rc = !device ? -ENXIO : !device->held ? -ENODATA : 0;
    if (rc == 0) {
        device->held--;
        sim_device_closed(device);
    }
    sim_unlock(sim);
    return rc;
}

int dmi_sim_stall(struct dmi_sim *sim, const struct dmi_id *id, enum dmi_sim_stall stall)
{
    sim_lock(sim);
    struct sim_device *device = find(sim, id);
    if (device) {
        device->stall = stall;
        sim_wake(sim);
    }
    sim_unlock(sim);
    return device ? 0 : -ENXIO;
}
