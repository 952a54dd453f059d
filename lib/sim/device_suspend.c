/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Suspending a mapped device, swapping its table, resuming it: the part of the
 * kernel's dm.c that decides in which state a failure leaves a device. There is
 * no I/O to drain; dmi_sim_stall() stands for it.
 */
#include <errno.h>

#include "device.h"
#include "state.h"
#include "wait.h"

void sim_device_lock(struct sim_device *device)
{
    device->busy++;
    while (device->locked)
        (void)sim_wait(device->sim, SIM_WAIT_FOREVER, false);
    device->busy--;
    device->locked = true;
}

void sim_device_unlock(struct sim_device *device)
{
    device->locked = false;
    sim_wake(device->sim);
}

enum hook { PRESUSPEND, PRESUSPEND_UNDO, POSTSUSPEND, RESUME };

static void run_hook(struct sim_table *table, enum hook hook)
{
    for (uint32_t i = 0; table && i < table->count; i++) {
        const struct sim_target_type *type = table->targets[i].type;
        void (*const hooks[])(struct sim_target *) = {
            [PRESUSPEND] = type->presuspend,
            [PRESUSPEND_UNDO] = type->presuspend_undo,
            [POSTSUSPEND] = type->postsuspend,
            [RESUME] = type->resume,
        };
        if (hooks[hook])
            hooks[hook](&table->targets[i]);
    }
}

/* Waits while the device's stall is `stall`, with the suspend lock held. */
static int wait_for(struct sim_device *device, enum dmi_sim_stall stall, bool signals)
{
    int rc = 0;

    device->busy++;
    while (rc == 0 && device->stall == stall)
        rc = sim_wait(device->sim, SIM_WAIT_FOREVER, signals);
    device->busy--;
    sim_wake(device->sim);
    return rc;
}

/* __dm_suspend() without what comes after it. */
static int device_quiesce(struct sim_device *device, unsigned int how, bool signals)
{
    struct sim_table *live = device->live;
    int rc = 0;

    device->noflush_suspending = how & SIM_NOFLUSH;
    run_hook(live, PRESUSPEND);
    if (how & SIM_LOCKFS && !(how & SIM_NOFLUSH))
        (void)wait_for(device, DMI_SIM_FREEZE, false);
    if (live)
        rc = wait_for(device, DMI_SIM_DRAIN, signals);
    device->noflush_suspending = false;
    if (rc < 0)
        run_hook(live, PRESUSPEND_UNDO);
    return rc;
}

/* Waits until an internal suspend is over. The lock is held before and after, not meanwhile. */
static int wait_internal(struct sim_device *device)
{
    int rc = 0;

    while (rc == 0 && device->suspended_internally) {
        sim_device_unlock(device);
        device->busy++;
        rc = sim_wait(device->sim, SIM_WAIT_FOREVER, true);
        device->busy--;
        sim_device_lock(device);
    }
    return rc;
}

int sim_device_suspend(struct sim_device *device, unsigned int how)
{
    sim_device_lock(device);
    int rc = device->suspended ? -EINVAL : wait_internal(device);
    if (rc == 0 && device->suspended)
        rc = -EINVAL;
    if (rc == 0) {
        if (!device->live)
            how &= ~(unsigned int)SIM_LOCKFS;
        rc = device_quiesce(device, how, true);
    }
    if (rc == 0) {
        device->suspended = true;
        run_hook(device->live, POSTSUSPEND);
    }
    sim_device_unlock(device);
    return rc;
}

/* __bind() */
static struct sim_table *device_bind(struct sim_device *device, struct sim_table *table,
                                     const struct sim_limits *limits)
{
    struct sim_table *old = device->live;
    uint64_t size = sim_table_size(table);

    if (size != device->bdev.sectors)
        device->geometry = (struct sim_geometry){0};
    device->bdev.sectors = size;
    device->bdev.block_size = limits->block_size;
    device->bdev.discards = sim_table_discards(table);
    table->bound = true;
    device->live = table;
    device->immutable = table->immutable;
    return old;
}

int sim_device_swap(struct sim_device *device, struct sim_table *table, struct sim_table **ret_old)
{
    struct sim_limits limits;

    sim_device_lock(device);
    int rc = device->suspended ? sim_table_limits(table, &limits) : -EINVAL;
    if (rc == 0) {
        *ret_old = device_bind(device, table, &limits);
        sim_global_event(device->sim);
    }
    sim_device_unlock(device);
    return rc;
}

/* dm_table_resume_targets() */
static int targets_resume(struct sim_table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        struct sim_target *target = &table->targets[i];
        int rc = target->type->preresume ? target->type->preresume(target) : 0;
        if (rc < 0) {
            sim_log(table->device->sim, "table", "%s: %s: preresume failed, error = %d",
                    table->device->number, target->type->name, rc);
            return rc;
        }
    }
    run_hook(table, RESUME);
    return 0;
}

int sim_device_resume(struct sim_device *device)
{
    sim_device_lock(device);
    int rc = device->suspended ? wait_internal(device) : -EINVAL;
    if (rc == 0 &&
        (!device->suspended || device->deleting || !device->live || !sim_table_size(device->live)))
        rc = -EINVAL;
    if (rc == 0)
        rc = targets_resume(device->live);
    if (rc == 0)
        device->suspended = false;
    sim_device_unlock(device);
    return rc;
}

void sim_device_settle(struct sim_device *device)
{
    sim_device_lock(device);
    if (!device->suspended && !device->suspended_internally)
        (void)wait_for(device, DMI_SIM_DRAIN, false);
    sim_device_unlock(device);
}

void sim_device_shut(struct sim_device *device)
{
    sim_device_lock(device);
    if (!device->suspended) {
        run_hook(device->live, PRESUSPEND);
        device->suspended = true;
        run_hook(device->live, POSTSUSPEND);
    }
    sim_device_unlock(device);
}

void sim_device_internal_suspend(struct sim_device *device)
{
    sim_device_lock(device);
    if (device->internal_suspends++ == 0) {
        if (!device->suspended) {
            (void)device_quiesce(device, SIM_NOFLUSH, false);
            device->suspended_internally = true;
            run_hook(device->live, POSTSUSPEND);
        }
        device->suspended_internally = true;
    }
    sim_device_unlock(device);
}

void sim_device_internal_resume(struct sim_device *device)
{
    sim_device_lock(device);
    if (device->internal_suspends && --device->internal_suspends == 0) {
        /* A preresume that fails here leaves an ordinary suspend (__dm_internal_resume). */
        if (!device->suspended && device->live && targets_resume(device->live) < 0)
            device->suspended = true;
        device->suspended_internally = false;
    }
    sim_device_unlock(device);
}
