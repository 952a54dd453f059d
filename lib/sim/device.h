/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - a mapped device: its life, its opens, its two tables.
 */
#ifndef SIM_DEVICE_H
#define SIM_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "bdev.h"
#include "registry.h"
#include "sim.h"
#include "stats.h"
#include "table.h"

#define SIM_ANY_MINOR UINT32_MAX

/* How to suspend; lockfs is what a plain suspend does. */
enum { SIM_LOCKFS = 1 << 0, SIM_NOFLUSH = 1 << 1 };

struct sim_geometry {
    uint64_t cylinders, heads, sectors, start;
};

struct sim_device {
    struct dmi_sim *sim;
    struct sim_entry entry;
    char *name;      /* NULL before it is registered and after its removal */
    char *uuid;      /* NULL: none */
    char number[16]; /* "major:minor", for the log */
    struct sim_bdev bdev;
    struct sim_geometry geometry;
    const struct sim_target_type *immutable; /* of the live table */
    struct sim_table *live, *inactive;
    struct sim_open *opens; /* what its tables have open */
    struct sim_stats stats;
    uint64_t diskseq; /* 0 before its disk */
    uint32_t event_nr;
    unsigned int open_count;
    unsigned int held; /* of open_count: by dmi_sim_hold */
    unsigned int busy; /* ioctls that sleep with it in their hands (md->holders) */
    enum dmi_sim_stall stall;
    unsigned int internal_suspends;
    bool has_disk; /* since the first table load */
    bool suspended;
    bool suspended_internally;
    bool noflush_suspending;
    bool deferred_remove;
    bool deleting;
    bool event_due;
    bool locked; /* suspend_lock */
};

/*
 * dm_create() and dm_hash_insert(). `uuid` may be NULL. -ENXIO: no such minor to
 * be had; -EBUSY: name or uuid is taken; -ENOMEM.
 */
int sim_device_new(struct dmi_sim *sim, uint32_t minor, const char *name, const char *uuid,
                   struct sim_device **ret_device);

/* Unregisters it (__hash_remove) and frees it once nobody has it in hand any more. */
void sim_device_remove(struct sim_device *device);

/* For the end of the world: frees its tables, as devices may map each other in a circle. */
void sim_device_strip(struct sim_device *device);

/* dm_lock_for_deletion(): -EBUSY: it is open, and goes at its last close if `deferred`. */
int sim_device_lock_for_deletion(struct sim_device *device, bool deferred);

int sim_device_rename(struct sim_device *device, const char *name);
int sim_device_set_uuid(struct sim_device *device, const char *uuid);

void sim_device_opened(struct sim_device *device);
void sim_device_closed(struct sim_device *device);

/* Moves the event number, wakes waiters, makes a global event. */
void sim_device_event(struct sim_device *device);

/* The same once the ioctl that is being done has its reply; by work that the kernel queues. */
void sim_device_event_later(struct sim_device *device);
void sim_devices_raise_events(struct dmi_sim *sim);

/* dm_hash_remove_all(): what is not open; in deferred work only what waits to be removed. */
void sim_devices_remove_all(struct dmi_sim *sim, bool mark_deferred, bool only_deferred);

/* --- suspending (device_suspend.c) --- */

/* dm_suspend(): -EINVAL: it is suspended; -EINTR. Waits for what dmi_sim_stall() says. */
int sim_device_suspend(struct sim_device *device, unsigned int how);

/* dm_swap_table(): makes `table` live, *ret_old is the one before. -EINVAL. */
int sim_device_swap(struct sim_device *device, struct sim_table *table, struct sim_table **ret_old);

/* dm_resume(): -EINVAL: it is not suspended, or has no table; else a preresume's error. */
int sim_device_resume(struct sim_device *device);

/* Waits for I/O in flight (dm_internal_suspend_fast() and its resume). */
void sim_device_settle(struct sim_device *device);

/* The suspend that goes with a removal: nothing can stop it. */
void sim_device_shut(struct sim_device *device);

/* dm_internal_suspend_noflush(), dm_internal_resume(): counted; by targets. */
void sim_device_internal_suspend(struct sim_device *device);
void sim_device_internal_resume(struct sim_device *device);

/* The suspend lock; who waits for it cannot be interrupted. */
void sim_device_lock(struct sim_device *device);
void sim_device_unlock(struct sim_device *device);

#endif
