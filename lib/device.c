/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c - the calls that make, change and describe one device. It must not
 * know tables' layouts, nor what becomes of a request once it is submitted.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ioctl.h"
#include "ioctl_buffer.h"
#include "ioctl_request.h"
#include "transport.h"

enum { SUSPEND_FLAGS = DMI_NOFLUSH | DMI_SKIP_LOCKFS };

static int device_submit(struct dmi *dm, const struct ioctl_request *request,
                         struct dmi_info *ret_info)
{
    struct dm_ioctl buffer = {0};

    return ioctl_submit_info(dm, request, &buffer, sizeof(buffer), ret_info);
}

/* With a string of at most DMI_UUID_MAX bytes behind the header. */
static int device_submit_string(struct dmi *dm, const struct ioctl_request *request,
                                const char *string, struct dmi_info *ret_info)
{
    struct ioctl_small buffer = {0};
    size_t length;

    if (request->error) {
        return request->error;
    }
    length = strnlen(string, sizeof(buffer.payload) - 1);
    memcpy(buffer.payload, string, length);
    return ioctl_submit_info(dm, request, &buffer.header, sizeof(buffer.header) + length + 1,
                             ret_info);
}

int dmi_device_create(struct dmi *dm, const char *name, const char *uuid, uint32_t flags,
                      uint32_t minor, struct dmi_info *ret_info)
{
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_DEV_CREATE);
    ioctl_request_flags(&request, flags, DMI_PERSISTENT_DEV | DMI_READONLY);
    ioctl_request_new_name(&request, name);
    request.name = name;
    if (uuid) {
        ioctl_request_uuid(&request, uuid);
    }
    if (flags & DMI_PERSISTENT_DEV) {
        ioctl_request_device(&request, (struct dmi_device){.minor = minor});
    }
    return device_submit(dm, &request, ret_info);
}

/*
 * The kernel answers a remove before the device's particulars are filled in: what
 * it leaves there is the request's.
 */
static void device_forget_removed(struct dmi_info *info)
{
    info->device = (struct dmi_device){0};
    info->open_count = 0;
    info->target_count = 0;
    info->event_nr = 0;
    info->flags &= DMI_DEFERRED_REMOVE | DMI_UEVENT_GENERATED | ~(uint32_t)DMI_KNOWN_FLAGS;
}

int dmi_device_remove(struct dmi *dm, const struct dmi_id *id, uint32_t flags, uint32_t cookie,
                      struct dmi_info *ret_info)
{
    struct ioctl_request request;
    int rc;

    ioctl_request_init(&request, dm, DMI_DEV_REMOVE);
    ioctl_request_flags(&request, flags, DMI_DEFERRED_REMOVE);
    ioctl_request_id(&request, id);
    request.event_nr = cookie;
    rc = device_submit(dm, &request, ret_info);
    if (rc < 0) {
        return rc;
    }
    device_forget_removed(ret_info);
    return 0;
}

int dmi_device_rename(struct dmi *dm, const char *name, const char *new_name, uint32_t cookie,
                      struct dmi_info *ret_info)
{
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_DEV_RENAME);
    ioctl_request_name(&request, name);
    ioctl_request_new_name(&request, new_name);
    request.event_nr = cookie;
    return device_submit_string(dm, &request, new_name, ret_info);
}

int dmi_device_set_uuid(struct dmi *dm, const char *name, const char *uuid, uint32_t cookie,
                        struct dmi_info *ret_info)
{
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_DEV_RENAME);
    ioctl_request_name(&request, name);
    /* The new uuid is payload: in the header it would be a second way to name the device. */
    ioctl_request_uuid(&request, uuid);
    request.uuid = NULL;
    request.flags = DMI_UUID;
    request.lowest_minor = IOCTL_MINOR_SET_UUID;
    request.event_nr = cookie;
    return device_submit_string(dm, &request, uuid, ret_info);
}

int dmi_device_suspend(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                       struct dmi_info *ret_info)
{
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_DEV_SUSPEND);
    ioctl_request_flags(&request, flags, SUSPEND_FLAGS);
    ioctl_request_id(&request, id);
    request.flags |= DMI_SUSPEND;
    return device_submit(dm, &request, ret_info);
}

int dmi_device_resume(struct dmi *dm, const struct dmi_id *id, uint32_t flags, uint32_t cookie,
                      struct dmi_info *ret_info)
{
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_DEV_SUSPEND);
    ioctl_request_flags(&request, flags, SUSPEND_FLAGS);
    ioctl_request_id(&request, id);
    request.event_nr = cookie;
    return device_submit(dm, &request, ret_info);
}

int dmi_device_status(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                      struct dmi_info *ret_info)
{
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_DEV_STATUS);
    ioctl_request_flags(&request, flags, DMI_QUERY_INACTIVE_TABLE);
    ioctl_request_id(&request, id);
    return device_submit(dm, &request, ret_info);
}

int dmi_device_diskseq(struct dmi *dm, struct dmi_device device, uint64_t *ret_diskseq)
{
    dm->last = DMI_NONE;
    return dm->transport->diskseq(dm->transport, device, ret_diskseq);
}

int dmi_device_set_geometry(struct dmi *dm, const struct dmi_id *id,
                            const struct dmi_geometry *geometry, struct dmi_info *ret_info)
{
    struct ioctl_request request;
    char string[4 * sizeof("18446744073709551615")];

    ioctl_request_init(&request, dm, DMI_DEV_SET_GEOMETRY);
    ioctl_request_id(&request, id);
    (void)snprintf(string, sizeof(string), "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
                   geometry->cylinders, geometry->heads, geometry->sectors, geometry->start);
    return device_submit_string(dm, &request, string, ret_info);
}
