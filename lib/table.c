/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - loading, dropping and reading a device's tables. It lays target
 * specs out for a load; how they lie in a reply is ioctl_reply.c's to know.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ioctl.h"
#include "ioctl_buffer.h"
#include "ioctl_reply.h"
#include "ioctl_request.h"

enum {
    TABLE_FIRST_SIZE = 16 * 1024,
    DEPS_FIRST_SIZE = 4 * 1024,
    SPEC_ALIGN = 8,
};

/* --- load --- */

/* The bytes of a spec with its string and the padding up to the next one; 0: too many. */
static size_t table_spec_size(size_t params_length)
{
    size_t size = sizeof(struct dm_target_spec) + params_length + 1;

    if (params_length > IOCTL_SIZE_MAX) {
        return 0;
    }
    return (size + SPEC_ALIGN - 1) & ~(size_t)(SPEC_ALIGN - 1);
}

static int table_request_size(const struct dmi_target *targets, size_t count, size_t *ret_size)
{
    size_t size = sizeof(struct dm_ioctl);

    for (size_t i = 0; i < count; i++) {
        size_t spec_size = table_spec_size(strlen(targets[i].params));

        if (strnlen(targets[i].type, DMI_TYPE_MAX + 1) > DMI_TYPE_MAX) {
            return -ENAMETOOLONG;
        }
        if (spec_size == 0 || spec_size > IOCTL_SIZE_MAX - size) {
            return -E2BIG;
        }
        size += spec_size;
    }
    *ret_size = size;
    return 0;
}

static void table_write_specs(const struct dmi_target *targets, size_t count, unsigned char *bytes)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(targets[i].params);
        size_t size = table_spec_size(length);
        /* In requests `next` counts from the current spec. */
        struct dm_target_spec spec = {
            .sector_start = targets[i].start,
            .length = targets[i].length,
            .next = (uint32_t)size,
        };

        memcpy(spec.target_type, targets[i].type, strnlen(targets[i].type, DMI_TYPE_MAX));
        memcpy(bytes, &spec, sizeof(spec));
        memcpy(bytes + sizeof(spec), targets[i].params, length);
        bytes += size;
    }
}

int dmi_table_load(struct dmi *dm, const struct dmi_id *id, const struct dmi_target *targets,
                   size_t count, uint32_t flags, struct dmi_info *ret_info)
{
    struct dmi_buffer buffer;
    struct ioctl_request request;
    size_t size = 0;
    int rc;

    ioctl_request_init(&request, dm, DMI_TABLE_LOAD);
    ioctl_request_flags(&request, flags, DMI_READONLY | DMI_SECURE_DATA);
    ioctl_request_id(&request, id);
    ioctl_request_refuse(&request, table_request_size(targets, count, &size));
    if (request.error) {
        return request.error;
    }
    rc = ioctl_buffer_new(size, &buffer);
    if (rc < 0) {
        return rc;
    }
    request.target_count = (uint32_t)count;
    table_write_specs(targets, count, (unsigned char *)buffer.data + sizeof(struct dm_ioctl));
    rc = ioctl_submit_info(dm, &request, buffer.data, size, ret_info);
    ioctl_buffer_done(&buffer);
    return rc;
}

int dmi_table_clear(struct dmi *dm, const struct dmi_id *id, struct dmi_info *ret_info)
{
    struct dm_ioctl buffer = {0};
    struct ioctl_request request;

    ioctl_request_init(&request, dm, DMI_TABLE_CLEAR);
    ioctl_request_id(&request, id);
    return ioctl_submit_info(dm, &request, &buffer, sizeof(buffer), ret_info);
}

/* --- dependencies --- */

static int table_read_deps(struct dm_ioctl *reply, struct dmi_deps *deps)
{
    struct ioctl_payload payload;
    int rc = ioctl_reply_payload(reply, &payload);

    ioctl_reply_info(reply, &deps->info);
    if (rc == 0) {
        rc = ioctl_reply_deps_count(&payload, &deps->count);
    }
    if (rc < 0 || deps->count == 0) {
        return rc;
    }
    deps->devices = calloc(deps->count, sizeof(*deps->devices));
    if (!deps->devices) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < deps->count && rc == 0; i++) {
        rc = ioctl_reply_dep(&payload, i, &deps->devices[i]);
    }
    return rc;
}

int dmi_table_deps(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                   struct dmi_deps *ret_deps)
{
    struct dmi_buffer buffer = {0};
    struct dmi_deps deps = {0};
    struct ioctl_request request;
    int rc;

    ioctl_request_init(&request, dm, DMI_TABLE_DEPS);
    ioctl_request_flags(&request, flags, DMI_QUERY_INACTIVE_TABLE);
    ioctl_request_id(&request, id);
    rc = ioctl_buffer_submit(dm, &request, DEPS_FIRST_SIZE, &buffer);
    if (rc < 0) {
        return rc;
    }
    rc = table_read_deps(buffer.data, &deps);
    ioctl_buffer_done(&buffer);
    if (rc < 0) {
        dmi_deps_done(&deps);
        return rc;
    }
    *ret_deps = deps;
    return 0;
}

void dmi_deps_done(struct dmi_deps *deps)
{
    free(deps->devices);
    *deps = (struct dmi_deps){0};
}

/* --- status and table lines --- */

static int table_read_targets(struct dmi_table *table)
{
    struct dm_ioctl *reply = table->buffer.data;
    struct ioctl_payload payload;
    int rc = ioctl_reply_payload(reply, &payload);

    ioctl_reply_info(reply, &table->info);
    /* No lines but a count: the table went while the kernel was answering. */
    if (rc < 0 || payload.end || reply->target_count == 0) {
        return rc;
    }
    if (!ioctl_reply_holds_targets(&payload, reply->target_count)) {
        return -EBADMSG;
    }
    table->count = reply->target_count;
    table->targets = calloc(table->count, sizeof(*table->targets));
    if (!table->targets) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < table->count && rc == 0; i++) {
        rc = ioctl_reply_next_target(&payload, i + 1 == table->count, &table->targets[i]);
    }
    return rc;
}

int dmi_table_status(struct dmi *dm, const struct dmi_id *id, uint32_t flags,
                     struct dmi_table *ret_table)
{
    struct dmi_table table = {0};
    struct ioctl_request request;
    int rc;

    ioctl_request_init(&request, dm, DMI_TABLE_STATUS);
    ioctl_request_flags(&request, flags,
                        DMI_STATUS_TABLE | DMI_NOFLUSH | DMI_QUERY_INACTIVE_TABLE |
                            DMI_SECURE_DATA);
    ioctl_request_id(&request, id);
    rc = ioctl_buffer_submit(dm, &request, TABLE_FIRST_SIZE, &table.buffer);
    if (rc == 0) {
        rc = table_read_targets(&table);
    }
    if (rc < 0) {
        dmi_table_done(&table);
        return rc;
    }
    *ret_table = table;
    return 0;
}

void dmi_table_done(struct dmi_table *table)
{
    free(table->targets);
    ioctl_buffer_done(&table->buffer);
    *table = (struct dmi_table){0};
}
