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

#include "access.h"
#include "budget.h"
#include "call.h"
#include "order.h"
#include "stats.h"
#include "turns.h"
#include "workers.h"

struct waits;

struct dispatcher {
    struct host host; /* constant once calls come */
    struct ev_loop *loop;
    struct budget *budget; /* for all requests and replies together */
    struct workers *workers;
    struct waits *waits;
    struct order order;
    struct turns turns;
    size_t pending; /* calls that wait for their turn or for a worker, or run on one */
    bool closing;   /* new calls are refused: the server is shutting down */
    struct counters counters;
};

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
 * later. False with call->parked set: it waits for an event.
 */
bool dispatch_begin(struct dispatcher *dispatcher, struct call *call,
                    const struct dispatch_request *request);

/* Runs a parked call on a worker now; waits.c's. */
void dispatch_unpark(struct call *call);

/* Ends a call that is not running, with the failure that it has; call->done is called. */
void dispatch_end(struct call *call);

/* Gives up a parked call whose peer is gone: no reply, no call->done. */
void dispatch_forget(struct call *call);

#endif
