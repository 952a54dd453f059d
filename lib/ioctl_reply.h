/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl_reply.h - reading what a kernel left in a buffer, believing none of it.
 *
 * Functions over bytes, without memory of their own: whatever the bytes are,
 * they read nothing outside of them, end in linear time, and give either
 * -EBADMSG or strings that end inside.
 */
#ifndef DMI_IOCTL_REPLY_H
#define DMI_IOCTL_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

struct dm_ioctl;

/* Does the header hold together, in a buffer of `size` bytes? 0 or -EBADMSG. */
int ioctl_reply_check(const struct dm_ioctl *buffer, size_t size);

/* The header of a checked reply. */
void ioctl_reply_info(const struct dm_ioctl *buffer, struct dmi_info *ret_info);

/* What follows the header, and how far it has been read. */
struct ioctl_payload {
    unsigned char *bytes; /* borrowed from the buffer */
    size_t size;          /* 0: the kernel had nothing to say */
    size_t offset;        /* of the next record */
    bool end;             /* there is none */
};

/* The payload of a checked reply. 0 or -EBADMSG. */
int ioctl_reply_payload(struct dm_ioctl *buffer, struct ioctl_payload *ret_payload);

/* The next record: 1, or 0 at the end, or -EBADMSG. Strings point into the payload. */
int ioctl_reply_next_device(struct ioctl_payload *payload, uint32_t kernel_minor,
                            struct dmi_device_entry *ret_entry);
int ioctl_reply_next_version(struct ioctl_payload *payload, struct dmi_target_version *ret_version);

/* The next target; `last` is the caller's to know. 0 or -EBADMSG. */
int ioctl_reply_next_target(struct ioctl_payload *payload, bool last,
                            struct dmi_target *ret_target);

/* Could the payload hold so many targets? */
bool ioctl_reply_holds_targets(const struct ioctl_payload *payload, uint32_t count);

/* How many devices are in the payload of DM_TABLE_DEPS: 0 or -EBADMSG; and one of those. */
int ioctl_reply_deps_count(const struct ioctl_payload *payload, size_t *ret_count);
int ioctl_reply_dep(const struct ioctl_payload *payload, size_t index,
                    struct dmi_device *ret_device);

/* The string that a message answered: 0 or -EBADMSG. */
int ioctl_reply_output(const struct ioctl_payload *payload, const char **ret_output);

#endif
