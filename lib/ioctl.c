/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl.c - the table of the interface's commands, the handle, and the proof
 * that dmioctl.h says the same numbers as the kernel's header. It must not know
 * how a request is built or sent.
 */
#include "ioctl.h"

#include <assert.h>
#include <linux/dm-ioctl.h>

struct ioctl_command {
    const char *name;
    uint32_t lowest_minor;
};

static const struct ioctl_command ioctl_commands[DMI_IOCTL_COUNT] = {
    [DMI_VERSION] = {.name = "DM_VERSION"},
    [DMI_REMOVE_ALL] = {.name = "DM_REMOVE_ALL"},
    [DMI_LIST_DEVICES] = {.name = "DM_LIST_DEVICES"},
    [DMI_DEV_CREATE] = {.name = "DM_DEV_CREATE"},
    [DMI_DEV_REMOVE] = {.name = "DM_DEV_REMOVE"},
    [DMI_DEV_RENAME] = {.name = "DM_DEV_RENAME"},
    [DMI_DEV_SUSPEND] = {.name = "DM_DEV_SUSPEND"},
    [DMI_DEV_STATUS] = {.name = "DM_DEV_STATUS"},
    [DMI_DEV_WAIT] = {.name = "DM_DEV_WAIT"},
    [DMI_TABLE_LOAD] = {.name = "DM_TABLE_LOAD"},
    [DMI_TABLE_CLEAR] = {.name = "DM_TABLE_CLEAR"},
    [DMI_TABLE_DEPS] = {.name = "DM_TABLE_DEPS"},
    [DMI_TABLE_STATUS] = {.name = "DM_TABLE_STATUS"},
    [DMI_LIST_VERSIONS] = {.name = "DM_LIST_VERSIONS"},
    [DMI_TARGET_MSG] = {.name = "DM_TARGET_MSG"},
    [DMI_DEV_SET_GEOMETRY] = {.name = "DM_DEV_SET_GEOMETRY", .lowest_minor = 6},
    [DMI_DEV_ARM_POLL] = {.name = "DM_DEV_ARM_POLL", .lowest_minor = 37},
    [DMI_GET_TARGET_VERSION] = {.name = "DM_GET_TARGET_VERSION", .lowest_minor = 41},
};

#define SAME(ours, kernels)                                                                        \
    static_assert((unsigned int)(ours) == (unsigned int)(kernels), #ours " is not " #kernels)

SAME(DMI_NAME_MAX, DM_NAME_LEN - 1);
SAME(DMI_UUID_MAX, DM_UUID_LEN - 1);
SAME(DMI_TYPE_MAX, DM_MAX_TYPE_NAME - 1);
SAME(IOCTL_MAJOR, DM_VERSION_MAJOR);

SAME(DMI_VERSION, DM_VERSION_CMD);
SAME(DMI_REMOVE_ALL, DM_REMOVE_ALL_CMD);
SAME(DMI_LIST_DEVICES, DM_LIST_DEVICES_CMD);
SAME(DMI_DEV_CREATE, DM_DEV_CREATE_CMD);
SAME(DMI_DEV_REMOVE, DM_DEV_REMOVE_CMD);
SAME(DMI_DEV_RENAME, DM_DEV_RENAME_CMD);
SAME(DMI_DEV_SUSPEND, DM_DEV_SUSPEND_CMD);
SAME(DMI_DEV_STATUS, DM_DEV_STATUS_CMD);
SAME(DMI_DEV_WAIT, DM_DEV_WAIT_CMD);
SAME(DMI_TABLE_LOAD, DM_TABLE_LOAD_CMD);
SAME(DMI_TABLE_CLEAR, DM_TABLE_CLEAR_CMD);
SAME(DMI_TABLE_DEPS, DM_TABLE_DEPS_CMD);
SAME(DMI_TABLE_STATUS, DM_TABLE_STATUS_CMD);
SAME(DMI_LIST_VERSIONS, DM_LIST_VERSIONS_CMD);
SAME(DMI_TARGET_MSG, DM_TARGET_MSG_CMD);
SAME(DMI_DEV_SET_GEOMETRY, DM_DEV_SET_GEOMETRY_CMD);
SAME(DMI_DEV_ARM_POLL, DM_DEV_ARM_POLL_CMD);
SAME(DMI_GET_TARGET_VERSION, DM_GET_TARGET_VERSION_CMD);

SAME(DMI_READONLY, DM_READONLY_FLAG);
SAME(DMI_SUSPEND, DM_SUSPEND_FLAG);
SAME(DMI_PERSISTENT_DEV, DM_PERSISTENT_DEV_FLAG);
SAME(DMI_STATUS_TABLE, DM_STATUS_TABLE_FLAG);
SAME(DMI_ACTIVE_PRESENT, DM_ACTIVE_PRESENT_FLAG);
SAME(DMI_INACTIVE_PRESENT, DM_INACTIVE_PRESENT_FLAG);
SAME(DMI_BUFFER_FULL, DM_BUFFER_FULL_FLAG);
SAME(DMI_SKIP_BDGET, DM_SKIP_BDGET_FLAG);
SAME(DMI_SKIP_LOCKFS, DM_SKIP_LOCKFS_FLAG);
SAME(DMI_NOFLUSH, DM_NOFLUSH_FLAG);
SAME(DMI_QUERY_INACTIVE_TABLE, DM_QUERY_INACTIVE_TABLE_FLAG);
SAME(DMI_UEVENT_GENERATED, DM_UEVENT_GENERATED_FLAG);
SAME(DMI_UUID, DM_UUID_FLAG);
SAME(DMI_SECURE_DATA, DM_SECURE_DATA_FLAG);
SAME(DMI_DATA_OUT, DM_DATA_OUT_FLAG);
SAME(DMI_DEFERRED_REMOVE, DM_DEFERRED_REMOVE);
SAME(DMI_INTERNAL_SUSPEND, DM_INTERNAL_SUSPEND_FLAG);
SAME(DMI_IMA_MEASUREMENT, DM_IMA_MEASUREMENT_FLAG);

const char *dmi_ioctl_name(enum dmi_ioctl nr)
{
    return nr >= 0 && nr < DMI_IOCTL_COUNT ? ioctl_commands[nr].name : NULL;
}

uint32_t ioctl_lowest_minor(enum dmi_ioctl nr)
{
    return ioctl_commands[nr].lowest_minor;
}

uint64_t ioctl_encode_device(struct dmi_device device)
{
    return (device.minor & 0xff) | ((uint64_t)device.major << 8) |
           ((uint64_t)(device.minor & ~0xffU) << 12);
}

struct dmi_device ioctl_decode_device(uint64_t encoded)
{
    return (struct dmi_device){
        .major = (uint32_t)(encoded >> 8) & IOCTL_DEVICE_MAJOR_MAX,
        .minor = (uint32_t)(encoded & 0xff) | ((uint32_t)(encoded >> 12) & 0xfff00),
    };
}

void dmi_init(struct dmi *dm, struct dmi_transport *transport)
{
    *dm = (struct dmi){.transport = transport, .max_reply = IOCTL_SIZE_MAX, .last = DMI_NONE};
}
