/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a handler may do with its call: allocate, fail, and speak of devices. It
 * knows no threads and no connections.
 */
#include "call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* A thing that goes with the call. */
struct call_owned {
    struct call_owned *next;
    void *thing;
    void (*release)(void *thing);
};

void *call_alloc(struct call *call, size_t count, size_t size)
{
    void *memory = arena_alloc(&call->arena, count, size);

    if (!memory) {
        call->dm.last = DMI_NONE; /* the -ENOMEM that follows is no ioctl's */
    }
    return memory;
}

int call_own(struct call *call, void *thing, void (*release)(void *thing))
{
    struct call_owned *owned = call_alloc(call, 1, sizeof(*owned));
    if (!owned) {
        release(thing);
        return -ENOMEM;
    }
    *owned = (struct call_owned){.next = call->owned, .thing = thing, .release = release};
    call->owned = owned;
    return 0;
}

struct call *call_new(json_t *params, const char *id, size_t id_length, struct budget *budget)
{
    struct call *call = calloc(1, sizeof(*call));
    if (!call) {
        return NULL;
    }
    call->id_length = id_length;
    call->id = id_length > 0 ? arena_copy(&call->arena, id, id_length) : NULL;
    if (id_length > 0 && !call->id) {
        free(call);
        return NULL;
    }
    call->params_json = call->kept = json_incref(params);
    out_init(&call->reply, SIZE_MAX, budget);
    call->out = &call->reply;
    return call;
}

struct call *call_free(struct call *call)
{
    if (call) {
        call_done(call);
        out_done(&call->reply);
        peer_unref(&call->peer);
        json_decref(call->kept);
        free(call);
    }
    return NULL;
}

int call_again(struct call *call, int rc, uint32_t after_ms)
{
    uint64_t spent_ms = (stats_clock() - call->life.came) / 1000000;

    (void)call_fail_kernel(call, rc);
    if (call->life.has_timeout_ms && spent_ms + after_ms >= call->life.timeout_ms) {
        calls_explain_tries(call, ERROR_TIMED_OUT, 0);
        return CALL_FAILED;
    }
    call->again_ms = after_ms;
    return CALL_AGAIN;
}

bool call_commit(struct call *call)
{
    int open = CALL_OPEN;

    return atomic_compare_exchange_strong(&call->fate, &open, CALL_COMMITTED) ||
           open == CALL_COMMITTED;
}

void call_done(struct call *call)
{
    for (struct call_owned *owned = call->owned; owned; owned = owned->next) {
        owned->release(owned->thing);
    }
    call->owned = NULL;
    call->rules = rules_unref(call->rules);
    call->failure.data.kernel_log_count = call->failure.data.holders_count = 0; /* they go, too: */
    arena_done(&call->arena);
}

int call_fail(struct call *call, enum error_id id, const char *format, ...)
{
    char message[sizeof(call->failure.message)];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    failure_set(&call->failure, id, "%s", message);
    return CALL_FAILED;
}

int call_fail_param(struct call *call, const char *path, const char *reason)
{
    failure_set(&call->failure, ERROR_INVALID_PARAMS, "Params of %s: %s%s%s.", call->method->name,
                path, *path ? ": " : "", reason);
    failure_copy(call->failure.path, sizeof(call->failure.path), path);
    failure_copy(call->failure.reason, sizeof(call->failure.reason), reason);
    call->failure.data.path = call->failure.path;
    call->failure.data.reason = call->failure.reason;
    return CALL_FAILED;
}

int call_fail_kernel(struct call *call, int rc)
{
    failure_set_kernel(&call->failure, rc, &call->dm, call->subject, call->exists);
    return CALL_FAILED;
}

void call_describe(const struct dmi_id *id, char *ret_text, size_t size)
{
    switch (id->kind) {
    case DMI_BY_NAME:
        (void)snprintf(ret_text, size, "device '%s'", id->name);
        break;
    case DMI_BY_UUID:
        (void)snprintf(ret_text, size, "the device with uuid '%s'", id->uuid);
        break;
    case DMI_BY_DEVICE:
        (void)snprintf(ret_text, size, "device %u:%u", id->device.major, id->device.minor);
        break;
    }
}

void call_about(struct call *call, const struct dmi_id *id)
{
    call_describe(id, call->subject, sizeof(call->subject));
    if (id->kind == DMI_BY_NAME) {
        failure_copy(call->name, sizeof(call->name), id->name);
    } else if (id->kind == DMI_BY_DEVICE) {
        call->device = id->device;
        call->has_device = true;
    }
}

void call_about_name(struct call *call, const char *name)
{
    call_about(call, &(struct dmi_id){.kind = DMI_BY_NAME, .name = name});
}

struct dmi_id call_device(const struct call *call)
{
    return call->by;
}

int call_info(struct call *call, const struct dmi_info *info, struct device_info *ret_info)
{
    const char *name = call->info.name;
    const char *uuid = call->info.uuid;

    call->info = *info;
    (void)snprintf(call->path, sizeof(call->path), "/dev/dm-%u", info->device.minor);
    *ret_info = (struct device_info){
        .name = name,
        .name_exact = false,
        .has_name_exact = !text_is_utf8(name) || !text_is_utf8(uuid),
        .uuid = *uuid ? uuid : NULL,
        .device = {.major = info->device.major, .minor = info->device.minor},
        .path = call->path,
        .version = {info->version.major, info->version.minor, info->version.patch},
        .open_count = info->open_count,
        .target_count = info->target_count,
        .event_nr = info->event_nr,
        .flags = info->flags & DMI_KNOWN_FLAGS,
        .unknown_flags = info->flags & ~(uint32_t)DMI_KNOWN_FLAGS,
    };
    return 0;
}

struct device_entry call_entry(const struct dmi_device_entry *entry)
{
    return (struct device_entry){
        .name = entry->name,
        .has_name_exact = !text_is_utf8(entry->name) || (entry->uuid && !text_is_utf8(entry->uuid)),
        .name_exact = false,
        .uuid = entry->uuid && *entry->uuid ? entry->uuid : NULL,
        .device = {.major = entry->device.major, .minor = entry->device.minor},
        .event_nr = entry->event_nr,
    };
}

void call_tell(struct call *call, enum event_kind kind, const struct dmi_info *info)
{
    call->deed.kind = kind;
    call->deed.info = *info;
}
