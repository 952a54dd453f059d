/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives leases, and ends them in time. One lock guards what handlers and the loop do
 * with slots; with the guardian, which shares the table, only the slots' states are
 * fought over. It knows no connections but by their numbers.
 */
#include "keeper.h"

#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "container_of.h"
#include "dispatch.h"
#include "events.h"
#include "log.h"

#define MILLISECOND 1000000U
#define SECOND      1000000000U

static const uint64_t LOOK_AGAIN = SECOND / 4;     /* while something is being rolled back */
static const uint64_t RETRY_AFTER = SECOND / 2;    /* of a roll-back that failed */
static const uint64_t ASSURED_FOR = 30UL * SECOND; /* then the guardian may try, too */
enum { DEPTH_MOST = 32, DEPTH_CALLS = 256 };

/* A roll-back on its way: through the device's queue, then on a worker. */
struct ending {
    struct keeper *keeper;
    unsigned int slot;
    uint32_t generation;      /* the slot may be another lease's by its turn, */
    struct dmi_device device; /* and so are these its own */
    int32_t pid;
    uint64_t began;
    bool submitted;
    atomic_bool running;
    bool skipped; /* at its turn there was nothing left to do */
    struct order_entry order;
    struct job job;
    struct dmi dm;
    int rc;
    enum lease_outcome outcome;
    char name[DMI_NAME_MAX + 1]; /* of the device, at its turn */
};

struct keeper {
    struct dispatcher *dispatcher;
    struct lease_table *table;
    const struct guardian *guardian;
    pthread_mutex_t lock;
    ev_async changed;
    ev_io time_up;
    int timer;
    bool (*is_connected)(void *data, uint64_t connection);
    void *connected_data;
    bool closing;
    bool fresh[LEASE_SLOTS]; /* whether its connection is there has not been asked yet */
    struct ending *endings[LEASE_SLOTS];
};

static void lock(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
}

static void unlock(struct keeper *keeper)
{
    pthread_mutex_unlock(&keeper->lock);
}

static unsigned int index_of(const struct keeper *keeper, const struct lease *lease)
{
    return (unsigned int)(lease - keeper->table->slots);
}

/* Any thread: a slot is not what it was. */
static void tell_changed(struct keeper *keeper)
{
    ev_async_send(keeper->dispatcher->loop, &keeper->changed);
    if (keeper->guardian) {
        guardian_wake(keeper->guardian);
    }
}

/* --- what handlers ask for --- */

static uint32_t depth_of(struct dmi *dm, struct dmi_device device, uint32_t level,
                         unsigned int *calls)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = device};
    struct dmi_deps deps = {0};
    uint32_t depth = 0;

    if (level == DEPTH_MOST || ++*calls > DEPTH_CALLS || dmi_table_deps(dm, &id, 0, &deps) < 0) {
        return 0; /* a disk, mostly */
    }
    for (size_t i = 0; i < deps.count; i++) {
        uint32_t below = depth_of(dm, deps.devices[i], level + 1, calls) + 1;
        depth = below > depth ? below : depth;
    }
    dmi_deps_done(&deps);
    return depth;
}

static void copy_view(const struct keeper *keeper, const struct lease *lease,
                      struct keeper_view *ret_view)
{
    unsigned int state = lease->state;

    *ret_view = (struct keeper_view){
        .device = lease->device,
        .slot = index_of(keeper, lease),
        .generation = lease->generation,
        .pid = lease->pid,
        .uid = lease->uid,
        .connection = lease->connection,
        .since = lease->since,
        .deadline = lease->deadline,
        .on_disconnect = lease->terms & LEASE_ON_DISCONNECT,
        .ending = state == LEASE_ENDING || state == LEASE_TAKEN,
        .confirmed = lease->confirmed,
    };
    memcpy(ret_view->uuid, lease->uuid, sizeof(ret_view->uuid));
}

static bool has_terms(const struct keeper_terms *terms)
{
    return terms->after_ms > 0 || terms->on_disconnect;
}

/* With the lock held. */
static void set_terms(struct keeper *keeper, struct lease *lease,
                      const struct keeper_request *request)
{
    const struct keeper_terms *terms = &request->terms;

    lease->pid = request->peer->pid;
    lease->uid = request->peer->uid;
    lease->connection = terms->on_disconnect ? request->peer->connection : 0;
    if (terms->on_disconnect) {
        lease->terms |= LEASE_ON_DISCONNECT;
    } else {
        lease->terms &= ~(unsigned int)LEASE_ON_DISCONNECT;
    }
    lease->deadline =
        terms->after_ms > 0 ? lease_clock() + terms->after_ms * MILLISECOND : LEASE_NEVER;
    lease->reason = LEASE_TIME_UP;
    lease->retry = 0;
    keeper->fresh[index_of(keeper, lease)] = true;
}

/*
 * With the lock held. True: it has ended. What the guardian has taken is the guardian's to end,
 * which looks at it at once.
 */
static bool end(struct lease *lease, enum lease_outcome outcome)
{
    if (lease->state != LEASE_TAKEN) {
        lease->outcome = outcome;
        lease->reason = LEASE_BY_OTHERS;
        if (!lease_move(lease, LEASE_HELD, LEASE_ENDED)) {
            (void)lease_move(lease, LEASE_ENDING, LEASE_ENDED);
        }
    }
    lease->retry = 0;
    return !lease_is_live(lease);
}

/* With the lock held. The lease on a device, unless it turns out to be over. */
static struct lease *find(struct keeper *keeper, const struct dmi_info *info, uint64_t diskseq)
{
    struct lease *lease = lease_find(keeper->table, info->device);
    bool ended = false;

    if (lease && !lease_is_of(lease, info, diskseq)) {
        ended = end(lease, LEASE_REMOVED);
    } else if (lease && lease->confirmed && !(info->flags & DMI_SUSPEND)) {
        ended = end(lease, LEASE_RESUMED);
    }
    return ended ? NULL : lease;
}

static bool is_holder(const struct lease *lease, const struct peer *peer)
{
    if (lease->terms & LEASE_ON_DISCONNECT) {
        return lease->connection == peer->connection;
    }
    return lease->uid == peer->uid;
}

/* With the lock held. A roll-back that waits for its turn is called off by new terms. */
static enum keeper_answer renew(struct keeper *keeper, struct lease *lease,
                                const struct keeper_request *request)
{
    if (!is_holder(lease, request->peer)) {
        return KEEPER_OTHERS;
    }
    if (request->terms.given) {
        (void)lease_move(lease, LEASE_ENDING, LEASE_HELD);
    }
    if (lease->state != LEASE_HELD) {
        return KEEPER_OTHERS;
    }
    if (request->terms.given) {
        set_terms(keeper, lease, request);
    }
    return KEEPER_HELD;
}

static enum keeper_answer record(struct keeper *keeper, const struct keeper_request *request,
                                 uint64_t diskseq, uint32_t depth, struct lease **ret_lease)
{
    const struct dmi_info *info = request->info;
    struct lease *lease = lease_claim(keeper->table);

    if (!lease) {
        return KEEPER_FULL;
    }
    lease->device = info->device;
    lease->diskseq = diskseq;
    lease->depth = depth;
    lease->since = lease_clock();
    memcpy(lease->uuid, info->uuid, sizeof(lease->uuid));
    if (info->flags & DMI_INACTIVE_PRESENT) {
        lease->terms |= LEASE_HAD_INACTIVE;
    }
    set_terms(keeper, lease, request);
    lease_publish(lease);
    *ret_lease = lease;
    return KEEPER_NEW;
}

enum keeper_answer keeper_begin(struct keeper *keeper, const struct keeper_request *request,
                                struct keeper_view *ret_view)
{
    enum keeper_answer answer = KEEPER_NONE;
    bool wanted = has_terms(&request->terms);
    unsigned int calls = 0;

    if (!keeper) {
        return wanted ? KEEPER_FULL : KEEPER_NONE;
    }
    uint64_t diskseq = lease_diskseq(request->dm, request->info->device);
    uint32_t depth = wanted ? depth_of(request->dm, request->info->device, 0, &calls) : 0;
    lock(keeper);
    struct lease *lease = find(keeper, request->info, diskseq);
    if (lease) {
        answer = renew(keeper, lease, request);
    } else if (request->info->flags & DMI_SUSPEND) {
        answer = KEEPER_FOREIGN;
    } else if (wanted) {
        answer = record(keeper, request, diskseq, depth, &lease);
    }
    if (lease) {
        copy_view(keeper, lease, ret_view);
    }
    unlock(keeper);
    if (lease) {
        tell_changed(keeper);
    }
    return answer;
}

/* With the lock held. The very lease that was seen, or NULL. */
static struct lease *find_view(struct keeper *keeper, const struct keeper_view *view)
{
    struct lease *lease = &keeper->table->slots[view->slot];

    return lease_is_live(lease) && lease->generation == view->generation ? lease : NULL;
}

enum keeper_answer keeper_confirm(struct keeper *keeper, struct dmi *dm,
                                  const struct keeper_view *view, const struct dmi_info *info)
{
    uint64_t diskseq = lease_diskseq(dm, info->device);
    enum keeper_answer answer = KEEPER_NONE;

    lock(keeper);
    struct lease *lease = find_view(keeper, view);
    if (lease && !lease_is_of(lease, info, diskseq)) {
        answer = KEEPER_FOREIGN;
    } else if (lease && lease->state == LEASE_TAKEN) {
        answer = KEEPER_OTHERS;
    } else if (lease) {
        answer = KEEPER_HELD;
        lease->confirmed = true;
    }
    unlock(keeper);
    tell_changed(keeper);
    return answer;
}

void keeper_drop(struct keeper *keeper, const struct keeper_view *view)
{
    lock(keeper);
    struct lease *lease = find_view(keeper, view);
    if (lease && (lease_move(lease, LEASE_HELD, LEASE_FILLING) ||
                  lease_move(lease, LEASE_ENDING, LEASE_FILLING))) {
        lease_free(keeper->table, lease);
    }
    unlock(keeper);
}

void keeper_loads(struct keeper *keeper, struct dmi_device device)
{
    if (keeper_count(keeper) == 0) {
        return;
    }
    lock(keeper);
    struct lease *lease = lease_find(keeper->table, device);
    if (lease) {
        lease->terms &= ~(unsigned int)LEASE_HAD_INACTIVE;
    }
    unlock(keeper);
}

static void over(struct keeper *keeper, struct dmi_device device, enum lease_outcome outcome)
{
    if (!keeper || keeper_count(keeper) == 0) {
        return;
    }
    lock(keeper);
    struct lease *lease = lease_find(keeper->table, device);
    if (lease) {
        (void)end(lease, outcome);
    }
    unlock(keeper);
    tell_changed(keeper);
}

void keeper_resumed(struct keeper *keeper, struct dmi_device device)
{
    over(keeper, device, LEASE_RESUMED);
}

void keeper_removed(struct keeper *keeper, struct dmi_device device)
{
    over(keeper, device, LEASE_REMOVED);
}

void keeper_over(struct keeper *keeper, const struct keeper_view *view, enum lease_outcome outcome)
{
    lock(keeper);
    struct lease *lease = find_view(keeper, view);
    /* That a roll-back resumed it is the roll-back's to tell. */
    if (lease && lease->state == LEASE_HELD) {
        (void)end(lease, outcome);
    }
    unlock(keeper);
    tell_changed(keeper);
}

size_t keeper_list(struct keeper *keeper, struct keeper_view *ret_views, size_t room)
{
    size_t count = 0;

    lock(keeper);
    for (unsigned int i = 0; i < keeper->table->head.used && count < room; i++) {
        if (lease_is_live(&keeper->table->slots[i])) {
            copy_view(keeper, &keeper->table->slots[i], &ret_views[count++]);
        }
    }
    unlock(keeper);
    return count;
}

size_t keeper_count(const struct keeper *keeper)
{
    return keeper ? keeper->table->head.live : 0;
}

static bool is_rolled_back(const struct lease *lease)
{
    unsigned int state = lease->state;

    return state == LEASE_ENDING || state == LEASE_TAKEN ||
           (state == LEASE_ENDED && lease->outcome == LEASE_ROLLED_BACK);
}

bool keeper_ends(struct keeper *keeper, struct dmi_device device)
{
    bool ends = false;

    if (keeper_count(keeper) == 0) {
        return false;
    }
    lock(keeper);
    for (unsigned int i = 0; i < keeper->table->head.used && !ends; i++) {
        const struct lease *lease = &keeper->table->slots[i];
        ends = dmi_device_equal(lease->device, device) && is_rolled_back(lease);
    }
    unlock(keeper);
    return ends;
}

/* --- the end of a lease --- */

/* What is said of it in the log, and the word for programs. */
struct words {
    const char *said, *word;
};

static const struct words reasons[LEASE_REASONS] = {
    [LEASE_TIME_UP] = {"its time was up", "timeout"},
    [LEASE_DISCONNECTED] = {"its connection had gone", "disconnect"},
    [LEASE_SHUTDOWN] = {"the server is shutting down", "shutdown"},
    [LEASE_ORPHANED] = {"its server had died", "server died"},
    [LEASE_BY_OTHERS] = {"", "resumed"},
};

static const struct words outcomes[] = {
    [LEASE_ROLLED_BACK] = {"it was resumed", "rolled_back"},
    [LEASE_RESUMED] = {"it had been resumed by somebody else", "resumed"},
    [LEASE_REMOVED] = {"it had been removed", "removed"},
};

/* What others did with the device is theirs to tell. */
static bool is_told(const struct lease *lease)
{
    return lease->reason < LEASE_REASONS && lease->reason != LEASE_BY_OTHERS &&
           lease->outcome <= LEASE_REMOVED;
}

/* Numbers only: a device's name may hold anything, even line ends. */
static void report(const struct lease *lease)
{
    if (is_told(lease)) {
        log_line("Device %u:%u, suspended by process %" PRId32 " of user id %" PRIu32
                 " %.1f s ago: %s, %s.",
                 lease->device.major, lease->device.minor, lease->pid, lease->uid,
                 (double)(lease_clock() - lease->since) / SECOND, reasons[lease->reason].said,
                 outcomes[lease->outcome].said);
    }
}

/* The word for others, who may have subscribed to events. */
static const char *reason_of(const struct lease *lease)
{
    if (lease->outcome == LEASE_REMOVED) {
        return outcomes[LEASE_REMOVED].word;
    }
    return lease->outcome == LEASE_ROLLED_BACK && lease->reason < LEASE_REASONS
               ? reasons[lease->reason].word
               : reasons[LEASE_BY_OTHERS].word;
}

/* `ending` is the roll-back that has failed, or NULL. */
static void audit(struct keeper *keeper, const struct lease *lease, const char *name,
                  const struct ending *ending)
{
    const struct audit_lease record = {
        .device = lease->device,
        .name = name,
        .uuid = lease->uuid,
        .pid = lease->pid,
        .uid = lease->uid,
        .connection = lease->connection,
        .outcome = ending ? "failed" : outcomes[lease->outcome].word,
        .reason = lease->reason < LEASE_REASONS ? reasons[lease->reason].word : NULL,
        .rc = ending ? ending->rc : 0,
        .ioctl = ending ? dmi_ioctl_name(ending->dm.last) : NULL,
        .held_ns = lease_clock() - lease->since,
    };

    audit_lease_ended(keeper->dispatcher, &record);
}

static void tell_others(struct keeper *keeper, const struct lease *lease)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = lease->device};
    struct dmi dm;
    struct dmi_info info = {0};

    dmi_init(&dm, keeper->dispatcher->host.transport);
    bool there = lease->outcome != LEASE_REMOVED && dmi_device_status(&dm, &id, 0, &info) == 0;
    const struct event_lease event = {
        .device = lease->device,
        .name = info.name,
        .uuid = lease->uuid,
        .reason = reason_of(lease),
        .state = there ? (info.flags & DMI_SUSPEND ? "suspended" : "running") : "gone",
    };
    events_lease_ended(keeper->dispatcher->events, &event);
    if (is_told(lease)) {
        audit(keeper, lease, info.name, NULL);
    }
}

static void settle(struct keeper *keeper, struct lease *lease)
{
    report(lease);
    tell_others(keeper, lease);
    lock(keeper);
    lease_free(keeper->table, lease);
    unlock(keeper);
}

/* --- a roll-back --- */

static struct lease *lease_of(const struct ending *ending)
{
    return &ending->keeper->table->slots[ending->slot];
}

/* Still the lease that it was begun for, and nobody else ends it? */
static bool is_ours(const struct ending *ending)
{
    const struct lease *lease = lease_of(ending);

    return lease->state == LEASE_ENDING && lease->generation == ending->generation;
}

/* On a worker. */
static void on_job(struct job *job)
{
    struct ending *ending = container_of(job, struct ending, job);

    ending->running = true;
    ending->skipped = !is_ours(ending);
    if (!ending->skipped) {
        ending->rc = lease_roll_back(lease_of(ending), &ending->dm, &ending->outcome);
    }
}

static void complain(const struct ending *ending)
{
    const char *ioctl = dmi_ioctl_name(ending->dm.last);

    log_line("Device %u:%u, suspended by process %" PRId32
             ", could not be resumed: %s: %s. Trying again.",
             ending->device.major, ending->device.minor, ending->pid, ioctl ? ioctl : "no call",
             strerror(-ending->rc));
}

static void set_timer(const struct keeper *keeper, uint64_t when)
{
    struct itimerspec time = {0};

    if (when != LEASE_NEVER) {
        time.it_value.tv_sec = (time_t)(when / SECOND);
        time.it_value.tv_nsec = (long)(when % SECOND);
    }
    (void)timerfd_settime(keeper->timer, TFD_TIMER_ABSTIME, &time, NULL);
}

static void finish(struct ending *ending)
{
    struct keeper *keeper = ending->keeper;
    struct lease *lease = lease_of(ending);

    lock(keeper);
    bool ours = !ending->skipped && is_ours(ending);
    if (ours && ending->rc < 0) {
        lease->retry = lease_clock() + RETRY_AFTER;
        (void)lease_move(lease, LEASE_ENDING, LEASE_HELD);
    } else if (ours) {
        lease->outcome = ending->outcome;
        (void)lease_move(lease, LEASE_ENDING, LEASE_ENDED);
    }
    unlock(keeper);
    if (ours && ending->rc < 0) {
        complain(ending);
        audit(keeper, lease, ending->name, ending);
    }
    if (keeper->endings[ending->slot] == ending) {
        keeper->endings[ending->slot] = NULL;
    }
    order_leave(&keeper->dispatcher->order, &ending->order);
    free(ending);
    set_timer(keeper, lease_clock()); /* the next look comes from the loop: it may begin others */
}

static void on_job_end(struct job *job)
{
    finish(container_of(job, struct ending, job));
}

static void submit(struct ending *ending)
{
    ending->job.run = on_job;
    ending->job.end = on_job_end;
    ending->job.pool = POOL_RELEASES;
    ending->submitted = true;
    if (workers_submit(ending->keeper->dispatcher->workers, &ending->job) < 0) {
        ending->rc = -EAGAIN;
        finish(ending);
    }
}

/* By all of its names, as calls do. */
static void on_refresh(struct order_entry *entry)
{
    struct ending *ending = container_of(entry, struct ending, order);
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = ending->device};
    struct dmi_info info;

    if (dmi_device_status(&ending->dm, &id, 0, &info) < 0) {
        return;
    }
    memcpy(ending->name, info.name, sizeof(ending->name));
    order_add_name(entry, info.name);
    if (info.uuid[0]) {
        order_add_uuid(entry, info.uuid);
    }
}

static void on_turn(struct order_entry *entry)
{
    submit(container_of(entry, struct ending, order));
}

/* False: not now. */
static bool begin(struct keeper *keeper, unsigned int slot)
{
    struct lease *lease = &keeper->table->slots[slot];
    struct ending *ending = calloc(1, sizeof(*ending));

    if (!ending || !lease_move(lease, LEASE_HELD, LEASE_ENDING)) {
        free(ending);
        return false;
    }
    ending->keeper = keeper;
    ending->slot = slot;
    ending->generation = lease->generation;
    ending->device = lease->device;
    ending->pid = lease->pid;
    ending->began = lease_clock();
    ending->order = (struct order_entry){.refresh = on_refresh, .start = on_turn, .releases = true};
    dmi_init(&ending->dm, keeper->dispatcher->host.transport);
    order_add_device(&ending->order, ending->device);
    keeper->endings[slot] = ending;
    if (order_enter(&keeper->dispatcher->order, &ending->order)) {
        submit(ending);
    }
    return true;
}

/* --- looking --- */

/* The guardian lets us, while our roll-back waits for a call of ours or runs: not for ever. */
static void assure(struct keeper *keeper, unsigned int slot, uint64_t now)
{
    const struct ending *ending = keeper->endings[slot];

    if (ending && (!ending->submitted || ending->running) && now - ending->began < ASSURED_FOR) {
        keeper->table->slots[slot].assured = now;
    }
}

/* Its connection went before the lease was there to be ended with it. */
static void check_connection(struct keeper *keeper, unsigned int slot)
{
    struct lease *lease = &keeper->table->slots[slot];

    lock(keeper);
    bool fresh = keeper->fresh[slot] && lease->terms & LEASE_ON_DISCONNECT;
    uint64_t connection = lease->connection;
    keeper->fresh[slot] = false;
    unlock(keeper);
    if (fresh && keeper->is_connected &&
        !keeper->is_connected(keeper->connected_data, connection)) {
        keeper_disconnected(keeper, connection);
    }
}

/* When a held lease is to be ended. */
static uint64_t due(struct keeper *keeper, unsigned int slot)
{
    struct lease *lease = &keeper->table->slots[slot];

    check_connection(keeper, slot);
    if (keeper->closing && lease->deadline > lease_clock()) {
        lease->reason = LEASE_SHUTDOWN;
        lease->deadline = lease_clock();
    }
    return lease->deadline > lease->retry ? lease->deadline : lease->retry;
}

/* Lower devices first: each pass begins those of one layer. */
static void begin_due(struct keeper *keeper, uint64_t now)
{
    for (uint32_t depth = 0; depth <= DEPTH_MOST; depth++) {
        for (unsigned int i = 0; i < keeper->table->head.used; i++) {
            struct lease *lease = &keeper->table->slots[i];
            if (lease->state == LEASE_HELD && lease->depth == depth && due(keeper, i) <= now) {
                (void)begin(keeper, i);
            }
        }
    }
}

/* Settles what has ended; returns when to look again, and whether something is due. */
static uint64_t survey(struct keeper *keeper, uint64_t now, bool *ret_due)
{
    uint64_t next = LEASE_NEVER;

    for (unsigned int i = 0; i < keeper->table->head.used; i++) {
        struct lease *lease = &keeper->table->slots[i];
        uint64_t when = LEASE_NEVER;
        unsigned int state = lease->state;
        switch (state) {
        case LEASE_HELD:
            when = due(keeper, i);
            *ret_due = *ret_due || when <= now;
            when = when <= now ? now + LOOK_AGAIN : when;
            break;
        case LEASE_ENDING:
            assure(keeper, i, now);
            when = now + LOOK_AGAIN;
            break;
        case LEASE_TAKEN:
            when = now + LOOK_AGAIN;
            break;
        case LEASE_ENDED:
            settle(keeper, lease);
            break;
        default:
            break;
        }
        next = when < next ? when : next;
    }
    return next;
}

static void look(struct keeper *keeper)
{
    uint64_t now = lease_clock();
    bool is_due = false;
    uint64_t next = survey(keeper, now, &is_due);

    set_timer(keeper, next);
    if (is_due) {
        begin_due(keeper, now);
    }
}

static void on_changed(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    look(watcher->data);
}

static void on_time_up(struct ev_loop *loop, ev_io *watcher, int events)
{
    uint64_t expirations;

    (void)loop;
    (void)events;
    (void)!read(watcher->fd, &expirations, sizeof(expirations));
    look(watcher->data);
}

/* --- what the server says --- */

void keeper_disconnected(struct keeper *keeper, uint64_t connection)
{
    bool found = false;

    if (keeper_count(keeper) == 0 || connection == 0) {
        return;
    }
    lock(keeper);
    for (unsigned int i = 0; i < keeper->table->head.used; i++) {
        struct lease *lease = &keeper->table->slots[i];
        if (lease_is_live(lease) && lease->terms & LEASE_ON_DISCONNECT &&
            lease->connection == connection) {
            lease->reason = LEASE_DISCONNECTED;
            lease->deadline = lease_clock();
            found = true;
        }
    }
    unlock(keeper);
    if (found) {
        tell_changed(keeper);
    }
}

void keeper_guardian_gone(struct keeper *keeper)
{
    if (!keeper) {
        return;
    }
    for (unsigned int i = 0; i < keeper->table->head.used; i++) {
        struct lease *lease = &keeper->table->slots[i];
        if (lease_move(lease, LEASE_TAKEN, LEASE_HELD)) {
            lease->retry = 0;
        }
    }
    look(keeper);
}

void keeper_close(struct keeper *keeper)
{
    if (keeper) {
        keeper->closing = true;
        look(keeper);
    }
}

void keeper_ask_connected(struct keeper *keeper,
                          bool (*is_connected)(void *data, uint64_t connection), void *data)
{
    keeper->is_connected = is_connected;
    keeper->connected_data = data;
}

int keeper_new(struct dispatcher *dispatcher, struct lease_table *table,
               const struct guardian *guardian, struct keeper **ret_keeper)
{
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    if (!keeper) {
        return -ENOMEM;
    }
    keeper->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (keeper->timer < 0) {
        int rc = -errno;
        free(keeper);
        return rc;
    }
    keeper->dispatcher = dispatcher;
    keeper->table = table;
    keeper->guardian = guardian;
    (void)pthread_mutex_init(&keeper->lock, NULL);
    ev_async_init(&keeper->changed, on_changed);
    ev_io_init(&keeper->time_up, on_time_up, keeper->timer, EV_READ);
    keeper->changed.data = keeper->time_up.data = keeper;
    ev_async_start(dispatcher->loop, &keeper->changed);
    ev_io_start(dispatcher->loop, &keeper->time_up);
    ev_unref(dispatcher->loop); /* leases alone keep no loop running */
    ev_unref(dispatcher->loop);
    tell_changed(keeper);
    *ret_keeper = keeper;
    return 0;
}

struct keeper *keeper_free(struct keeper *keeper)
{
    if (!keeper) {
        return NULL;
    }
    ev_ref(keeper->dispatcher->loop);
    ev_ref(keeper->dispatcher->loop);
    ev_async_stop(keeper->dispatcher->loop, &keeper->changed);
    ev_io_stop(keeper->dispatcher->loop, &keeper->time_up);
    (void)close(keeper->timer);
    (void)pthread_mutex_destroy(&keeper->lock);
    free(keeper);
    return NULL;
}
