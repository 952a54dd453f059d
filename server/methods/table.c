/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods about tables and the targets in them; device_wait too, whose answer is
 * a table's status.
 */
#include <errno.h>
#include <string.h>

#include "call.h"
#include "text.h"

/* Target types whose lines can hold a key: the kernel is asked to wipe its copies. */
static bool holds_key(const char *type)
{
    static const char *const types[] = {"crypt", "integrity", "default-key", "inlinecrypt"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i], type) == 0) {
            return true;
        }
    }
    return false;
}

int method_table_load(struct call *call, const struct table_load_params *params,
                      struct device_info *result)
{
    struct dmi_id id = call_device(&params->ref);
    struct dmi_target *targets = call_alloc(call, params->targets_count, sizeof(*targets));
    uint32_t flags = params->flags;
    struct dmi_info info;

    if (!targets) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < params->targets_count; i++) {
        const struct new_target_line *line = &params->targets[i];
        targets[i] = (struct dmi_target){line->start, line->length, line->type, line->params};
        flags |= holds_key(line->type) ? DMI_SECURE_DATA : 0;
    }
    int rc = dmi_table_load(&call->dm, &id, targets, params->targets_count, flags, &info);
    return rc < 0 ? rc : call_info(call, &info, result);
}

int method_table_clear(struct call *call, const struct table_clear_params *params,
                       struct device_info *result)
{
    struct dmi_id id = call_device(&params->ref);
    struct dmi_info info;
    int rc = dmi_table_clear(&call->dm, &id, &info);

    return rc < 0 ? rc : call_info(call, &info, result);
}

static void release_table(void *thing)
{
    dmi_table_done(thing);
}

static int status(struct call *call, const struct dmi_id *id, uint32_t flags,
                  struct table_status_result *result)
{
    struct dmi_table *table = call_alloc(call, 1, sizeof(*table));
    int rc = table ? dmi_table_status(&call->dm, id, flags, table) : -ENOMEM;

    if (rc == 0) {
        rc = call_own(call, table, release_table);
    }
    if (rc < 0) {
        return rc;
    }
    struct target_line *lines = call_alloc(call, table->count, sizeof(*lines));
    if (!lines) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct dmi_target *target = &table->targets[i];
        lines[i] = (struct target_line){
            .start = target->start,
            .length = target->length,
            .type = target->type,
            .params = target->params,
            .has_params_exact = !text_is_utf8(target->params),
        };
    }
    result->targets = lines;
    result->targets_count = table->count;
    return call_info(call, &table->info, &result->info);
}

int method_table_status(struct call *call, const struct table_status_params *params,
                        struct table_status_result *result)
{
    struct dmi_id id = call_device(&params->ref);
    /* Without NOFLUSH thin and cache commit their metadata: that is a write. */
    uint32_t flags = params->flags | (call->may_write ? 0 : DMI_NOFLUSH);

    return status(call, &id, flags, result);
}

int method_device_wait(struct call *call, const struct device_wait_params *params,
                       struct device_wait_result *result)
{
    /* By its number, as it was waited for: the event may have been a rename. */
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = call->device};
    struct table_status_result now = {0};
    int rc = status(call, &id, DMI_NOFLUSH, &now);

    (void)params;
    if (rc == 0) {
        result->info = now.info;
        result->targets = now.targets;
        result->targets_count = now.targets_count;
    }
    return rc;
}

static void release_deps(void *thing)
{
    dmi_deps_done(thing);
}

int method_table_deps(struct call *call, const struct table_deps_params *params,
                      struct table_deps_result *result)
{
    struct dmi_id id = call_device(&params->ref);
    struct dmi_deps *deps = call_alloc(call, 1, sizeof(*deps));
    int rc = deps ? dmi_table_deps(&call->dm, &id, params->flags, deps) : -ENOMEM;

    if (rc == 0) {
        rc = call_own(call, deps, release_deps);
    }
    if (rc < 0) {
        return rc;
    }
    struct device *devices = call_alloc(call, deps->count, sizeof(*devices));
    if (!devices) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < deps->count; i++) {
        devices[i] = (struct device){deps->devices[i].major, deps->devices[i].minor};
    }
    result->devices = devices;
    result->devices_count = deps->count;
    return call_info(call, &deps->info, &result->info);
}

static void release_message(void *thing)
{
    dmi_message_done(thing);
}

/* Without a live table there is no target to hear a message: the kernel says EINVAL to that too. */
static int fail_message(struct call *call, const struct dmi_id *id,
                        const struct target_msg_params *params, int rc)
{
    struct dmi_info info;

    (void)call_fail_kernel(call, rc);
    if (rc == -EMSGSIZE) {
        call->failure.data.state = "the message was carried out; only its output was lost";
        call->failure.data.hint = "raise max_output";
        call->failure.data.limit = params->max_output;
    } else if (rc == -EINVAL && dmi_device_status(&call->dm, id, 0, &info) == 0 &&
               !(info.flags & DMI_ACTIVE_PRESENT)) {
        (void)call_fail(call, ERROR_NO_TABLE,
                        "There is no live table on %s, so no target to hear a message.",
                        call->subject);
        call->failure.data.hint = "load a table and resume the device first";
    }
    return CALL_FAILED;
}

int method_target_msg(struct call *call, const struct target_msg_params *params,
                      struct target_msg_result *result)
{
    struct dmi_id id = call_device(&params->ref);
    struct dmi_message *message = call_alloc(call, 1, sizeof(*message));
    uint32_t flags = params->flags;

    /* Owned before it is sent: from then on nothing may fail. */
    int rc = message ? call_own(call, message, release_message) : -ENOMEM;
    if (rc < 0) {
        return rc;
    }
    if (strncmp(params->message, "key", strlen("key")) == 0) {
        flags |= DMI_SECURE_DATA;
    }
    rc = dmi_target_msg(&call->dm, &id, params->sector, params->message, flags, params->max_output,
                        message);
    if (rc < 0) {
        return fail_message(call, &id, params, rc);
    }
    result->output = message->output;
    return call_info(call, &message->info, &result->info);
}
