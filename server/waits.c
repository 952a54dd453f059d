/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parked device_wait calls and the one descriptor that wakes them. The list that
 * follows a wake-up runs on a worker, since it grows with the host's devices; its
 * result is compared here. It knows no connections.
 */
#include "waits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "dispatch.h"
#include "transport.h"

static const ev_tstamp LIST_INTERVAL = 0.010; /* seconds */

struct waits {
    struct dispatcher *dispatcher;
    struct call *first; /* those that wait */
    size_t count;
    struct call *due; /* those that a list has something to say of, while it is gone through */
    struct dmi_transport *transport; /* an open file of our own; NULL until the first wait */
    struct dmi dm;                   /* to arm, from the loop thread */
    ev_io readable;
    ev_timer pace;

    struct job job;
    bool listing; /* the job is on its way: */
    struct dmi list_dm;
    struct dmi_device_list list;
    int list_rc;
};

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events);
static void on_pace(struct ev_loop *loop, ev_timer *watcher, int events);

int waits_new(struct dispatcher *dispatcher, struct waits **ret_waits)
{
    struct waits *waits = calloc(1, sizeof(*waits));
    if (!waits) {
        return -ENOMEM;
    }
    waits->dispatcher = dispatcher;
    dmi_init(&waits->dm, NULL);
    ev_init(&waits->readable, on_readable);
    ev_timer_init(&waits->pace, on_pace, LIST_INTERVAL, 0.);
    waits->readable.data = waits->pace.data = waits;
    *ret_waits = waits;
    return 0;
}

struct waits *waits_free(struct waits *waits)
{
    if (waits) {
        ev_io_stop(waits->dispatcher->loop, &waits->readable);
        ev_timer_stop(waits->dispatcher->loop, &waits->pace);
        (void)dmi_transport_free(waits->transport);
        free(waits);
    }
    return NULL;
}

/* Opens the control file at the first wait, and arms it. */
static int open_and_arm(struct waits *waits)
{
    if (!waits->transport) {
        int rc = dmi_transport_reopen(waits->dispatcher->host.transport, &waits->transport);
        if (rc < 0) {
            return rc;
        }
        dmi_init(&waits->dm, waits->transport);
        int fd = dmi_poll_fd(&waits->dm);
        if (fd < 0) {
            waits->transport = dmi_transport_free(waits->transport);
            return fd;
        }
        ev_io_set(&waits->readable, fd, EV_READ);
    }
    return dmi_arm_poll(&waits->dm);
}

/* --- the line of those that wait --- */

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
    ev_timer_stop(waits->dispatcher->loop, &call->wait.timer);
    call->parked = false;
    if (!waits->first && !waits->due) {
        ev_io_stop(waits->dispatcher->loop, &waits->readable);
        ev_timer_stop(waits->dispatcher->loop, &waits->pace);
    }
}

size_t waits_count(const struct waits *waits)
{
    return waits->count;
}

static void on_timeout(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct call *call = watcher->data;

    (void)loop;
    (void)events;
    waits_remove(call->dispatcher->waits, call);
    (void)call_fail(call, ERROR_TIMED_OUT, "No event of %s came within %u ms.", call->subject,
                    call->wait.timeout_ms);
    dispatch_end(call);
}

static void park(struct waits *waits, struct call *call, const struct dmi_info *info,
                 const struct device_wait_params *params)
{
    struct wait *wait = &call->wait;

    *wait = (struct wait){
        .device = info->device, .event_nr = params->event_nr, .timeout_ms = params->timeout_ms};
    memcpy(wait->name, info->name, sizeof(wait->name));
    line_push(&waits->first, call);
    waits->count++;
    call->parked = true;
    if (params->has_timeout_ms) {
        ev_timer_init(&wait->timer, on_timeout, params->timeout_ms / 1000., 0.);
        wait->timer.data = call;
        ev_now_update(waits->dispatcher->loop);
        ev_timer_start(waits->dispatcher->loop, &wait->timer);
    }
}

static int check_count(const struct waits *waits, struct call *call)
{
    size_t limit = call->host->limits.queued_calls;

    if (waits->count < limit) {
        return 0;
    }
    (void)call_fail(call, ERROR_OVERLOADED, "%zu calls wait for events already.", waits->count);
    call->failure.data.limit = limit;
    call->failure.data.has_limit = true;
    return CALL_FAILED;
}

int waits_add(struct waits *waits, struct call *call)
{
    const struct device_wait_params *params = call->params;
    struct dmi_id id = call_device(&params->ref);
    struct dmi_info info;

    if (check_count(waits, call) != 0) {
        return CALL_FAILED;
    }
    if (!waits->first) {
        int rc = open_and_arm(waits);
        if (rc < 0) {
            failure_set_kernel(&call->failure, rc, &waits->dm, NULL, false);
            return CALL_FAILED;
        }
    }
    /* Armed before it is read: an event from here on wakes us. */
    int rc = dmi_device_status(&call->dm, &id, 0, &info);
    if (rc < 0) {
        return call_fail_kernel(call, rc);
    }
    call->device = info.device;
    call->has_device = true;
    if (info.event_nr != params->event_nr) {
        dispatch_unpark(call);
        return 0;
    }
    park(waits, call, &info, params);
    if (!ev_is_active(&waits->pace) && !waits->listing) {
        ev_io_start(waits->dispatcher->loop, &waits->readable);
    }
    return 0;
}

/* --- a wake-up --- */

/* On a worker. */
static void on_list(struct job *job)
{
    struct waits *waits = container_of(job, struct waits, job);

    waits->list_rc = dmi_list_devices(&waits->list_dm, NULL, NULL, &waits->list);
    if (waits->list_rc == 0) {
        dmi_device_list_sort(&waits->list);
    }
}

/* Does the list say that this one has something to hear? It may be older than the wait. */
static bool is_affected(const struct waits *waits, const struct wait *wait)
{
    const struct dmi_device_entry *entry = dmi_device_list_find(&waits->list, wait->device);

    return !entry || entry->event_nr != wait->event_nr || strcmp(entry->name, wait->name) != 0;
}

/* Compares as the kernel's own wait does: the number differs. */
static void settle(struct waits *waits, struct call *call)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = call->wait.device};
    struct dmi_info info;
    int rc = dmi_device_status(&call->dm, &id, 0, &info);

    if (rc == 0 && info.event_nr != call->wait.event_nr) {
        waits_remove(waits, call);
        dispatch_unpark(call);
        return;
    }
    /* A rename moves the number: where it has not moved, another device has taken this one's. */
    if (rc == 0 && strcmp(info.name, call->wait.name) == 0) {
        line_remove(call);
        line_push(&waits->first, call);
        return;
    }
    waits_remove(waits, call);
    (void)call_fail(call, ERROR_DEVICE_NOT_FOUND, "%s was removed while it was waited for.",
                    call->subject);
    dispatch_end(call);
}

/*
 * To answer one may close its connection and so remove others from the line: those
 * that are affected are set apart first, and then taken from there one by one.
 */
static void compare(struct waits *waits)
{
    for (struct call *call = waits->first, *next; call; call = next) {
        next = call->wait.next;
        if (is_affected(waits, &call->wait)) {
            line_remove(call);
            line_push(&waits->due, call);
        }
    }
    while (waits->due) {
        settle(waits, waits->due);
    }
}

static void fail_all(struct waits *waits, int rc, const struct dmi *dm)
{
    while (waits->first) {
        struct call *call = waits->first;
        waits_remove(waits, call);
        failure_set_kernel(&call->failure, rc, dm, call->subject, false);
        dispatch_end(call);
    }
}

static void on_list_end(struct job *job)
{
    struct waits *waits = container_of(job, struct waits, job);

    waits->listing = false;
    if (waits->list_rc < 0) {
        fail_all(waits, waits->list_rc, &waits->list_dm);
        return;
    }
    compare(waits);
    dmi_device_list_done(&waits->list);
    if (waits->first) {
        ev_timer_set(&waits->pace, LIST_INTERVAL, 0.);
        ev_timer_start(waits->dispatcher->loop, &waits->pace);
    }
}

static void on_pace(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct waits *waits = watcher->data;

    (void)events;
    ev_io_start(loop, &waits->readable);
}

/* Armed again first: what happens from here on wakes us again, what came before is in the list. */
static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct waits *waits = watcher->data;

    (void)events;
    ev_io_stop(loop, watcher);
    int rc = dmi_arm_poll(&waits->dm);
    if (rc < 0) {
        fail_all(waits, rc, &waits->dm);
        return;
    }
    dmi_init(&waits->list_dm, waits->dispatcher->host.transport);
    waits->list = (struct dmi_device_list){0};
    waits->job.run = on_list;
    waits->job.end = on_list_end;
    waits->listing = workers_submit(waits->dispatcher->workers, &waits->job) == 0;
    if (!waits->listing) {
        fail_all(waits, -ENOMEM, &waits->list_dm); /* no thread: overloaded */
    }
}

void waits_end_all(struct waits *waits)
{
    while (waits->first) {
        struct call *call = waits->first;
        waits_remove(waits, call);
        (void)call_fail(call, ERROR_SHUTTING_DOWN, "The server is shutting down.");
        dispatch_end(call);
    }
}
