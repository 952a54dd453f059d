/* SPDX-License-Identifier: Apache-2.0 */
/* server_ask.h - one call, dispatched without a connection or an envelope. */
#ifndef SERVER_ASK_H
#define SERVER_ASK_H

#include "server_rig.h"

struct asked {
    struct call call; /* first: its `done` casts */
    struct out out;
    json_t *params;
    char *text;    /* the reply; NULL while there is none */
    json_t *reply; /* the same, parsed */
    int *clock;    /* counts ends, if not NULL; */
    int when;      /* its place among them */
    int done;      /* how often it has ended */
};

/* What a test may ask for besides. Zeroed: a call with id 7 by root. */
struct ask_how {
    uid_t uid;
    const char *id; /* "": null */
    bool notification, batch;
    int *clock;
};

/* `params` is JSON or NULL. Returns what dispatch_begin did; a reply is taken at once. */
bool ask_how(struct rig *rig, struct asked *asked, const char *method, const char *params,
             struct ask_how how);
bool ask(struct rig *rig, struct asked *asked, const char *method, const char *params);

/* Turns the loop until it has ended. */
void ask_wait(struct rig *rig, struct asked *asked);

/* Asks, waits and returns the reply. */
const json_t *ask_now(struct rig *rig, struct asked *asked, const char *method, const char *params);

void ask_done(struct asked *asked);

#endif
