/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes events of what lists show and of what others tell, and hands each to all who
 * subscribe. Who reads them is called from the loop, never from in here: whoever is
 * called may go, and subscriptions with it.
 */
#include "events.h"

#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "container_of.h"
#include "dispatch.h"
#include "encode.h"
#include "foreign.h"
#include "log.h"
#include "subscriber.h"
#include "text.h"
#include "watch.h"

static const ev_tstamp RETRY_SECONDS = 1;

/* A sink takes from several queues; past this the rest comes with the next turn. */
enum { TAKE_BYTES = 65536 };

struct events {
    struct dispatcher *dispatcher;
    struct watch_user user;
    struct foreign *foreign;
    struct subscriber *waiting; /* for their first list */
    struct subscriber *due;     /* those whose list has come, while they are gone through */
    struct subscriber *live;
    size_t count;
    uint64_t seq, last_number;
    struct watch_list *list; /* the last one */
    ev_timer retry;
    bool failing; /* it has been logged */
};

/* --- lines of subscribers --- */

static void line_push(struct subscriber **line, struct subscriber *subscriber)
{
    subscriber->line = line;
    subscriber->previous = NULL;
    subscriber->next = *line;
    if (*line) {
        (*line)->previous = subscriber;
    }
    *line = subscriber;
}

static void line_remove(struct subscriber *subscriber)
{
    if (subscriber->previous) {
        subscriber->previous->next = subscriber->next;
    } else {
        *subscriber->line = subscriber->next;
    }
    if (subscriber->next) {
        subscriber->next->previous = subscriber->previous;
    }
}

static void line_move(struct subscriber *subscriber, struct subscriber **line)
{
    line_remove(subscriber);
    line_push(line, subscriber);
}

/* --- sinks --- */

static void on_turn(struct turn *turn)
{
    struct sink *sink = container_of(turn, struct sink, turn);

    sink->ready(sink);
}

void sink_init(struct sink *sink, struct events *events, void (*ready)(struct sink *sink))
{
    *sink = (struct sink){.events = events, .turn = {.run = on_turn}, .ready = ready};
}

bool sink_is_used(const struct sink *sink)
{
    return sink->first != NULL;
}

static void sink_add(struct sink *sink, struct subscriber *subscriber)
{
    subscriber->sink = sink;
    subscriber->sink_next = NULL;
    subscriber->sink_previous = sink->last;
    if (sink->last) {
        sink->last->sink_next = subscriber;
    } else {
        sink->first = subscriber;
    }
    sink->last = subscriber;
}

static void sink_remove(struct subscriber *subscriber)
{
    struct sink *sink = subscriber->sink;

    if (subscriber->sink_previous) {
        subscriber->sink_previous->sink_next = subscriber->sink_next;
    } else {
        sink->first = subscriber->sink_next;
    }
    if (subscriber->sink_next) {
        subscriber->sink_next->sink_previous = subscriber->sink_previous;
    } else {
        sink->last = subscriber->sink_previous;
    }
}

void events_ready(struct sink *sink)
{
    turns_add(&sink->events->dispatcher->turns, &sink->turn);
}

void events_retry(struct events *events)
{
    if (!ev_is_active(&events->retry)) {
        ev_timer_set(&events->retry, RETRY_SECONDS, 0.);
        ev_timer_start(events->dispatcher->loop, &events->retry);
    }
}

static void on_retry(struct ev_loop *loop, ev_timer *watcher, int events_seen)
{
    const struct events *events = watcher->data;

    (void)loop;
    (void)events_seen;
    for (struct subscriber *subscriber = events->live; subscriber; subscriber = subscriber->next) {
        if (subscriber->state == SUBSCRIBER_LOST) {
            events_ready(subscriber->sink);
        }
    }
}

static void drop(struct subscriber *subscriber);

/* True: there may be more. */
static bool take(struct subscriber *subscriber, struct out *out)
{
    if (subscriber->shut || subscriber->state == SUBSCRIBER_PRINTS) {
        return false;
    }
    if (subscriber->queue.length > 0) {
        out_move(out, &subscriber->queue);
        subscriber->queued = subscriber->exempt = 0;
        subscriber->untold = 0;
        return true;
    }
    if (subscriber->state == SUBSCRIBER_LOST) {
        subscriber_recover(subscriber);
    }
    return false;
}

void sink_take(struct sink *sink, struct out *out)
{
    const struct subscriber *last = sink->last;

    for (struct subscriber *subscriber = sink->first, *next; subscriber; subscriber = next) {
        next = subscriber == last ? NULL : subscriber->sink_next;
        bool more = take(subscriber, out);
        if (subscriber->state == SUBSCRIBER_ENDED && !subscriber->shut) {
            drop(subscriber);
        } else if (more) { /* to the end: next time it is another's turn first */
            sink_remove(subscriber);
            sink_add(sink, subscriber);
        }
        if (out->length >= TAKE_BYTES) {
            break;
        }
    }
}

/* --- subscriptions --- */

static void drop(struct subscriber *subscriber)
{
    struct events *events = subscriber->events;

    line_remove(subscriber);
    sink_remove(subscriber);
    (void)subscriber_free(subscriber);
    if (--events->count == 0) {
        watch_stop(events->dispatcher->watch, &events->user);
        foreign_stop(events->foreign);
        events->list = watch_list_unref(events->list);
    }
}

void sink_done(struct sink *sink)
{
    while (sink->first) {
        struct subscriber *subscriber = sink->first;
        struct call *call = subscriber->call;
        bool waits = call && subscriber->state == SUBSCRIBER_WAITS;
        if (call) {
            call->opening.subscriber = NULL;
        }
        drop(subscriber);
        if (waits) {
            (void)call_fail(call, ERROR_CANCELLED, "The connection has ended.");
            dispatch_end(call);
        }
    }
    if (sink->events) {
        turns_remove(&sink->events->dispatcher->turns, &sink->turn);
    }
}

static bool sees_all(const struct events *events, const struct peer *peer)
{
    const struct rules_who who = peer_who(peer);

    return rules_all(events_rules(events), &who, method_find(events_method)).match != RULES_DENIED;
}

static int add(struct events *events, struct sink *sink, const struct peer *peer,
               const struct filter *filter, struct subscriber **ret_subscriber,
               const struct dmi **ret_dm)
{
    struct dispatcher *dispatcher = events->dispatcher;
    struct subscriber *subscriber = calloc(1, sizeof(*subscriber));

    if (!subscriber) {
        return -ENOMEM;
    }
    int rc = watch_start(dispatcher->watch, &events->user, ret_dm);
    if (rc < 0) {
        free(subscriber);
        return rc;
    }
    if (events->count == 0) {
        foreign_start(events->foreign);
    }
    watch_look(dispatcher->watch);
    subscriber->events = events;
    subscriber->peer = peer_ref(peer);
    subscriber->sees_all = sees_all(events, peer);
    subscriber->filter = *filter;
    subscriber->round = watch_round(dispatcher->watch);
    subscriber->number = ++events->last_number;
    out_init(&subscriber->queue, SIZE_MAX, dispatcher->budget);
    events->count++;
    line_push(&events->waiting, subscriber);
    sink_add(sink, subscriber);
    *ret_subscriber = subscriber;
    return 0;
}

int events_filter(struct call *call, const struct events_subscribe_params *params,
                  struct filter *ret_filter)
{
    char path[32];

    *ret_filter = (struct filter){0};
    for (size_t i = 0; i < params->kinds_count; i++) {
        if (!filter_add_kind(ret_filter, params->kinds[i], strlen(params->kinds[i]))) {
            (void)snprintf(path, sizeof(path), "/kinds/%zu", i);
            return call_fail_param(call, path, "is no kind of event that can be chosen");
        }
    }
    (void)filter_set_glob(ret_filter->name, params->name);
    (void)filter_set_glob(ret_filter->uuid, params->uuid);
    return 0;
}

static int check(const struct events *events, struct call *call)
{
    uint64_t limit = call->host->limits.subscriptions;

    if (!call->peer.sink) {
        (void)call_fail(call, ERROR_INVALID_REQUEST,
                        "Over HTTP there is no connection to send events on.");
        call->failure.data.hint = "GET /events is a stream of them";
        return CALL_FAILED;
    }
    if (call->notification) {
        return call_fail(call, ERROR_INVALID_REQUEST, "Nobody would know the subscription.");
    }
    if (events->count < limit) {
        return 0;
    }
    (void)call_fail(call, ERROR_OVERLOADED, "There are %zu subscriptions already.", events->count);
    call->failure.data.limit = limit;
    call->failure.data.has_limit = true;
    return CALL_FAILED;
}

int events_subscribe(struct events *events, struct call *call)
{
    struct subscriber *subscriber;
    struct filter filter;
    const struct dmi *dm = &call->dm;

    if (check(events, call) != 0 || events_filter(call, call->params, &filter) != 0) {
        return CALL_FAILED;
    }
    int rc = add(events, call->peer.sink, &call->peer, &filter, &subscriber, &dm);
    if (rc == -ENOMEM) {
        return call_fail(call, ERROR_OVERLOADED, "There is no memory for the subscription now.");
    }
    if (rc < 0) {
        failure_set_kernel(&call->failure, rc, dm, NULL, false);
        return CALL_FAILED;
    }
    subscriber->call = call;
    subscriber->shut = true;
    call->opening.subscriber = subscriber;
    return 0;
}

int events_stream(struct events *events, struct sink *sink, const struct peer *peer,
                  const struct filter *filter, bool snapshot)
{
    struct subscriber *subscriber;
    const struct dmi *dm;

    if (events->count >= events->dispatcher->host.limits.subscriptions) {
        return -EAGAIN;
    }
    int rc = add(events, sink, peer, filter, &subscriber, &dm);
    if (rc == 0) {
        subscriber->stream = true;
        subscriber->snapshot = snapshot;
    }
    return rc;
}

bool events_unsubscribe(struct sink *sink, uint64_t number)
{
    for (struct subscriber *s = sink ? sink->first : NULL; s; s = s->sink_next) {
        if (s->number == number && !s->shut && s->state != SUBSCRIBER_ENDED) {
            drop(s);
            return true;
        }
    }
    return false;
}

static void release_list(void *thing)
{
    (void)watch_list_unref(thing);
}

/* Ends the call that makes it, with the failure that it has, and with that itself. */
static void end_call(struct subscriber *subscriber)
{
    struct call *call = subscriber->call;

    call->opening.subscriber = NULL;
    drop(subscriber);
    dispatch_end(call);
}

/* Its list has come: it hears all from here on, and its handler prints what was. */
static void open_call(struct events *events, struct subscriber *subscriber)
{
    struct call *call = subscriber->call;

    call->opening.list = events->list;
    call->opening.number = subscriber->number;
    call->opening.seq = events->seq;
    if (call_own(call, watch_list_ref(events->list), release_list) < 0) {
        (void)call_fail(call, ERROR_OVERLOADED, "There is no memory for the subscription now.");
        end_call(subscriber);
        return;
    }
    dispatch_unpark(call);
}

static void open_due(struct events *events)
{
    while (events->due) {
        struct subscriber *subscriber = events->due;
        line_move(subscriber, &events->live);
        if (subscriber->state == SUBSCRIBER_ENDED) {
            continue;
        }
        subscriber->state = SUBSCRIBER_LIVE;
        if (subscriber->call) {
            open_call(events, subscriber);
        } else if (subscriber->snapshot) {
            subscriber->state = SUBSCRIBER_LOST; /* nothing yet, but it wants a snapshot: */
            subscriber_recover(subscriber);
        }
    }
}

void events_call_given_up(struct call *call)
{
    struct subscriber *subscriber = call->opening.subscriber;

    call->opening.subscriber = NULL;
    if (subscriber) {
        drop(subscriber);
    }
}

void events_call_done(struct events *events, struct call *call, bool failed)
{
    struct subscriber *subscriber = call->opening.subscriber;

    events_drain(events); /* the uevents of the call: while its turn shows whose they are */
    if (call->deed.kind == EVENT_SUSPENDED) {
        events_suspended(events, &call->deed.info);
    } else if (call->deed.kind == EVENT_RESUMED) {
        events_resumed(events, &call->deed.info);
    }
    call->deed.kind = EVENT_NONE;
    call->opening.subscriber = NULL;
    if (subscriber && failed) {
        drop(subscriber);
    } else if (subscriber) {
        subscriber->shut = false;
        subscriber->call = NULL;
        events_ready(subscriber->sink);
    }
}

static void end_waiting(struct events *events, void (*explain)(struct call *call, void *data),
                        void *data)
{
    for (struct subscriber *subscriber = events->waiting, *next; subscriber; subscriber = next) {
        next = subscriber->next;
        if (subscriber->call) {
            line_move(subscriber, &events->due);
        }
    }
    while (events->due) {
        explain(events->due->call, data);
        end_call(events->due);
    }
}

static void explain_shutdown(struct call *call, void *data)
{
    (void)data;
    (void)call_fail(call, ERROR_SHUTTING_DOWN, "The server is shutting down.");
}

void events_end_all(struct events *events)
{
    end_waiting(events, explain_shutdown, NULL);
}

/* --- other rules --- */

/* One that waits for its first list is judged again when that has come, if it is a call's. */
static void judge(struct events *events, struct subscriber *subscriber)
{
    bool saw_all = subscriber->sees_all;

    subscriber->sees_all = sees_all(events, &subscriber->peer);
    if (!access_allows(events_rules(events), &subscriber->peer, events_method)) {
        subscriber_end(subscriber, "the rules of access do not allow it any more");
    } else if (!saw_all || !subscriber->sees_all) {
        subscriber_blink(subscriber);
    }
}

void events_judge(struct events *events)
{
    for (struct subscriber *s = events ? events->live : NULL; s; s = s->next) {
        judge(events, s);
    }
    for (struct subscriber *s = events ? events->waiting : NULL; s; s = s->next) {
        if (!s->call) {
            judge(events, s);
        } else {
            s->sees_all = sees_all(events, &s->peer);
        }
    }
}

size_t events_count(const struct events *events)
{
    return events ? events->count : 0;
}

/* --- making events --- */

void events_set_common(const struct events *events, struct event *event, char *time)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    text_time(&now, time);
    event->seq = events->seq;
    event->instance = events->dispatcher->host.instance;
    event->time = time;
}

char *event_json(const struct event *event)
{
    struct out out;
    char *json = NULL;

    out_init(&out, SIZE_MAX, NULL);
    encode_object(&type_event, event, &out);
    if (!out.error) {
        json = malloc(out.length + 1);
    }
    if (json) {
        size_t length = out_read(&out, json, out.length);
        json[length] = '\0';
    }
    out_done(&out);
    return json;
}

static void set_names(struct event *event)
{
    bool exact = (!event->name || text_is_utf8(event->name)) &&
                 (!event->uuid || text_is_utf8(event->uuid)) &&
                 (!event->old_name || text_is_utf8(event->old_name));
    event->has_name_exact = !exact;
    event->name_exact = false;
    if (event->uuid && !*event->uuid) {
        event->uuid = NULL;
    }
    if (event->name && !*event->name) {
        event->name = NULL;
    }
}

/* An event as it is sent, to be freed; its names are borrowed from `event`. */
struct printed {
    struct event_text text;
    char *json;
};

static struct printed print(struct events *events, enum event_kind kind, struct event event)
{
    char time[TEXT_TIME_BYTES];

    events_set_common(events, &event, time);
    event.kind = filter_kind_name(kind);
    set_names(&event);
    char *json = event_json(&event);
    return (struct printed){
        .text =
            {.kind = kind, .seq = event.seq, .name = event.name, .uuid = event.uuid, .json = json},
        .json = json,
    };
}

static void hand_out(struct events *events, const struct event_text *text)
{
    for (struct subscriber *subscriber = events->live; subscriber; subscriber = subscriber->next) {
        if (subscriber_put(subscriber, text)) {
            events_ready(subscriber->sink);
        }
    }
}

/* Numbers an event that is filled but for what all have, and hands it to all. */
static void tell(struct events *events, enum event_kind kind, const struct event *event)
{
    events->seq++;
    if (events->live) {
        struct printed printed = print(events, kind, *event);
        hand_out(events, &printed.text);
        free(printed.json);
    }
}

/*
 * One event, which to who may see the device only as it is, or only as it was, looks as if it
 * came or went: what else it is called is not told.
 */
static void tell_as_other(struct events *events, enum event_kind kind, const struct event *event,
                          const struct dmi_device_entry *before)
{
    struct event gone = *event;
    struct event come = *event;

    events->seq++;
    if (!events->live) {
        return;
    }
    gone.name = before->name;
    gone.uuid = before->uuid;
    gone.old_name = come.old_name = NULL;
    struct printed left = print(events, EVENT_REMOVED, gone);
    struct printed entered = print(events, EVENT_ADDED, come);
    struct printed both = print(events, kind, *event);
    both.text.left = &left.text;
    both.text.entered = &entered.text;
    hand_out(events, &both.text);
    free(left.json);
    free(entered.json);
    free(both.json);
}

static bool has_other_uuid(const struct watch_change *change)
{
    const char *was = change->before && change->before->uuid ? change->before->uuid : "";
    const char *is = change->after && change->after->uuid ? change->after->uuid : "";

    return change->before && change->after && strcmp(was, is) != 0;
}

static struct device device_of(struct dmi_device device)
{
    return (struct device){.major = device.major, .minor = device.minor};
}

static void tell_change(struct events *events, const struct watch_change *change)
{
    static const enum event_kind kinds[WATCH_KINDS] = {
        [WATCH_REMOVED] = EVENT_REMOVED,
        [WATCH_RENAMED] = EVENT_RENAMED,
        [WATCH_ADDED] = EVENT_ADDED,
        [WATCH_CHANGED] = EVENT_CHANGED,
    };
    const struct dmi_device_entry *about = change->after ? change->after : change->before;
    struct event event = {
        .name = about->name,
        .uuid = about->uuid,
        .has_device = true,
        .device = device_of(about->device),
        .has_event_nr = true,
        .event_nr = about->event_nr,
        .has_diskseq = change->diskseq > 0,
        .diskseq = change->diskseq,
    };

    if (change->kind == WATCH_RENAMED) {
        event.old_name = change->before->name;
    }
    if (change->kind == WATCH_RENAMED || has_other_uuid(change)) {
        tell_as_other(events, kinds[change->kind], &event, change->before);
    } else {
        tell(events, kinds[change->kind], &event);
    }
}

static struct event event_of(const struct dmi_info *info)
{
    return (struct event){
        .name = info->name,
        .uuid = info->uuid,
        .has_device = true,
        .device = device_of(info->device),
        .has_event_nr = true,
        .event_nr = info->event_nr,
    };
}

void events_suspended(struct events *events, const struct dmi_info *info)
{
    const struct event event = event_of(info);

    if (events) {
        foreign_suspended(events->foreign, info->device);
        tell(events, EVENT_SUSPENDED, &event);
    }
}

void events_resumed(struct events *events, const struct dmi_info *info)
{
    const struct event event = event_of(info);

    if (events) {
        tell(events, EVENT_RESUMED, &event);
    }
}

void events_resumed_by_others(struct events *events, const struct dmi_info *info, uint64_t diskseq)
{
    struct event event = event_of(info);

    event.has_foreign = event.foreign = true;
    event.has_diskseq = diskseq > 0;
    event.diskseq = diskseq;
    tell(events, EVENT_RESUMED, &event);
}

void events_uevents_lost(struct events *events, uint64_t count)
{
    const struct event event = {.has_count = true, .count = count};

    events->dispatcher->counters.stats.uevents_lost += count;
    tell(events, EVENT_UEVENTS_LOST, &event);
}

void events_drain(struct events *events)
{
    if (events) {
        foreign_drain(events->foreign);
    }
}

void events_lease_ended(struct events *events, const struct event_lease *lease)
{
    struct event event = {
        .name = lease->name,
        .uuid = lease->uuid,
        .has_device = true,
        .device = device_of(lease->device),
        .reason = lease->reason,
        .state = lease->state,
    };

    if (events) {
        events_drain(events); /* while the lease's state shows whose the resume was */
        tell(events, EVENT_LEASE_ENDED, &event);
    }
}

void events_call_ended(struct events *events, const struct event_call *call)
{
    struct event event = {
        .has_call = true,
        .call = call->call,
        .method = call->method,
        .error = call->error,
        .state = call->state,
        .name = call->name,
        .uuid = call->uuid,
        .has_device = call->has_device,
        .device = device_of(call->device),
    };

    if (events) {
        tell(events, EVENT_CALL_ENDED, &event);
    }
}

/* --- lists --- */

static void on_listed(struct watch_user *user, const struct watch_news *news)
{
    struct events *events = container_of(user, struct events, user);
    struct watch_list *before = events->list;

    events->failing = false;
    events_drain(events);
    events->list = watch_list_ref(news->list);
    (void)watch_list_unref(before);
    for (size_t i = 0; i < news->count; i++) {
        tell_change(events, &news->changes[i]);
    }
    foreign_listed(events->foreign, news);
    for (struct subscriber *s = events->waiting, *next; s; s = next) {
        next = s->next;
        if (s->round < news->round) {
            line_move(s, &events->due);
        }
    }
    open_due(events);
}

struct fault {
    int rc;
    const struct dmi *dm;
};

static void explain_fault(struct call *call, void *data)
{
    const struct fault *fault = data;

    watch_failure(&call->failure, fault->rc, fault->dm, NULL);
}

static void on_failed(struct watch_user *user, int rc, const struct dmi *dm)
{
    struct events *events = container_of(user, struct events, user);
    struct fault fault = {rc, dm};

    if (!events->failing && events->live) {
        log_line("Devices cannot be listed: %s. Events wait until they can.", strerror(-rc));
        events->failing = true;
    }
    end_waiting(events, explain_fault, &fault);
}

/* --- all of it --- */

int events_new(struct dispatcher *dispatcher, struct events **ret_events)
{
    struct events *events = calloc(1, sizeof(*events));
    if (!events) {
        return -ENOMEM;
    }
    int rc = foreign_new(dispatcher, &events->foreign);
    if (rc < 0) {
        free(events);
        return rc;
    }
    events->dispatcher = dispatcher;
    events->user.listed = on_listed;
    events->user.failed = on_failed;
    ev_init(&events->retry, on_retry);
    events->retry.data = events;
    watch_add(dispatcher->watch, &events->user);
    *ret_events = events;
    return 0;
}

struct events *events_free(struct events *events)
{
    if (events) {
        ev_timer_stop(events->dispatcher->loop, &events->retry);
        events->foreign = foreign_free(events->foreign);
        free(events);
    }
    return NULL;
}

const char events_method[] = "events_subscribe";

struct rules *events_rules(const struct events *events)
{
    return events->dispatcher->rules;
}

const struct host *events_host(const struct events *events)
{
    return &events->dispatcher->host;
}

uint64_t *events_sent(struct events *events)
{
    return &events->dispatcher->counters.stats.events_sent;
}

uint64_t *events_lost(struct events *events)
{
    return &events->dispatcher->counters.stats.events_lost;
}

struct watch_list *events_list(const struct events *events)
{
    return events->list;
}

int events_print(struct events *events, struct job *job)
{
    return workers_submit(events->dispatcher->workers, job);
}
