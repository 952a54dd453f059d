/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one descriptor that wakes all who wait for events, and the list that follows.
 * The list grows with the host's devices: it is made, and compared, on a worker. It
 * knows neither calls nor clients.
 */
#include "watch.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "dispatch.h"
#include "transport.h"

static const ev_tstamp LIST_INTERVAL = 0.010; /* seconds between two lists at the least, */
static const ev_tstamp LIST_SHARE = 3;        /* and so many times what the last one took */
static const ev_tstamp FAILURE_INTERVAL = 1;  /* seconds until it is tried again */

struct watch {
    struct dispatcher *dispatcher;
    struct watch_user *users;
    size_t on;                       /* how many of them use it now */
    struct dmi_transport *transport; /* an open file of our own; NULL until the first use */
    struct dmi dm;                   /* to arm, from the loop thread */
    ev_io readable;
    ev_timer pace;
    struct watch_list *list; /* the last one; NULL: there is none to compare with */
    uint64_t round;
    bool look; /* the next list is wanted though nothing happened */

    struct job job;
    bool listing; /* the job is on its way: */
    bool stale;   /* it was begun for others, who have gone: what it brings is too old */
    struct dmi list_dm;
    int rc;
    struct watch_list *next;
    struct watch_change *changes;
    size_t count;
    double seconds; /* that it took */
};

/* --- lists --- */

struct watch_list *watch_list_ref(struct watch_list *list)
{
    atomic_fetch_add(&list->references, 1);
    return list;
}

struct watch_list *watch_list_unref(struct watch_list *list)
{
    if (list && atomic_fetch_sub(&list->references, 1) == 1) {
        dmi_device_list_done(&list->devices);
        free(list->diskseqs);
        free(list);
    }
    return NULL;
}

static uint64_t diskseq_in(const struct watch_list *list, struct dmi_device device)
{
    const struct dmi_device_entry *entry =
        list ? dmi_device_list_find(&list->devices, device) : NULL;

    return entry ? list->diskseqs[entry - list->devices.entries] : 0;
}

static bool is_gone(struct dmi *dm, struct dmi_device device)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = device};
    struct dmi_info info;

    return dmi_device_status(dm, &id, 0, &info) == -ENXIO;
}

/*
 * A disk that was there before and is not any more: the device has gone since it was
 * listed, and so it leaves the list, or another has come in its place.
 */
static void read_diskseqs(struct dmi *dm, const struct watch_list *before, struct watch_list *list)
{
    struct dmi_device_list *devices = &list->devices;
    size_t count = 0;

    for (size_t i = 0; i < devices->count; i++) {
        struct dmi_device device = devices->entries[i].device;
        uint64_t diskseq = 0;
        if (dmi_device_diskseq(dm, device, &diskseq) < 0 && diskseq_in(before, device) != 0 &&
            is_gone(dm, device)) {
            continue;
        }
        devices->entries[count] = devices->entries[i];
        list->diskseqs[count++] = diskseq;
    }
    devices->count = count;
}

static int list_new(struct dmi *dm, const struct watch_list *before, struct watch_list **ret_list)
{
    struct watch_list *list = calloc(1, sizeof(*list));
    if (!list) {
        return -ENOMEM;
    }
    atomic_init(&list->references, 1);
    int rc = dmi_list_devices(dm, NULL, NULL, &list->devices);
    if (rc == 0) {
        list->diskseqs = calloc(list->devices.count + 1, sizeof(*list->diskseqs));
        rc = list->diskseqs ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        (void)watch_list_unref(list);
        return rc;
    }
    dmi_device_list_sort(&list->devices);
    read_diskseqs(dm, before, list);
    *ret_list = list;
    return 0;
}

/* --- what changed --- */

struct place {
    const struct watch_list *list;
    size_t at;
};

static const struct dmi_device_entry *entry_at(const struct place *place)
{
    return place->list && place->at < place->list->devices.count
               ? &place->list->devices.entries[place->at]
               : NULL;
}

static bool has_uuid(const struct dmi_device_entry *entry)
{
    return entry->uuid && *entry->uuid;
}

/*
 * Its disk tells. Without disks a number that went back does, or a name that is another
 * while the number stands still: only of devices without a table would that be a rename.
 */
static bool is_same(const struct dmi_device_entry *before, uint64_t diskseq_before,
                    const struct dmi_device_entry *after, uint64_t diskseq_after)
{
    if (diskseq_before != 0) {
        return diskseq_before == diskseq_after;
    }
    if (has_uuid(before) && after->uuid && strcmp(before->uuid, after->uuid) != 0) {
        return false;
    }
    if (strcmp(before->name, after->name) != 0) {
        return (int32_t)(after->event_nr - before->event_nr) > 0;
    }
    return (int32_t)(after->event_nr - before->event_nr) >= 0;
}

static bool has_moved(const struct dmi_device_entry *before, const struct dmi_device_entry *after)
{
    return before->event_nr != after->event_nr || has_uuid(before) != has_uuid(after);
}

/* Of changes of one kind, one after another in the order of numbers; NULL: only counts. */
struct comparison {
    struct watch_change *changes;
    size_t count;
    enum watch_kind kind;
};

static void note(struct comparison *comparison, enum watch_kind kind, const struct place *before,
                 const struct place *after)
{
    const struct place *about = after ? after : before;

    if (comparison->kind != kind) {
        return;
    }
    if (comparison->changes) {
        comparison->changes[comparison->count] = (struct watch_change){
            .kind = kind,
            .before = before ? entry_at(before) : NULL,
            .after = after ? entry_at(after) : NULL,
            .diskseq = about->list->diskseqs[about->at],
        };
    }
    comparison->count++;
}

/* Both have a device of that number. */
static void compare_pair(struct comparison *comparison, const struct place *before,
                         const struct place *after)
{
    const struct dmi_device_entry *was = entry_at(before);
    const struct dmi_device_entry *is = entry_at(after);

    if (!is_same(was, before->list->diskseqs[before->at], is, after->list->diskseqs[after->at])) {
        note(comparison, WATCH_REMOVED, before, NULL);
        note(comparison, WATCH_ADDED, NULL, after);
    } else if (strcmp(was->name, is->name) != 0) {
        note(comparison, WATCH_RENAMED, before, after);
    } else if (has_moved(was, is)) {
        note(comparison, WATCH_CHANGED, before, after);
    }
}

static int order_of(const struct dmi_device_entry *a, const struct dmi_device_entry *b)
{
    if (!a || !b) {
        return a ? -1 : 1;
    }
    if (a->device.major != b->device.major) {
        return a->device.major < b->device.major ? -1 : 1;
    }
    return (a->device.minor > b->device.minor) - (a->device.minor < b->device.minor);
}

static void compare(struct comparison *comparison, const struct watch_list *before,
                    const struct watch_list *after)
{
    struct place old = {.list = before};
    struct place new = {.list = after};

    while (entry_at(&old) || entry_at(&new)) {
        int order = order_of(entry_at(&old), entry_at(&new));
        if (order < 0) {
            note(comparison, WATCH_REMOVED, &old, NULL);
        } else if (order > 0) {
            note(comparison, WATCH_ADDED, NULL, &new);
        } else {
            compare_pair(comparison, &old, &new);
        }
        old.at += order <= 0;
        new.at += order >= 0;
    }
}

static size_t compare_kinds(struct watch_change *changes, const struct watch_list *before,
                            const struct watch_list *after)
{
    struct comparison comparison = {.changes = changes};

    for (int kind = 0; kind < WATCH_KINDS; kind++) {
        comparison.kind = (enum watch_kind)kind;
        compare(&comparison, before, after);
    }
    return comparison.count;
}

int watch_compare(const struct watch_list *before, const struct watch_list *after,
                  struct watch_change **ret_changes, size_t *ret_count)
{
    size_t count = before ? compare_kinds(NULL, before, after) : 0;
    struct watch_change *changes = NULL;

    if (count > 0) {
        changes = calloc(count, sizeof(*changes));
        if (!changes) {
            return -ENOMEM;
        }
        (void)compare_kinds(changes, before, after);
    }
    *ret_changes = changes;
    *ret_count = count;
    return 0;
}

/* --- making a list --- */

/* On a worker. */
static void on_list(struct job *job)
{
    struct watch *watch = container_of(job, struct watch, job);
    uint64_t began = stats_clock();

    watch->rc = list_new(&watch->list_dm, watch->list, &watch->next);
    if (watch->rc == 0) {
        watch->rc = watch_compare(watch->list, watch->next, &watch->changes, &watch->count);
    }
    watch->seconds = (double)(stats_clock() - began) / 1e9;
}

static void job_done(struct watch *watch)
{
    free(watch->changes);
    watch->changes = NULL;
    watch->count = 0;
    watch->next = watch_list_unref(watch->next);
}

static void rest(struct watch *watch, ev_tstamp seconds)
{
    if (watch->on > 0) {
        ev_io_stop(watch->dispatcher->loop, &watch->readable);
        ev_timer_set(&watch->pace, seconds, 0.);
        ev_timer_start(watch->dispatcher->loop, &watch->pace);
    }
}

void watch_failure(struct failure *failure, int rc, const struct dmi *dm, const char *what)
{
    if (rc == -EAGAIN) {
        failure_set(failure, ERROR_OVERLOADED, "There is no thread to list devices now.");
    } else {
        failure_set_kernel(failure, rc, dm, what, false);
    }
}

static void fail(struct watch *watch, int rc, const struct dmi *dm)
{
    for (struct watch_user *user = watch->users; user; user = user->next) {
        if (user->on) {
            user->failed(user, rc, dm);
        }
    }
    watch->look = true;
    rest(watch, FAILURE_INTERVAL);
}

static void tell(struct watch *watch)
{
    struct watch_list *before = watch->list;
    const struct watch_news news = {
        .round = watch->round,
        .list = watch->next,
        .changes = watch->changes,
        .count = watch->count,
    };

    watch->list = watch_list_ref(watch->next);
    for (struct watch_user *user = watch->users; user; user = user->next) {
        if (user->on) {
            user->listed(user, &news);
        }
    }
    (void)watch_list_unref(before);
}

static void begin(struct watch *watch);

static void on_list_end(struct job *job)
{
    struct watch *watch = container_of(job, struct watch, job);
    int rc = watch->rc;

    watch->listing = false;
    if (watch->stale) {
        watch->stale = false;
        job_done(watch);
        watch->list = watch_list_unref(watch->list);
        if (watch->on > 0) {
            begin(watch);
        }
        return;
    }
    if (rc == 0) {
        tell(watch);
    }
    job_done(watch);
    if (rc < 0) {
        fail(watch, rc, &watch->list_dm);
        return;
    }
    ev_tstamp share = watch->seconds * LIST_SHARE;
    rest(watch, share > LIST_INTERVAL ? share : LIST_INTERVAL);
}

/* Armed again first: what happens from here on wakes us again, what came before is in the list. */
static void begin(struct watch *watch)
{
    ev_io_stop(watch->dispatcher->loop, &watch->readable);
    ev_timer_stop(watch->dispatcher->loop, &watch->pace);
    watch->look = false;
    int rc = dmi_arm_poll(&watch->dm);
    if (rc < 0) {
        fail(watch, rc, &watch->dm);
        return;
    }
    watch->round++;
    dmi_init(&watch->list_dm, watch->dispatcher->host.transport);
    watch->job.run = on_list;
    watch->job.end = on_list_end;
    watch->job.pool = POOL_SHORT;
    rc = workers_submit(watch->dispatcher->workers, &watch->job);
    watch->listing = rc == 0;
    if (!watch->listing) {
        fail(watch, rc, &watch->list_dm);
    }
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    begin(watcher->data);
}

static void on_pace(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct watch *watch = watcher->data;

    (void)events;
    if (watch->look) {
        begin(watch);
    } else {
        ev_io_start(loop, &watch->readable);
    }
}

/* --- its users --- */

int watch_new(struct dispatcher *dispatcher, struct watch **ret_watch)
{
    struct watch *watch = calloc(1, sizeof(*watch));
    if (!watch) {
        return -ENOMEM;
    }
    watch->dispatcher = dispatcher;
    dmi_init(&watch->dm, NULL);
    ev_init(&watch->readable, on_readable);
    ev_timer_init(&watch->pace, on_pace, LIST_INTERVAL, 0.);
    watch->readable.data = watch->pace.data = watch;
    *ret_watch = watch;
    return 0;
}

struct watch *watch_free(struct watch *watch)
{
    if (watch) {
        ev_io_stop(watch->dispatcher->loop, &watch->readable);
        ev_timer_stop(watch->dispatcher->loop, &watch->pace);
        (void)watch_list_unref(watch->list);
        (void)dmi_transport_free(watch->transport);
        free(watch);
    }
    return NULL;
}

void watch_add(struct watch *watch, struct watch_user *user)
{
    user->next = watch->users;
    watch->users = user;
}

/* Opens the control file at the first use, and arms it. */
static int open_and_arm(struct watch *watch)
{
    if (!watch->transport) {
        int rc = dmi_transport_reopen(watch->dispatcher->host.transport, &watch->transport);
        if (rc < 0) {
            return rc;
        }
        dmi_init(&watch->dm, watch->transport);
        int fd = dmi_poll_fd(&watch->dm);
        if (fd < 0) {
            watch->transport = dmi_transport_free(watch->transport);
            return fd;
        }
        ev_io_set(&watch->readable, fd, EV_READ);
    }
    return dmi_arm_poll(&watch->dm);
}

int watch_start(struct watch *watch, struct watch_user *user, const struct dmi **ret_dm)
{
    if (user->on) {
        return 0;
    }
    if (watch->on == 0) {
        int rc = open_and_arm(watch);
        if (rc < 0) {
            *ret_dm = &watch->dm;
            return rc;
        }
        if (!watch->listing) {
            ev_io_start(watch->dispatcher->loop, &watch->readable);
        }
    }
    user->on = true;
    watch->on++;
    return 0;
}

void watch_stop(struct watch *watch, struct watch_user *user)
{
    if (!user->on) {
        return;
    }
    user->on = false;
    if (--watch->on > 0) {
        return;
    }
    ev_io_stop(watch->dispatcher->loop, &watch->readable);
    ev_timer_stop(watch->dispatcher->loop, &watch->pace);
    watch->look = false;
    if (watch->listing) {
        watch->stale = true; /* and compares with the list that we have */
    } else {
        watch->list = watch_list_unref(watch->list);
    }
}

void watch_look(struct watch *watch)
{
    watch->look = true;
    if (ev_is_active(&watch->readable)) {
        ev_feed_event(watch->dispatcher->loop, &watch->readable, EV_READ);
    }
}

uint64_t watch_round(const struct watch *watch)
{
    return watch->round;
}
