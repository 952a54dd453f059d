/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods about all devices at once: list_devices, remove_all.
 */
#include <errno.h>

#include "call.h"
#include "keeper.h"
#include "text.h"

static void release_list(void *thing)
{
    dmi_device_list_done(thing);
}

/* A list that goes with the call. */
static int list(struct call *call, const char *name_prefix, const char *uuid_prefix,
                struct dmi_device_list **ret_list)
{
    struct dmi_device_list *devices = call_alloc(call, 1, sizeof(*devices));
    int rc = devices ? dmi_list_devices(&call->dm, name_prefix, uuid_prefix, devices) : -ENOMEM;

    if (rc == 0) {
        rc = call_own(call, devices, release_list);
    }
    if (rc == 0) {
        *ret_list = devices;
    }
    return rc;
}

int method_list_devices(struct call *call, const struct list_devices_params *params,
                        struct list_devices_result *result)
{
    struct dmi_device_list *found = NULL;
    int rc = list(call, params->name_prefix, params->uuid_prefix, &found);

    if (rc != 0) {
        return rc;
    }
    struct device_entry *devices = call_alloc(call, found->count, sizeof(*devices));
    if (!devices) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < found->count; i++) {
        const struct dmi_device_entry *entry = &found->entries[i];
        if (access_sees(call->rules, &call->peer, call->method, entry->name, entry->uuid)) {
            devices[result->devices_count++] = call_entry(entry);
        }
    }
    result->devices = devices;
    return 0;
}

/* --- remove_all --- */

static bool is_open(struct call *call, const struct dmi_device_entry *entry)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = entry->device};
    struct dmi_info info;

    return dmi_device_status(&call->dm, &id, 0, &info) == 0 && info.open_count > 0;
}

/* `after` is NULL where nothing was removed: then open counts are the forecast. */
static int sort_out(struct call *call, const struct dmi_device_list *before,
                    const struct dmi_device_list *after, struct remove_all_result *result)
{
    struct device_entry *removed = call_alloc(call, before->count, sizeof(*removed));
    struct device_entry *remaining = call_alloc(call, before->count, sizeof(*remaining));

    if (!removed || !remaining) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < before->count; i++) {
        const struct dmi_device_entry *entry = &before->entries[i];
        bool stays =
            after ? dmi_device_list_find(after, entry->device) != NULL : is_open(call, entry);
        if (stays) {
            remaining[result->remaining_count++] = call_entry(entry);
        } else {
            removed[result->removed_count++] = call_entry(entry);
        }
    }
    result->removed = removed;
    result->remaining = remaining;
    return 0;
}

/* What is left is only known from another list. */
static int remove_them(struct call *call, uint32_t flags, const struct dmi_device_list *before,
                       struct remove_all_result *result)
{
    struct dmi_device_list *after = NULL;
    int rc = dmi_remove_all(&call->dm, flags);

    if (rc < 0) {
        return rc;
    }
    rc = list(call, NULL, NULL, &after);
    if (rc == 0) {
        dmi_device_list_sort(after);
        rc = sort_out(call, before, after, result);
    }
    if (rc != 0) {
        (void)call_fail_kernel(call, rc);
        call->failure.data.state = "all that were not open were removed; only the look at what is "
                                   "left failed";
        return CALL_FAILED;
    }
    return 0;
}

int method_remove_all(struct call *call, const struct remove_all_params *params,
                      struct remove_all_result *result)
{
    struct dmi_device_list *before = NULL;
    int rc = list(call, NULL, NULL, &before);

    if (rc != 0) {
        return rc;
    }
    result->confirmed = params->confirm;
    rc = params->confirm ? remove_them(call, params->flags, before, result)
                         : sort_out(call, before, NULL, result);
    for (size_t i = 0; rc == 0 && params->confirm && i < result->removed_count; i++) {
        const struct device *device = &result->removed[i].device;
        keeper_removed(call->host->keeper, (struct dmi_device){device->major, device->minor});
    }
    return rc;
}
