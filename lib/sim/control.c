/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every ioctl goes through (the kernel's ctl_ioctl()): the version, a copy of
 * the request for the kernel, the wiping of secret ones, the handler, and what of
 * the copy goes back to the caller. Nobody else touches the caller's buffer.
 */
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "call.h"
#include "fault.h"

/* 1 GiB: DM_MAX_TARGETS * DM_MAX_TARGET_PARAMS */
#define DATA_SIZE_MAX (UINT32_C(1) << 30)

enum {
    NO_PARAMS = 1 << 0,    /* the handler sees and returns the header only */
    GLOBAL_EVENT = 1 << 1, /* success wakes whoever polls */
};

static const struct command {
    int (*run)(struct sim_call *call);
    unsigned int flags;
} commands[] = {
    [DM_REMOVE_ALL_CMD] = {sim_call_remove_all, NO_PARAMS | GLOBAL_EVENT},
    [DM_LIST_DEVICES_CMD] = {sim_call_list_devices, 0},
    [DM_DEV_CREATE_CMD] = {sim_call_create, NO_PARAMS | GLOBAL_EVENT},
    [DM_DEV_REMOVE_CMD] = {sim_call_remove, NO_PARAMS | GLOBAL_EVENT},
    [DM_DEV_RENAME_CMD] = {sim_call_rename, GLOBAL_EVENT},
    [DM_DEV_SUSPEND_CMD] = {sim_call_suspend, NO_PARAMS},
    [DM_DEV_STATUS_CMD] = {sim_call_status, NO_PARAMS},
    [DM_DEV_WAIT_CMD] = {sim_call_wait, 0},
    [DM_TABLE_LOAD_CMD] = {sim_call_load, 0},
    [DM_TABLE_CLEAR_CMD] = {sim_call_clear, NO_PARAMS},
    [DM_TABLE_DEPS_CMD] = {sim_call_deps, 0},
    [DM_TABLE_STATUS_CMD] = {sim_call_table_status, 0},
    [DM_LIST_VERSIONS_CMD] = {sim_call_list_versions, 0},
    [DM_TARGET_MSG_CMD] = {sim_call_message, 0},
    [DM_DEV_SET_GEOMETRY_CMD] = {sim_call_geometry, 0},
    [DM_DEV_ARM_POLL_CMD] = {sim_call_arm_poll, NO_PARAMS},
    [DM_GET_TARGET_VERSION_CMD] = {sim_call_target_version, 0},
};

/* check_version(): the kernel's version goes back even where it refuses the caller's. */
static int check_version(struct dmi_sim *sim, unsigned int nr, struct dm_ioctl *user)
{
    static const uint32_t ours[3] = {4, 47, 0};
    uint32_t theirs[3];

    memcpy(theirs, user->version, sizeof(theirs));
    memcpy(user->version, ours, sizeof(ours));
    if (theirs[0] == ours[0] && theirs[1] <= ours[1])
        return 0;
    sim_lock(sim);
    sim_log(sim, "ioctl", "ioctl interface mismatch: kernel(%u.%u.%u), user(%u.%u.%u), cmd(%u)",
            ours[0], ours[1], ours[2], theirs[0], theirs[1], theirs[2], nr);
    sim_unlock(sim);
    return -EINVAL;
}

/* copy_params(): *ret_copy is malloc'ed. A secret request is wiped from the caller's buffer. */
static int copy_in(struct dmi_sim *sim, const struct command *command, struct dm_ioctl *user,
                   struct dm_ioctl **ret_copy, size_t *ret_size)
{
    size_t size = user->data_size;

    if (size < SIM_NO_PARAMS_SIZE || size > DATA_SIZE_MAX) {
        sim_lock(sim);
        sim_log(sim, "ioctl", "Invalid data size in the ioctl structure: %zu", size);
        sim_unlock(sim);
        return -EINVAL;
    }
    if (command->flags & NO_PARAMS)
        size = SIM_NO_PARAMS_SIZE;

    size_t room = size > sizeof(struct dm_ioctl) ? size : sizeof(struct dm_ioctl);
    struct dm_ioctl *copy = malloc(room);
    if (copy) {
        memset((char *)copy + size, 0, room - size);
        memcpy(copy, user, size);
        copy->data_size = (uint32_t)size;
    }
    if (user->flags & DM_SECURE_DATA_FLAG)
        memset(user, 0, size);
    if (!copy)
        return -ENOMEM;
    *ret_copy = copy;
    *ret_size = size;
    return 0;
}

/* validate_params() */
static int check_params(struct dmi_sim *sim, unsigned int nr, struct dm_ioctl *param)
{
    param->flags &= ~(uint32_t)(DM_BUFFER_FULL_FLAG | DM_UEVENT_GENERATED_FLAG |
                                DM_SECURE_DATA_FLAG | DM_DATA_OUT_FLAG);
    if (nr == DM_REMOVE_ALL_CMD || nr == DM_LIST_DEVICES_CMD || nr == DM_LIST_VERSIONS_CMD)
        return 0;
    if (nr == DM_DEV_CREATE_CMD) {
        if (!*param->name) {
            sim_log(sim, "ioctl", "name not supplied when creating device");
            return -EINVAL;
        }
    } else if (*param->uuid && *param->name) {
        sim_log(sim, "ioctl", "only supply one of name or uuid, cmd(%u)", nr);
        return -EINVAL;
    }
    param->name[DM_NAME_LEN - 1] = '\0';
    param->uuid[DM_UUID_LEN - 1] = '\0';
    return 0;
}

static int run_command(struct sim_call *call, unsigned int nr)
{
    sim_lock(call->sim);
    int rc = check_params(call->sim, nr, call->param);
    if (rc == 0)
        rc = sim_fault_meet(call, nr);
    if (rc == 0) {
        call->param->data_size = SIM_NO_PARAMS_SIZE;
        rc = commands[nr].run(call);
        if (rc == 0 && commands[nr].flags & GLOBAL_EVENT)
            sim_global_event(call->sim);
    }
    sim_unlock(call->sim);
    return rc;
}

int sim_control_ioctl(struct sim_file *file, unsigned int nr, struct dm_ioctl *user)
{
    struct sim_call call = {.sim = file->sim, .file = file};

    int rc = check_version(file->sim, nr, user);
    if (rc < 0 || nr == DM_VERSION_CMD)
        return rc;
    if (nr >= sizeof(commands) / sizeof(commands[0]))
        return -ENOTTY;
    rc = copy_in(file->sim, &commands[nr], user, &call.param, &call.size);
    if (rc < 0)
        return rc;

    bool secret = call.param->flags & DM_SECURE_DATA_FLAG;
    rc = run_command(&call, nr);
    if (rc == 0)
        memcpy(user, call.param, call.param->data_size);
    if (secret)
        explicit_bzero(call.param, call.size);
    free(call.param);
    return rc;
}

void sim_control_arm(struct sim_file *file)
{
    eventfd_t count;

    file->event_nr = file->sim->event_nr;
    if (file->readable)
        (void)eventfd_read(file->fd, &count);
    file->readable = false;
}
