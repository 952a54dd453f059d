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

#include "container_of.h"
#include "decode.h"
#include "encode.h"
#include "waits.h"

const struct method *method_find(const char *name)
{
    size_t low = 0;
    size_t high = method_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, method_table[middle].name);
        if (order == 0) {
            return &method_table[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* --- the reply --- */

static void put_failure(struct call *call, struct out *out)
{
    struct error_data *data = &call->failure.data;

    if (!data->has_device && call->has_device) {
        data->has_device = true;
        data->device = (struct device){call->device.major, call->device.minor};
    }
    if (!data->name && call->name[0]) {
        data->name = call->name;
    }
    out_puts(out, "\"error\":");
    failure_put(&call->failure, out);
}

static void put_reply(struct call *call, const void *result)
{
    struct out *out = call->out;

    out_puts(out, "{\"jsonrpc\":\"2.0\",\"id\":");
    if (call->id_length > 0) {
        out_put(out, call->id, call->id_length);
    } else {
        out_puts(out, "null");
    }
    out_char(out, ',');
    if (call->failure.id == ERROR_NONE) {
        out_puts(out, "\"result\":");
        encode_object(call->method->result, result, out);
    } else {
        put_failure(call, out);
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
        out->limit = call->host->limits.reply_bytes;
    }
    put_reply(call, result);
    out->limit = SIZE_MAX;
    if (out->error && call->failure.id == ERROR_NONE) {
        int error = out->error;
        out_rewind(out, mark);
        fail_reply(call, error);
        put_reply(call, NULL);
    }
}

/* --- running --- */

/* On the loop thread or on a worker: the handler, and the reply from its result. */
static void run(struct call *call)
{
    void *result = call_alloc(call, 1, call->method->result->size);
    int rc = result ? call->method->handle(call, call->params, result) : -ENOMEM;

    if (rc < 0) {
        (void)call_fail_kernel(call, rc);
    }
    print(call, result);
    call_done(call);
}

static void on_job(struct job *job)
{
    run(container_of(job, struct call, job));
}

/* The one way by which calls that did not end at once come back. */
static void call_complete(struct call *call)
{
    call->dispatcher->pending--;
    stats_ended(&call->dispatcher->counters, call);
    order_leave(&call->dispatcher->order, &call->order);
    call->done(call);
}

static void on_job_end(struct job *job)
{
    call_complete(container_of(job, struct call, job));
}

static void submit(struct call *call)
{
    call->job.run = on_job;
    call->job.end = on_job_end;
    if (workers_submit(call->dispatcher->workers, &call->job) < 0) {
        (void)call_fail(call, ERROR_OVERLOADED, "There is no thread for the call now.");
        print(call, NULL);
        call_done(call);
        call_complete(call);
    }
}

void dispatch_unpark(struct call *call)
{
    call->parked = false;
    call->began = stats_clock();
    call->dispatcher->pending++;
    submit(call);
}

void dispatch_end(struct call *call)
{
    call->parked = false;
    call->began = stats_clock();
    print(call, NULL);
    call_done(call);
    stats_ended(&call->dispatcher->counters, call);
    call->done(call);
}

void dispatch_forget(struct call *call)
{
    waits_remove(call->dispatcher->waits, call);
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
    struct dmi_id id;

    if (!named_device(call->params_json, &id) || dmi_device_status(&call->dm, &id, 0, &info) < 0) {
        return;
    }
    call->device = info.device;
    call->has_device = call->exists = true;
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
    struct dmi_id id;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *name = json_string_value(json_object_get(call->params_json, names[i]));
        if (name) {
            order_add_name(&call->order, name);
        }
    }
    if (uuid) {
        order_add_uuid(&call->order, uuid);
    }
    if (named_device(call->params_json, &id) && id.kind == DMI_BY_DEVICE) {
        order_add_device(&call->order, id.device);
    }
    /* A change that names no device (remove_all) concerns them all. */
    call->order.all = call->order.count == 0;
}

static bool enter_order(struct call *call)
{
    call->order = (struct order_entry){.refresh = on_refresh, .start = on_turn};
    add_keys(call);
    return order_enter(&call->dispatcher->order, &call->order);
}

/* --- the way in --- */

static int find_method(struct call *call, const struct dispatch_request *request)
{
    call->method = method_find(request->method);
    if (!call->method || (call->method->simulated && !call->host->sim)) {
        (void)call_fail(call, ERROR_METHOD_NOT_FOUND, "There is no method of that name.");
        failure_copy(call->failure.method, sizeof(call->failure.method), request->method);
        call->failure.data.method = call->failure.method;
        call->failure.data.hint = "rpc.discover lists the methods";
        return CALL_FAILED;
    }
    if (call->method->solo && request->batch) {
        return call_fail(call, ERROR_INVALID_REQUEST,
                         "%s cannot be in a batch: it would hold up the replies of the others.",
                         call->method->name);
    }
    if (!access_allows(request->peer, call->method->effect)) {
        (void)call_fail(call, ERROR_PERMISSION_DENIED,
                        "User id %u may not call %s: who is neither root nor the daemon's own user "
                        "may only read.",
                        (unsigned)request->peer->uid, call->method->name);
        return CALL_FAILED;
    }
    call->may_write = access_allows(request->peer, EFFECT_WRITE);
    return 0;
}

static int decode_params(struct call *call)
{
    const struct type *type = call->method->params;
    void *params = call_alloc(call, 1, type->size);
    struct decode_fault fault;
    struct dmi_id id;

    int rc =
        params ? decode_object(type, call->params_json, &call->arena, params, &fault) : -ENOMEM;
    call->params = params;
    if (rc == -ENOMEM) {
        return call_fail(call, ERROR_OVERLOADED, "There is no memory for the params now.");
    }
    if (rc < 0) {
        return call_fail_param(call, fault.path, fault.reason);
    }
    if (named_device(call->params_json, &id)) {
        call_about(call, &id);
    }
    return 0;
}

static int check_load(struct call *call)
{
    const struct dispatcher *dispatcher = call->dispatcher;

    if (dispatcher->closing) {
        return call_fail(call, ERROR_SHUTTING_DOWN,
                         "The server is shutting down and takes no new calls.");
    }
    if (call->method->place != PLACE_LOOP &&
        dispatcher->pending >= dispatcher->host.limits.queued_calls) {
        (void)call_fail(call, ERROR_OVERLOADED, "%zu calls run or wait already.",
                        dispatcher->pending);
        call->failure.data.limit = dispatcher->host.limits.queued_calls;
        call->failure.data.has_limit = true;
        return CALL_FAILED;
    }
    return 0;
}

/* Starts the call where its row says. True: it has ended. */
static bool start(struct call *call)
{
    switch (call->method->place) {
    case PLACE_LOOP:
        run(call);
        return true;
    case PLACE_PARKED:
        /* Without an id nobody would hear of the event. */
        if (call->notification || waits_add(call->dispatcher->waits, call) != 0) {
            print(call, NULL);
            call_done(call);
            return true;
        }
        return false;
    case PLACE_WORKER:
        break;
    }
    call->dispatcher->pending++;
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
        (void)start(call); /* false: it runs on a worker */
        return;
    }
    print(call, NULL);
    call_done(call);
    stats_ended(&call->dispatcher->counters, call);
    call->done(call);
}

/* A table of many lines would hold up every other client while it is decoded in the loop. */
static bool decode_later(struct call *call, const struct dispatch_request *request)
{
    call->job.run = on_decode;
    call->job.end = on_decoded;
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
    bool ended = true;

    call->dispatcher = dispatcher;
    call->host = &dispatcher->host;
    call->began = stats_clock();
    dmi_init(&call->dm, dispatcher->host.transport);
    call->dm.max_reply = dispatcher->host.limits.reply_bytes;
    if (json_is_array(call->params_json) && json_array_size(call->params_json) == 0) {
        call->params_json = NULL;
    }
    if (find_method(call, request) == 0 && decode_later(call, request)) {
        return false;
    }
    if (call->failure.id != ERROR_NONE || decode_params(call) != 0 || check_load(call) != 0) {
        print(call, NULL);
        call_done(call);
    } else {
        ended = start(call);
    }
    if (ended) {
        stats_ended(&dispatcher->counters, call);
    }
    return ended;
}
