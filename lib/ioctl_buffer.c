/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl_buffer.c - hands a request to the transport, says what its return
 * value means, and owns the memory of the buffers, from the zeroing to the
 * wiping. It must not know what a payload looks like.
 */
#include "ioctl_buffer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ioctl.h"
#include "ioctl_reply.h"
#include "transport.h"

/*
 * Refused before the kernel looks at the version (no privilege), the buffer still
 * holds ours. With DM_SECURE_DATA and a failure it holds zeros: wiped afterwards.
 */
static void buffer_note_version(struct dmi *dm, const struct dm_ioctl *buffer, uint32_t sent_minor,
                                int rc)
{
    bool untouched = buffer->version[0] == IOCTL_MAJOR && buffer->version[1] == sent_minor &&
                     buffer->version[2] == 0;

    if (buffer->version[0] != 0 && (rc == 0 || !untouched)) {
        memcpy(dm->kernel_version, buffer->version, sizeof(dm->kernel_version));
    }
}

static bool buffer_version_refused(const struct dm_ioctl *buffer, uint32_t sent_minor)
{
    return buffer->version[0] != 0 &&
           (buffer->version[0] != IOCTL_MAJOR || buffer->version[1] < sent_minor);
}

static int buffer_check_result(const struct dm_ioctl *buffer, uint32_t sent_minor, int rc)
{
    /* Some kernels let a message's internal 2 out where there is no live table. */
    if (rc > 0) {
        return -EINVAL;
    }
    if (rc == -ENOTTY || (rc == -EINVAL && buffer_version_refused(buffer, sent_minor))) {
        return -EPROTONOSUPPORT;
    }
    return rc;
}

int ioctl_submit(struct dmi *dm, const struct ioctl_request *request, struct dm_ioctl *buffer,
                 size_t size)
{
    int rc;

    if (request->error) {
        return request->error;
    }
    ioctl_request_write(request, buffer, size);
    dm->last = request->nr;
    dm->needed_minor = request->lowest_minor;
    rc = dm->transport->ioctl(dm->transport, request->nr, buffer);
    buffer_note_version(dm, buffer, request->lowest_minor, rc);
    rc = buffer_check_result(buffer, request->lowest_minor, rc);
    if (rc < 0) {
        return rc;
    }
    if (buffer->flags & DMI_BUFFER_FULL) {
        return IOCTL_BUFFER_FULL;
    }
    return ioctl_reply_check(buffer, size);
}

int ioctl_submit_info(struct dmi *dm, const struct ioctl_request *request, struct dm_ioctl *buffer,
                      size_t size, struct dmi_info *ret_info)
{
    int rc = ioctl_submit(dm, request, buffer, size);

    if (rc == IOCTL_BUFFER_FULL) {
        return -EBADMSG;
    }
    if (rc < 0) {
        return rc;
    }
    ioctl_reply_info(buffer, ret_info);
    return 0;
}

int ioctl_buffer_submit(struct dmi *dm, const struct ioctl_request *request, size_t first_size,
                        struct dmi_buffer *ret_buffer)
{
    size_t max = dm->max_reply < IOCTL_SIZE_MAX ? dm->max_reply : IOCTL_SIZE_MAX;
    size_t size = first_size;

    for (;;) {
        struct dmi_buffer buffer;
        int rc;

        size = size < max ? size : max;
        size = size > sizeof(struct dm_ioctl) ? size : sizeof(struct dm_ioctl);
        rc = ioctl_buffer_new(size, &buffer);
        if (rc < 0) {
            return rc;
        }
        rc = ioctl_submit(dm, request, buffer.data, size);
        ioctl_buffer_trim(&buffer, sizeof(struct dm_ioctl));
        if (rc == 0) {
            *ret_buffer = buffer;
            return 0;
        }
        ioctl_buffer_done(&buffer);
        if (rc < 0) {
            return rc;
        }
        if (size >= max) {
            return -EMSGSIZE;
        }
        size = size > max / 4 ? max : size * 4;
    }
}

int ioctl_buffer_new(size_t size, struct dmi_buffer *ret_buffer)
{
    void *data = calloc(1, size);

    if (!data) {
        return -ENOMEM;
    }
    *ret_buffer = (struct dmi_buffer){.data = data, .size = size};
    return 0;
}

void ioctl_buffer_trim(struct dmi_buffer *buffer, size_t request_size)
{
    const struct dm_ioctl *header = buffer->data;
    size_t written = header->data_size > request_size ? header->data_size : request_size;

    buffer->size = written < buffer->size ? written : buffer->size;
}

void ioctl_buffer_done(struct dmi_buffer *buffer)
{
    if (buffer->data) {
        explicit_bzero(buffer->data, buffer->size);
        free(buffer->data);
    }
    *buffer = (struct dmi_buffer){0};
}
