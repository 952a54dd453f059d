/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.h - from a valid request to the handler of its method, and back.
 *
 * Finds the method's row, asks access, decodes the params, waits for the call's
 * turn where it changes a device, runs the handler where the schema says (loop,
 * worker, or parked until an event), and prints the reply. Loop thread only, but
 * for the handlers.
 */
#ifndef DMRPC_DISPATCH_H
#define DMRPC_DISPATCH_H

#include <ev.h>

#include "audit.h"
#include "budget.h"
#include "call.h"
#include "order.h"
#include "peer.h"
#include "rules.h"
#include "stats.h"
#include "turns.h"
#include "workers.h"

struct events;
struct waits;
struct watch;

struct dispatcher {
    struct host host; /* constant once calls come, but for some limits */
    struct ev_loop *loop;
    struct budget *budget; /* for all requests and replies together */
    struct workers *workers;
    struct watch *watch;
    struct waits *waits;
    struct events *events;
    struct order order;
    struct calls calls;
    struct turns turns;
    size_t pending; /* calls that wait for their turn or for a worker, or run on one; */
    size_t woken;   /* and the same of those that waited for an event, many perhaps for one */
    bool closing;   /* new calls are refused: the server is shutting down */
    struct counters counters;
    struct rules *rules; /* who may do what; a reference of its own */
    struct audit audit;
};

/*
 * From now on these rules hold: takes over a reference to them. Waits and subscriptions that
 * they do not allow end, and what has not begun is judged by them when its turn comes. What
 * runs goes on.
 */
void dispatcher_set_rules(struct dispatcher *dispatcher, struct rules *rules);

/* What a request asks for, by envelope.h. */
struct dispatch_request {
    const struct peer *peer;
    const char *method;
    bool batch;
    bool is_long; /* too long for its params to be decoded in the loop */
};

/*
 * Begins a call whose host, params_json, id, notification, out and done are set.
 * True where it has ended already, its reply printed; otherwise call->done comes
 * later, and never from in here. False with call->parked set: it waits for an event.
 */
bool dispatch_begin(struct dispatcher *dispatcher, struct call *call,
                    const struct dispatch_request *request);

/* Runs a parked call on a worker now; waits.c's. */
void dispatch_unpark(struct call *call);

/* Ends a call that is not running, with the failure that it has; call->done comes later. */
void dispatch_end(struct call *call);

/* Takes back a call that has not begun, for dispatch_end. False: it runs. */
bool dispatch_withdraw(struct call *call);

/* Has a call that is paused tried again at once. */
void dispatch_try_now(struct call *call);

/*
 * Answers for a call that runs on, with `failure`: call->done is called, and then it is
 * nobody's, and frees itself at its end. False: it ends just now, by itself.
 */
bool dispatch_give_up(struct call *call, struct failure *failure);

/* Gives up a parked call whose peer is gone: no reply, no call->done. */
void dispatch_forget(struct call *call);

#endif
