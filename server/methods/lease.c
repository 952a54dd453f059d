/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods about leases: lease_list.
 */
#include <errno.h>
#include <string.h>

#include "call.h"
#include "keeper.h"
#include "text.h"

/* False: the lease is over; whoever ended it did so outside of this server. */
static bool check(struct call *call, const struct keeper_view *view, struct dmi_info *ret_info)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = view->device};
    int rc = dmi_device_status(&call->dm, &id, 0, ret_info);
    bool gone =
        rc == -ENXIO || (rc == 0 && view->uuid[0] && strcmp(view->uuid, ret_info->uuid) != 0);

    if (gone) {
        keeper_over(call->host->keeper, view, LEASE_REMOVED);
    } else if (rc == 0 && view->confirmed && !(ret_info->flags & DMI_SUSPEND)) {
        keeper_over(call->host->keeper, view, LEASE_RESUMED);
    } else {
        return rc == 0;
    }
    return false;
}

static int describe(struct call *call, const struct keeper_view *view, const struct dmi_info *info,
                    struct leased_device *ret_lease)
{
    uint64_t now = lease_clock();
    uint64_t left = view->deadline > now ? view->deadline - now : 0;
    char *name = arena_copy(&call->arena, info->name, strlen(info->name));
    char *uuid = arena_copy(&call->arena, info->uuid, strlen(info->uuid));

    if (!name || !uuid) {
        return -ENOMEM;
    }
    *ret_lease = (struct leased_device){
        .name = name,
        .has_name_exact = !text_is_utf8(name) || !text_is_utf8(uuid),
        .uuid = *uuid ? uuid : NULL,
        .device = {.major = view->device.major, .minor = view->device.minor},
        .pid = (uint32_t)view->pid,
        .uid = view->uid,
        .has_connection = view->connection != 0,
        .connection = view->connection,
        .age_ms = (now - view->since) / 1000000,
        .resume_on_disconnect = view->on_disconnect,
        .has_ends_in_ms = view->deadline != LEASE_NEVER,
        .ends_in_ms = (left + 999999) / 1000000,
        .ending = view->ending,
    };
    return 0;
}

int method_lease_list(struct call *call, const struct lease_list_params *params,
                      struct lease_list_result *result)
{
    size_t count = keeper_count(call->host->keeper);
    struct keeper_view *views = call_alloc(call, count, sizeof(*views));
    struct leased_device *leases = call_alloc(call, count, sizeof(*leases));
    struct dmi_info info;

    (void)params;
    if (!views || !leases) {
        return -ENOMEM;
    }
    count = count > 0 ? keeper_list(call->host->keeper, views, count) : 0;
    for (size_t i = 0; i < count; i++) {
        if (!check(call, &views[i], &info) ||
            !access_sees(call->rules, &call->peer, call->method, info.name, info.uuid)) {
            continue;
        }
        int rc = describe(call, &views[i], &info, &leases[result->leases_count]);
        if (rc < 0) {
            return rc;
        }
        result->leases_count++;
    }
    result->leases = leases;
    return 0;
}
