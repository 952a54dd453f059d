/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl_buffer.h - sending a request, on the stack or on the heap.
 */
#ifndef DMI_IOCTL_BUFFER_H
#define DMI_IOCTL_BUFFER_H

#include <linux/dm-ioctl.h>
#include <stddef.h>

#include "dmioctl.h"
#include "ioctl_request.h"

enum {
    IOCTL_BUFFER_FULL = 1, /* ioctl_submit: done, but the answer did not fit */
    IOCTL_SMALL_PAYLOAD = 136,
};

/* Room on the stack for a command with a short string, in or out. */
struct ioctl_small {
    struct dm_ioctl header;
    char payload[IOCTL_SMALL_PAYLOAD];
};

/*
 * Sends `request` in `buffer`: `size` zeroed bytes, whose payload, if any, is
 * already there. Returns 0 with the reply's header checked, IOCTL_BUFFER_FULL,
 * or a negative errno. Only after a 0 may anything in the buffer be used.
 */
int ioctl_submit(struct dmi *dm, const struct ioctl_request *request, struct dm_ioctl *buffer,
                 size_t size);

/* As ioctl_submit, for a command whose answer always fits; its header goes to ret_info. */
int ioctl_submit_info(struct dmi *dm, const struct ioctl_request *request, struct dm_ioctl *buffer,
                      size_t size, struct dmi_info *ret_info);

/*
 * Sends a request without a payload until its answer fits, from `first_size`
 * bytes on; built anew each time. -EMSGSIZE: it is larger than dm->max_reply.
 */
int ioctl_buffer_submit(struct dmi *dm, const struct ioctl_request *request, size_t first_size,
                        struct dmi_buffer *ret_buffer);

/* `size` zeroed bytes, or -ENOMEM. */
int ioctl_buffer_new(size_t size, struct dmi_buffer *ret_buffer);

/*
 * After sending: lowers buffer->size, which is what the wipe covers, to the bytes
 * that were ever written: the request's and as many as the kernel copied out.
 */
void ioctl_buffer_trim(struct dmi_buffer *buffer, size_t request_size);

/* Wipes and frees; the one way that a buffer goes. Takes a zeroed one too, and leaves one. */
void ioctl_buffer_done(struct dmi_buffer *buffer);

#endif
