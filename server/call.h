/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one call of one method, from its params to its result.
 *
 * This is all that a handler sees. The contract of `int method_NAME(struct call
 * *call, const struct NAME_params *params, struct NAME_result *result)`:
 *   - params are decoded and checked against the schema, and live as long as the call;
 *   - result is zeroed; what it points to comes from call_alloc or call_own;
 *   - it returns 0, or a negative errno just as the library gave it (call_answer
 *     makes the error of it), or what call_fail returned;
 *   - it runs on the loop thread or on a worker, as the schema's x-place says, and
 *     may use nothing of the server but what is declared here.
 */
#ifndef DMRPC_CALL_H
#define DMRPC_CALL_H

#include <jansson.h>
#include <time.h>

#include "arena.h"
#include "dmioctl.h"
#include "failure.h"
#include "method.h"
#include "order.h"
#include "schema.h"
#include "stats.h"
#include "waits.h"
#include "workers.h"

struct call;
struct dispatcher;
struct dmi_sim;

/* What a handler may know of the server it runs in; the same for all calls. */
struct host {
    struct dmi_transport *transport;
    struct dmi_sim *sim; /* NULL: it is a real kernel */
    struct limits limits;
    const char *backend;
    char instance[40]; /* a UUID, new at each start */
    time_t started;
    pid_t pid;
};

enum { CALL_FAILED = 1 }; /* returned by a handler: call->failure says it all */

struct call {
    const struct host *host;
    const struct method *method;
    json_t *params_json; /* borrowed from the request's tree; NULL: none */
    const char *id;      /* as it came, borrowed from the request's text; */
    size_t id_length;    /* 0: null */
    bool notification;
    const void *params; /* decoded, in the arena */
    struct arena arena;
    struct call_owned *owned;
    struct dmi dm;
    char subject[256];           /* "device 'x'": what the call is about, for messages; may be "" */
    char name[DMI_NAME_MAX + 1]; /* the device's, as asked; may be "" */
    bool has_device;             /* the number is known: */
    struct dmi_device device;
    bool exists;            /* the device was there when the call's turn came */
    bool may_write;         /* the caller's, by access.h */
    struct failure failure; /* where id is not ERROR_NONE */
    struct dmi_info info;   /* call_info's, and the path that it makes of it: what was done */
    char path[32];          /* must be told without asking for memory again */
    struct out *out;        /* where its reply is printed: the request's */
    uint64_t began;         /* by stats_clock; of a wait, its event */

    void (*done)(struct call *call); /* on the loop thread, when its reply is printed */

    /* Where it is on its way: dispatch.c's and waits.c's. */
    struct dispatcher *dispatcher;
    struct job job;
    struct order_entry order;
    struct wait wait;
    bool parked;
};

/* Zeroed memory that goes with the call; NULL where there is none. */
void *call_alloc(struct call *call, size_t count, size_t size);

/*
 * Hands `thing` to the call, which frees it by `release` at its end. -ENOMEM: it
 * was released at once.
 */
int call_own(struct call *call, void *thing, void (*release)(void *thing));

/* Starts a failure of the handler's own making; returns CALL_FAILED. See failure_set. */
__attribute__((format(printf, 3, 4))) int call_fail(struct call *call, enum error_id id,
                                                    const char *format, ...);

/* The same for params that fit the schema but not the kernel: invalid_params at `path`. */
int call_fail_param(struct call *call, const char *path, const char *reason);

/* Fills the failure from a library call's rc, which is negative; returns CALL_FAILED. */
int call_fail_kernel(struct call *call, int rc);

/* Says what the call is about; dispatch does so for the device that the params name. */
void call_about(struct call *call, const struct dmi_id *id);
void call_about_name(struct call *call, const char *name);

/* Frees what the call holds. */
void call_done(struct call *call);

/* The device that a call names, as the library wants it. */
struct dmi_id call_device(const struct device_ref *ref);

/* A DeviceInfo result from the library's, which is copied: one for each call. Returns 0. */
int call_info(struct call *call, const struct dmi_info *info, struct device_info *ret_info);

#endif
