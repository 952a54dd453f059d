/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes resumes of what uevents, lists and looks at devices say together. It knows
 * neither sockets nor who hears of them.
 *
 * That a list explains a rename rests on the kernel: it sends the uevent of a rename
 * under the lock that a list needs. So the uevent of a rename that a list shows was
 * sent before that list came.
 */
#include "foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "dispatch.h"
#include "events.h"
#include "keeper.h"
#include "log.h"
#include "uevents.h"
#include "watch.h"

/* Uevents of one device that no call of ours explains, between the beginnings of two lists. */
struct sighting {
    struct dmi_device device;
    uint64_t diskseq; /* 0: not told */
    uint64_t round;   /* of the list before; the next is the first that has it all */
    uint32_t seen;
    uint32_t explained; /* by lists */
    /* The look: */
    bool over; /* it is of no interest any more */
    bool runs;
    struct dmi_info info;
};

struct sightings {
    struct sighting *items;
    size_t count, room;
};

struct foreign {
    struct dispatcher *dispatcher;
    struct uevents_user user;
    struct uevents uevents;
    int cause;            /* why there is no socket for uevents: -errno; or 0 */
    bool refused;         /* there are no uevents, and it has been logged */
    bool listed;          /* there was a list since the start */
    uint64_t round;       /* of the last list */
    struct sightings now; /* in the order of their rounds */

    struct job job;
    bool looking; /* the job is on its way: */
    bool stale;   /* nobody wants to hear of it any more */
    struct dmi dm;
    struct sightings looked;
};

static void clear(struct sightings *sightings)
{
    free(sightings->items);
    *sightings = (struct sightings){0};
}

/* The oldest of a device that has some left to explain; NULL: there is none. */
static struct sighting *find_open(const struct sightings *sightings, struct dmi_device device)
{
    for (size_t i = 0; i < sightings->count; i++) {
        struct sighting *sighting = &sightings->items[i];
        if (dmi_device_equal(sighting->device, device) && sighting->seen > sighting->explained) {
            return sighting;
        }
    }
    return NULL;
}

/* NULL: there is no memory. */
static struct sighting *add(struct sightings *sightings)
{
    if (sightings->count == sightings->room) {
        size_t room = sightings->room > 0 ? sightings->room * 2 : 16;
        struct sighting *items = reallocarray(sightings->items, room, sizeof(*items));
        if (!items) {
            return NULL;
        }
        sightings->items = items;
        sightings->room = room;
    }
    return &sightings->items[sightings->count++];
}

/* --- uevents --- */

/*
 * Others may do the same to the device at the same moment: then it passes for ours, unless
 * they use udev in another way than we do.
 */
static bool is_ours(const struct foreign *foreign, const struct uevent *uevent)
{
    const struct dispatcher *dispatcher = foreign->dispatcher;

    return uevent->cookie == DMI_UDEV_PRIMARY_SOURCE &&
           (order_runs(&dispatcher->order, uevent->device) ||
            keeper_ends(dispatcher->host.keeper, uevent->device));
}

static void on_lost(struct uevents_user *user, uint64_t count)
{
    struct foreign *foreign = container_of(user, struct foreign, user);

    watch_look(foreign->dispatcher->watch);
    if (count > 0) {
        events_uevents_lost(foreign->dispatcher->events, count);
    }
}

static struct sighting *find_now(struct foreign *foreign, struct dmi_device device, uint64_t round)
{
    struct sightings *now = &foreign->now;

    for (size_t i = now->count; i > 0 && now->items[i - 1].round == round; i--) {
        if (dmi_device_equal(now->items[i - 1].device, device)) {
            return &now->items[i - 1];
        }
    }
    return NULL;
}

void foreign_uevent(struct foreign *foreign, const struct uevent *uevent)
{
    uint64_t round = watch_round(foreign->dispatcher->watch);

    if (!uevent->is_plain_change || is_ours(foreign, uevent)) {
        return;
    }
    struct sighting *sighting = find_now(foreign, uevent->device, round);
    if (!sighting) {
        sighting = add(&foreign->now);
        if (!sighting) {
            on_lost(&foreign->user, 1);
            return;
        }
        *sighting = (struct sighting){.device = uevent->device, .round = round};
        watch_look(foreign->dispatcher->watch);
    }
    sighting->seen++;
    sighting->diskseq = uevent->diskseq;
}

static void on_told(struct uevents_user *user, const struct uevent *uevent)
{
    foreign_uevent(container_of(user, struct foreign, user), uevent);
}

void foreign_drain(struct foreign *foreign)
{
    uevents_drain(&foreign->uevents);
}

/* --- looks --- */

/* On a worker. Made anew meanwhile, it is another device, whose own uevents follow. */
static void look(struct dmi *dm, struct sighting *sighting)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = sighting->device};
    uint64_t diskseq = 0;

    if (dmi_device_status(dm, &id, 0, &sighting->info) < 0) {
        return;
    }
    (void)dmi_device_diskseq(dm, sighting->device, &diskseq);
    bool is_other = diskseq != 0 && sighting->diskseq != 0 && diskseq != sighting->diskseq;
    sighting->runs = !is_other && !(sighting->info.flags & DMI_SUSPEND);
}

static void on_look(struct job *job)
{
    struct foreign *foreign = container_of(job, struct foreign, job);

    for (size_t i = 0; i < foreign->looked.count; i++) {
        look(&foreign->dm, &foreign->looked.items[i]);
    }
}

static void begin(struct foreign *foreign);

static void on_look_end(struct job *job)
{
    struct foreign *foreign = container_of(job, struct foreign, job);

    foreign->looking = false;
    for (size_t i = 0; i < foreign->looked.count && !foreign->stale; i++) {
        const struct sighting *sighting = &foreign->looked.items[i];
        if (sighting->runs && !sighting->over) {
            events_resumed_by_others(foreign->dispatcher->events, &sighting->info,
                                     sighting->diskseq);
        }
    }
    foreign->stale = false;
    clear(&foreign->looked);
    begin(foreign);
}

/* Takes those whose list has come; the ones of which it explains all go. False: no memory. */
static bool take_due(struct foreign *foreign)
{
    struct sightings *now = &foreign->now;
    size_t i = 0;

    for (; i < now->count && now->items[i].round < foreign->round; i++) {
        if (now->items[i].seen > now->items[i].explained) {
            struct sighting *sighting = add(&foreign->looked);
            if (!sighting) {
                clear(&foreign->looked);
                return false;
            }
            *sighting = now->items[i];
        }
    }
    now->count -= i;
    memmove(now->items, now->items + i, now->count * sizeof(*now->items));
    return true;
}

/* Where there is no memory or no thread, it is tried again with the next list. */
static void begin(struct foreign *foreign)
{
    struct dispatcher *dispatcher = foreign->dispatcher;

    if (foreign->looking || foreign->now.count == 0) {
        return;
    }
    if (!take_due(foreign)) {
        watch_look(dispatcher->watch);
        return;
    }
    if (foreign->looked.count == 0) {
        return;
    }
    dmi_init(&foreign->dm, dispatcher->host.transport);
    foreign->job.run = on_look;
    foreign->job.end = on_look_end;
    foreign->job.pool = POOL_SHORT;
    foreign->looking = workers_submit(dispatcher->workers, &foreign->job) == 0;
    if (!foreign->looking) {
        on_lost(&foreign->user, foreign->looked.count);
        clear(&foreign->looked);
    }
}

/* --- lists --- */

static bool differ(const char *before, const char *after)
{
    return strcmp(before ? before : "", after ? after : "") != 0;
}

static void explain(struct foreign *foreign, const struct watch_change *change)
{
    const struct dmi_device_entry *before = change->before;
    const struct dmi_device_entry *after = change->after;

    if (!before || !after) {
        return;
    }
    int count = differ(before->name, after->name) + differ(before->uuid, after->uuid);
    while (count-- > 0) {
        struct sighting *sighting = find_open(&foreign->now, after->device);
        if (sighting) {
            sighting->explained++;
        }
    }
}

void foreign_listed(struct foreign *foreign, const struct watch_news *news)
{
    foreign->round = news->round;
    if (!foreign->listed) {
        clear(&foreign->now); /* what came before the first list is told by nobody */
        foreign->listed = true;
    }
    for (size_t i = 0; i < news->count && foreign->now.count > 0; i++) {
        explain(foreign, &news->changes[i]);
    }
    begin(foreign);
}

void foreign_suspended(struct foreign *foreign, struct dmi_device device)
{
    if (!foreign->looking) {
        return;
    }
    for (size_t i = 0; i < foreign->looked.count; i++) {
        struct sighting *sighting = &foreign->looked.items[i];
        sighting->over = sighting->over || dmi_device_equal(sighting->device, device);
    }
}

/* --- all of it --- */

void foreign_start(struct foreign *foreign)
{
    if (foreign->dispatcher->host.sim) {
        return;
    }
    int rc = foreign->cause < 0 ? foreign->cause : uevents_open(&foreign->uevents);
    if (rc < 0 && !foreign->refused) {
        log_line("The kernel's uevents cannot be heard: %s. Resumes by other programs are not "
                 "told to subscribers.",
                 strerror(-rc));
        foreign->refused = true;
    }
}

void foreign_stop(struct foreign *foreign)
{
    uevents_close(&foreign->uevents);
    clear(&foreign->now);
    foreign->listed = false;
    foreign->stale = foreign->looking;
}

int foreign_new(struct dispatcher *dispatcher, struct foreign **ret_foreign)
{
    struct foreign *foreign = calloc(1, sizeof(*foreign));
    if (!foreign) {
        return -ENOMEM;
    }
    foreign->dispatcher = dispatcher;
    foreign->user.told = on_told;
    foreign->user.lost = on_lost;
    uevents_init(&foreign->uevents, dispatcher->loop, &foreign->user);
    if (!dispatcher->host.sim) {
        foreign->cause = uevents_reserve(&foreign->uevents);
    }
    *ret_foreign = foreign;
    return 0;
}

struct foreign *foreign_free(struct foreign *foreign)
{
    if (foreign) {
        uevents_done(&foreign->uevents);
        clear(&foreign->now);
        clear(&foreign->looked);
        free(foreign);
    }
    return NULL;
}
