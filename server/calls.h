/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h - the calls that have not ended: their numbers, and how they end early.
 *
 * A call ends early because its time is over, because somebody cancels it, or
 * because a resume meets the suspend that it is to end. What has not begun is taken
 * back. What runs is interrupted, again and again until the thread has left the
 * kernel; what cannot be interrupted is given up: its client is told so, and it goes
 * on without one until it ends. Loop thread only.
 */
#ifndef DMRPC_CALLS_H
#define DMRPC_CALLS_H

#include <ev.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schema.h"

struct call;

/* All that have been begun and not ended at once. */
struct calls {
    struct call *first;
    size_t count;
    uint64_t last_number;
};

enum call_stage {
    CALL_TURN,   /* waits for its turn */
    CALL_WORKER, /* waits for a worker, or runs on one */
    CALL_PAUSED, /* will be tried again */
    CALL_PARKED, /* waits for an event */
};

/* In each struct call. */
struct call_life {
    struct call *next, *previous;
    bool listed;
    enum call_stage stage;
    uint64_t came;       /* by stats_clock */
    bool has_timeout_ms; /* a wait's may be 0 */
    uint32_t timeout_ms;
    ev_timer deadline;
    ev_timer nudge;      /* interrupts again */
    ev_tstamp since;     /* when that began */
    bool given_up;       /* it belongs to nobody any more */
    atomic_int why;      /* enum error_id: it is being ended, or ERROR_NONE */
    _Atomic uint64_t by; /* the call that wanted it; 0: none */
};

/* Lists a call that did not end at once; its time runs from here. */
void calls_add(struct call *call, enum call_stage stage);

/* What it waited for has come: the rest of its time is for its answer, and a second at least. */
void calls_awoke(struct call *call);

/* Takes it from the list. Safe if it is not there. */
void calls_remove(struct call *call);

enum calls_stopped {
    CALLS_ENDED,       /* it had not begun, and has ended */
    CALLS_INTERRUPTED, /* it runs, and is being interrupted */
};

/*
 * Ends a call early with timed_out or cancelled. `by` is the number of the call that
 * wants it, or 0. It may be freed when this returns.
 */
enum calls_stopped calls_stop(struct call *call, enum error_id why, uint64_t by);

/*
 * The same for one whose turn it is: it is not taken back if no worker has begun it, unless
 * none does for a while. What ends soon by itself does so.
 */
void calls_interrupt(struct call *call, enum error_id why, uint64_t by);

/* NULL where there is none of that number. */
struct call *calls_find(const struct calls *calls, uint64_t number);

/* Ends those that would only be tried again: the server is shutting down. */
void calls_end_paused(struct calls *calls);

/* For a worker: says of a call that was interrupted who ended it and why, in place of EINTR. */
void calls_explain(struct call *call);

/*
 * Says of a try that failed and will not be repeated how many there were, and by whom it was
 * cancelled if it was. A worker's, too.
 */
void calls_explain_tries(struct call *call, enum error_id why, uint64_t by);

#endif
