/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscriber.h - one who hears of events: its filter, and the events that wait for
 * its client to read.
 *
 * The queue is bounded. Where it overflows it is emptied, and what comes is only
 * counted, until the client has read all that was under way; then it is told how
 * many it missed, and gets a snapshot. A snapshot is printed on a worker, since it
 * grows with the host's devices; events that come meanwhile stand behind it. Loop
 * thread only.
 */
#ifndef DMRPC_SUBSCRIBER_H
#define DMRPC_SUBSCRIBER_H

#include "events.h"
#include "filter.h"
#include "out.h"
#include "peer.h"
#include "watch.h"

struct call;
struct event;
struct host;
struct job;
struct snapshot;

/* One event, printed once for all. */
struct event_text {
    enum event_kind kind;
    uint64_t seq;
    const char *name, *uuid; /* what filters look at; NULL: none */
    const char *json;        /* the object; NULL: there was no memory for it */
    /* Where it has another name or uuid: to who sees it only as it was, and only as it is. */
    const struct event_text *left, *entered;
};

enum subscriber_state {
    SUBSCRIBER_WAITS,  /* for its first list; hears nothing yet */
    SUBSCRIBER_LIVE,   /* hears all that it asked for */
    SUBSCRIBER_LOST,   /* has missed some: only counts */
    SUBSCRIBER_PRINTS, /* hears all, behind a snapshot that is being printed */
    SUBSCRIBER_ENDED,  /* hears that it has ended, and goes */
};

struct subscriber {
    struct events *events;
    struct sink *sink;
    struct peer peer;
    bool sees_all;                              /* the rules hide no device from it */
    struct subscriber **line, *next, *previous; /* events.c's lists */
    struct subscriber *sink_next, *sink_previous;
    uint64_t number;
    uint64_t round; /* while it waits: of the list that is too old for it */
    enum subscriber_state state;
    bool shut;         /* its reply has not been sent: nothing may come before it */
    struct call *call; /* that makes it; NULL: none does any more */
    struct filter filter;
    bool stream;   /* text/event-stream, else notifications of JSON-RPC */
    bool snapshot; /* it wants one to begin with */
    struct out queue;
    size_t queued;        /* events in there, */
    size_t exempt;        /* and the bytes of a snapshot, which are not held to the limit */
    uint64_t untold;      /* what the `lost` before that snapshot says */
    uint64_t lost;        /* since then */
    struct snapshot *job; /* while it prints */
};

/* Ends what it does; the lists are the caller's to leave. Returns NULL. */
struct subscriber *subscriber_free(struct subscriber *subscriber);

/* Queues what its filter takes. True: there is something new to take for its client. */
bool subscriber_put(struct subscriber *subscriber, const struct event_text *text);

/*
 * The rules have changed what it sees: what it has not read is lost, and it will hear what
 * there is.
 */
void subscriber_blink(struct subscriber *subscriber);

/* Queues its last event, in place of all that it has not read. */
void subscriber_end(struct subscriber *subscriber, const char *reason);

/* Its client has read all: it may hear of what it lost. */
void subscriber_recover(struct subscriber *subscriber);

/* --- what it needs of events.c --- */

/* The object as a string, to be freed; NULL: no memory. From any thread. */
char *event_json(const struct event *event);

/* Now, and the number of the last event; `time` is TEXT_TIME_BYTES long, and borrowed. */
void events_set_common(const struct events *events, struct event *event, char *time);

const struct host *events_host(const struct events *events);
struct rules *events_rules(const struct events *events);
extern const char events_method[]; /* the right to hear of events is the right to call it */
uint64_t *events_sent(struct events *events);
uint64_t *events_lost(struct events *events);
struct watch_list *events_list(const struct events *events); /* the present one, or NULL */
int events_print(struct events *events, struct job *job);

/* Calls all sinks in a while: something could not be done now. */
void events_retry(struct events *events);

#endif
