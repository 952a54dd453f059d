/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods about events: events_subscribe, events_unsubscribe.
 */
#include "events.h"

#include <errno.h>

#include "call.h"
#include "watch.h"

int method_events_subscribe(struct call *call, const struct events_subscribe_params *params,
                            struct events_subscribe_result *result)
{
    const struct event_opening *opening = &call->opening;
    size_t count = params->snapshot ? opening->list->devices.count : 0;
    struct device_entry *devices = call_alloc(call, count, sizeof(*devices));
    struct filter filter;

    if ((count > 0 && !devices) || events_filter(call, params, &filter) != 0) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const struct dmi_device_entry *entry = &opening->list->devices.entries[i];
        if (filter_takes_device(&filter, entry->name, entry->uuid) &&
            access_sees(call->rules, &call->peer, call->method, entry->name, entry->uuid)) {
            devices[result->devices_count++] = call_entry(entry);
        }
    }
    result->devices = devices;
    result->subscription = opening->number;
    result->seq = opening->seq;
    result->instance = call->host->instance;
    return 0;
}

int method_events_unsubscribe(struct call *call, const struct events_unsubscribe_params *params,
                              struct done *result)
{
    if (!events_unsubscribe(call->peer.sink, params->subscription)) {
        return call_fail_param(call, "/subscription", "is no subscription of this connection");
    }
    result->done = true;
    return 0;
}
