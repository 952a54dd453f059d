/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc.h - one JSON text from a client: a request or a batch, and its whole reply.
 *
 * Parses the text (a long one on a worker), runs its calls one after another, and
 * collects what they print into one reply, which goes out when it is whole. Loop
 * thread only.
 */
#ifndef DMRPC_RPC_H
#define DMRPC_RPC_H

#include "buffer.h"
#include "dispatch.h"
#include "envelope.h"
#include "scan.h"

struct rpc {
    struct rpc *next, *previous; /* the owner's to use */
    void *owner;                 /* NULL: gone; the reply will be dropped */
    struct out out;              /* the reply when it has ended; empty: there is none to send */
    bool parked;                 /* a single call that waits for an event: others may overtake it */
    bool close;                  /* after this reply the connection is of no use */
    /* The rest is rpc.c's. */
    struct dispatcher *dispatcher;
    struct peer peer;
    void (*ended)(struct rpc *rpc);
    char *text;
    size_t length;
    struct buffer kept; /* holds the text, where it was taken and not copied */
    size_t tree_bytes;  /* taken from the budget for what the parser makes of it */
    struct job job;
    struct turn turn;
    enum envelope_result parsed;
    struct envelope envelope;
    size_t at;
    bool begun;        /* the bracket of a batch reply has been printed */
    struct call *call; /* that runs; NULL: none */
};

/*
 * Begins `length` bytes of text, which are copied. True where it has ended at once;
 * otherwise `ended` comes later (never from inside of this call): first with rpc->parked
 * where a long text turned out to be a wait. *ret_rpc is to be freed by the caller when
 * it has ended. -ENOMEM: false, with *ret_rpc NULL.
 */
bool rpc_begin(struct dispatcher *dispatcher, const struct peer *peer, const char *text,
               size_t length, void *owner, void (*ended)(struct rpc *rpc), struct rpc **ret_rpc);

/*
 * The same for the first `length` bytes that a buffer keeps. The buffer is taken, and
 * left empty: a long text is not copied. -ENOMEM: it is still the caller's.
 */
bool rpc_begin_kept(struct dispatcher *dispatcher, const struct peer *peer, struct buffer *buffer,
                    size_t length, void *owner, void (*ended)(struct rpc *rpc),
                    struct rpc **ret_rpc);

/* Its owner is gone: a wait is given up; else what runs goes on, and it frees itself at its end. */
void rpc_abandon(struct rpc *rpc);

/* Takes NULL. Returns NULL. It has ended; what a long text takes is given back a moment later. */
struct rpc *rpc_free(struct rpc *rpc);

/* Prints an error reply without id, and a newline: for what never became a request. Counts it. */
void rpc_put_error(struct dispatcher *dispatcher, struct out *out, const struct failure *failure);

/* The same for a text that the scanner refused. */
void rpc_put_scan_error(struct dispatcher *dispatcher, struct out *out, enum scan_result result);

#endif
