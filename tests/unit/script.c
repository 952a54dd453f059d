/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.c - the scripted transport and the layouts of the kernel's replies, as
 * the kernel makes them. It must not use the library's own knowledge of them:
 * one error in both would go unseen.
 */
#include "script.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- bytes --- */

void script_bytes_add(struct script_bytes *bytes, const void *data, size_t size)
{
    if (bytes->capacity < bytes->size + size + 1) {
        bytes->capacity = 2 * (bytes->size + size + 1);
        bytes->data = realloc(bytes->data, bytes->capacity);
        assert_non_null(bytes->data);
    }
    if (size) {
        memcpy(bytes->data + bytes->size, data, size);
    }
    bytes->size += size;
}

void script_bytes_done(struct script_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct script_bytes){0};
}

static void script_align(struct script_bytes *bytes)
{
    static const unsigned char zeros[8];

    script_bytes_add(bytes, zeros, (8 - bytes->size % 8) % 8);
}

/* Begins a record, and sets the `next` of the one before, which counts from itself. */
static void script_begin(struct script_bytes *bytes, size_t next_offset)
{
    uint32_t next;

    script_align(bytes);
    next = (uint32_t)(bytes->size - bytes->last);
    if (bytes->size > 0) {
        memcpy(bytes->data + bytes->last + next_offset, &next, sizeof(next));
    }
    bytes->last = bytes->size;
}

void script_add_device_old(struct script_bytes *bytes, uint64_t device, const char *name)
{
    script_begin(bytes, offsetof(struct dm_name_list, next));
    script_bytes_add(bytes, &device, sizeof(device));
    script_bytes_add(bytes, &(uint32_t){0}, sizeof(uint32_t));
    script_bytes_add(bytes, name, strlen(name) + 1);
}

void script_add_device(struct script_bytes *bytes, uint64_t device, const char *name,
                       uint32_t event_nr, uint32_t flags, const char *uuid)
{
    script_add_device_old(bytes, device, name);
    script_align(bytes);
    script_bytes_add(bytes, &event_nr, sizeof(event_nr));
    script_bytes_add(bytes, &flags, sizeof(flags));
    if (uuid) {
        script_bytes_add(bytes, uuid, strlen(uuid) + 1);
    }
    script_align(bytes);
}

void script_add_version(struct script_bytes *bytes, const char *name, uint32_t major,
                        uint32_t minor, uint32_t patch)
{
    const uint32_t head[] = {0, major, minor, patch};

    script_begin(bytes, offsetof(struct dm_target_versions, next));
    script_bytes_add(bytes, head, sizeof(head));
    script_bytes_add(bytes, name, strlen(name) + 1);
}

static void script_add_spec(struct script_bytes *bytes, struct dm_target_spec spec,
                            const char *type, const char *params)
{
    memcpy(spec.target_type, type, strnlen(type, sizeof(spec.target_type)));
    bytes->last = bytes->size;
    script_bytes_add(bytes, &spec, sizeof(spec));
    script_bytes_add(bytes, params, strlen(params) + 1);
}

static void script_set_next(struct script_bytes *bytes, size_t next)
{
    uint32_t value = (uint32_t)next;

    memcpy(bytes->data + bytes->last + offsetof(struct dm_target_spec, next), &value,
           sizeof(value));
}

void script_add_target(struct script_bytes *bytes, uint64_t start, uint64_t length,
                       const char *type, const char *params)
{
    struct dm_target_spec spec = {.sector_start = start, .length = length};

    script_align(bytes);
    script_add_spec(bytes, spec, type, params);
    /* Also in the last one, and then past the end: the kernel does so. */
    script_set_next(bytes, (bytes->size + 7) / 8 * 8);
}

void script_add_request_target(struct script_bytes *bytes, uint64_t start, uint64_t length,
                               const char *type, const char *params)
{
    struct dm_target_spec spec = {.sector_start = start, .length = length};

    script_add_spec(bytes, spec, type, params);
    script_align(bytes);
    script_set_next(bytes, bytes->size - bytes->last);
}

/* --- the transport --- */

static void script_check_zeros(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(bytes[i], 0);
    }
}

/* The string, and zeros up to the end of the field. */
static void script_check_string(const char *field, size_t size, const char *expected)
{
    size_t length = expected ? strlen(expected) : 0;

    assert_true(length < size);
    if (length) {
        assert_memory_equal(field, expected, length);
    }
    script_check_zeros((const unsigned char *)field + length, size - length);
}

static void script_check_request(const struct script_step *step, const struct dm_ioctl *request)
{
    const unsigned char *bytes = (const unsigned char *)request;
    size_t in_end = sizeof(*request) + step->in_size;

    assert_int_equal(request->version[0], 4);
    assert_int_equal(request->version[1], step->minor);
    assert_int_equal(request->version[2], 0);
    assert_int_equal(request->data_size, step->size ? step->size : in_end);
    assert_int_equal(request->data_start, sizeof(*request));
    assert_int_equal(request->target_count, step->target_count);
    assert_int_equal(request->open_count, 0);
    assert_int_equal(request->flags, step->flags);
    assert_int_equal(request->event_nr, step->event_nr);
    assert_int_equal(request->padding, 0);
    assert_int_equal(request->dev, step->device);
    script_check_string(request->name, sizeof(request->name), step->name);
    script_check_string(request->uuid, sizeof(request->uuid), step->uuid);
    script_check_zeros((const unsigned char *)request->data, sizeof(request->data));
    if (step->in_size) {
        assert_memory_equal(bytes + sizeof(*request), step->in, step->in_size);
    }
    script_check_zeros(bytes + in_end, request->data_size - in_end);
}

static void script_set_version(const struct script *script, struct dm_ioctl *buffer)
{
    buffer->version[0] = 4;
    buffer->version[1] = script->kernel_minor;
    buffer->version[2] = 0;
}

static void script_answer(const struct script *script, const struct script_step *step,
                          struct dm_ioctl *buffer)
{
    size_t capacity = buffer->data_size;
    size_t out_size = step->out ? step->out->size : 0;
    unsigned char *bytes = (unsigned char *)buffer;

    *buffer = step->reply;
    if (buffer->version[0] == 0) {
        script_set_version(script, buffer);
    }
    if (buffer->data_start == 0) {
        buffer->data_start = sizeof(*buffer);
    }
    if (buffer->data_size == 0) {
        buffer->data_size =
            (uint32_t)(step->out ? sizeof(*buffer) + out_size : offsetof(struct dm_ioctl, data));
    }
    if (out_size) {
        assert_true(sizeof(*buffer) + out_size <= capacity);
        memcpy(bytes + sizeof(*buffer), step->out->data, out_size);
    }
}

/* All that a kernel may have changed by the time that it finds no room. */
static void script_fill(struct dm_ioctl *buffer)
{
    buffer->data_size = offsetof(struct dm_ioctl, data);
    buffer->flags = DM_BUFFER_FULL_FLAG | DM_ACTIVE_PRESENT_FLAG | DM_SUSPEND_FLAG;
    buffer->dev = 0xfe03;
    buffer->open_count = 7;
    buffer->event_nr = 9;
    buffer->target_count = 5;
    memcpy(buffer->name, "overwritten", sizeof("overwritten"));
    memcpy(buffer->uuid, "OVERWRITTEN", sizeof("OVERWRITTEN"));
}

static int script_ioctl(struct dmi_transport *transport, enum dmi_ioctl nr, struct dm_ioctl *buffer)
{
    struct script *script = (struct script *)(void *)transport;
    const struct script_step *step = &script->steps[script->next];

    assert_true(script->next < script->count);
    script->next++;
    script->buffer = buffer;
    script->buffer_size = buffer->data_size;
    assert_int_equal(nr, step->nr);
    assert_int_equal(script->dm.last, nr);
    script_check_request(step, buffer);
    if (step->act != SCRIPT_REFUSE) {
        script_set_version(script, buffer);
    }
    switch (step->act) {
    case SCRIPT_ECHO:
        buffer->data_size = offsetof(struct dm_ioctl, data);
        break;
    case SCRIPT_ANSWER:
        script_answer(script, step, buffer);
        break;
    case SCRIPT_FULL:
        script_fill(buffer);
        break;
    case SCRIPT_WIPE_FAIL:
        memset(buffer, 0, buffer->data_size);
        break;
    case SCRIPT_FAIL:
    case SCRIPT_REFUSE:
    case SCRIPT_SILENT:
        break;
    }
    return step->rc;
}

static int script_poll_fd(struct dmi_transport *transport)
{
    (void)transport;
    return SCRIPT_POLL_FD;
}

static int script_dev_majors(struct dmi_transport *transport, uint32_t **ret_majors,
                             size_t *ret_count)
{
    (void)transport;
    *ret_majors = malloc(sizeof(**ret_majors));
    if (!*ret_majors) {
        return -ENOMEM;
    }
    **ret_majors = 254;
    *ret_count = 1;
    return 0;
}

static int script_diskseq(struct dmi_transport *transport, struct dmi_device device,
                          uint64_t *ret_diskseq)
{
    (void)transport;
    if (device.minor == 0) {
        return -ENOENT;
    }
    *ret_diskseq = (uint64_t)device.major << 32 | device.minor;
    return 0;
}

static int script_reopen(struct dmi_transport *transport, struct dmi_transport **ret_transport)
{
    (void)transport;
    (void)ret_transport;
    return -ENODEV;
}

static void script_free(struct dmi_transport *transport)
{
    (void)transport;
}

void script_init(struct script *script, const struct script_step *steps, size_t count)
{
    *script = (struct script){
        .transport = {.backend = "scripted",
                      .ioctl = script_ioctl,
                      .poll_fd = script_poll_fd,
                      .dev_majors = script_dev_majors,
                      .diskseq = script_diskseq,
                      .reopen = script_reopen,
                      .free = script_free},
        .steps = steps,
        .count = count,
        .kernel_minor = SCRIPT_KERNEL_MINOR,
    };
    dmi_init(&script->dm, &script->transport);
}

void script_init_silent(struct script *script)
{
    script_init(script, NULL, 0);
}

void script_end(const struct script *script)
{
    assert_int_equal(script->next, script->count);
}

struct dmi_id script_by_name(const char *name)
{
    return (struct dmi_id){.kind = DMI_BY_NAME, .name = name};
}

struct dmi_id script_by_uuid(const char *uuid)
{
    return (struct dmi_id){.kind = DMI_BY_UUID, .uuid = uuid};
}

struct dmi_id script_by_device(uint32_t major, uint32_t minor)
{
    return (struct dmi_id){.kind = DMI_BY_DEVICE, .device = {major, minor}};
}
