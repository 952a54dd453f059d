/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.c - the calls that answer with a list: devices, and target types. A reply
 * is walked twice, to count and to fill, so that the entries take one allocation.
 * It must not know how records lie in the reply.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ioctl.h"
#include "ioctl_buffer.h"
#include "ioctl_reply.h"
#include "ioctl_request.h"

enum { LIST_FIRST_SIZE = 16 * 1024 };

struct list_filter {
    const char *name_prefix, *uuid_prefix; /* NULL: none */
};

/* 1, 0, or -EPROTONOSUPPORT where the kernel does not tell what the filter asks for. */
static int list_matches(const struct list_filter *filter, const struct dmi_device_entry *entry)
{
    if (filter->name_prefix &&
        strncmp(entry->name, filter->name_prefix, strlen(filter->name_prefix)) != 0) {
        return 0;
    }
    if (!filter->uuid_prefix) {
        return 1;
    }
    if (!entry->uuid) {
        return -EPROTONOSUPPORT;
    }
    return strncmp(entry->uuid, filter->uuid_prefix, strlen(filter->uuid_prefix)) == 0;
}

/* The devices of a payload that match; into `entries`, if that is not NULL. */
static int list_walk_devices(struct ioctl_payload payload, uint32_t kernel_minor,
                             const struct list_filter *filter, struct dmi_device_entry *entries,
                             size_t *ret_count)
{
    struct dmi_device_entry entry;
    size_t count = 0;
    int rc;

    while ((rc = ioctl_reply_next_device(&payload, kernel_minor, &entry)) > 0) {
        rc = list_matches(filter, &entry);
        if (rc < 0) {
            return rc;
        }
        if (rc > 0 && entries) {
            entries[count] = entry;
        }
        count += (size_t)rc;
    }
    *ret_count = count;
    return rc;
}

static int list_read_devices(struct dmi_device_list *list, const struct list_filter *filter)
{
    struct dm_ioctl *reply = list->buffer.data;
    struct ioctl_payload payload;
    int rc = ioctl_reply_payload(reply, &payload);

    if (rc == 0) {
        rc = list_walk_devices(payload, reply->version[1], filter, NULL, &list->count);
    }
    if (rc < 0 || list->count == 0) {
        return rc;
    }
    list->entries = calloc(list->count, sizeof(*list->entries));
    if (!list->entries) {
        return -ENOMEM;
    }
    return list_walk_devices(payload, reply->version[1], filter, list->entries, &list->count);
}

/* No prefix is the empty one, for which the header has room as zeros. */
static const char *list_prefix(const char *prefix)
{
    return prefix && *prefix ? prefix : NULL;
}

int dmi_list_devices(struct dmi *dm, const char *name_prefix, const char *uuid_prefix,
                     struct dmi_device_list *ret_list)
{
    struct list_filter filter = {list_prefix(name_prefix), list_prefix(uuid_prefix)};
    struct dmi_device_list list = {0};
    struct ioctl_request request;
    int rc;

    ioctl_request_init(&request, dm, DMI_LIST_DEVICES);
    request.flags = DMI_UUID;
    if (filter.name_prefix) {
        ioctl_request_name(&request, filter.name_prefix);
    }
    if (filter.uuid_prefix) {
        ioctl_request_uuid(&request, filter.uuid_prefix);
    }
    rc = ioctl_buffer_submit(dm, &request, LIST_FIRST_SIZE, &list.buffer);
    if (rc == 0) {
        rc = list_read_devices(&list, &filter);
        dm->needed_minor = rc == -EPROTONOSUPPORT ? IOCTL_MINOR_LIST_UUID : dm->needed_minor;
    }
    if (rc < 0) {
        dmi_device_list_done(&list);
        return rc;
    }
    *ret_list = list;
    return 0;
}

static int list_by_device(const void *a, const void *b)
{
    const struct dmi_device *x = &((const struct dmi_device_entry *)a)->device;
    const struct dmi_device *y = &((const struct dmi_device_entry *)b)->device;

    if (x->major != y->major) {
        return x->major < y->major ? -1 : 1;
    }
    return x->minor < y->minor ? -1 : x->minor > y->minor;
}

void dmi_device_list_sort(struct dmi_device_list *list)
{
    if (list->count > 0) {
        qsort(list->entries, list->count, sizeof(list->entries[0]), list_by_device);
    }
}

const struct dmi_device_entry *dmi_device_list_find(const struct dmi_device_list *list,
                                                    struct dmi_device device)
{
    const struct dmi_device_entry key = {.device = device};

    if (list->count == 0) {
        return NULL;
    }
    return bsearch(&key, list->entries, list->count, sizeof(key), list_by_device);
}

void dmi_device_list_done(struct dmi_device_list *list)
{
    free(list->entries);
    ioctl_buffer_done(&list->buffer);
    *list = (struct dmi_device_list){0};
}

static int list_walk_versions(struct ioctl_payload payload, struct dmi_target_version *entries,
                              size_t *ret_count)
{
    struct dmi_target_version version;
    size_t count = 0;
    int rc;

    while ((rc = ioctl_reply_next_version(&payload, &version)) > 0) {
        if (entries) {
            entries[count] = version;
        }
        count++;
    }
    *ret_count = count;
    return rc;
}

static int list_read_versions(struct dmi_target_versions *versions)
{
    struct ioctl_payload payload;
    int rc = ioctl_reply_payload(versions->buffer.data, &payload);

    if (rc == 0) {
        rc = list_walk_versions(payload, NULL, &versions->count);
    }
    if (rc < 0 || versions->count == 0) {
        return rc;
    }
    versions->entries = calloc(versions->count, sizeof(*versions->entries));
    if (!versions->entries) {
        return -ENOMEM;
    }
    return list_walk_versions(payload, versions->entries, &versions->count);
}

int dmi_list_versions(struct dmi *dm, struct dmi_target_versions *ret_versions)
{
    struct dmi_target_versions versions = {0};
    struct ioctl_request request;
    int rc;

    ioctl_request_init(&request, dm, DMI_LIST_VERSIONS);
    rc = ioctl_buffer_submit(dm, &request, LIST_FIRST_SIZE, &versions.buffer);
    if (rc == 0) {
        rc = list_read_versions(&versions);
    }
    if (rc < 0) {
        dmi_target_versions_done(&versions);
        return rc;
    }
    *ret_versions = versions;
    return 0;
}

void dmi_target_versions_done(struct dmi_target_versions *versions)
{
    free(versions->entries);
    ioctl_buffer_done(&versions->buffer);
    *versions = (struct dmi_target_versions){0};
}

int dmi_target_version(struct dmi *dm, const char *type, struct dmi_version *ret_version)
{
    struct ioctl_small buffer = {0};
    struct dmi_target_version version;
    struct ioctl_payload payload;
    struct ioctl_request request;
    struct dmi_info info;
    int rc;

    ioctl_request_init(&request, dm, DMI_GET_TARGET_VERSION);
    ioctl_request_type(&request, type);
    rc = ioctl_submit_info(dm, &request, &buffer.header, sizeof(buffer), &info);
    if (rc < 0) {
        return rc;
    }
    if (ioctl_reply_payload(&buffer.header, &payload) < 0 ||
        ioctl_reply_next_version(&payload, &version) != 1) {
        return -EBADMSG;
    }
    *ret_version = version.version;
    return 0;
}
