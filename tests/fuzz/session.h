/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - the daemon in process, on a simulated kernel, and what its clients do.
 *
 * All of the server's own parts but the listener and the signals: connections over
 * socket pairs, requests, dispatch, workers, waits. A session is a script of bytes,
 * most of which go to the daemon as they are. What must hold of any script is
 * checked here (see CHECK): every reply is a JSON-RPC reply with an id that was sent,
 * requests get as many as they should, a new client is told the version afterwards, and
 * when the clients have gone the daemon holds nothing.
 */
#ifndef SESSION_H
#define SESSION_H

#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

/* Bytes of a script that do not go to the daemon. */
enum session_control {
    SESSION_CUT = 1,      /* send what came before, and let the daemon do what it can */
    SESSION_NEXT = 2,     /* the same, then go on with the next client, of three */
    SESSION_END = 3,      /* the client stops sending */
    SESSION_CLOSE = 4,    /* the client goes away */
    SESSION_PAD = 5,      /* 64 KiB of blanks */
    SESSION_SPLIT = 6,    /* send what came before, and go on at once */
    SESSION_LITERAL = 7,  /* the next byte goes to the daemon, whatever it is */
    SESSION_SHUTDOWN = 8, /* the daemon gets its signal */
    SESSION_POST = 11,    /* what follows, up to the next of these, is the body of a POST */
};

enum session_flag {
    SESSION_STRANGER = 1, /* the clients' user may only read */
    SESSION_LONG = 2,     /* long replies are allowed */
    SESSION_POOR = 4,     /* little memory for requests and replies in all */
    SESSION_DEAF = 8,     /* the clients read at the end only */
};

struct session_plan {
    unsigned int flags;
    size_t passes;   /* allocations that succeed before the first that fails, */
    size_t failures; /* and how many fail then; SCARCE_FOREVER: all */
    /* If not NULL: called when the script is through and memory is there again. */
    void (*inspect)(void *context, struct dmi *dm);
    void *context;
};

struct session_told {
    const char *replies; /* what the first client got; the session's, until the next run */
    size_t length;
    size_t refused; /* allocations that failed */
};

struct session;

/* Ends the program where it cannot be made. */
struct session *session_new(void);
struct session *session_free(struct session *session);

/* `ret_told` may be NULL. */
void session_run(struct session *session, const struct session_plan *plan, const uint8_t *script,
                 size_t size, struct session_told *ret_told);

#endif
