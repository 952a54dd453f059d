/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_msg.c - the one call that must never be sent twice: a message acts
 * each time that the kernel sees it, also where its answer found no room. It
 * must not know the grammar of messages.
 */
#include <errno.h>
#include <string.h>

#include "ioctl.h"
#include "ioctl_buffer.h"
#include "ioctl_reply.h"
#include "ioctl_request.h"

enum {
    MESSAGE_OUTPUT_DEFAULT = 1024 * 1024,
    /* The kernel takes an output for cut when its NUL is the last byte of the room. */
    MESSAGE_OUTPUT_SLACK = 2,
    MESSAGE_OFFSET = sizeof(struct dm_ioctl) + offsetof(struct dm_target_msg, message),
};

/* Of the buffer: the request lies where the answer is going to be. 0: too many. */
static size_t message_buffer_size(size_t request_size, size_t max_output)
{
    size_t output = max_output ? max_output : MESSAGE_OUTPUT_DEFAULT;
    size_t room = IOCTL_SIZE_MAX - sizeof(struct dm_ioctl) - MESSAGE_OUTPUT_SLACK;
    size_t reply_size;

    output = output < room ? output : room;
    reply_size = sizeof(struct dm_ioctl) + output + MESSAGE_OUTPUT_SLACK;
    return request_size > reply_size ? request_size : reply_size;
}

static void message_write(unsigned char *bytes, uint64_t sector, const char *message, size_t length)
{
    memcpy(bytes + sizeof(struct dm_ioctl), &sector, sizeof(sector));
    memcpy(bytes + MESSAGE_OFFSET, message, length);
}

static int message_submit(struct dmi *dm, const struct ioctl_request *request,
                          struct dmi_buffer *buffer, size_t request_size)
{
    int rc = ioctl_submit(dm, request, buffer->data, buffer->size);

    ioctl_buffer_trim(buffer, request_size);
    return rc == IOCTL_BUFFER_FULL ? -EMSGSIZE : rc;
}

/* Keeps the buffer only if there is output in it. */
static int message_read(struct dmi_message *message)
{
    struct dm_ioctl *reply = message->buffer.data;
    struct ioctl_payload payload;
    int rc;

    ioctl_reply_info(reply, &message->info);
    if (!(reply->flags & DMI_DATA_OUT)) {
        ioctl_buffer_done(&message->buffer);
        return 0;
    }
    rc = ioctl_reply_payload(reply, &payload);
    return rc < 0 ? rc : ioctl_reply_output(&payload, &message->output);
}

int dmi_target_msg(struct dmi *dm, const struct dmi_id *id, uint64_t sector, const char *message,
                   uint32_t flags, size_t max_output, struct dmi_message *ret_message)
{
    struct dmi_message result = {0};
    struct ioctl_request request;
    size_t length = strlen(message);
    int rc;

    ioctl_request_init(&request, dm, DMI_TARGET_MSG);
    ioctl_request_flags(&request, flags, DMI_SECURE_DATA);
    ioctl_request_id(&request, id);
    ioctl_request_refuse(&request, length >= IOCTL_SIZE_MAX - MESSAGE_OFFSET ? -E2BIG : 0);
    if (request.error) {
        return request.error;
    }
    rc = ioctl_buffer_new(message_buffer_size(MESSAGE_OFFSET + length + 1, max_output),
                          &result.buffer);
    if (rc < 0) {
        return rc;
    }
    message_write(result.buffer.data, sector, message, length);
    rc = message_submit(dm, &request, &result.buffer, MESSAGE_OFFSET + length + 1);
    if (rc == 0) {
        rc = message_read(&result);
    }
    if (rc < 0) {
        dmi_message_done(&result);
        return rc;
    }
    *ret_message = result;
    return 0;
}

void dmi_message_done(struct dmi_message *message)
{
    ioctl_buffer_done(&message->buffer);
    *message = (struct dmi_message){0};
}
