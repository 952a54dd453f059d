/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods about tables and the targets in them; device_wait too, whose answer is
 * a table's status.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "keeper.h"
#include "secret.h"
#include "text.h"

/* The number is the one that was found when the call's turn came. */
static void tell_keeper(const struct call *call, const struct dmi_id *id)
{
    keeper_loads(call->host->keeper, id->kind == DMI_BY_DEVICE ? id->device : call->device);
}

static int load(struct call *call, const struct dmi_id *id, const struct dmi_table *table,
                uint32_t flags, struct dmi_info *ret_info)
{
    for (size_t i = 0; i < table->count; i++) {
        flags |= secret_in_type(table->targets[i].type) ? DMI_SECURE_DATA : 0;
    }
    tell_keeper(call, id);
    int rc = dmi_table_load(&call->dm, id, table->targets, table->count, flags, ret_info);
    if (rc == 0) { /* another program may have given the name to another device meanwhile */
        keeper_loads(call->host->keeper, ret_info->device);
    }
    return rc;
}

/* What was read without keys is sent back: the kernel would refuse it, and not say why. */
static int fail_hidden(struct call *call, const char *path)
{
    (void)call_fail_param(call, path, "has " SECRET_MARKER " where a key belongs");
    call->failure.data.hint = "it was read without show_keys: put the key there, or read it by "
                              "table_status with show_keys";
    return CALL_FAILED;
}

/* Lines as they came, for the library; in the call's arena. */
static int take_lines(struct call *call, const struct new_target_line *lines, size_t count,
                      struct dmi_table *ret_table)
{
    struct dmi_target *targets = call_alloc(call, count, sizeof(*targets));

    if (!targets) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const struct new_target_line *line = &lines[i];
        if (secret_is_hidden_line(line->type, line->params)) {
            char path[40];
            (void)snprintf(path, sizeof(path), "/targets/%zu/params", i);
            return fail_hidden(call, path);
        }
        targets[i] = (struct dmi_target){line->start, line->length, line->type, line->params};
    }
    *ret_table = (struct dmi_table){.targets = targets, .count = count};
    return 0;
}

int method_table_load(struct call *call, const struct table_load_params *params,
                      struct device_info *result)
{
    struct dmi_id id = call_device(call);
    struct under_allowed allowed = {0};
    struct dmi_table table;
    struct dmi_info info = {0};
    int rc = take_lines(call, params->targets, params->targets_count, &table);

    if (rc == 0) {
        rc = access_check_lines(call, &table, &allowed);
    }
    if (rc == 0) {
        rc = load(call, &id, &table, params->flags, &info);
    }
    if (rc == 0) {
        rc = access_check_loaded(call, info.device, &allowed);
    }
    under_allowed_done(&allowed);
    return rc ? rc : call_info(call, &info, result);
}

int method_table_clear(struct call *call, const struct table_clear_params *params,
                       struct device_info *result)
{
    struct dmi_id id = call_device(call);
    struct dmi_info info;

    (void)params;
    tell_keeper(call, &id);
    int rc = dmi_table_clear(&call->dm, &id, &info);
    return rc < 0 ? rc : call_info(call, &info, result);
}

/* --- swap --- */

/* All that a swap needs to know for the way back. */
struct swap {
    struct call *call;
    struct dmi_id id; /* by number, from when the new table is in it: names may change */
    uint32_t flags;   /* the caller's */
    struct dmi_table old;
    struct dmi_info now;   /* when last looked at; zeros: */
    bool looked;           /* that did not work */
    bool is_old;           /* the live table was the old one then */
    uint32_t resumed;      /* flags of the kernel's answer to the swap */
    struct failure second; /* what went wrong on the way back */
};

enum { LINES_FLAGS = DMI_STATUS_TABLE | DMI_NOFLUSH | DMI_SECURE_DATA };

/* The old table's lines are the only way back once a target of the new one refuses to start. */
static int keep_old(struct swap *swap, const struct dmi_id *id)
{
    struct call *call = swap->call;
    int rc = dmi_table_status(&call->dm, id, LINES_FLAGS, &swap->old);

    if (rc < 0) {
        return rc;
    }
    uint32_t flags = swap->old.info.flags;
    swap->id = (struct dmi_id){.kind = DMI_BY_DEVICE, .device = swap->old.info.device};
    if (!(flags & DMI_ACTIVE_PRESENT) || swap->old.count == 0) {
        (void)call_fail(call, ERROR_NO_TABLE, "There is no live table on %s to swap.",
                        call->subject);
        call->failure.data.hint = flags & DMI_INACTIVE_PRESENT
                                      ? "a table is loaded: device_resume makes it live"
                                      : "table_load and device_resume give it its first one";
        return CALL_FAILED;
    }
    if (flags & DMI_INACTIVE_PRESENT) {
        (void)call_fail(call, ERROR_DEVICE_BUSY,
                        "There is an inactive table on %s already: somebody is about to swap.",
                        call->subject);
        call->failure.data.hint = "table_clear drops it, device_resume makes it live";
        return CALL_FAILED;
    }
    return 0;
}

static bool is_same(const struct dmi_table *one, const struct dmi_table *other)
{
    bool same = one->count == other->count;

    for (size_t i = 0; same && i < one->count; i++) {
        const struct dmi_target *a = &one->targets[i];
        const struct dmi_target *b = &other->targets[i];
        same = a->start == b->start && a->length == b->length && strcmp(a->type, b->type) == 0 &&
               strcmp(a->params, b->params) == 0;
    }
    return same;
}

static void look(struct swap *swap)
{
    struct dmi_table now = {0};

    swap->looked = dmi_table_status(&swap->call->dm, &swap->id, LINES_FLAGS, &now) == 0;
    swap->now = now.info;
    swap->is_old = swap->looked && is_same(&swap->old, &now);
    dmi_table_done(&now);
}

static int activate(struct swap *swap)
{
    struct dmi_info info;
    int rc = dmi_device_resume(&swap->call->dm, &swap->id, 0, DMI_UDEV_PRIMARY_SOURCE, &info);

    swap->resumed = rc == 0 ? info.flags : 0;
    return rc;
}

/* On the way back: a call that is being ended gets signals for as long as it runs. */
static int activate_again(struct swap *swap)
{
    int rc;

    do {
        rc = activate(swap);
    } while (rc == -EINTR);
    return rc;
}

/* Loading zeros for a key would make garbage of the data. */
static bool is_key_lost(const struct dmi_table *table)
{
    bool lost = false;

    for (size_t i = 0; !lost && i < table->count && table->info.flags & DMI_SUSPEND; i++) {
        lost = secret_is_wiped(table->targets[i].type, table->targets[i].params);
    }
    return lost;
}

/* Where nobody knows what is live this is right, too. */
static int reload_old(struct swap *swap)
{
    uint32_t flags =
        (swap->old.info.flags & DMI_READONLY) | (swap->flags & (uint32_t)DMI_SECURE_DATA);
    struct dmi_info info;

    if (is_key_lost(&swap->old)) {
        failure_set(&swap->second, ERROR_KERNEL_ERROR,
                    "Its key was wiped before the call, and without it the data would be damaged.");
        return CALL_FAILED;
    }
    int rc = load(swap->call, &swap->id, &swap->old, flags, &info);
    return rc < 0 ? rc : activate_again(swap);
}

/* After a swap that failed: the old table live, nothing in the inactive slot, the device running.
 */
static bool put_back(struct swap *swap)
{
    struct call *call = swap->call;
    struct dmi_info info;
    int rc = 0;

    look(swap);
    if (swap->now.flags & DMI_INACTIVE_PRESENT) {
        rc = dmi_table_clear(&call->dm, &swap->id, &info);
    }
    if (!swap->is_old) {
        rc = reload_old(swap);
    } else if (rc == 0 && swap->now.flags & DMI_SUSPEND) {
        rc = activate_again(swap);
    }
    if (rc < 0) {
        failure_set_kernel(&swap->second, rc, &call->dm, call->subject, call->exists);
    }
    return rc == 0;
}

static void tell_state(struct swap *swap, const char *more)
{
    struct failure *failure = &swap->call->failure;
    bool suspended = swap->now.flags & DMI_SUSPEND;
    const char *before = "";

    failure->data.state = failure->state;
    if (!swap->looked) {
        (void)snprintf(failure->state, sizeof(failure->state),
                       "unknown: the device's table cannot be read any more%s", more);
        return;
    }
    if (swap->old.info.flags & DMI_SUSPEND) {
        before = suspended ? ", as before the call" : "; before the call it was suspended";
    }
    (void)snprintf(failure->state, sizeof(failure->state), "the %s table is live %s%s%s%s",
                   swap->is_old ? "old" : "new",
                   suspended ? "and the device SUSPENDED: I/O to it waits" : "and running", before,
                   swap->now.flags & DMI_INACTIVE_PRESENT ? "; an inactive table is there" : "",
                   more);
}

static const char *hint_for(const struct swap *swap)
{
    if (!swap->looked || swap->now.flags & DMI_SUSPEND) {
        return "I/O to the device may wait: resume it; if that is refused again, load the old "
               "table and resume";
    }
    return swap->now.flags & DMI_INACTIVE_PRESENT
               ? "table_clear drops the inactive table"
               : "the kernel log names the target and the reason";
}

static int fail_load(struct swap *swap, int rc)
{
    (void)call_fail_kernel(swap->call, rc);
    look(swap);
    tell_state(swap, "; nothing has changed");
    return CALL_FAILED;
}

/* The first failure is the one that counts; what happened on the way back is added to it. */
static int fail_swap(struct swap *swap, int rc)
{
    struct failure *failure = &swap->call->failure;

    (void)call_fail_kernel(swap->call, rc);
    bool back = put_back(swap);
    look(swap);
    swap->is_old = swap->looked && (back || swap->is_old);
    size_t length = strlen(failure->message);
    (void)snprintf(failure->message + length, sizeof(failure->message) - length, "%s%s",
                   back ? " The old table was put back."
                        : " To put the old table back failed as well: ",
                   swap->second.message);
    tell_state(swap, "");
    failure->data.hint = hint_for(swap);
    return CALL_FAILED;
}

/* Who has leased the suspend, and who subscribes to events, hears what has come of the device. */
static void tell_others(struct swap *swap)
{
    uint32_t was = swap->old.info.flags;
    uint32_t is = swap->now.flags;

    if (!swap->looked) {
        return;
    }
    if (!(is & DMI_SUSPEND)) {
        keeper_resumed(swap->call->host->keeper, swap->now.device);
    }
    /* A swap resumes what ran, too. */
    bool swapped = swap->call->failure.id == ERROR_NONE;
    if (swapped || (was ^ is) & DMI_SUSPEND) {
        call_tell(swap->call, is & DMI_SUSPEND ? EVENT_SUSPENDED : EVENT_RESUMED, &swap->now);
    }
}

/* The kernel has said that it went well. */
static int finish(struct swap *swap, size_t count, struct device_info *result)
{
    struct call *call = swap->call;
    int rc = dmi_device_status(&call->dm, &swap->id, 0, &swap->now);

    swap->looked = rc == 0;
    if (rc < 0) {
        (void)call_fail_kernel(call, rc);
        call->failure.data.state = "the table was swapped; only the look at it afterwards failed";
        return CALL_FAILED;
    }
    if (swap->now.flags & DMI_SUSPEND || swap->now.target_count != count) {
        (void)call_fail(call, ERROR_KERNEL_ERROR,
                        "The table of %s was swapped, but then another program changed the device.",
                        call->subject);
        call->failure.data.state = swap->now.flags & DMI_SUSPEND
                                       ? "the device is SUSPENDED: I/O to it waits"
                                       : "another table than the new one is live";
        return CALL_FAILED;
    }
    swap->now.flags |= swap->resumed & DMI_UEVENT_GENERATED;
    return call_info(call, &swap->now, result);
}

/* Another program has given the identifier to another device since the old lines were read. */
static int fail_other(struct swap *swap, struct dmi_info *other)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = other->device};
    int rc = dmi_table_clear(&swap->call->dm, &id, other);

    (void)call_fail(swap->call, ERROR_DEVICE_NOT_FOUND,
                    "The table went to another device than the one found before: %s is %u:%u now.",
                    swap->call->subject, id.device.major, id.device.minor);
    swap->call->failure.data.state =
        rc < 0 ? "the table is STILL LOADED there: nobody should resume that device before a "
                 "table_clear"
               : "its inactive table was cleared; no live table has changed";
    return CALL_FAILED;
}

/*
 * The inactive table, where it is one that its caller may have. By the caller's own identifier: by
 * number it might be a device that he has no right to any more.
 */
static int load_new(struct swap *swap, const struct dmi_table *table)
{
    struct call *call = swap->call;
    const struct dmi_id id = call_device(call);
    struct under_allowed allowed;
    struct dmi_info info;
    int rc = access_check_lines(call, table, &allowed);

    if (rc == 0) {
        rc = load(call, &id, table, swap->flags, &info);
        if (rc < 0) {
            rc = fail_load(swap, rc);
        } else if (!dmi_device_equal(info.device, swap->old.info.device)) {
            rc = fail_other(swap, &info);
        } else {
            rc = access_check_loaded(call, info.device, &allowed);
        }
    }
    under_allowed_done(&allowed);
    return rc;
}

static int swap_tables(struct swap *swap, const struct dmi_table *table, struct device_info *result)
{
    int rc = load_new(swap, table);

    if (rc != 0) {
        return rc;
    }
    /* Its time may be over by now: a swap that nobody waits for any more is not begun. */
    rc = atomic_load(&swap->call->life.why) == ERROR_NONE ? activate(swap) : -EINTR;
    rc = rc < 0 ? fail_swap(swap, rc) : finish(swap, table->count, result);
    tell_others(swap);
    return rc;
}

int method_table_swap(struct call *call, const struct table_swap_params *params,
                      struct device_info *result)
{
    struct dmi_id id = call_device(call);
    struct swap swap = {.call = call, .flags = params->flags};
    struct dmi_table table;
    int rc = take_lines(call, params->targets, params->targets_count, &table);

    /* The limit on replies is for what clients get; the old lines stay here. */
    call->dm.max_reply = SIZE_MAX;
    if (rc == 0) {
        rc = keep_old(&swap, &id);
    }
    if (rc == 0) {
        rc = swap_tables(&swap, &table, result);
    }
    dmi_table_done(&swap.old);
    return rc;
}

/* --- status --- */

static void release_table(void *thing)
{
    dmi_table_done(thing);
}

/* In place of params with keys in them; in the call's arena. */
static int hide_keys(struct call *call, struct target_line *line)
{
    bool hidden;
    size_t size = secret_hide_line(line->type, line->params, NULL, 0, &hidden) + 1;

    if (!hidden) {
        return 0;
    }
    char *params = call_alloc(call, 1, size);
    if (!params) {
        return -ENOMEM;
    }
    (void)secret_hide_line(line->type, line->params, params, size, &hidden);
    line->params = params;
    line->keys_hidden = line->has_keys_hidden = true;
    return 0;
}

/* The kernel's copies of what may hold keys are wiped as well: see LINES_FLAGS. */
static int status(struct call *call, const struct dmi_id *id, uint32_t flags, bool show_keys,
                  struct table_status_result *result)
{
    struct dmi_table *table = call_alloc(call, 1, sizeof(*table));
    flags |= flags & DMI_STATUS_TABLE ? DMI_SECURE_DATA : 0;
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
    for (size_t i = 0; rc == 0 && i < table->count; i++) {
        const struct dmi_target *target = &table->targets[i];
        lines[i] = (struct target_line){
            .start = target->start,
            .length = target->length,
            .type = target->type,
            .params = target->params,
            .has_params_exact = !text_is_utf8(target->params),
        };
        rc = show_keys ? 0 : hide_keys(call, &lines[i]);
    }
    if (rc < 0) {
        return rc;
    }
    result->targets = lines;
    result->targets_count = table->count;
    return call_info(call, &table->info, &result->info);
}

int method_table_status(struct call *call, const struct table_status_params *params,
                        struct table_status_result *result)
{
    struct dmi_id id = call_device(call);
    /* Without NOFLUSH thin and cache commit their metadata: that is a write. */
    uint32_t flags = params->flags | (access_may_write(call) ? 0 : DMI_NOFLUSH);

    if (params->show_keys && !access_may_show_keys(call)) {
        (void)call_fail(call, ERROR_PERMISSION_DENIED, "User id %u may not see keys of %s: %s.",
                        (unsigned)call->peer.uid, call->subject,
                        rules_configured(call->rules)
                            ? "no rule with show_keys allows it"
                            : "who is neither root nor the daemon's own user gets table lines "
                              "without them");
        call->failure.data.hint = "ask without show_keys: all but the keys is shown then";
        return CALL_FAILED;
    }
    return status(call, &id, flags, params->show_keys, result);
}

int method_device_wait(struct call *call, const struct device_wait_params *params,
                       struct device_wait_result *result)
{
    struct dmi_id id = call_device(call);
    struct table_status_result now = {0};
    int rc = status(call, &id, DMI_NOFLUSH, false, &now);

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
    struct dmi_id id = call_device(call);
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
        call->failure.data.hint = info.flags & DMI_INACTIVE_PRESENT
                                      ? "its table is loaded but not live: device_resume first"
                                      : "load a table and resume the device first";
    }
    return CALL_FAILED;
}

int method_target_msg(struct call *call, const struct target_msg_params *params,
                      struct target_msg_result *result)
{
    struct dmi_id id = call_device(call);
    struct dmi_message *message = call_alloc(call, 1, sizeof(*message));
    uint32_t flags = params->flags;

    if (secret_is_hidden_message(params->message)) {
        return fail_hidden(call, "/message");
    }
    /* Owned before it is sent: from then on nothing may fail. */
    int rc = message ? call_own(call, message, release_message) : -ENOMEM;
    if (rc < 0) {
        return rc;
    }
    if (secret_in_message(params->message)) {
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
