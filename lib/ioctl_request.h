/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl_request.h - the head of one request, as values.
 *
 * Kept apart from the buffer that is sent, because the kernel overwrites that
 * one and a retry needs it built anew. The setters check what they are given;
 * the first refusal is kept in `error`, and ioctl_submit returns it unsent.
 */
#ifndef DMI_IOCTL_REQUEST_H
#define DMI_IOCTL_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

struct dm_ioctl;

struct ioctl_request {
    enum dmi_ioctl nr;
    int error;             /* 0 or -errno: why it may not be sent */
    uint32_t lowest_minor; /* of the interface; of the command and its flags */
    uint32_t flags;
    uint32_t event_nr; /* where a udev cookie goes too */
    uint32_t target_count;
    uint64_t device;  /* encoded; 0: none */
    const char *name; /* borrowed; NULL: none */
    const char *uuid; /* borrowed; NULL: none */
};

/* Begins a call: dm->last becomes DMI_NONE. */
void ioctl_request_init(struct ioctl_request *request, struct dmi *dm, enum dmi_ioctl nr);

/* Keeps the first error. */
void ioctl_request_refuse(struct ioctl_request *request, int error);

/* -EINVAL for any flag that is not among `allowed`. */
void ioctl_request_flags(struct ioctl_request *request, uint32_t flags, uint32_t allowed);

/* -EINVAL: empty; -ENAMETOOLONG. */
void ioctl_request_id(struct ioctl_request *request, const struct dmi_id *id);
void ioctl_request_name(struct ioctl_request *request, const char *name);
void ioctl_request_uuid(struct ioctl_request *request, const char *uuid);

/* A target type, where the kernel looks for a name. Errors as above. */
void ioctl_request_type(struct ioctl_request *request, const char *type);

/* -EINVAL: a number that the interface cannot carry. */
void ioctl_request_device(struct ioctl_request *request, struct dmi_device device);

/* Also -EINVAL for what a kernel refuses as a device's name, old ones too late or never. */
void ioctl_request_new_name(struct ioctl_request *request, const char *name);

/* Fills the header of `buffer`, whose `size` bytes are zeros but for a payload. */
void ioctl_request_write(const struct ioctl_request *request, struct dm_ioctl *buffer, size_t size);

#endif
