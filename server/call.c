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

void call_done(struct call *call)
{
    for (struct call_owned *owned = call->owned; owned; owned = owned->next) {
        owned->release(owned->thing);
    }
    call->owned = NULL;
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

void call_about_name(struct call *call, const char *name)
{
    (void)snprintf(call->subject, sizeof(call->subject), "device '%s'", name);
    failure_copy(call->name, sizeof(call->name), name);
}

void call_about(struct call *call, const struct dmi_id *id)
{
    switch (id->kind) {
    case DMI_BY_NAME:
        call_about_name(call, id->name);
        break;
    case DMI_BY_UUID:
        (void)snprintf(call->subject, sizeof(call->subject), "the device with uuid '%s'", id->uuid);
        break;
    case DMI_BY_DEVICE:
        (void)snprintf(call->subject, sizeof(call->subject), "device %u:%u", id->device.major,
                       id->device.minor);
        call->device = id->device;
        call->has_device = true;
        break;
    }
}

struct dmi_id call_device(const struct device_ref *ref)
{
    if (ref->name) {
        return (struct dmi_id){.kind = DMI_BY_NAME, .name = ref->name};
    }
    if (ref->uuid) {
        return (struct dmi_id){.kind = DMI_BY_UUID, .uuid = ref->uuid};
    }
    return (struct dmi_id){
        .kind = DMI_BY_DEVICE,
        .device = {.major = ref->device.major, .minor = ref->device.minor},
    };
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
