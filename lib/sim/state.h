/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the whole of one simulated kernel, under one lock.
 *
 * Every function of this folder but those of sim.h and transport.c runs with
 * sim->lock held. Only sim_wait() lets it go for a while.
 */
#ifndef SIM_STATE_H
#define SIM_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bdev.h"
#include "keys.h"
#include "log.h"
#include "registry.h"
#include "sim.h"
#include "type.h"

struct origin;
struct sim_fault;
struct sim_file;
struct sim_media;
struct sim_waiter;
struct snapshot;
struct thin_pool;

struct dmi_sim {
    pthread_mutex_t lock;
    struct sim_waiter *waiters;
    struct sim_file *files;
    struct sim_fault *faults;
    uint64_t last_fault; /* id given last */
    uint64_t last_diskseq;
    struct sim_registry devices;
    struct sim_disks disks;
    struct sim_keys keys;
    struct sim_types types;
    struct sim_log log;
    struct sim_media *media;
    struct thin_pool *thin_pools;
    struct snapshot *snapshots;
    struct origin *origins;
    uint32_t event_nr;  /* of all devices together; wraps */
    bool deferred_work; /* a device that waits to be removed was closed */
    bool events_due;    /* of some devices */
    bool clock_stopped;
    uint64_t now_ms; /* while the clock is stopped */
};

void sim_lock(struct dmi_sim *sim);

/* Does the work that the kernel would queue (events, deferred removals), then unlocks. */
void sim_unlock(struct dmi_sim *sim);

/* dm_issue_global_event(): wakes the files that were armed. */
void sim_global_event(struct dmi_sim *sim);

uint64_t sim_now_ms(struct dmi_sim *sim);

#endif
