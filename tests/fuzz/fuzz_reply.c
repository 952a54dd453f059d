/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the library's reading of what a kernel answers. Each typed call is made over
 * a transport that writes the input's bytes into the buffer. Whatever they are, the call
 * fails with an errno, its result untouched, or its result can be read to the last byte.
 *
 * Input: which call, its flags, a limit on the reply, which allocation fails; then for
 * each ioctl of the call a `struct answer` and as many bytes as it says.
 */
#include <errno.h>
#include <linux/dm-ioctl.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "dmioctl.h"
#include "fuzz.h"
#include "scarce.h"
#include "transport.h"

/* What the kernel does with one request. Bytes, so that inputs are the same everywhere. */
struct answer {
    uint8_t how; /* enum how */
    uint8_t rc;  /* the errno, where it fails */
    uint8_t minor;
    uint8_t flags[3];
    uint8_t data_size[3], data_start[2], target_count[2];
    uint8_t length[2]; /* of the bytes that follow, for the payload */
};

enum how {
    HOW_FAILS = 1,   /* with rc */
    HOW_FULL = 2,    /* DM_BUFFER_FULL */
    HOW_HEADER = 4,  /* the bytes lie over the header, too */
    HOW_START = 8,   /* data_start is as it should be, */
    HOW_SIZE = 16,   /* data_size too, for that payload */
    HOW_OUT = 32,    /* DM_DATA_OUT */
    HOW_NOTHING = 64 /* the buffer is left alone */
};

struct kernel {
    struct dmi_transport transport;
    const uint8_t *bytes;
    size_t size;
    int calls;
};

static size_t number(const uint8_t *bytes, size_t count)
{
    size_t value = 0;

    while (count-- > 0) {
        value = value << 8 | bytes[count];
    }
    return value;
}

static const uint8_t *take(struct kernel *kernel, size_t length)
{
    const uint8_t *bytes = kernel->bytes;

    if (length > kernel->size) {
        return NULL;
    }
    kernel->bytes += length;
    kernel->size -= length;
    return bytes;
}

static void fill(struct kernel *kernel, const struct answer *answer, struct dm_ioctl *buffer)
{
    const size_t capacity = buffer->data_size;
    const size_t start = answer->how & HOW_HEADER ? 0 : sizeof(*buffer);
    size_t length = number(answer->length, sizeof(answer->length));

    length = length < kernel->size ? length : kernel->size;
    length = start < capacity && length < capacity - start ? length
             : start < capacity                            ? capacity - start
                                                           : 0;
    buffer->version[0] = 4;
    buffer->version[1] = answer->minor;
    buffer->flags = (uint32_t)number(answer->flags, sizeof(answer->flags));
    buffer->data_size = (uint32_t)number(answer->data_size, sizeof(answer->data_size));
    buffer->data_start = (uint32_t)number(answer->data_start, sizeof(answer->data_start));
    buffer->target_count = (uint32_t)number(answer->target_count, sizeof(answer->target_count));
    if (answer->how & HOW_START) {
        buffer->data_start = sizeof(*buffer);
    }
    if (answer->how & HOW_SIZE) {
        buffer->data_size = (uint32_t)(start + length);
    }
    buffer->flags |= answer->how & HOW_OUT ? DM_DATA_OUT_FLAG : 0;
    buffer->flags |= answer->how & HOW_FULL ? DM_BUFFER_FULL_FLAG : 0;
    if (length > 0) {
        memcpy((unsigned char *)buffer + start, take(kernel, length), length);
    }
}

static int on_ioctl(struct dmi_transport *transport, enum dmi_ioctl nr, struct dm_ioctl *buffer)
{
    struct kernel *kernel = (struct kernel *)(void *)transport;
    const uint8_t *bytes = take(kernel, sizeof(struct answer));
    struct answer answer;

    CHECK(nr >= 0 && nr < DMI_IOCTL_COUNT && buffer->data_size >= sizeof(*buffer));
    CHECK(++kernel->calls <= 64); /* a buffer grows, and ends at the limit */
    if (!bytes) {
        return -EIO;
    }
    memcpy(&answer, bytes, sizeof(answer));
    if (!(answer.how & HOW_NOTHING)) {
        fill(kernel, &answer, buffer);
    }
    return answer.how & HOW_FAILS ? -(answer.rc ? answer.rc : EIO) : 0;
}

static int on_majors(struct dmi_transport *transport, uint32_t **ret_majors, size_t *ret_count)
{
    (void)transport;
    (void)ret_majors;
    (void)ret_count;
    return -ENOENT;
}

/* --- results --- */

static size_t sum; /* what was read, so that the compiler reads it */

static void read_bytes(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    while (size-- > 0) {
        sum += *at++;
    }
}

static void read_string(const char *string, size_t most)
{
    if (string) {
        size_t length = strlen(string);
        CHECK(length <= most);
        read_bytes(string, length);
    }
}

static void read_info(const struct dmi_info *info)
{
    read_string(info->name, DMI_NAME_MAX);
    read_string(info->uuid, DMI_UUID_MAX);
    CHECK(info->device.minor <= 0xfffff && info->device.major <= 0xfff);
}

/* Results before the call: one that fails must leave all of this. */
enum { PATTERN = 0xa5 };

static bool is_untouched(const void *result, size_t size)
{
    const uint8_t *at = result;

    while (size-- > 0) {
        if (*at++ != PATTERN) {
            return false;
        }
    }
    return true;
}

#define RESULT(type, name)                                                                         \
    type name;                                                                                     \
    memset(&(name), PATTERN, sizeof(name))

/* Did the call succeed? Otherwise its result must not have been touched. */
static bool succeeded(int rc, const void *result, size_t size)
{
    CHECK(rc <= 0);
    CHECK(rc == 0 || is_untouched(result, size));
    return rc == 0;
}

/* --- the calls --- */

static const struct dmi_id by_name = {.kind = DMI_BY_NAME, .name = "n"};

static void call_version(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_version, version);

    (void)flags;
    (void)succeeded(dmi_version(dm, &version), &version, sizeof(version));
}

static void call_list_versions(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_target_versions, versions);

    (void)flags;
    if (succeeded(dmi_list_versions(dm, &versions), &versions, sizeof(versions))) {
        for (size_t i = 0; i < versions.count; i++) {
            read_string(versions.entries[i].name, SIZE_MAX);
            sum += versions.entries[i].version.patch;
        }
        dmi_target_versions_done(&versions);
    }
}

static void call_target_version(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_version, version);

    (void)flags;
    (void)succeeded(dmi_target_version(dm, "zero", &version), &version, sizeof(version));
}

static void call_list_devices(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_device_list, list);
    const char *name = flags & 1 ? "n" : NULL;
    const char *uuid = flags & 2 ? "u" : NULL;

    if (!succeeded(dmi_list_devices(dm, name, uuid, &list), &list, sizeof(list))) {
        return;
    }
    dmi_device_list_sort(&list);
    for (size_t i = 0; i < list.count; i++) {
        const struct dmi_device_entry *entry = &list.entries[i];
        read_string(entry->name, SIZE_MAX);
        read_string(entry->uuid, SIZE_MAX);
        CHECK(!name || strncmp(entry->name, name, strlen(name)) == 0);
        CHECK(!uuid || strncmp(entry->uuid, uuid, strlen(uuid)) == 0);
        CHECK(dmi_device_list_find(&list, entry->device));
        sum += entry->event_nr;
    }
    dmi_device_list_done(&list);
}

static void call_remove_all(struct dmi *dm, uint32_t flags)
{
    CHECK(dmi_remove_all(dm, flags) <= 0);
}

static void call_arm_poll(struct dmi *dm, uint32_t flags)
{
    (void)flags;
    CHECK(dmi_arm_poll(dm) <= 0);
}

static void call_create(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_info, info);

    if (succeeded(dmi_device_create(dm, "n", "u", flags, 3, &info), &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_remove(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_info, info);

    if (succeeded(dmi_device_remove(dm, &by_name, flags, 0, &info), &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_rename(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_info, info);
    int rc = flags & 1 ? dmi_device_rename(dm, "n", "m", 0, &info)
                       : dmi_device_set_uuid(dm, "n", "u", 0, &info);

    if (succeeded(rc, &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_suspend(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_info, info);
    int rc = flags & 1 ? dmi_device_suspend(dm, &by_name, flags & ~1U, &info)
                       : dmi_device_resume(dm, &by_name, flags, 0, &info);

    if (succeeded(rc, &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_status(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_info, info);

    if (succeeded(dmi_device_status(dm, &by_name, flags, &info), &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_geometry(struct dmi *dm, uint32_t flags)
{
    const struct dmi_geometry geometry = {1, 2, 3, flags};
    RESULT(struct dmi_info, info);

    if (succeeded(dmi_device_set_geometry(dm, &by_name, &geometry, &info), &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_load(struct dmi *dm, uint32_t flags)
{
    const struct dmi_target targets[] = {{0, 8, "zero", ""}, {8, 8, "linear", "8:16 0"}};
    RESULT(struct dmi_info, info);

    if (succeeded(dmi_table_load(dm, &by_name, targets, 2, flags, &info), &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_clear(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_info, info);

    (void)flags;
    if (succeeded(dmi_table_clear(dm, &by_name, &info), &info, sizeof(info))) {
        read_info(&info);
    }
}

static void call_deps(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_deps, deps);

    if (succeeded(dmi_table_deps(dm, &by_name, flags, &deps), &deps, sizeof(deps))) {
        read_info(&deps.info);
        read_bytes(deps.devices, deps.count * sizeof(*deps.devices));
        dmi_deps_done(&deps);
    }
}

static void call_table_status(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_table, table);

    if (succeeded(dmi_table_status(dm, &by_name, flags, &table), &table, sizeof(table))) {
        read_info(&table.info);
        for (size_t i = 0; i < table.count; i++) {
            read_string(table.targets[i].type, DMI_TYPE_MAX);
            read_string(table.targets[i].params, SIZE_MAX);
            sum += table.targets[i].start + table.targets[i].length;
        }
        dmi_table_done(&table);
    }
}

static void call_message(struct dmi *dm, uint32_t flags)
{
    RESULT(struct dmi_message, message);

    if (succeeded(dmi_target_msg(dm, &by_name, 0, "m", flags, 600, &message), &message,
                  sizeof(message))) {
        read_info(&message.info);
        read_string(message.output, 600);
        dmi_message_done(&message);
    }
}

static void (*const calls[])(struct dmi *dm, uint32_t flags) = {
    call_version,      call_list_versions, call_target_version, call_list_devices, call_remove_all,
    call_arm_poll,     call_create,        call_remove,         call_rename,       call_suspend,
    call_status,       call_geometry,      call_load,           call_clear,        call_deps,
    call_table_status, call_message,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { HEAD = 6 };
    struct kernel kernel = {.transport = {.ioctl = on_ioctl, .dev_majors = on_majors}};
    const long held = scarce_held();
    struct dmi dm;

    if (size < HEAD) {
        return 0;
    }
    kernel.bytes = data + HEAD;
    kernel.size = size - HEAD;
    dmi_init(&dm, &kernel.transport);
    dm.max_reply = (size_t)data[4] << 10;
    scarce_begin(data[5], data[5] < UINT8_MAX);
    calls[data[0] % (sizeof(calls) / sizeof(calls[0]))](&dm, (uint32_t)number(data + 1, 3));
    (void)scarce_end();
    CHECK(scarce_held() == held);
    return 0;
}
