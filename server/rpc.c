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

enum {
    /* A longer text would hold up every other client while it is parsed, or freed, in the loop. */
    PARSE_IN_LOOP = 8192,
    MEMBERS_A_TURN = 32, /* of a batch; then others have their turn */
    /* What a value takes at the most in the parser's tree (an empty object as a member: 372)
       and in the params that are made of it. */
    VALUE_BYTES = 400
};

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

/* Takes the reply of the call, and the call itself unless it runs on by itself. */
static void collect(struct rpc *rpc)
{
    struct call *call = rpc->call;

    rpc->call = NULL;
    out_move(&rpc->out, &call->reply);
    if (call->reply.error) {
        rpc->out.error = call->reply.error;
    }
    if (!call->life.given_up) {
        (void)call_free(call);
    }
}

/* What the whole reply may still grow by; never none, which would stand for no limit. */
static size_t room(const struct rpc *rpc)
{
    size_t limit = rpc->dispatcher->host.limits.reply_bytes;

    return rpc->out.length < limit ? limit - rpc->out.length : 1;
}

/* A member whose call could not even be made. */
static void refuse_member(struct rpc *rpc, const struct request_parts *parts)
{
    struct failure failure;

    failure_set(&failure, ERROR_OVERLOADED, "There is no memory for the call now.");
    if (!parts->notification) {
        refuse(rpc, &failure, parts->id);
    }
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
    const struct span whole = rpc->envelope.members[rpc->at - 1].whole;
    rpc->call = call_new(parts.params, rpc->text + parts.id.start, parts.id.end - parts.id.start,
                         rpc->dispatcher->budget);
    if (!rpc->call) {
        refuse_member(rpc, &parts);
        return true;
    }
    rpc->call->notification = parts.notification;
    rpc->call->room = room(rpc);
    rpc->call->done = on_call_done;
    rpc->call->owner = rpc;
    const struct dispatch_request request = {
        .peer = &rpc->peer,
        .method = parts.method,
        .batch = rpc->envelope.batch,
        .is_long = whole.end - whole.start > PARSE_IN_LOOP,
    };
    if (dispatch_begin(rpc->dispatcher, rpc->call, &request)) {
        collect(rpc);
        return true;
    }
    rpc->parked = rpc->call->parked;
    return false;
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
    size_t end_of_turn = rpc->at + MEMBERS_A_TURN;

    while (rpc->at < rpc->envelope.count) {
        if (rpc->at == end_of_turn) {
            turns_add(&rpc->dispatcher->turns, &rpc->turn);
            return false;
        }
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
    struct rpc *rpc = call->owner;

    rpc->parked = false;
    collect(rpc);
    if (run(rpc)) {
        end(rpc);
    }
}

/* --- the text --- */

/*
 * The tree takes up to a hundred times as much as the text. How much is told before
 * the parse by what stands before a value (a comma, or what opens a container that
 * is not empty), in strings as well: at least as many as there are, and never more
 * than the scanner lets through.
 */
static size_t tree_bytes(const struct rpc *rpc)
{
    const uint64_t most = rpc->dispatcher->host.limits.values;
    size_t values = 1;

    for (size_t i = 0; i + 1 < rpc->length; i++) {
        char c = rpc->text[i];
        char next = rpc->text[i + 1];
        values += c == ',' || ((c == '{' || c == '[') && next != '}' && next != ']');
    }
    return (values < most ? values : most) * VALUE_BYTES + rpc->length;
}

static void parse(struct rpc *rpc)
{
    size_t bytes = tree_bytes(rpc);

    if (!budget_take(rpc->dispatcher->budget, bytes)) {
        rpc->parsed = ENVELOPE_NO_MEMORY;
        return;
    }
    rpc->tree_bytes = bytes;
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

static void on_turn(struct turn *turn)
{
    struct rpc *rpc = container_of(turn, struct rpc, turn);

    if (rpc->at == 0 ? start(rpc) : run(rpc)) {
        end(rpc);
    }
}

static void on_parse(struct job *job)
{
    parse(container_of(job, struct rpc, job));
}

static void on_parse_end(struct job *job)
{
    struct rpc *rpc = container_of(job, struct rpc, job);

    if (rpc->parsed == ENVELOPE_OK && rpc->envelope.batch && rpc->envelope.count > 0) {
        turns_add(&rpc->dispatcher->turns, &rpc->turn);
    } else if (start(rpc)) {
        end(rpc);
    } else if (rpc->parked && rpc->owner) {
        rpc->ended(rpc);
    } else if (rpc->parked) {
        rpc_abandon(rpc);
    }
}

static bool copy_text(struct rpc *rpc, struct budget *budget, const char *text, size_t length)
{
    if (!budget_take(budget, length)) {
        return false;
    }
    rpc->text = malloc(length);
    if (!rpc->text) {
        budget_give(budget, length);
        return false;
    }
    memcpy(rpc->text, text, length);
    return true;
}

/* Begins what has its text. */
static bool begin(struct rpc *rpc, struct dispatcher *dispatcher, const struct peer *peer)
{
    rpc->dispatcher = dispatcher;
    rpc->peer = peer_ref(peer);
    rpc->turn.run = on_turn;
    rpc->job.run = on_parse;
    rpc->job.end = on_parse_end;
    rpc->job.pool = POOL_SHORT;
    out_init(&rpc->out, SIZE_MAX, dispatcher->budget);
    if (rpc->length > PARSE_IN_LOOP && workers_submit(dispatcher->workers, &rpc->job) == 0) {
        return false;
    }
    parse(rpc);
    return start(rpc);
}

bool rpc_begin(struct dispatcher *dispatcher, const struct peer *peer, const char *text,
               size_t length, void *owner, void (*ended)(struct rpc *rpc), struct rpc **ret_rpc)
{
    struct rpc *rpc = calloc(1, sizeof(*rpc));

    *ret_rpc = NULL;
    if (!rpc || !copy_text(rpc, dispatcher->budget, text, length)) {
        free(rpc);
        return false;
    }
    rpc->length = length;
    rpc->owner = owner;
    rpc->ended = ended;
    *ret_rpc = rpc;
    return begin(rpc, dispatcher, peer);
}

bool rpc_begin_kept(struct dispatcher *dispatcher, const struct peer *peer, struct buffer *buffer,
                    size_t length, void *owner, void (*ended)(struct rpc *rpc),
                    struct rpc **ret_rpc)
{
    struct rpc *rpc = calloc(1, sizeof(*rpc));

    *ret_rpc = rpc;
    if (!rpc) {
        return false;
    }
    rpc->kept = *buffer;
    rpc->text = buffer->bytes + buffer->start;
    *buffer = (struct buffer){0};
    rpc->length = length;
    rpc->owner = owner;
    rpc->ended = ended;
    return begin(rpc, dispatcher, peer);
}

void rpc_abandon(struct rpc *rpc)
{
    rpc->owner = NULL;
    rpc->peer.sink = NULL;
    if (rpc->parked && rpc->call->parked) { /* and its event has not come */
        dispatch_forget(rpc->call);
        rpc->call = call_free(rpc->call);
        (void)rpc_free(rpc);
    }
}

static void on_free(struct job *job)
{
    struct rpc *rpc = container_of(job, struct rpc, job);

    envelope_done(&rpc->envelope);
    if (rpc->kept.bytes) {
        buffer_done(&rpc->kept, rpc->dispatcher->budget);
    } else {
        explicit_bzero(rpc->text, rpc->length);
        free(rpc->text);
        budget_give(rpc->dispatcher->budget, rpc->length);
    }
    budget_give(rpc->dispatcher->budget, rpc->tree_bytes);
}

static void on_free_end(struct job *job)
{
    free(container_of(job, struct rpc, job));
}

struct rpc *rpc_free(struct rpc *rpc)
{
    if (rpc) {
        out_done(&rpc->out);
        peer_unref(&rpc->peer);
        rpc->job.run = on_free;
        rpc->job.end = on_free_end;
        if (rpc->length <= PARSE_IN_LOOP ||
            workers_submit(rpc->dispatcher->workers, &rpc->job) < 0) {
            on_free(&rpc->job);
            on_free_end(&rpc->job);
        }
    }
    return NULL;
}
