/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kinds by name, and globs. Those are fnmatch(3)'s without flags: a * takes any
 * bytes, a slash or a dot in front too. It knows no events.
 */
#include "filter.h"

#include <fnmatch.h>
#include <string.h>

static const char *const names[EVENT_KINDS] = {
    [EVENT_NONE] = "none",
    [EVENT_ADDED] = "added",
    [EVENT_REMOVED] = "removed",
    [EVENT_RENAMED] = "renamed",
    [EVENT_CHANGED] = "changed",
    [EVENT_SUSPENDED] = "suspended",
    [EVENT_RESUMED] = "resumed",
    [EVENT_LEASE_ENDED] = "lease_ended",
    [EVENT_CALL_ENDED] = "call_ended",
    [EVENT_UEVENTS_LOST] = "uevents_lost",
    [EVENT_SNAPSHOT] = "snapshot",
    [EVENT_LOST] = "lost",
    [EVENT_SUBSCRIPTION_ENDED] = "subscription_ended",
};

const char *filter_kind_name(enum event_kind kind)
{
    return names[kind];
}

bool filter_add_kind(struct filter *filter, const char *name, size_t length)
{
    for (int kind = EVENT_ADDED; kind < EVENT_UEVENTS_LOST; kind++) {
        if (strlen(names[kind]) == length && memcmp(names[kind], name, length) == 0) {
            filter->kinds |= UINT32_C(1) << kind;
            return true;
        }
    }
    return false;
}

bool filter_set_glob(char *glob, const char *value)
{
    size_t length = value ? strlen(value) : 0;

    if (value && (length == 0 || length > FILTER_GLOB_MAX)) {
        return false;
    }
    memcpy(glob, value ? value : "", length + 1);
    return true;
}

bool filter_takes_kind(const struct filter *filter, enum event_kind kind)
{
    if (kind == EVENT_UEVENTS_LOST) {
        kind = EVENT_RESUMED;
    }
    return filter->kinds == 0 || kind >= EVENT_SNAPSHOT || (filter->kinds >> kind & 1);
}

static bool matches(const char *glob, const char *value)
{
    return !*glob || fnmatch(glob, value ? value : "", 0) == 0;
}

bool filter_takes_uuid(const struct filter *filter, const char *uuid)
{
    return matches(filter->uuid, uuid);
}

bool filter_takes_device(const struct filter *filter, const char *name, const char *uuid)
{
    return matches(filter->name, name) && matches(filter->uuid, uuid);
}
