/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl_reply.c - the layouts of replies, each offset and length checked
 * against the bytes that there are before it is used. Records are copied out
 * by memcpy, so that nothing depends on their alignment. It must not know how
 * the bytes came here, nor allocate.
 */
#include "ioctl_reply.h"

#include <errno.h>
#include <linux/dm-ioctl.h>
#include <string.h>

#include "ioctl.h"

enum {
    REPLY_ALIGN = 8,
    NAME_OFFSET = offsetof(struct dm_name_list, name),
    VERSION_NAME_OFFSET = offsetof(struct dm_target_versions, name),
    DEPS_OFFSET = offsetof(struct dm_target_deps, dev),
};

/* What tells of a device. All else in the flags is the request's own, come back. */
static const uint32_t REPLY_STATES = DMI_READONLY | DMI_SUSPEND | DMI_ACTIVE_PRESENT |
                                     DMI_INACTIVE_PRESENT | DMI_UEVENT_GENERATED | DMI_DATA_OUT |
                                     DMI_DEFERRED_REMOVE | DMI_INTERNAL_SUSPEND;

static uint32_t reply_u32(const unsigned char *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint64_t reply_u64(const unsigned char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static size_t reply_align(size_t offset)
{
    return (offset + REPLY_ALIGN - 1) & ~(size_t)(REPLY_ALIGN - 1);
}

/* No number past 32 bits comes out of huge_encode_dev. */
static int reply_device(uint64_t encoded, struct dmi_device *ret_device)
{
    if (encoded > UINT32_MAX) {
        return -EBADMSG;
    }
    *ret_device = ioctl_decode_device(encoded);
    return 0;
}

int ioctl_reply_check(const struct dm_ioctl *buffer, size_t size)
{
    if (buffer->version[0] != IOCTL_MAJOR || buffer->dev > UINT32_MAX) {
        return -EBADMSG;
    }
    if (buffer->data_size < offsetof(struct dm_ioctl, data) || buffer->data_size > size) {
        return -EBADMSG;
    }
    if (!memchr(buffer->name, '\0', sizeof(buffer->name)) ||
        !memchr(buffer->uuid, '\0', sizeof(buffer->uuid))) {
        return -EBADMSG;
    }
    return 0;
}

void ioctl_reply_info(const struct dm_ioctl *buffer, struct dmi_info *ret_info)
{
    *ret_info = (struct dmi_info){
        .version = {buffer->version[0], buffer->version[1], buffer->version[2]},
        .device = ioctl_decode_device(buffer->dev),
        .open_count = buffer->open_count,
        .target_count = buffer->target_count,
        .event_nr = buffer->event_nr,
        .flags = buffer->flags & (REPLY_STATES | ~(uint32_t)DMI_KNOWN_FLAGS),
    };
    memcpy(ret_info->name, buffer->name, strnlen(buffer->name, DMI_NAME_MAX));
    memcpy(ret_info->uuid, buffer->uuid, strnlen(buffer->uuid, DMI_UUID_MAX));
}

int ioctl_reply_payload(struct dm_ioctl *buffer, struct ioctl_payload *ret_payload)
{
    /* Without output the kernel leaves data_start as it came, past the end it reports. */
    if (buffer->data_size <= buffer->data_start) {
        *ret_payload = (struct ioctl_payload){.bytes = (unsigned char *)buffer, .end = true};
        return 0;
    }
    if (buffer->data_start < offsetof(struct dm_ioctl, data)) {
        return -EBADMSG;
    }
    *ret_payload = (struct ioctl_payload){
        .bytes = (unsigned char *)buffer + buffer->data_start,
        .size = buffer->data_size - buffer->data_start,
    };
    return 0;
}

/*
 * The string at `offset`, which must end before `limit`, with at most `max`
 * bytes; *ret_end is the offset behind its NUL.
 */
static int reply_string(const struct ioctl_payload *payload, size_t offset, size_t limit,
                        size_t max, const char **ret_string, size_t *ret_end)
{
    const unsigned char *start, *nul;

    if (offset >= limit) {
        return -EBADMSG;
    }
    start = payload->bytes + offset;
    nul = memchr(start, '\0', limit - offset);
    if (!nul || (size_t)(nul - start) > max) {
        return -EBADMSG;
    }
    *ret_string = (const char *)start;
    *ret_end = offset + (size_t)(nul - start) + 1;
    return 0;
}

/*
 * The end of the record at payload->offset, whose `next` is relative to it (0:
 * it is the last). Records are in order and do not overlap.
 */
static int reply_record_limit(const struct ioctl_payload *payload, uint32_t next, size_t *ret_limit)
{
    size_t left = payload->size - payload->offset;

    if (next % REPLY_ALIGN != 0 || next >= left) {
        return -EBADMSG;
    }
    *ret_limit = next ? payload->offset + next : payload->size;
    return 0;
}

static void reply_advance(struct ioctl_payload *payload, uint32_t next)
{
    payload->offset += next;
    payload->end = next == 0;
}

/*
 * Behind the name, from 4.37 on: event_nr, and a word of flags that older kernels
 * leave as our zeros and newer ones set if they can tell of uuids; then the uuid.
 */
static int reply_name_tail(const struct ioctl_payload *payload, size_t offset, size_t limit,
                           struct dmi_device_entry *entry)
{
    uint32_t flags;

    offset = reply_align(offset);
    if (offset > limit || limit - offset < 2 * sizeof(uint32_t)) {
        return -EBADMSG;
    }
    entry->event_nr = reply_u32(payload->bytes + offset);
    flags = reply_u32(payload->bytes + offset + sizeof(uint32_t));
    if (flags & DM_NAME_LIST_FLAG_HAS_UUID) {
        offset = reply_align(offset + 2 * sizeof(uint32_t));
        return reply_string(payload, offset, limit, DMI_UUID_MAX, &entry->uuid, &offset);
    }
    if (flags & DM_NAME_LIST_FLAG_DOESNT_HAVE_UUID) {
        entry->uuid = "";
    }
    return 0;
}

/* A first record for device 0 is how the kernel says "none". */
static bool reply_is_empty_list(const struct ioctl_payload *payload)
{
    return payload->offset == 0 && payload->size >= sizeof(uint64_t) &&
           reply_u64(payload->bytes) == 0;
}

int ioctl_reply_next_device(struct ioctl_payload *payload, uint32_t kernel_minor,
                            struct dmi_device_entry *ret_entry)
{
    struct dmi_device_entry entry = {0};
    const unsigned char *record = payload->bytes + payload->offset;
    size_t limit, end;
    uint32_t next;

    if (payload->end || reply_is_empty_list(payload)) {
        return 0;
    }
    if (payload->size - payload->offset <= NAME_OFFSET) {
        return -EBADMSG;
    }
    next = reply_u32(record + offsetof(struct dm_name_list, next));
    if (reply_record_limit(payload, next, &limit) < 0 ||
        reply_device(reply_u64(record), &entry.device) < 0 ||
        reply_string(payload, payload->offset + NAME_OFFSET, limit, DMI_NAME_MAX, &entry.name,
                     &end) < 0) {
        return -EBADMSG;
    }
    if (kernel_minor >= IOCTL_MINOR_LIST_EVENT_NR &&
        reply_name_tail(payload, end, limit, &entry) < 0) {
        return -EBADMSG;
    }
    reply_advance(payload, next);
    *ret_entry = entry;
    return 1;
}

int ioctl_reply_next_version(struct ioctl_payload *payload, struct dmi_target_version *ret_version)
{
    struct dmi_target_version version = {0};
    const unsigned char *record = payload->bytes + payload->offset;
    size_t limit, end;
    uint32_t next;

    if (payload->end) {
        return 0;
    }
    if (payload->size - payload->offset <= VERSION_NAME_OFFSET) {
        return -EBADMSG;
    }
    next = reply_u32(record + offsetof(struct dm_target_versions, next));
    if (reply_record_limit(payload, next, &limit) < 0 ||
        reply_string(payload, payload->offset + VERSION_NAME_OFFSET, limit, SIZE_MAX, &version.name,
                     &end) < 0) {
        return -EBADMSG;
    }
    record += offsetof(struct dm_target_versions, version);
    version.version = (struct dmi_version){
        .major = reply_u32(record),
        .minor = reply_u32(record + sizeof(uint32_t)),
        .patch = reply_u32(record + 2 * sizeof(uint32_t)),
    };
    reply_advance(payload, next);
    *ret_version = version;
    return 1;
}

bool ioctl_reply_holds_targets(const struct ioctl_payload *payload, uint32_t count)
{
    return count <= payload->size / (sizeof(struct dm_target_spec) + 1);
}

/* In replies `next` counts from the first record, and the last one has it too. */
static int reply_target_limit(const struct ioctl_payload *payload, uint32_t next, bool last,
                              size_t *ret_limit)
{
    if (last) {
        *ret_limit = payload->size;
        return 0;
    }
    if (next % REPLY_ALIGN != 0 || next <= payload->offset || next >= payload->size) {
        return -EBADMSG;
    }
    *ret_limit = next;
    return 0;
}

int ioctl_reply_next_target(struct ioctl_payload *payload, bool last, struct dmi_target *ret_target)
{
    struct dm_target_spec spec;
    unsigned char *record = payload->bytes + payload->offset;
    unsigned char *type = record + offsetof(struct dm_target_spec, target_type);
    const char *params;
    size_t limit, end;

    if (payload->end || payload->size - payload->offset <= sizeof(spec)) {
        return -EBADMSG;
    }
    memcpy(&spec, record, sizeof(spec));
    if (reply_target_limit(payload, spec.next, last, &limit) < 0 ||
        reply_string(payload, payload->offset + sizeof(spec), limit, SIZE_MAX, &params, &end) < 0) {
        return -EBADMSG;
    }
    type[DMI_TYPE_MAX] = '\0';
    *ret_target = (struct dmi_target){
        .start = spec.sector_start,
        .length = spec.length,
        .type = (const char *)type,
        .params = params,
    };
    payload->offset = limit;
    payload->end = last;
    return 0;
}

int ioctl_reply_deps_count(const struct ioctl_payload *payload, size_t *ret_count)
{
    uint32_t count;

    if (payload->end) {
        *ret_count = 0;
        return 0;
    }
    if (payload->size < DEPS_OFFSET) {
        return -EBADMSG;
    }
    count = reply_u32(payload->bytes);
    if (count > (payload->size - DEPS_OFFSET) / sizeof(uint64_t)) {
        return -EBADMSG;
    }
    *ret_count = count;
    return 0;
}

int ioctl_reply_dep(const struct ioctl_payload *payload, size_t index,
                    struct dmi_device *ret_device)
{
    return reply_device(reply_u64(payload->bytes + DEPS_OFFSET + index * sizeof(uint64_t)),
                        ret_device);
}

int ioctl_reply_output(const struct ioctl_payload *payload, const char **ret_output)
{
    size_t end;

    return reply_string(payload, 0, payload->size, SIZE_MAX, ret_output, &end);
}
