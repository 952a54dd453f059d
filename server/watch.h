/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - notices that something happened to some device, and finds out what.
 *
 * One open control file is armed: the kernel makes it readable at the next event
 * anywhere (DM_DEV_ARM_POLL). Then it is armed again, all devices are listed on a
 * worker, and the list is compared with the one before. Arm, list, compare: in that
 * order nothing is lost. At most one list runs per 10 ms, however many use it. Loop
 * thread only, but for references to a list.
 */
#ifndef DMRPC_WATCH_H
#define DMRPC_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

struct dispatcher;
struct failure;
struct watch;

/* All devices at one moment. It does not change; it goes with its last reference. */
struct watch_list {
    atomic_uint references;
    struct dmi_device_list devices; /* in the order of their numbers */
    uint64_t *diskseqs;             /* of each; 0: it has no disk, or the kernel does not tell */
};

struct watch_list *watch_list_ref(struct watch_list *list);

/* Takes NULL. Returns NULL. */
struct watch_list *watch_list_unref(struct watch_list *list);

/* In this order: who follows names finds none taken twice. */
enum watch_kind {
    WATCH_REMOVED, /* or its number and name are another device's now */
    WATCH_RENAMED,
    WATCH_ADDED,
    WATCH_CHANGED, /* its event number moved, or it got its uuid */
    WATCH_KINDS,
};

struct watch_change {
    enum watch_kind kind;
    const struct dmi_device_entry *before, *after; /* NULL where it was not, or is not, there */
    uint64_t diskseq;                              /* of the one that the change is about */
};

/*
 * What changed from one list to the next; *ret_changes is malloc'ed, and NULL where
 * nothing has. `before` may be NULL: nothing has. 0 or -ENOMEM.
 */
int watch_compare(const struct watch_list *before, const struct watch_list *after,
                  struct watch_change **ret_changes, size_t *ret_count);

/* A new list. */
struct watch_news {
    uint64_t round;                     /* its number: see watch_round */
    struct watch_list *list;            /* borrowed */
    const struct watch_change *changes; /* since the one before; none if there was none */
    size_t count;
};

/* Embedded in who uses it. */
struct watch_user {
    void (*listed)(struct watch_user *user, const struct watch_news *news);
    /* A list could not be made: `rc` came from `dm`. -EAGAIN: there is no thread. */
    void (*failed)(struct watch_user *user, int rc, const struct dmi *dm);
    struct watch_user *next;
    bool on;
};

/* Opens nothing yet. 0 or -ENOMEM. */
int watch_new(struct dispatcher *dispatcher, struct watch **ret_watch);

/* Takes NULL. Returns NULL. No worker may run. */
struct watch *watch_free(struct watch *watch);

/* Once for each user, which must stay as long as the watch. */
void watch_add(struct watch *watch, struct watch_user *user);

/*
 * From when this returns 0, an event leads to a new list, until watch_stop. Both may be
 * called from inside of `listed` and `failed`, and again and again. On failure *ret_dm
 * tells what failed.
 */
int watch_start(struct watch *watch, struct watch_user *user, const struct dmi **ret_dm);
void watch_stop(struct watch *watch, struct watch_user *user);

/* What a call that waits for a list is told of what `failed` was. `what` as failure_set_kernel's.
 */
void watch_failure(struct failure *failure, int rc, const struct dmi *dm, const char *what);

/* Makes a list soon, though nothing has happened. */
void watch_look(struct watch *watch);

/* The number of the last list that was begun: what happens from now on is in the next. */
uint64_t watch_round(const struct watch *watch);

#endif
