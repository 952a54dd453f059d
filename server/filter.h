/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - which events somebody wants to hear of: kinds, and which devices.
 */
#ifndef DMRPC_FILTER_H
#define DMRPC_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum event_kind {
    EVENT_NONE,
    EVENT_ADDED,
    EVENT_REMOVED,
    EVENT_RENAMED,
    EVENT_CHANGED,
    EVENT_SUSPENDED,
    EVENT_RESUMED,
    EVENT_LEASE_ENDED,
    EVENT_CALL_ENDED,
    EVENT_UEVENTS_LOST, /* who wants to hear of resumes hears this, whatever the device */
    EVENT_SNAPSHOT,     /* these belong to a subscription: they are never filtered */
    EVENT_LOST,
    EVENT_SUBSCRIPTION_ENDED,
    EVENT_KINDS,
};

enum { FILTER_GLOB_MAX = 255 };

/* Zeroed: all. */
struct filter {
    uint32_t kinds;                                            /* a bit for each; 0: all */
    char name[FILTER_GLOB_MAX + 1], uuid[FILTER_GLOB_MAX + 1]; /* fnmatch(3); "": any */
};

/* The name of a kind, as it is sent. */
const char *filter_kind_name(enum event_kind kind);

/* Adds a kind by the first `length` bytes of `name`. False: there is no such kind to choose. */
bool filter_add_kind(struct filter *filter, const char *name, size_t length);

/* Sets a glob; NULL: any. False: it is empty or too long. */
bool filter_set_glob(char *glob, const char *value);

bool filter_takes_kind(const struct filter *filter, enum event_kind kind);

/* `uuid` may be NULL: it has none, as "". */
bool filter_takes_uuid(const struct filter *filter, const char *uuid);
bool filter_takes_device(const struct filter *filter, const char *name, const char *uuid);

#endif
