/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl_request.c - checks what names a device and which flags a call takes,
 * and writes the header of a request. It must not know buffers' memory, nor
 * how anything is sent.
 */
#include "ioctl_request.h"

#include <errno.h>
#include <linux/dm-ioctl.h>
#include <string.h>

#include "ioctl.h"

void ioctl_request_init(struct ioctl_request *request, struct dmi *dm, enum dmi_ioctl nr)
{
    dm->last = DMI_NONE;
    *request = (struct ioctl_request){.nr = nr, .lowest_minor = ioctl_lowest_minor(nr)};
}

void ioctl_request_refuse(struct ioctl_request *request, int error)
{
    if (!request->error) {
        request->error = error;
    }
}

void ioctl_request_flags(struct ioctl_request *request, uint32_t flags, uint32_t allowed)
{
    if (flags & ~allowed) {
        ioctl_request_refuse(request, -EINVAL);
    }
    /* An older kernel would ignore the flag and answer -EBUSY: make it say what it is. */
    if (flags & DMI_DEFERRED_REMOVE) {
        request->lowest_minor = IOCTL_MINOR_DEFERRED_REMOVE;
    }
    request->flags = flags;
}

/* Empty strings mean "not given" to the kernel, and long ones are cut. */
static void request_check_string(struct ioctl_request *request, const char *string, size_t max)
{
    if (!string || !*string) {
        ioctl_request_refuse(request, -EINVAL);
    } else if (strnlen(string, max + 1) > max) {
        ioctl_request_refuse(request, -ENAMETOOLONG);
    }
}

void ioctl_request_name(struct ioctl_request *request, const char *name)
{
    request_check_string(request, name, DMI_NAME_MAX);
    request->name = name;
}

void ioctl_request_uuid(struct ioctl_request *request, const char *uuid)
{
    request_check_string(request, uuid, DMI_UUID_MAX);
    request->uuid = uuid;
}

void ioctl_request_type(struct ioctl_request *request, const char *type)
{
    request_check_string(request, type, DMI_TYPE_MAX);
    request->name = type;
}

void ioctl_request_device(struct ioctl_request *request, struct dmi_device device)
{
    if (device.major > IOCTL_DEVICE_MAJOR_MAX || device.minor > IOCTL_DEVICE_MINOR_MAX) {
        ioctl_request_refuse(request, -EINVAL);
    }
    request->device = ioctl_encode_device(device);
}

void ioctl_request_id(struct ioctl_request *request, const struct dmi_id *id)
{
    switch (id->kind) {
    case DMI_BY_NAME:
        ioctl_request_name(request, id->name);
        break;
    case DMI_BY_UUID:
        ioctl_request_uuid(request, id->uuid);
        break;
    case DMI_BY_DEVICE:
        ioctl_request_device(request, id->device);
        break;
    default:
        ioctl_request_refuse(request, -EINVAL);
    }
}

void ioctl_request_new_name(struct ioctl_request *request, const char *name)
{
    request_check_string(request, name, DMI_NAME_MAX);
    /* Before 6.5 kernels take the reserved ones, and /dev/mapper is then in a mess. */
    if (!request->error && (strchr(name, '/') || strcmp(name, DM_CONTROL_NODE) == 0 ||
                            strcmp(name, ".") == 0 || strcmp(name, "..") == 0)) {
        ioctl_request_refuse(request, -EINVAL);
    }
}

void ioctl_request_write(const struct ioctl_request *request, struct dm_ioctl *buffer, size_t size)
{
    buffer->version[0] = IOCTL_MAJOR;
    buffer->version[1] = request->lowest_minor;
    buffer->data_size = (uint32_t)size;
    buffer->data_start = sizeof(*buffer);
    buffer->target_count = request->target_count;
    buffer->flags = request->flags;
    buffer->event_nr = request->event_nr;
    buffer->dev = request->device;
    if (request->name) {
        memcpy(buffer->name, request->name, strnlen(request->name, DMI_NAME_MAX));
    }
    if (request->uuid) {
        memcpy(buffer->uuid, request->uuid, strnlen(request->uuid, DMI_UUID_MAX));
    }
}
