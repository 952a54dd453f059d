/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parked device_wait calls. They stand in lines by the number of their device, so
 * that an event costs what those cost whom it concerns; what comes after a list has been
 * begun stands apart until one that must know its device has been held against it. It knows
 * no connections.
 */
#include "waits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "container_of.h"
#include "dispatch.h"
#include "watch.h"

enum { NUMBERS = 1024, FRESH = NUMBERS, LINES };

struct waits {
    struct dispatcher *dispatcher;
    struct watch_user user;
    size_t count;
    struct call *due; /* those that a list has something to say of, while it is gone through */
    struct call *lines[LINES]; /* all others: by their device's number, and the fresh ones */
};

static void on_listed(struct watch_user *user, const struct watch_news *news);
static void on_failed(struct watch_user *user, int rc, const struct dmi *dm);

int waits_new(struct dispatcher *dispatcher, struct waits **ret_waits)
{
    struct waits *waits = calloc(1, sizeof(*waits));
    if (!waits) {
        return -ENOMEM;
    }
    waits->dispatcher = dispatcher;
    waits->user.listed = on_listed;
    waits->user.failed = on_failed;
    watch_add(dispatcher->watch, &waits->user);
    *ret_waits = waits;
    return 0;
}

struct waits *waits_free(struct waits *waits)
{
    free(waits);
    return NULL;
}

/* --- the lines of those that wait --- */

static struct call **line_of(struct waits *waits, struct dmi_device device)
{
    return &waits->lines[(device.major * 31 + device.minor) % NUMBERS];
}

static void line_push(struct call **line, struct call *call)
{
    call->wait.line = line;
    call->wait.previous = NULL;
    call->wait.next = *line;
    if (*line) {
        (*line)->wait.previous = call;
    }
    *line = call;
}

static void line_remove(struct call *call)
{
    struct wait *wait = &call->wait;

    if (wait->previous) {
        wait->previous->wait.next = wait->next;
    } else {
        *wait->line = wait->next;
    }
    if (wait->next) {
        wait->next->wait.previous = wait->previous;
    }
}

void waits_remove(struct waits *waits, struct call *call)
{
    line_remove(call);
    waits->count--;
    call->parked = false;
    if (waits->count == 0) {
        watch_stop(waits->dispatcher->watch, &waits->user);
    }
}

size_t waits_count(const struct waits *waits)
{
    return waits->count;
}

static void park(struct waits *waits, struct call *call, const struct dmi_info *info,
                 uint64_t diskseq)
{
    const struct device_wait_params *params = call->params;
    struct wait *wait = &call->wait;

    *wait = (struct wait){.device = info->device,
                          .diskseq = diskseq,
                          .event_nr = params->event_nr,
                          .round = watch_round(waits->dispatcher->watch)};
    memcpy(wait->name, info->name, sizeof(wait->name));
    line_push(&waits->lines[FRESH], call);
    waits->count++;
    call->parked = true;
}

static int check_count(const struct waits *waits, struct call *call)
{
    uint64_t limit = call->host->limits.waits;
    size_t count = waits->count + waits->dispatcher->woken;

    if (count < limit) {
        return 0;
    }
    (void)call_fail(call, ERROR_OVERLOADED, "%zu calls wait for events already.", count);
    call->failure.data.limit = limit;
    call->failure.data.has_limit = true;
    return CALL_FAILED;
}

/* The disk first: if the device is made anew in between, the next list has another. */
static int look(struct call *call, const struct dmi_id *id, struct dmi_info *ret_info,
                uint64_t *ret_diskseq)
{
    struct dmi_info info;
    struct dmi_id by_device = {.kind = DMI_BY_DEVICE};
    int rc = dmi_device_status(&call->dm, id, 0, &info);

    if (rc == 0) {
        by_device.device = info.device;
        if (dmi_device_diskseq(&call->dm, info.device, ret_diskseq) < 0) {
            *ret_diskseq = 0;
        }
        rc = dmi_device_status(&call->dm, &by_device, 0, ret_info);
    }
    return rc;
}

int waits_add(struct waits *waits, struct call *call)
{
    const struct device_wait_params *params = call->params;
    struct watch *watch = waits->dispatcher->watch;
    struct dmi_id id = call_device(call);
    struct dmi_info info;
    uint64_t diskseq;
    const struct dmi *dm;

    if (check_count(waits, call) != 0) {
        return CALL_FAILED;
    }
    int rc = watch_start(watch, &waits->user, &dm);
    if (rc < 0) {
        failure_set_kernel(&call->failure, rc, dm, NULL, false);
        return CALL_FAILED;
    }
    /* Armed before it is read: an event from here on wakes us. */
    rc = look(call, &id, &info, &diskseq);
    if (rc == 0 && info.event_nr == params->event_nr) {
        park(waits, call, &info, diskseq);
    } else if (waits->count == 0) {
        watch_stop(watch, &waits->user);
    }
    if (rc < 0) {
        return call_fail_kernel(call, rc);
    }
    call->device = info.device;
    call->has_device = true;
    /* By its number from here on: the event may be a rename. */
    call->now = (struct dmi_id){.kind = DMI_BY_DEVICE, .device = info.device};
    if (!call->parked) {
        dispatch_unpark(call);
    }
    return 0;
}

/* --- a new list --- */

/* Does the list say that this one has something to hear? */
static bool is_affected(const struct wait *wait, const struct watch_list *list)
{
    const struct dmi_device_entry *entry = dmi_device_list_find(&list->devices, wait->device);

    return !entry || entry->event_nr != wait->event_nr || strcmp(entry->name, wait->name) != 0 ||
           list->diskseqs[entry - list->devices.entries] != wait->diskseq;
}

/* How a device is just now; many may wait for the same. */
struct present {
    struct dmi_device device;
    bool known;
    int rc;
    bool has_diskseq; /* 0: it has no disk */
    uint64_t diskseq;
    struct dmi_info info;
};

/* Here the disk comes last: of a device that is made anew in between it is the new one's. */
static void look_again(struct present *present, struct call *call)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = call->wait.device};

    if (present->known && dmi_device_equal(present->device, id.device)) {
        return;
    }
    present->known = true;
    present->device = id.device;
    present->rc = dmi_device_status(&call->dm, &id, 0, &present->info);
    int rc = dmi_device_diskseq(&call->dm, id.device, &present->diskseq);
    if (rc < 0) {
        present->diskseq = 0;
    }
    present->has_diskseq = rc == 0 || rc == -ENOENT;
}

/* A disk does not go before its device: one that has none now is another. */

static bool is_remade(const struct wait *wait, const struct present *present)
{
    return present->rc < 0 ||
           (wait->diskseq != 0 && present->has_diskseq && wait->diskseq != present->diskseq);
}

/* Compares as the kernel's own wait does: the number differs. */
static void settle(struct waits *waits, struct call *call, const struct present *present)
{
    struct wait *wait = &call->wait;
    bool remade = is_remade(wait, present);
    /* A rename moves the number but of a device without a table: its disk is still the same. */
    bool same = !remade && (strcmp(present->info.name, wait->name) == 0 ||
                            (wait->diskseq != 0 && wait->diskseq == present->diskseq));

    if (!remade && present->info.event_nr != wait->event_nr) {
        waits_remove(waits, call);
        dispatch_unpark(call);
    } else if (same) {
        wait->diskseq = present->diskseq;
        memcpy(wait->name, present->info.name, sizeof(wait->name));
        line_remove(call);
        line_push(line_of(waits, wait->device), call);
    } else {
        waits_remove(waits, call);
        (void)call_fail(call, ERROR_DEVICE_NOT_FOUND, "%s was removed while it was waited for.",
                        call->subject);
        dispatch_end(call);
    }
}

static void set_apart(struct waits *waits, struct call *call, const struct watch_list *list)
{
    bool affected = is_affected(&call->wait, list);

    line_remove(call);
    line_push(affected ? &waits->due : line_of(waits, call->wait.device), call);
}

/*
 * What changes from one list to the next tells nothing of a device that came after the one and
 * went before the other: the first list that is not older than a wait must have its device. Those
 * that are affected are set apart first: one that waits on goes back to its line.
 */
static void on_listed(struct watch_user *user, const struct watch_news *news)
{
    struct waits *waits = container_of(user, struct waits, user);
    struct present present = {0};

    for (struct call *call = waits->lines[FRESH], *next; call; call = next) {
        next = call->wait.next;
        if (call->wait.round < news->round) {
            set_apart(waits, call, news->list);
        }
    }
    for (size_t i = 0; i < news->count; i++) {
        const struct watch_change *change = &news->changes[i];
        const struct dmi_device_entry *about = change->after ? change->after : change->before;
        for (struct call *call = *line_of(waits, about->device), *next; call; call = next) {
            next = call->wait.next;
            set_apart(waits, call, news->list);
        }
    }
    while (waits->due) {
        look_again(&present, waits->due);
        settle(waits, waits->due, &present);
    }
}

/* Anyone of those that wait; NULL: nobody does. */
static struct call *any(const struct waits *waits)
{
    for (size_t i = 0; waits->count > 0 && i < LINES; i++) {
        if (waits->lines[i]) {
            return waits->lines[i];
        }
    }
    return NULL;
}

static void on_failed(struct watch_user *user, int rc, const struct dmi *dm)
{
    struct waits *waits = container_of(user, struct waits, user);
    size_t count = waits->count; /* who comes meanwhile waits for the next list */

    for (struct call *call = any(waits); call && count > 0; call = any(waits), count--) {
        waits_remove(waits, call);
        watch_failure(&call->failure, rc, dm, call->subject);
        dispatch_end(call);
    }
}

/* Whose they are by the name that the device has now. */
static void judge_line(struct waits *waits, struct call *line)
{
    struct dispatcher *dispatcher = waits->dispatcher;

    for (struct call *call = line, *next; call; call = next) {
        next = call->wait.next;
        (void)rules_unref(call->rules);
        call->rules = rules_ref(dispatcher->rules);
        if (access_judge(call) != 0) {
            waits_remove(waits, call);
            dispatch_end(call);
        }
    }
}

void waits_judge(struct waits *waits)
{
    for (size_t i = 0; waits && waits->count > 0 && i < LINES; i++) {
        judge_line(waits, waits->lines[i]);
    }
}

void waits_end_all(struct waits *waits)
{
    for (struct call *call = any(waits); call; call = any(waits)) {
        waits_remove(waits, call);
        (void)call_fail(call, ERROR_SHUTTING_DOWN, "The server is shutting down.");
        dispatch_end(call);
    }
}
