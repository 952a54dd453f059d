/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The road of one call through the server: every call takes all of it, and what
 * differs between methods is in their rows. It knows no method by name and no
 * connections.
 */
#include "dispatch.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "access.h"
#include "container_of.h"
#include "decode.h"
#include "encode.h"
#include "explain.h"
#include "log.h"
#include "secret.h"
#include "waits.h"

/* --- what it does to others --- */

/* A suspend. What the params say has not been checked, perhaps. */
static bool drains(const struct call *call)
{
    const json_t *flags = json_object_get(call->params_json, "flags");
    bool found = false;

    for (size_t i = 0; call->method->drains && !found && i < json_array_size(flags); i++) {
        const char *flag = json_string_value(json_array_get(flags, i));
        found = flag && strcmp(flag, call->method->drains) == 0;
    }
    return found;
}

/* A resume, whatever its method is called. */
static bool releases(const struct call *call)
{
    return call->method->releases || (call->method->drains && !drains(call));
}

/* --- the reply --- */

static void put_failure(const struct call *call, struct failure *failure, struct out *out)
{
    struct error_data *data = &failure->data;
    /* To whom it is denied the number is told only if it is the caller's own word. */
    bool tells_device = call->has_device && (failure->id != ERROR_PERMISSION_DENIED ||
                                             call->asked.kind == DMI_BY_DEVICE);

    data->call = call->number;
    data->has_call = call->number > 0;
    if (!data->has_device && tells_device) {
        data->has_device = true;
        data->device = (struct device){call->device.major, call->device.minor};
    }
    if (!data->name && call->name[0]) {
        data->name = call->name;
    }
    out_puts(out, "\"error\":");
    failure_put(failure, out);
}

/* `failure`, or `result` where its id is ERROR_NONE. */
static void put_reply(struct call *call, const void *result, struct failure *failure)
{
    struct out *out = call->out;

    out_puts(out, "{\"jsonrpc\":\"2.0\",\"id\":");
    if (call->id_length > 0) {
        out_put(out, call->id, call->id_length);
    } else {
        out_puts(out, "null");
    }
    out_char(out, ',');
    if (failure->id == ERROR_NONE) {
        out_puts(out, "\"result\":");
        encode_object(call->method->result, result, out);
    } else {
        put_failure(call, failure, out);
    }
    out_char(out, '}');
}

/* A reply that does not fit becomes an error that says so; the call has been carried out. */
static void fail_reply(struct call *call, int error)
{
    if (error == -EMSGSIZE) {
        failure_set(&call->failure, ERROR_REPLY_TOO_LARGE,
                    "The reply is larger than %llu bytes. The call itself was carried out.",
                    (unsigned long long)call->host->limits.reply_bytes);
        call->failure.data.limit = call->host->limits.reply_bytes;
        call->failure.data.has_limit = true;
    } else {
        failure_set(&call->failure, ERROR_OVERLOADED,
                    "There is no memory for the reply now. The call itself was carried out.");
    }
}

/* Only results are held to the limit: an error is short, and must be told. */
static void print(struct call *call, const void *result)
{
    struct out *out = call->out;
    struct out_mark mark = out_mark(out);

    if (call->notification || out->error) {
        return;
    }
    if (call->failure.id == ERROR_NONE) {
        out->limit = call->room > 0 ? call->room : call->host->limits.reply_bytes;
    }
    put_reply(call, result, &call->failure);
    out->limit = SIZE_MAX;
    if (out->error && call->failure.id == ERROR_NONE) {
        int error = out->error;
        out_rewind(out, mark);
        fail_reply(call, error);
        put_reply(call, NULL, &call->failure);
    }
}

/* --- running --- */

static int new_result(struct call *call)
{
    size_t size = call->method->result->size;

    if (call->result) {
        memset(call->result, 0, size);
    } else {
        call->result = call_alloc(call, 1, size);
    }
    return call->result ? 0 : -ENOMEM;
}

/* On the loop thread or on a worker: the handler, and the reply from its result. */
static void run(struct call *call)
{
    int rc = new_result(call);

    call->failure.id = ERROR_NONE; /* the one of the try before has been kept until now */
    call->tries++;
    if (rc == 0) {
        rc = access_judge(call);
    }
    if (rc == 0) {
        explain_begin(call);
        rc = call->method->handle(call, call->params, call->result);
    }
    call->carried_out = rc == 0;
    if (rc < 0) {
        (void)call_fail_kernel(call, rc);
    }
    bool stopped = atomic_load(&call->life.why) != ERROR_NONE;
    if (rc == CALL_AGAIN && !stopped) {
        explain_end(call);
        return;
    }
    call->again_ms = 0;
    if (rc == CALL_AGAIN) {
        calls_explain_tries(call, (enum error_id)atomic_load(&call->life.why),
                            atomic_load(&call->life.by));
    } else if (stopped && call->failure.data.errnum == EINTR) {
        calls_explain(call);
    }
    explain_end(call);
    if (call_commit(call)) {
        print(call, call->result);
    }
    call_done(call);
}

static void on_job(struct job *job)
{
    run(container_of(job, struct call, job));
}

/* Its reply is on its way, if there is one. */
static void ended(struct call *call, const struct failure *failure)
{
    stats_ended(&call->dispatcher->counters, call, failure);
    audit_ended(call, failure);
}

/* A read is not noted for the audit: it is known by what it was asked for. */
static void tell_ended(const struct call *call)
{
    const struct audit_subject *subject = &call->audit;
    const struct failure *failure = &call->failure;
    bool by_uuid = call->has_asked && call->asked.kind == DMI_BY_UUID;
    const struct event_call event = {
        .call = call->number,
        .method = call->method->name,
        .error = failure->id == ERROR_NONE ? NULL : error_table[failure->id].name,
        .state = failure->id == ERROR_NONE ? NULL : failure->data.state,
        .has_device = call->has_device,
        .device = call->device,
        .name = subject->name[0] ? subject->name : call->name,
        .uuid = by_uuid ? call->asked.uuid : subject->uuid,
    };

    events_call_ended(call->dispatcher->events, &event);
}

/* Its client was told before that it still ran. */
static void end_given_up(struct call *call)
{
    audit_ended_late(call);
    tell_ended(call);
    log_line("Call %llu, %s of %s, which had been given up, has ended: %s",
             (unsigned long long)call->number, call->method->name, call->subject,
             call->failure.id == ERROR_NONE ? "it was carried out." : call->failure.message);
    (void)call_free(call);
}

/* Those that an event or a list wakes, all at once, take no room from others. */
static size_t *load_of(const struct call *call)
{
    struct dispatcher *dispatcher = call->dispatcher;

    return call->method->place == PLACE_WORKER ? &dispatcher->pending : &dispatcher->woken;
}

/* The one way by which calls that did not end at once come back. */
static void call_complete(struct call *call)
{
    --*load_of(call);
    calls_remove(call);
    events_call_done(call->dispatcher->events, call, call->failure.id != ERROR_NONE);
    order_leave(&call->dispatcher->order, &call->order);
    if (call->life.given_up) {
        end_given_up(call);
        return;
    }
    ended(call, &call->failure);
    call->done(call);
}

static void on_complete(struct job *job)
{
    call_complete(container_of(job, struct call, job));
}

/*
 * Completes a call that no worker has. Not at once: whoever ends it may be in the middle of
 * another one, of the same connection even.
 */
static void complete_later(struct call *call)
{
    calls_remove(call);
    order_leave(&call->dispatcher->order, &call->order);
    call->job.end = on_complete;
    workers_end(call->dispatcher->workers, &call->job);
}

static void submit(struct call *call);

void dispatch_try_now(struct call *call)
{
    ev_timer_stop(call->dispatcher->loop, &call->again);
    call->again_ms = 0;
    submit(call);
}

static void on_again(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    dispatch_try_now(watcher->data);
}

/*
 * Until the next try it keeps its turn: nobody may overtake it. Unless there is none: it may
 * have been ended since the worker looked.
 */
static void pause_call(struct call *call)
{
    struct ev_loop *loop = call->dispatcher->loop;
    enum error_id why = (enum error_id)atomic_load(&call->life.why);

    call->life.stage = CALL_PAUSED;
    call->paused = true;
    ev_timer_init(&call->again, on_again, call->again_ms / 1000., 0.);
    call->again.data = call;
    ev_now_update(loop);
    ev_timer_start(loop, &call->again);
    if (why != ERROR_NONE) {
        (void)calls_stop(call, why, atomic_load(&call->life.by));
    } else if (call->dispatcher->closing) {
        (void)calls_stop(call, ERROR_SHUTTING_DOWN, 0);
    }
}

static void on_job_end(struct job *job)
{
    struct call *call = container_of(job, struct call, job);

    if (call->again_ms > 0) {
        pause_call(call);
    } else {
        call_complete(call);
    }
}

/* A worker judges by rules that stay as they are until it is done. */
static void take_rules(struct call *call)
{
    struct rules *before = call->rules;

    call->rules = rules_ref(call->dispatcher->rules);
    (void)rules_unref(before);
}

static enum workers_pool pool_of(const struct call *call)
{
    switch (call->method->place) {
    case PLACE_PARKED:
        return POOL_TOLD;
    case PLACE_LISTED:
        return POOL_SHORT;
    default:
        return releases(call) ? POOL_RELEASES : POOL_CALLS;
    }
}

static void submit(struct call *call)
{
    take_rules(call);
    call->life.stage = CALL_WORKER;
    call->job.run = on_job;
    call->job.end = on_job_end;
    call->job.pool = pool_of(call);
    if (workers_submit(call->dispatcher->workers, &call->job) < 0) {
        (void)call_fail(call, ERROR_OVERLOADED, "There is no thread for the call now.");
        print(call, NULL);
        call_done(call);
        complete_later(call);
    }
}

void dispatch_unpark(struct call *call)
{
    call->parked = false;
    call->began = stats_clock();
    ++*load_of(call);
    if (!call->life.listed) {
        calls_add(call, CALL_WORKER);
    }
    calls_awoke(call);
    submit(call);
}

void dispatch_end(struct call *call)
{
    if (call->life.stage == CALL_PARKED) {
        call->began = stats_clock();
        ++*load_of(call);
    }
    call->parked = false;
    ev_timer_stop(call->dispatcher->loop, &call->again);
    print(call, NULL);
    call_done(call);
    complete_later(call);
}

bool dispatch_withdraw(struct call *call)
{
    switch (call->life.stage) {
    case CALL_TURN:
    case CALL_PAUSED:
        return true;
    case CALL_PARKED:
        waits_remove(call->dispatcher->waits, call);
        return true;
    case CALL_WORKER:
        break;
    }
    return workers_withdraw(call->dispatcher->workers, &call->job);
}

bool dispatch_give_up(struct call *call, struct failure *failure)
{
    int open = CALL_OPEN;

    if (!atomic_compare_exchange_strong(&call->fate, &open, CALL_GIVEN_UP)) {
        return false;
    }
    /* From here on the worker leaves the reply alone. */
    call->life.given_up = true;
    events_call_given_up(call);
    if (!call->notification) {
        put_reply(call, NULL, failure);
    }
    ended(call, failure);
    call->done(call);
    return true;
}

void dispatch_forget(struct call *call)
{
    waits_remove(call->dispatcher->waits, call);
    calls_remove(call);
    call->dispatcher->counters.stats.waits_abandoned++;
    call_done(call);
}

/* --- whose turn it is --- */

/* The device that the params name, if they name one. */
static bool named_device(const json_t *params, struct dmi_id *ret_id)
{
    const json_t *name = json_object_get(params, "name");
    const json_t *uuid = json_object_get(params, "uuid");
    const json_t *device = json_object_get(params, "device");

    if (name) {
        *ret_id = (struct dmi_id){.kind = DMI_BY_NAME, .name = json_string_value(name)};
    } else if (uuid) {
        *ret_id = (struct dmi_id){.kind = DMI_BY_UUID, .uuid = json_string_value(uuid)};
    } else if (device) {
        *ret_id = (struct dmi_id){
            .kind = DMI_BY_DEVICE,
            .device =
                {
                    .major = (uint32_t)json_integer_value(json_object_get(device, "major")),
                    .minor = (uint32_t)json_integer_value(json_object_get(device, "minor")),
                },
        };
    }
    return name || uuid || device;
}

/* Adds what the device is called now: by all of its names, whichever the caller used. */
static void on_refresh(struct order_entry *entry)
{
    struct call *call = container_of(entry, struct call, order);
    struct dmi_info info;

    events_drain(call->dispatcher->events);
    if (!call->has_asked || dmi_device_status(&call->dm, &call->asked, 0, &info) < 0) {
        return;
    }
    call->device = info.device;
    call->has_device = call->exists = true;
    audit_found(call, &info);
    order_add_device(entry, info.device);
    order_add_name(entry, info.name);
    if (info.uuid[0]) {
        order_add_uuid(entry, info.uuid);
    }
}

static void on_turn(struct order_entry *entry)
{
    submit(container_of(entry, struct call, order));
}

/* The names that a call takes or gives, old and new. */
static void add_keys(struct call *call)
{
    static const char *const names[] = {"name", "new_name"};
    const char *uuid = json_string_value(json_object_get(call->params_json, "uuid"));

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *name = json_string_value(json_object_get(call->params_json, names[i]));
        if (name) {
            order_add_name(&call->order, name);
        }
    }
    if (uuid) {
        order_add_uuid(&call->order, uuid);
    }
    if (call->has_asked && call->asked.kind == DMI_BY_DEVICE) {
        order_add_device(&call->order, call->asked.device);
    }
    /* A change that names no device (remove_all) concerns them all. */
    call->order.all = call->order.count == 0;
}

/*
 * A resume while a suspend of ours drains would have no effect, and one that waits for
 * it may wait for good: what the suspend waits for may be what the resume is to free.
 * The roll-back of a lease stands in the same line, and is no call. What need not wait is
 * done before it is interrupted: only what drains ends.
 */
static void on_yield(struct order_entry *entry, struct order_entry *by)
{
    struct call *call = container_of(entry, struct call, order);
    bool is_call = by->start == on_turn;
    uint64_t number = is_call ? container_of(by, struct call, order)->number : 0;

    calls_interrupt(call, ERROR_CANCELLED, number);
}

static bool enter_order(struct call *call)
{
    call->order = (struct order_entry){.refresh = on_refresh,
                                       .start = on_turn,
                                       .yield = on_yield,
                                       .drains = drains(call),
                                       .releases = releases(call)};
    add_keys(call);
    return order_enter(&call->dispatcher->order, &call->order);
}

/* --- the way in --- */

static int find_method(struct call *call, const struct dispatch_request *request)
{
    call->method = method_find(request->method);
    if (!call->method || (call->method->simulated && !call->host->sim)) {
        (void)call_fail(call, ERROR_METHOD_NOT_FOUND, "There is no method of that name.");
        if (strnlen(request->method, SECRET_QUOTABLE + 1) <= SECRET_QUOTABLE) {
            failure_copy(call->failure.method, sizeof(call->failure.method), request->method);
            call->failure.data.method = call->failure.method;
        }
        call->failure.data.hint = "rpc.discover lists the methods";
        return CALL_FAILED;
    }
    if (call->method->effect != EFFECT_READ) {
        audit_begun(call);
    }
    if (call->method->solo && request->batch) {
        return call_fail(call, ERROR_INVALID_REQUEST,
                         "%s cannot be in a batch: it would hold up the replies of the others.",
                         call->method->name);
    }
    return access_enter(call);
}

static int decode_params(struct call *call)
{
    const struct type *type = call->method->params;
    void *params = call_alloc(call, 1, type->size);
    struct decode_fault fault;

    int rc =
        params ? decode_object(type, call->params_json, &call->arena, params, &fault) : -ENOMEM;
    call->params = params;
    if (rc == -ENOMEM) {
        return call_fail(call, ERROR_OVERLOADED, "There is no memory for the params now.");
    }
    if (rc < 0) {
        return call_fail_param(call, fault.path, fault.reason);
    }
    audit_decoded(call);
    call->has_asked =
        call->method->scope != SCOPE_SERVER && named_device(call->params_json, &call->asked);
    if (call->has_asked) {
        call->now = call->asked;
        call_about(call, &call->asked);
    }
    const json_t *timeout = json_object_get(call->params_json, "timeout_ms");
    call->life.has_timeout_ms = timeout != NULL;
    call->life.timeout_ms = (uint32_t)json_integer_value(timeout);
    return 0;
}

static int check_load(struct call *call)
{
    const struct dispatcher *dispatcher = call->dispatcher;
    const uint64_t limit = dispatcher->host.limits.queued_calls;
    /* Those that fill the line may wait for this one. */
    const uint64_t room = releases(call) ? 2 * limit : limit;

    if (dispatcher->closing) {
        return call_fail(call, ERROR_SHUTTING_DOWN,
                         "The server is shutting down and takes no new calls.");
    }
    if (call->method->place == PLACE_WORKER && dispatcher->pending >= room) {
        (void)call_fail(call, ERROR_OVERLOADED, "%zu calls run or wait already.",
                        dispatcher->pending);
        call->failure.data.limit = limit;
        call->failure.data.has_limit = true;
        return CALL_FAILED;
    }
    return 0;
}

/* True: it has ended before it began. */
static bool end_unbegun(struct call *call)
{
    print(call, NULL);
    call_done(call);
    return true;
}

/*
 * Starts the call where its row says. True: it has ended. What may not be done does not even
 * wait: a resume would interrupt a suspend, and a device that is stuck would hold up the answer.
 */
static bool start(struct call *call)
{
    if (call->method->place != PLACE_LOOP && access_judge(call) != 0) {
        return end_unbegun(call);
    }
    switch (call->method->place) {
    case PLACE_LOOP:
        run(call);
        return true;
    case PLACE_PARKED:
        /* Without an id nobody would hear of the event. */
        if (call->notification || waits_add(call->dispatcher->waits, call) != 0) {
            return end_unbegun(call);
        }
        if (call->parked) { /* else its event has come before, and it is on its way */
            calls_add(call, CALL_PARKED);
        }
        return false;
    case PLACE_LISTED:
        if (events_subscribe(call->dispatcher->events, call) != 0) {
            return end_unbegun(call);
        }
        call->life.stage = CALL_PARKED;
        return false;
    case PLACE_WORKER:
        break;
    }
    call->dispatcher->pending++;
    calls_add(call, CALL_TURN);
    if (!call->method->orders || enter_order(call)) {
        submit(call);
    }
    return false;
}

static void on_decode(struct job *job)
{
    (void)decode_params(container_of(job, struct call, job));
}

static void on_decoded(struct job *job)
{
    struct call *call = container_of(job, struct call, job);

    call->dispatcher->pending--;
    if (call->failure.id == ERROR_NONE) {
        take_rules(call);
        if (!start(call)) {
            return;
        }
    } else {
        (void)end_unbegun(call);
    }
    ended(call, &call->failure);
    call->done(call);
}

/* A table of many lines would hold up every other client while it is decoded in the loop. */
static bool decode_later(struct call *call, const struct dispatch_request *request)
{
    call->job.run = on_decode;
    call->job.end = on_decoded;
    call->job.pool = POOL_SHORT;
    if (!request->is_long || call->method->place != PLACE_WORKER || check_load(call) != 0 ||
        workers_submit(call->dispatcher->workers, &call->job) < 0) {
        return false;
    }
    call->dispatcher->pending++;
    return true;
}

bool dispatch_begin(struct dispatcher *dispatcher, struct call *call,
                    const struct dispatch_request *request)
{
    bool has_ended = true;

    call->dispatcher = dispatcher;
    call->host = &dispatcher->host;
    call->peer = peer_ref(request->peer);
    call->rules = rules_ref(dispatcher->rules);
    call->began = call->life.came = stats_clock();
    call->number = ++dispatcher->calls.last_number;
    dmi_init(&call->dm, dispatcher->host.transport);
    call->dm.max_reply = dispatcher->host.limits.reply_bytes;
    if (json_is_array(call->params_json) && json_array_size(call->params_json) == 0) {
        call->params_json = NULL;
    }
    if (find_method(call, request) == 0 && decode_later(call, request)) {
        return false;
    }
    if (call->failure.id != ERROR_NONE || decode_params(call) != 0 || check_load(call) != 0) {
        (void)end_unbegun(call);
    } else {
        has_ended = start(call);
    }
    if (has_ended) {
        ended(call, &call->failure);
    }
    return has_ended;
}

/* --- other rules --- */

void dispatcher_set_rules(struct dispatcher *dispatcher, struct rules *rules)
{
    (void)rules_unref(dispatcher->rules);
    dispatcher->rules = rules;
    waits_judge(dispatcher->waits);
    events_judge(dispatcher->events);
}
