/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and batches by JSON-RPC 2.0: what is valid runs, what is not gets the
 * error of its kind, and notifications get nothing. It knows no sockets and no
 * methods.
 */
#include "rpc.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"

/* A longer text would hold up every other client while it is parsed in the loop. */
enum { PARSE_IN_LOOP = 65536 };

static void put_error(struct dispatcher *dispatcher, struct out *out, const struct failure *failure,
                      const char *id, size_t length)
{
    stats_failed(&dispatcher->counters, failure);
    out_puts(out, "{\"jsonrpc\":\"2.0\",\"id\":");
    if (length > 0) {
        out_put(out, id, length);
    } else {
        out_puts(out, "null");
    }
    out_puts(out, ",\"error\":");
    failure_put(failure, out);
    out_char(out, '}');
}

void rpc_put_error(struct dispatcher *dispatcher, struct out *out, const struct failure *failure)
{
    put_error(dispatcher, out, failure, NULL, 0);
    out_char(out, '\n');
}

static void put_limit_error(struct dispatcher *dispatcher, struct out *out, const char *what,
                            uint64_t limit)
{
    struct failure failure;

    failure_set(&failure, ERROR_INVALID_REQUEST, "The request passes the limit of %llu %s.",
                (unsigned long long)limit, what);
    failure.data.limit = limit;
    failure.data.has_limit = true;
    rpc_put_error(dispatcher, out, &failure);
}

void rpc_put_scan_error(struct dispatcher *dispatcher, struct out *out, enum scan_result result)
{
    const struct limits *limits = &dispatcher->host.limits;
    struct failure failure;

    switch (result) {
    case SCAN_TOO_LONG:
        put_limit_error(dispatcher, out, "bytes", limits->request_bytes);
        break;
    case SCAN_TOO_DEEP:
        put_limit_error(dispatcher, out, "levels of nesting", limits->depth);
        break;
    case SCAN_TOO_MANY:
        put_limit_error(dispatcher, out, "values", limits->values);
        break;
    default:
        failure_set(&failure, ERROR_PARSE_ERROR, "What follows is not JSON.");
        rpc_put_error(dispatcher, out, &failure);
        break;
    }
}

/* A reply that is not a call's: for the whole text, or for a member that is no request. */
static void refuse(struct rpc *rpc, const struct failure *failure, struct span id)
{
    put_error(rpc->dispatcher, &rpc->out, failure, rpc->text + id.start, id.end - id.start);
}

/* --- one member after another --- */

/* What stands before each reply of a batch. */
static void put_separator(struct rpc *rpc)
{
    if (rpc->envelope.batch) {
        out_char(&rpc->out, rpc->begun ? ',' : '[');
    }
}

static void on_call_done(struct call *call);

static void call_setup(struct rpc *rpc, const struct request_parts *parts)
{
    rpc->call = (struct call){
        .params_json = parts->params,
        .id = rpc->text + parts->id.start,
        .id_length = parts->id.end - parts->id.start,
        .notification = parts->notification,
        .out = &rpc->out,
        .done = on_call_done,
    };
}

/* True where the member has been dealt with; else its call's end comes later. */
static bool begin_member(struct rpc *rpc)
{
    struct request_parts parts;
    const char *fault = envelope_member(&rpc->envelope, rpc->text, rpc->at, &parts);

    rpc->at++;
    if (fault) {
        struct failure failure;
        failure_set(&failure, ERROR_INVALID_REQUEST, "Not a JSON-RPC 2.0 request: %s.", fault);
        put_separator(rpc);
        refuse(rpc, &failure, parts.id);
        rpc->begun = true;
        return true;
    }
    if (!parts.notification) {
        put_separator(rpc);
        rpc->begun = true;
    }
    call_setup(rpc, &parts);
    const struct dispatch_request request = {
        .peer = &rpc->peer,
        .method = parts.method,
        .batch = rpc->envelope.batch,
    };
    rpc->busy = true;
    rpc->done = dispatch_begin(rpc->dispatcher, &rpc->call, &request) || rpc->done;
    rpc->busy = false;
    rpc->parked = !rpc->done && rpc->call.parked;
    return rpc->done;
}

/* Whole or not: a client that waits for a reply that did not fit must not wait for good. */
static void close_reply(struct rpc *rpc, const char *end)
{
    out_puts(&rpc->out, end);
    if (rpc->out.error) {
        struct out_mark nothing = {0};
        out_rewind(&rpc->out, nothing);
        rpc->close = true;
    }
}

/* True when all members are through. */
static bool run(struct rpc *rpc)
{
    while (rpc->at < rpc->envelope.count) {
        rpc->done = false;
        if (!begin_member(rpc)) {
            return false;
        }
    }
    if (rpc->begun) {
        close_reply(rpc, rpc->envelope.batch ? "]\n" : "\n");
    }
    return true;
}

static void end(struct rpc *rpc)
{
    if (rpc->owner) {
        rpc->ended(rpc);
    } else {
        (void)rpc_free(rpc);
    }
}

static void on_call_done(struct call *call)
{
    struct rpc *rpc = container_of(call, struct rpc, call);

    rpc->done = true;
    rpc->parked = false;
    if (!rpc->busy && run(rpc)) {
        end(rpc);
    }
}

/* --- the text --- */

static void parse(struct rpc *rpc)
{
    rpc->parsed = envelope_parse(rpc->text, rpc->length, &rpc->envelope);
}

/* Refuses the whole text where it must; true where it was. */
static bool refuse_all(struct rpc *rpc)
{
    struct failure failure;

    if (rpc->parsed == ENVELOPE_NO_MEMORY) {
        failure_set(&failure, ERROR_OVERLOADED, "There is no memory for the request now.");
    } else if (rpc->parsed == ENVELOPE_NOT_JSON) {
        failure_set(&failure, ERROR_PARSE_ERROR, "The request is not valid JSON in UTF-8.");
    } else if (rpc->envelope.count == 0) {
        failure_set(&failure, ERROR_INVALID_REQUEST, "A batch must not be empty.");
    } else if (rpc->envelope.batch && rpc->envelope.count > rpc->dispatcher->host.limits.batch) {
        failure_set(&failure, ERROR_INVALID_REQUEST, "A batch of %zu is past the limit of %llu.",
                    rpc->envelope.count, (unsigned long long)rpc->dispatcher->host.limits.batch);
        failure.data.limit = rpc->dispatcher->host.limits.batch;
        failure.data.has_limit = true;
    } else {
        return false;
    }
    refuse(rpc, &failure, (struct span){0});
    close_reply(rpc, "\n");
    return true;
}

static bool start(struct rpc *rpc)
{
    return refuse_all(rpc) || run(rpc);
}

static void on_parse(struct job *job)
{
    parse(container_of(job, struct rpc, job));
}

static void on_parse_end(struct job *job)
{
    struct rpc *rpc = container_of(job, struct rpc, job);

    if (start(rpc)) {
        end(rpc);
    } else if (rpc->parked && rpc->owner) {
        rpc->ended(rpc);
    } else if (rpc->parked) {
        rpc_abandon(rpc);
    }
}

static struct rpc *rpc_new(struct dispatcher *dispatcher, const char *text, size_t length)
{
    struct rpc *rpc = calloc(1, sizeof(*rpc));
    if (!rpc || !budget_take(dispatcher->budget, length)) {
        free(rpc);
        return NULL;
    }
    rpc->text = malloc(length);
    if (!rpc->text) {
        budget_give(dispatcher->budget, length);
        free(rpc);
        return NULL;
    }
    memcpy(rpc->text, text, length);
    rpc->length = length;
    rpc->dispatcher = dispatcher;
    out_init(&rpc->out, SIZE_MAX, dispatcher->budget);
    return rpc;
}

bool rpc_begin(struct dispatcher *dispatcher, const struct peer *peer, const char *text,
               size_t length, void *owner, void (*ended)(struct rpc *rpc), struct rpc **ret_rpc)
{
    struct rpc *rpc = rpc_new(dispatcher, text, length);

    *ret_rpc = rpc;
    if (!rpc) {
        return false;
    }
    rpc->peer = *peer;
    rpc->owner = owner;
    rpc->ended = ended;
    rpc->job.run = on_parse;
    rpc->job.end = on_parse_end;
    if (length > PARSE_IN_LOOP && workers_submit(dispatcher->workers, &rpc->job) == 0) {
        return false;
    }
    parse(rpc);
    return start(rpc);
}

void rpc_abandon(struct rpc *rpc)
{
    rpc->owner = NULL;
    if (rpc->parked && rpc->call.parked) { /* and its event has not come */
        dispatch_forget(&rpc->call);
        (void)rpc_free(rpc);
    }
}

struct rpc *rpc_free(struct rpc *rpc)
{
    if (rpc) {
        out_done(&rpc->out);
        envelope_done(&rpc->envelope);
        explicit_bzero(rpc->text, rpc->length);
        budget_give(rpc->dispatcher->budget, rpc->length);
        free(rpc->text);
        free(rpc);
    }
    return NULL;
}
