/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - tells clients what happens to devices, instead of their polling.
 *
 * Three sources: each new list of all devices (watch.h), compared with the one
 * before; resumes by other programs (foreign.h), from the kernel's uevents; and what
 * the other parts tell by the functions below. Each subscriber has a filter and a
 * bounded queue of printed events; whoever writes to its client takes them from there.
 * One that overflows is emptied; when its client has read what was under way, it is
 * told how many events it missed, and gets a snapshot. Loop thread only.
 */
#ifndef DMRPC_EVENTS_H
#define DMRPC_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"
#include "filter.h"
#include "out.h"
#include "turns.h"

struct call;
struct dispatcher;
struct events_subscribe_params;
struct watch_list;
struct events;
struct peer;
struct subscriber;

/*
 * Where the events of one client go: in each raw connection, and in each stream. Who
 * writes to the client calls sink_take when all before has been written.
 */
struct sink {
    struct events *events;
    struct subscriber *first, *last;
    struct turn turn;                 /* in which it is called: */
    void (*ready)(struct sink *sink); /* there is something to take; it may be done in there */
};

/* The dispatcher has its watch. Opens nothing yet. 0 or -ENOMEM. */
int events_new(struct dispatcher *dispatcher, struct events **ret_events);

/* Takes NULL. Returns NULL. Nobody subscribes, and no worker may run. */
struct events *events_free(struct events *events);

/*
 * --- what other parts tell; all take `events` NULL, and strings are copied ---
 *
 * A call through this daemon has suspended or resumed a device. A handler, which
 * may be on a worker, says so by call_tell(); dispatch.c passes it on here.
 */
void events_suspended(struct events *events, const struct dmi_info *info);
void events_resumed(struct events *events, const struct dmi_info *info);

/* Another program has resumed a device. `diskseq` 0: not known. */
void events_resumed_by_others(struct events *events, const struct dmi_info *info, uint64_t diskseq);

/* The kernel has dropped uevents: what another program has resumed may not be told. */
void events_uevents_lost(struct events *events, uint64_t count);

/* A call that changes a device is about to begin: what others did before is not its doing. */
void events_drain(struct events *events);

/* A lease on a suspended device has ended. */
struct event_lease {
    struct dmi_device device;
    const char *name;   /* NULL or "": not known */
    const char *uuid;   /* the same */
    const char *reason; /* a word: "timeout", "disconnect", "resumed", ... */
    const char *state;  /* how the device was left, for people; or NULL */
};
void events_lease_ended(struct events *events, const struct event_lease *lease);

/* A call has ended after its client was told that it is still running. */
struct event_call {
    uint64_t call;      /* its server-wide number */
    const char *method; /* its name */
    const char *error;  /* the error's name; NULL: it succeeded late */
    const char *state;  /* what was left, for people; or NULL */
    bool has_device;
    struct dmi_device device;
    const char *name; /* the device's; NULL or "": not known */
    const char *uuid; /* the same */
};
void events_call_ended(struct events *events, const struct event_call *call);

/*
 * --- subscribing ---
 *
 * Begins an events_subscribe whose params are decoded: it becomes a job when the next
 * list has come, which is its snapshot. 0, or CALL_FAILED with the call's failure set.
 */
int events_subscribe(struct events *events, struct call *call);

/* What its handler is told; in each struct call. */
struct event_opening {
    struct subscriber *subscriber; /* events.c's, on the loop thread; NULL: it makes none */
    const struct watch_list *list; /* the devices */
    uint64_t number, seq;
};

/* The filter of such params. 0, or CALL_FAILED with the call's failure set. */
int events_filter(struct call *call, const struct events_subscribe_params *params,
                  struct filter *ret_filter);

/*
 * What a handler has done: it says so by call_tell(), and it is told to others when the
 * call has ended. In each struct call.
 */
struct event_deed {
    enum event_kind kind; /* EVENT_NONE: nothing */
    struct dmi_info info;
};

/*
 * A call has ended: what it did is told, and its subscription begins, or
 * is dropped. Right before call->done.
 */
void events_call_done(struct events *events, struct call *call, bool failed);

/* A call is given up while it still runs: its subscription is dropped. */
void events_call_given_up(struct call *call);

/* False: the client has no such subscription. */
bool events_unsubscribe(struct sink *sink, uint64_t number);

/*
 * Begins a stream of server-sent events. The first one is a snapshot, unless it is not
 * wanted; whether the peer may is the caller's to ask. 0, -EAGAIN (there are too many),
 * -ENOMEM, or -errno of the kernel.
 */
int events_stream(struct events *events, struct sink *sink, const struct peer *peer,
                  const struct filter *filter, bool snapshot);

/*
 * Takes NULL. Judges all by the dispatcher's rules, which are others now. Who may not subscribe any
 * more is told so, as the last event. To who sees other devices now what was not sent yet is lost,
 * and a snapshot comes.
 */
void events_judge(struct events *events);

/* Ends the calls that wait for their first list: shutting_down. */
void events_end_all(struct events *events);

size_t events_count(const struct events *events);

/* --- sinks --- */

void sink_init(struct sink *sink, struct events *events, void (*ready)(struct sink *sink));

/* Its client is gone: so are its subscriptions. */
void sink_done(struct sink *sink);

bool sink_is_used(const struct sink *sink);

/* Appends what is to be sent: whole events, as many as fit well, or none. */
void sink_take(struct sink *sink, struct out *out);

/* Has the sink called when it is its turn. */
void events_ready(struct sink *sink);

#endif
