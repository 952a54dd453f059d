/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits.h - calls that wait for an event of a device, without a thread.
 *
 * They wait for the lists of watch.h: each tells which devices have changed, and
 * those who wait for one of these are found by its number. Loop thread only.
 */
#ifndef DMRPC_WAITS_H
#define DMRPC_WAITS_H

#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

struct call;
struct dispatcher;
struct waits;

/* In each struct call; used while it is parked. */
struct wait {
    struct call **line; /* the one it stands in */
    struct call *next, *previous;
    struct dmi_device device;
    uint64_t diskseq; /* 0: it had no disk */
    char name[DMI_NAME_MAX + 1];
    uint32_t event_nr;
    uint64_t round; /* of watch.h: a list of a later one is the first that must know it */
};

/* The dispatcher has its watch. Opens nothing yet. 0 or -ENOMEM. */
int waits_new(struct dispatcher *dispatcher, struct waits **ret_waits);

/* Takes NULL. Returns NULL. Nothing may wait, and no worker may run. */
struct waits *waits_free(struct waits *waits);

/*
 * Parks a device_wait, or runs it at once where the number differs already. Its time is the
 * caller's to watch. 0, or CALL_FAILED with the call's failure set.
 */
int waits_add(struct waits *waits, struct call *call);

void waits_remove(struct waits *waits, struct call *call);

/* How many wait. */
size_t waits_count(const struct waits *waits);

/* Takes NULL. Judges those that wait by the dispatcher's rules: who may not any more hears so. */
void waits_judge(struct waits *waits);

/* Ends them all with shutting_down. */
void waits_end_all(struct waits *waits);

#endif
