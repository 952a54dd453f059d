/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of a subscriber: filled here, emptied through a sink. It knows neither
 * where events come from nor who reads them.
 */
#include "subscriber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "call.h"
#include "container_of.h"
#include "dispatch.h"
#include "encode.h"
#include "out.h"
#include "text.h"

/* A snapshot on its way through a worker. */
struct snapshot {
    struct job job;
    struct subscriber *subscriber; /* NULL: it has gone meanwhile */
    struct watch_list *list;
    struct filter filter;
    struct peer peer;
    struct rules *rules;
    uint64_t number;
    uint64_t lost; /* to be told before; 0: nothing was */
    bool stream;
    struct event event; /* what both have in common */
    char time[TEXT_TIME_BYTES];
    struct out out;
};

/* --- printing --- */

static void put_head(struct out *out, bool stream, uint64_t number, const struct event_text *text,
                     const char *instance)
{
    if (stream) {
        out_puts(out, "id: ");
        out_puts(out, instance);
        out_char(out, '/');
        out_u64(out, text->seq);
        out_puts(out, "\nevent: ");
        out_puts(out, filter_kind_name(text->kind));
        out_puts(out, "\ndata: ");
    } else {
        out_puts(out, "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"subscription\":");
        out_u64(out, number);
        out_char(out, ',');
    }
}

static void put_tail(struct out *out, bool stream)
{
    out_puts(out, stream ? "\n\n" : "}\n");
}

static void put_text(const struct subscriber *subscriber, struct out *out,
                     const struct event_text *text)
{
    put_head(out, subscriber->stream, subscriber->number, text,
             events_host(subscriber->events)->instance);
    out_puts(out, subscriber->stream ? text->json : text->json + 1);
    put_tail(out, subscriber->stream);
}

/* --- the queue --- */

/* All that waits to be read. */
static void lose(struct subscriber *subscriber)
{
    const struct out_mark nothing = {0};

    subscriber->lost += subscriber->untold + subscriber->queued;
    *events_lost(subscriber->events) += subscriber->queued;
    subscriber->queued = subscriber->untold = 0;
    subscriber->exempt = 0;
    out_rewind(&subscriber->queue, nothing);
    if (subscriber->state == SUBSCRIBER_LIVE) {
        subscriber->state = SUBSCRIBER_LOST;
    }
}

/* The event that did not fit, too. */
static void overflow(struct subscriber *subscriber)
{
    lose(subscriber);
    subscriber->lost++;
    ++*events_lost(subscriber->events);
}

static bool sees(const struct subscriber *subscriber, const struct event_text *text)
{
    return subscriber->sees_all || text->kind == EVENT_UEVENTS_LOST ||
           access_sees(events_rules(subscriber->events), &subscriber->peer,
                       method_find(events_method), text->name, text->uuid);
}

/* The event as its client may see it; NULL: not at all. */
static const struct event_text *seen(const struct subscriber *subscriber,
                                     const struct event_text *text)
{
    const struct event_text *left = text->left;
    bool sees_new = sees(subscriber, text);

    if (!left) {
        return sees_new ? text : NULL;
    }
    /* One that had no such uuid before was none of those that are asked for. */
    if (sees(subscriber, left) && filter_takes_uuid(&subscriber->filter, left->uuid)) {
        return sees_new ? text : left;
    }
    return sees_new ? text->entered : NULL;
}

static bool takes(const struct subscriber *subscriber, const struct event_text *text)
{
    const struct filter *filter = &subscriber->filter;

    return text && filter_takes_kind(filter, text->kind) &&
           (text->kind == EVENT_UEVENTS_LOST ||
            filter_takes_device(filter, text->name, text->uuid) ||
            (text->left && filter_takes_device(filter, text->left->name, text->left->uuid)));
}

bool subscriber_put(struct subscriber *subscriber, const struct event_text *text)
{
    struct out *queue = &subscriber->queue;

    if (subscriber->state == SUBSCRIBER_WAITS || subscriber->state == SUBSCRIBER_ENDED) {
        return false;
    }
    text = seen(subscriber, text);
    if (!takes(subscriber, text)) {
        return false;
    }
    /* Once one is lost, so are those that follow until there is a snapshot. */
    if (subscriber->state == SUBSCRIBER_LOST || subscriber->lost > 0) {
        subscriber->lost++;
        ++*events_lost(subscriber->events);
        return false;
    }
    queue->limit = events_host(subscriber->events)->limits.event_bytes + subscriber->exempt;
    if (text->json) {
        put_text(subscriber, queue, text);
    }
    queue->limit = SIZE_MAX;
    if (!text->json || queue->error) {
        overflow(subscriber);
    } else {
        subscriber->queued++;
        ++*events_sent(subscriber->events);
    }
    return true;
}

/* --- snapshots --- */

static void put_devices(struct snapshot *snapshot)
{
    const struct dmi_device_list *devices = &snapshot->list->devices;
    struct out *out = &snapshot->out;
    const char *comma = "";

    out_puts(out, ",\"devices\":[");
    for (size_t i = 0; i < devices->count && !out->error; i++) {
        const struct dmi_device_entry *listed = &devices->entries[i];
        if (filter_takes_device(&snapshot->filter, listed->name, listed->uuid) &&
            access_sees(snapshot->rules, &snapshot->peer, method_find(events_method), listed->name,
                        listed->uuid)) {
            const struct device_entry entry = call_entry(listed);
            out_puts(out, comma);
            encode_object(&type_device_entry, &entry, out);
            comma = ",";
        }
    }
    out_char(out, ']');
}

static void put_event(struct snapshot *snapshot, enum event_kind kind, struct event *event)
{
    struct out *out = &snapshot->out;
    const struct event_text text = {.kind = kind, .seq = event->seq};

    event->kind = filter_kind_name(kind);
    char *json = event_json(event);
    if (!json) {
        out->error = -ENOMEM;
        return;
    }
    put_head(out, snapshot->stream, snapshot->number, &text, event->instance);
    size_t skipped = snapshot->stream ? 0 : 1;
    out_put(out, json + skipped, strlen(json) - skipped - 1);
    free(json);
    if (kind == EVENT_SNAPSHOT) {
        put_devices(snapshot); /* also where there are none */
    }
    out_char(out, '}');
    put_tail(out, snapshot->stream);
}

/* On a worker. */
static void on_print(struct job *job)
{
    struct snapshot *snapshot = container_of(job, struct snapshot, job);
    struct event event = snapshot->event;

    if (snapshot->lost > 0) {
        event.has_count = true;
        event.count = snapshot->lost;
        put_event(snapshot, EVENT_LOST, &event);
        event.has_count = false;
    }
    put_event(snapshot, EVENT_SNAPSHOT, &event);
}

static struct snapshot *snapshot_free(struct snapshot *snapshot)
{
    out_done(&snapshot->out);
    (void)watch_list_unref(snapshot->list);
    (void)rules_unref(snapshot->rules);
    peer_unref(&snapshot->peer);
    free(snapshot);
    return NULL;
}

/* There was no memory for it, or no thread: what was lost stays lost, and it is tried again. */
static void fail(struct subscriber *subscriber, uint64_t lost)
{
    const struct out_mark nothing = {0};

    subscriber->lost += lost + subscriber->queued;
    *events_lost(subscriber->events) += subscriber->queued;
    subscriber->queued = 0;
    out_rewind(&subscriber->queue, nothing);
    subscriber->state = SUBSCRIBER_LOST;
    events_retry(subscriber->events);
}

static void on_printed(struct job *job)
{
    struct snapshot *snapshot = container_of(job, struct snapshot, job);
    struct subscriber *subscriber = snapshot->subscriber;

    if (!subscriber) {
        (void)snapshot_free(snapshot);
        return;
    }
    subscriber->job = NULL;
    if (snapshot->out.error) {
        fail(subscriber, snapshot->lost);
    } else {
        subscriber->untold = snapshot->lost;
        subscriber->exempt = snapshot->out.length;
        out_move(&snapshot->out, &subscriber->queue);
        subscriber->queue = snapshot->out;
        subscriber->queue.limit = SIZE_MAX;
        out_init(&snapshot->out, SIZE_MAX, subscriber->queue.budget);
        subscriber->state = subscriber->lost > 0 ? SUBSCRIBER_LOST : SUBSCRIBER_LIVE;
        events_ready(subscriber->sink);
    }
    (void)snapshot_free(snapshot);
}

void subscriber_recover(struct subscriber *subscriber)
{
    struct events *events = subscriber->events;
    struct watch_list *list = events_list(events);
    struct snapshot *snapshot = list ? calloc(1, sizeof(*snapshot)) : NULL;

    if (!snapshot) {
        events_retry(events);
        return;
    }
    *snapshot = (struct snapshot){
        .job = {.run = on_print, .end = on_printed, .pool = POOL_SHORT},
        .subscriber = subscriber,
        .list = watch_list_ref(list),
        .filter = subscriber->filter,
        .peer = peer_ref(&subscriber->peer),
        .rules = rules_ref(events_rules(events)),
        .number = subscriber->number,
        .lost = subscriber->lost,
        .stream = subscriber->stream,
    };
    events_set_common(events, &snapshot->event, snapshot->time);
    out_init(&snapshot->out, events_host(events)->limits.reply_bytes, subscriber->queue.budget);
    if (events_print(events, &snapshot->job) < 0) {
        (void)snapshot_free(snapshot);
        events_retry(events);
        return;
    }
    subscriber->job = snapshot;
    subscriber->lost = 0;
    subscriber->state = SUBSCRIBER_PRINTS;
}

/* What prints for it prints for nobody; what it would have told as lost stays so. */
static void disown(struct subscriber *subscriber)
{
    if (subscriber->job) {
        subscriber->lost += subscriber->job->lost;
        subscriber->job->subscriber = NULL;
        subscriber->job = NULL;
    }
}

void subscriber_blink(struct subscriber *subscriber)
{
    if (subscriber->state == SUBSCRIBER_WAITS || subscriber->state == SUBSCRIBER_ENDED) {
        return;
    }
    disown(subscriber);
    lose(subscriber);
    subscriber->state = SUBSCRIBER_LOST;
    events_ready(subscriber->sink);
}

void subscriber_end(struct subscriber *subscriber, const char *reason)
{
    struct event event = {.kind = filter_kind_name(EVENT_SUBSCRIPTION_ENDED), .reason = reason};
    struct event_text text = {.kind = EVENT_SUBSCRIPTION_ENDED};
    char time[TEXT_TIME_BYTES];

    disown(subscriber);
    lose(subscriber);
    subscriber->state = SUBSCRIBER_ENDED;
    events_set_common(subscriber->events, &event, time);
    char *json = event_json(&event);
    text.seq = event.seq;
    text.json = json;
    if (json) { /* else it ends without a word: there is no memory for one */
        put_text(subscriber, &subscriber->queue, &text);
    }
    free(json);
    events_ready(subscriber->sink);
}

struct subscriber *subscriber_free(struct subscriber *subscriber)
{
    disown(subscriber);
    peer_unref(&subscriber->peer);
    out_done(&subscriber->queue);
    free(subscriber);
    return NULL;
}
