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

#include "access.h"
#include "arena.h"
#include "audit.h"
#include "block.h"
#include "calls.h"
#include "dmioctl.h"
#include "events.h"
#include "failure.h"
#include "harden.h"
#include "kernel_log.h"
#include "method.h"
#include "order.h"
#include "protect.h"
#include "schema.h"
#include "stats.h"
#include "waits.h"
#include "workers.h"

struct call;
struct dispatcher;
struct dmi_sim;
struct keeper;

/*
 * What a handler may know of the server it runs in; the same for all calls. Those limits that
 * are not fixed, by config.h, change on the loop thread when the configuration is read again.
 */
struct host {
    struct dmi_transport *transport;
    struct dmi_sim *sim; /* NULL: it is a real kernel */
    struct block_host block;
    struct keeper *keeper; /* of leases; NULL: there are none */
    struct limits limits;
    struct lacks lacks; /* of protect_parts */
    struct harden harden;
    const char *backend;
    char instance[40]; /* a UUID, new at each start */
    time_t started;
    pid_t pid;

    /* NULL: it cannot be read. */
    struct kernel_log *kernel_log;
};

enum {
    CALL_FAILED = 1, /* returned by a handler: call->failure says it all */
    CALL_AGAIN = 2,  /* the same, but it is to be tried again: see call_again */
};

/* Whose a call is that runs on a worker. */
enum call_fate { CALL_OPEN, CALL_COMMITTED, CALL_GIVEN_UP };

struct call {
    const struct host *host;
    const struct method *method;
    uint64_t number; /* of all calls of this server, from 1 */
    struct peer peer;
    struct rules *rules; /* those in force when it was begun, or handed to a worker */
    json_t *params_json; /* borrowed from the request's tree; NULL: none */
    json_t *kept;        /* where call_new made the call: what keeps them */
    const char *id;      /* as it came; */
    size_t id_length;    /* 0: null */
    bool notification;
    const void *params; /* decoded, in the arena */
    struct arena arena;
    struct call_owned *owned;
    struct dmi dm;
    struct dmi_id asked;         /* the device as the params name it, if has_asked; borrowed */
    struct dmi_id now;           /* the same, or, of a wait that has begun, the device's number */
    struct dmi_id by;            /* what the kernel is told, by access.h; may be in by_text */
    char subject[256];           /* "device 'x'": what the call is about, for messages; may be "" */
    char name[DMI_NAME_MAX + 1]; /* the device's, as asked; may be "" */
    char by_text[DMI_UUID_MAX + 1];
    bool has_asked;
    bool has_device; /* the number is known: */
    struct dmi_device device;
    bool exists;            /* the device was there when the call's turn came */
    bool carried_out;       /* by its handler, whatever became of the reply */
    struct failure failure; /* where id is not ERROR_NONE */
    struct dmi_info info;   /* call_info's, and the path that it makes of it: what was done */
    char path[32];          /* must be told without asking for memory again */
    struct out *out;        /* where its reply is printed: call_new's is its own, */
    struct out reply;
    size_t room;    /* of the result's reply; 0: the limit of replies */
    uint64_t began; /* by stats_clock; of a wait, its event */

    void (*done)(struct call *call); /* on the loop thread, when its reply is printed */
    void *owner;                     /* done's to use */

    /* Where it is on its way: dispatch.c's and waits.c's. */
    struct dispatcher *dispatcher;
    struct job job;
    struct order_entry order;
    struct wait wait;
    struct event_opening opening;
    struct event_deed deed;
    struct audit_subject audit;
    struct call_life life;
    atomic_int fate; /* enum call_fate */
    void *result;    /* in the arena; the same for all tries */
    unsigned int tries;
    uint32_t again_ms; /* until the next try; 0: there is none */
    ev_timer again;
    bool paused; /* it has been, so its next try is not the first; the loop's, as the timer is */
    bool parked;

    struct kernel_log_mark log_mark;
};

/*
 * A call that may outlive its request: it keeps the params and a copy of the id. Its
 * reply is printed within the budget, which may be NULL. NULL: no memory.
 */
struct call *call_new(json_t *params, const char *id, size_t id_length, struct budget *budget);

/* Takes NULL. Returns NULL. */
struct call *call_free(struct call *call);

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

/*
 * For a handler that the device was busy for: the failure of `rc`, and another try in
 * `after_ms`. Returns CALL_AGAIN; or CALL_FAILED if the call's time is over by then, so
 * that the last try is known to be the last while a worker can still look for the reason.
 */
int call_again(struct call *call, int rc, uint32_t after_ms);

/*
 * Ends the time in which the call can be given up. False: it has been, and its caller told
 * that it still runs. A handler asks after a change that must not stay behind then.
 */
bool call_commit(struct call *call);

/* Says what the call is about; dispatch does so for the device that the params name. */
void call_about(struct call *call, const struct dmi_id *id);
void call_about_name(struct call *call, const char *name);

/* Says that the handler has suspended or resumed a device: who subscribes to events hears of it. */
void call_tell(struct call *call, enum event_kind kind, const struct dmi_info *info);

/* Frees what the call holds. */
void call_done(struct call *call);

/* "device 'x'", for messages. */
void call_describe(const struct dmi_id *id, char *ret_text, size_t size);

/* The call's device, by the identifier that the caller has a right to. */
struct dmi_id call_device(const struct call *call);

/* A DeviceInfo result from the library's, which is copied: one for each call. Returns 0. */
int call_info(struct call *call, const struct dmi_info *info, struct device_info *ret_info);

/* An entry of a list from the library's; strings stay the library's. */
struct device_entry call_entry(const struct dmi_device_entry *entry);

#endif
