/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods that make, remove, name, suspend and resume devices, and tell of one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "keeper.h"
#include "text.h"

/* Between tries of a remove: no event tells of a last close. */
enum { RETRY_MS = 50 };

/* Names that device-mapper's folder has for itself; kernels before 6.5 would take them. */
static int check_name(struct call *call, const char *path, const char *name)
{
    if (strchr(name, '/')) {
        return call_fail_param(call, path, "holds a '/', which no device's name may");
    }
    if (strcmp(name, "control") == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return call_fail_param(call, path, "is taken in /dev/mapper by something else");
    }
    return 0;
}

/* The kernel says ENXIO for a minor that is taken, and for much else: look who has it. */
static int fail_create(struct call *call, const struct device_create_params *params, int rc)
{
    struct dmi_majors majors = {0};

    (void)call_fail_kernel(call, rc);
    if (rc != -ENXIO || !params->has_minor || dmi_dev_majors(&call->dm, &majors) < 0) {
        return CALL_FAILED;
    }
    for (size_t i = 0; i < majors.count; i++) {
        const struct dmi_id id = {.kind = DMI_BY_DEVICE,
                                  .device = {majors.majors[i], params->minor}};
        struct dmi_info info;
        if (dmi_device_status(&call->dm, &id, 0, &info) == 0) {
            call->failure.id = ERROR_DEVICE_EXISTS;
            call->failure.data.error = error_table[ERROR_DEVICE_EXISTS].name;
            call->failure.data.hint = "list_devices shows who has which minor";
            bool seen = access_sees(call->rules, &call->peer, call->method, info.name, info.uuid);
            (void)snprintf(call->failure.message, sizeof(call->failure.message),
                           "The minor %u is taken by %s%s%s.", params->minor,
                           seen ? "device '" : "another device", seen ? info.name : "",
                           seen ? "'" : "");
            break;
        }
    }
    dmi_majors_done(&majors);
    return CALL_FAILED;
}

int method_device_create(struct call *call, const struct device_create_params *params,
                         struct device_info *result)
{
    bool persistent = params->flags & DMI_PERSISTENT_DEV;
    struct dmi_info info;
    int rc = check_name(call, "/name", params->name);

    if (rc == 0 && persistent && !params->has_minor) {
        rc = call_fail_param(call, "/minor", "missing, and DM_PERSISTENT_DEV wants one");
    }
    if (rc == 0 && params->has_minor && !persistent) {
        rc = call_fail_param(call, "/minor", "is only taken with the flag DM_PERSISTENT_DEV");
    }
    if (rc != 0) {
        return rc;
    }
    rc = dmi_device_create(&call->dm, params->name, params->uuid, params->flags, params->minor,
                           &info);
    return rc < 0 ? fail_create(call, params, rc) : call_info(call, &info, result);
}

/*
 * The number was found when the call's turn came. If another program had given the name to another
 * device by then, the one of that number is still there.
 */
static void end_lease(const struct call *call)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = call->device};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, call->host->transport);
    if (call->has_device && dmi_device_status(&dm, &id, 0, &info) == -ENXIO) {
        keeper_removed(call->host->keeper, call->device);
    }
}

int method_device_remove(struct call *call, const struct device_remove_params *params,
                         struct device_remove_result *result)
{
    struct dmi_id id = call_device(call);
    struct dmi_info info;

    if (params->retry && !params->has_timeout_ms) {
        return call_fail_param(call, "/timeout_ms", "missing, and retry wants an end");
    }
    int rc = dmi_device_remove(&call->dm, &id, params->flags, DMI_UDEV_PRIMARY_SOURCE, &info);
    if (rc == -EBUSY && params->retry) {
        return call_again(call, rc, RETRY_MS);
    }
    if (rc < 0) {
        return rc;
    }
    if (!(info.flags & DMI_DEFERRED_REMOVE)) {
        end_lease(call);
    }
    call->info = info;
    *result = (struct device_remove_result){
        .name = call->info.name,
        .has_name_exact = !text_is_utf8(call->info.name),
        .deferred = info.flags & DMI_DEFERRED_REMOVE,
        .tries = call->tries,
        .flags = info.flags & DMI_KNOWN_FLAGS,
    };
    return 0;
}

static int fail_look(struct call *call, int rc)
{
    (void)call_fail_kernel(call, rc);
    call->failure.data.state = "the change was made; only the look at it afterwards failed";
    return CALL_FAILED;
}

/* The kernel's answer to a rename still bears the old name: ask again by the new one. */
static int info_by_name(struct call *call, const char *name, uint32_t flags,
                        struct device_info *result)
{
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = name};
    struct dmi_info info;
    int rc = dmi_device_status(&call->dm, &id, 0, &info);

    if (rc < 0) {
        return fail_look(call, rc);
    }
    info.flags |= flags & DMI_UEVENT_GENERATED;
    return call_info(call, &info, result);
}

int method_device_rename(struct call *call, const struct device_rename_params *params,
                         struct device_info *result)
{
    struct dmi_info info;
    int rc = check_name(call, "/new_name", params->new_name);

    if (rc == 0) {
        rc = dmi_device_rename(&call->dm, params->name, params->new_name, DMI_UDEV_PRIMARY_SOURCE,
                               &info);
    }
    return rc ? rc : info_by_name(call, params->new_name, info.flags, result);
}

int method_device_set_uuid(struct call *call, const struct device_set_uuid_params *params,
                           struct device_info *result)
{
    struct dmi_info info;
    int rc =
        dmi_device_set_uuid(&call->dm, params->name, params->uuid, DMI_UDEV_PRIMARY_SOURCE, &info);

    return rc ? rc : info_by_name(call, params->name, info.flags, result);
}

/* --- suspend and resume --- */

/* Says what a suspend or resume that failed has left; the caller must know before all else. */
static int fail_with_state(struct call *call, const struct dmi_id *id, int rc)
{
    struct dmi_info info;

    (void)call_fail_kernel(call, rc);
    if (dmi_device_status(&call->dm, id, 0, &info) < 0) {
        call->failure.data.state = "unknown: the device's status cannot be read";
        return CALL_FAILED;
    }
    (void)snprintf(call->failure.state, sizeof(call->failure.state),
                   "%s; %s live table, %s inactive one",
                   info.flags & DMI_SUSPEND ? "SUSPENDED" : "running",
                   info.flags & DMI_ACTIVE_PRESENT ? "a" : "no",
                   info.flags & DMI_INACTIVE_PRESENT ? "an" : "no");
    call->failure.data.state = call->failure.state;
    if (info.flags & DMI_SUSPEND) {
        call->failure.data.hint =
            "I/O to the device waits: resume it; if that is refused again, load the old table "
            "and resume";
    }
    return CALL_FAILED;
}

static int fail_no_table(struct call *call)
{
    (void)call_fail(call, ERROR_NO_TABLE,
                    "There is no table on %s to activate; the kernel did nothing.", call->subject);
    call->failure.data.hint = "load a table first";
    return CALL_FAILED;
}

/*
 * Without any table the kernel says success, or EINVAL if somebody suspended the device. Once it
 * has failed, whether there was a table cannot be told: a swap that fails uses it up.
 */
static int resume(struct call *call, const struct dmi_id *id, uint32_t flags,
                  struct device_info *result)
{
    struct dmi_info info;
    int rc = dmi_device_status(&call->dm, id, 0, &info);

    if (rc == 0 && !(info.flags & (DMI_ACTIVE_PRESENT | DMI_INACTIVE_PRESENT))) {
        return fail_no_table(call);
    }
    rc = dmi_device_resume(&call->dm, id, flags, DMI_UDEV_PRIMARY_SOURCE, &info);
    if (rc < 0) {
        return fail_with_state(call, id, rc);
    }
    if (!(info.flags & DMI_SUSPEND)) {
        keeper_resumed(call->host->keeper, info.device);
        call_tell(call, EVENT_RESUMED, &info);
    }
    return info.flags & DMI_ACTIVE_PRESENT ? call_info(call, &info, result) : fail_no_table(call);
}

/* Suspended without a live table, a device could not be resumed until it gets one. */
static int check_live_table(struct call *call, const struct dmi_id *id, struct dmi_info *ret_info)
{
    int rc = dmi_device_status(&call->dm, id, 0, ret_info);

    if (rc < 0 || ret_info->flags & DMI_ACTIVE_PRESENT) {
        return rc;
    }
    (void)call_fail(call, ERROR_NO_TABLE, "There is no live table on %s to suspend.",
                    call->subject);
    call->failure.data.hint = ret_info->flags & DMI_INACTIVE_PRESENT
                                  ? "a table is loaded: device_resume makes it live"
                                  : "load a table and resume the device first";
    return CALL_FAILED;
}

/* --- leases --- */

/* The lease of one suspend. */
struct hold {
    enum keeper_answer answer;
    struct keeper_view view;
    bool was_suspended; /* before the call: nothing is to be done, or undone */
};

static int check_terms(struct call *call, const struct device_suspend_params *params,
                       struct keeper_terms *ret_terms)
{
    /* The loop may set it meanwhile, when the configuration is read again. */
    uint64_t longest =
        1000 * (uint64_t)__atomic_load_n(&call->host->limits.lease_seconds, __ATOMIC_RELAXED);
    bool given = params->has_resume_after_ms || params->resume_on_disconnect;

    if (given && !(params->flags & DMI_SUSPEND)) {
        return call_fail_param(
            call, params->has_resume_after_ms ? "/resume_after_ms" : "/resume_on_disconnect",
            "is only taken with the flag DM_SUSPEND");
    }
    if (params->resume_on_disconnect && call->peer.connection == 0) {
        return call_fail_param(call, "/resume_on_disconnect",
                               "wants a connection that stays: over HTTP the next request may come "
                               "by another");
    }
    if (longest > 0 && params->resume_after_ms > longest) {
        return call_fail_param(call, "/resume_after_ms",
                               "is longer than the server lets a device be suspended: its limit is "
                               "lease_seconds");
    }
    *ret_terms = (struct keeper_terms){
        .given = given,
        .after_ms = params->has_resume_after_ms ? params->resume_after_ms : longest,
        .on_disconnect = params->resume_on_disconnect,
    };
    return 0;
}

static uint64_t left_ms(const struct keeper_view *view)
{
    uint64_t now = lease_clock();

    return view->deadline > now ? (view->deadline - now + 999999) / 1000000 : 0;
}

static int fail_held(struct call *call, const struct keeper_view *view)
{
    char until[64] = "";
    char with[64] = "";

    (void)call_fail(call, ERROR_DEVICE_BUSY, "Somebody else has suspended %s.", call->subject);
    if (view->deadline != LEASE_NEVER) {
        (void)snprintf(until, sizeof(until), ", for %llu ms more",
                       (unsigned long long)left_ms(view));
    }
    if (view->on_disconnect) {
        (void)snprintf(with, sizeof(with), ", while connection %llu is there",
                       (unsigned long long)view->connection);
    }
    (void)snprintf(call->failure.state, sizeof(call->failure.state),
                   "%s by process %d of user id %u%s%s",
                   view->ending ? "being rolled back; suspended" : "suspended", (int)view->pid,
                   view->uid, until, with);
    call->failure.data.state = call->failure.state;
    call->failure.data.hint = "lease_list shows who holds which device, and for how long";
    return CALL_FAILED;
}

static int begin_lease(struct call *call, const struct dmi_info *info,
                       const struct keeper_terms *terms, struct hold *hold)
{
    const struct keeper_request request = {
        .dm = &call->dm,
        .info = info,
        .peer = &call->peer,
        .terms = *terms,
    };

    hold->answer = keeper_begin(call->host->keeper, &request, &hold->view);
    if (hold->answer == KEEPER_OTHERS) {
        return fail_held(call, &hold->view);
    }
    if (hold->answer == KEEPER_FULL) {
        (void)call_fail(call, ERROR_OVERLOADED,
                        "There is no room for another lease; the device was not suspended.");
        call->failure.data.limit = LEASE_SLOTS;
        call->failure.data.has_limit = true;
        return CALL_FAILED;
    }
    return 0;
}

/* A new lease; unless its device is suspended nevertheless, or that cannot be told. */
static void drop_lease(struct call *call, const struct hold *hold)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = hold->view.device};
    struct dmi dm;
    struct dmi_info info;

    if (hold->answer != KEEPER_NEW) {
        return;
    }
    dmi_init(&dm, call->host->transport);
    int rc = dmi_device_status(&dm, &id, 0, &info);
    if (rc == -ENXIO || (rc == 0 && !(info.flags & DMI_SUSPEND))) {
        keeper_drop(call->host->keeper, &hold->view);
    }
}

/*
 * Nobody else would resume. Of the suspend's answer only the number counts: the suspend may have
 * lasted for long, and other programs may have given the device another name, or a table.
 */
static int undo_suspend(struct call *call, const struct hold *hold,
                        const struct dmi_info *suspended, enum error_id error, const char *why)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = suspended->device};
    const char *left = "the device runs";
    struct dmi_info info;
    int rc = dmi_device_status(&call->dm, &id, 0, &info);

    if (rc == 0 && info.flags & DMI_INACTIVE_PRESENT) {
        left = "the device runs; its inactive table, which that would have made live, was cleared";
    }
    rc = rc < 0 ? rc : lease_resume(&call->dm, &id, true, &info);
    if (rc < 0) {
        return fail_with_state(call, &id, rc);
    }
    drop_lease(call, hold);
    keeper_resumed(call->host->keeper, info.device);
    (void)call_fail(call, error, "%s%sit was undone, %s.", why, *why ? ": " : "", left);
    call->failure.data.state = left;
    return CALL_FAILED;
}

/*
 * The kernel was told to suspend by the identifier that the caller has a right to. Another
 * program may have given it to another device since the lease was written.
 */
static int confirm_lease(struct call *call, const struct hold *hold, const struct dmi_info *info)
{
    if (hold->answer != KEEPER_NEW && hold->answer != KEEPER_HELD) {
        return 0;
    }
    enum keeper_answer answer = keeper_confirm(call->host->keeper, &call->dm, &hold->view, info);
    if (answer == KEEPER_HELD) {
        return 0;
    }
    if (answer == KEEPER_OTHERS || hold->was_suspended) {
        (void)call_fail(call, ERROR_TIMED_OUT, "The lease of %s was over before it was suspended.",
                        call->subject);
        call->failure.data.state = "it is being resumed, or runs";
        return CALL_FAILED;
    }
    if (answer == KEEPER_FOREIGN) {
        return undo_suspend(call, hold, info, ERROR_DEVICE_NOT_FOUND,
                            "Another device was suspended than the one found before");
    }
    return undo_suspend(call, hold, info, ERROR_TIMED_OUT,
                        "The lease was over before the device was suspended");
}

/* The device is suspended: what the caller is told of it. */
static void tell_lease(const struct hold *hold, struct device_info *result)
{
    result->already_suspended = result->has_already_suspended = hold->answer == KEEPER_FOREIGN;
    result->has_lease = hold->answer == KEEPER_NEW || hold->answer == KEEPER_HELD;
    if (result->has_lease) {
        result->lease = (struct lease_end){
            .resume_on_disconnect = hold->view.on_disconnect,
            .has_ends_in_ms = hold->view.deadline != LEASE_NEVER,
            .ends_in_ms = left_ms(&hold->view),
        };
    }
}

/* What was suspended before this call stays so, whatever becomes of the call. */
static int suspend(struct call *call, const struct dmi_id *id, uint32_t flags,
                   const struct keeper_terms *terms, struct device_info *result)
{
    struct hold hold = {.answer = KEEPER_NONE};
    struct dmi_info info;
    int rc = check_live_table(call, id, &info);

    if (rc == 0) {
        rc = begin_lease(call, &info, terms, &hold);
    }
    if (rc != 0) {
        return rc;
    }
    hold.was_suspended = info.flags & DMI_SUSPEND;
    rc = hold.was_suspended ? 0 : dmi_device_suspend(&call->dm, id, flags, &info);
    if (rc < 0) {
        drop_lease(call, &hold);
        return fail_with_state(call, id, rc);
    }
    /* Its caller may have been told that it still ran. */
    bool given_up = !call_commit(call) && !hold.was_suspended;
    rc = confirm_lease(call, &hold, &info);
    if (rc == 0 && given_up) {
        rc = undo_suspend(call, &hold, &info, ERROR_CANCELLED, "");
    }
    if (rc != 0) {
        return rc;
    }
    call_tell(call, EVENT_SUSPENDED, &info);
    rc = call_info(call, &info, result);
    tell_lease(&hold, result);
    return rc;
}

int method_device_suspend(struct call *call, const struct device_suspend_params *params,
                          struct device_info *result)
{
    struct dmi_id id = call_device(call);
    uint32_t flags = params->flags & ~(uint32_t)DMI_SUSPEND;
    struct keeper_terms terms;
    int rc = check_terms(call, params, &terms);

    if (rc != 0) {
        return rc;
    }
    return params->flags & DMI_SUSPEND ? suspend(call, &id, flags, &terms, result)
                                       : resume(call, &id, flags, result);
}

int method_device_resume(struct call *call, const struct device_resume_params *params,
                         struct device_info *result)
{
    struct dmi_id id = call_device(call);

    return resume(call, &id, params->flags, result);
}

int method_device_status(struct call *call, const struct device_status_params *params,
                         struct device_info *result)
{
    struct dmi_id id = call_device(call);
    struct dmi_info info;
    int rc = dmi_device_status(&call->dm, &id, params->flags, &info);

    return rc < 0 ? rc : call_info(call, &info, result);
}

int method_device_set_geometry(struct call *call, const struct device_set_geometry_params *params,
                               struct device_info *result)
{
    struct dmi_id id = call_device(call);
    const struct dmi_geometry geometry = {
        .cylinders = params->cylinders,
        .heads = params->heads,
        .sectors = params->sectors,
        .start = params->start,
    };
    struct dmi_info info;
    int rc = dmi_device_set_geometry(&call->dm, &id, &geometry, &info);

    if (rc < 0) {
        return rc;
    }
    rc = dmi_device_status(&call->dm, &id, 0, &info); /* the kernel's own answer is empty */
    return rc < 0 ? fail_look(call, rc) : call_info(call, &info, result);
}
