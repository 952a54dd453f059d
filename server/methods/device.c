/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods that make, remove, name, suspend and resume devices, and tell of one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "call.h"
#include "text.h"

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
            (void)snprintf(call->failure.message, sizeof(call->failure.message),
                           "The minor %u is taken by device '%s'.", params->minor, info.name);
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

int method_device_remove(struct call *call, const struct device_remove_params *params,
                         struct device_remove_result *result)
{
    struct dmi_id id = call_device(&params->ref);
    struct dmi_info info;
    int rc = dmi_device_remove(&call->dm, &id, params->flags, DMI_UDEV_PRIMARY_SOURCE, &info);

    if (rc < 0) {
        return rc;
    }
    call->info = info;
    *result = (struct device_remove_result){
        .name = call->info.name,
        .has_name_exact = !text_is_utf8(call->info.name),
        .deferred = info.flags & DMI_DEFERRED_REMOVE,
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
    return info.flags & DMI_ACTIVE_PRESENT ? call_info(call, &info, result) : fail_no_table(call);
}

/* Suspended without a live table, a device could not be resumed until it gets one. */
static int check_live_table(struct call *call, const struct dmi_id *id)
{
    struct dmi_info info;
    int rc = dmi_device_status(&call->dm, id, 0, &info);

    if (rc < 0 || info.flags & DMI_ACTIVE_PRESENT) {
        return rc;
    }
    (void)call_fail(call, ERROR_NO_TABLE, "There is no live table on %s to suspend.",
                    call->subject);
    call->failure.data.hint = info.flags & DMI_INACTIVE_PRESENT
                                  ? "a table is loaded: device_resume makes it live"
                                  : "load a table and resume the device first";
    return CALL_FAILED;
}

int method_device_suspend(struct call *call, const struct device_suspend_params *params,
                          struct device_info *result)
{
    struct dmi_id id = call_device(&params->ref);
    uint32_t flags = params->flags & ~(uint32_t)DMI_SUSPEND;
    struct dmi_info info;

    if (!(params->flags & DMI_SUSPEND)) {
        return resume(call, &id, flags, result);
    }
    int rc = check_live_table(call, &id);
    if (rc != 0) {
        return rc;
    }
    rc = dmi_device_suspend(&call->dm, &id, flags, &info);
    return rc < 0 ? fail_with_state(call, &id, rc) : call_info(call, &info, result);
}

int method_device_resume(struct call *call, const struct device_resume_params *params,
                         struct device_info *result)
{
    struct dmi_id id = call_device(&params->ref);

    return resume(call, &id, params->flags, result);
}

int method_device_status(struct call *call, const struct device_status_params *params,
                         struct device_info *result)
{
    struct dmi_id id = call_device(&params->ref);
    struct dmi_info info;
    int rc = dmi_device_status(&call->dm, &id, params->flags, &info);

    return rc < 0 ? rc : call_info(call, &info, result);
}

int method_device_set_geometry(struct call *call, const struct device_set_geometry_params *params,
                               struct device_info *result)
{
    struct dmi_id id = call_device(&params->ref);
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
