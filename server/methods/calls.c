/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods about calls: calls_list, call_cancel.
 */
#include <errno.h>

#include "dispatch.h"
#include "stats.h"

static const char *const stage_names[] = {
    [CALL_TURN] = "turn",
    [CALL_WORKER] = "worker",
    [CALL_PAUSED] = "paused",
    [CALL_PARKED] = "parked",
};

static void describe(const struct call *call, uint64_t now, struct running_call *entry)
{
    *entry = (struct running_call){
        .call = call->number,
        .method = call->method->name,
        .stage = stage_names[call->life.stage],
        .age_ms = (now - call->life.came) / 1000000,
        .timeout_ms = call->life.timeout_ms,
        .has_timeout_ms = call->life.has_timeout_ms,
        .pid = (uint32_t)call->peer.pid,
        .uid = call->peer.uid,
        .name = call->name[0] ? call->name : NULL,
        .device = {call->device.major, call->device.minor},
        .has_device = call->has_device,
        .given_up = call->life.given_up,
    };
}

int method_calls_list(struct call *call, const struct calls_list_params *params,
                      struct calls_list_result *result)
{
    const struct calls *calls = &call->dispatcher->calls;
    struct running_call *entries = call_alloc(call, calls->count, sizeof(*entries));
    uint64_t now = stats_clock();
    size_t count = 0;

    (void)params;
    if (!entries) {
        return -ENOMEM;
    }
    for (const struct call *each = calls->first; each; each = each->life.next) {
        if (access_may_know(call, each)) {
            describe(each, now, &entries[count++]);
        }
    }
    result->calls = entries;
    result->calls_count = count;
    return 0;
}

int method_call_cancel(struct call *call, const struct call_cancel_params *params,
                       struct call_cancel_result *result)
{
    struct call *victim = calls_find(&call->dispatcher->calls, params->call);

    bool may_end = victim && access_may_end(call, victim);

    /* Of what calls_list hides nothing is told, not even that it is there. */
    if (!victim || (!may_end && !access_may_know(call, victim))) {
        return call_fail_param(call, "/call", "no call of this number runs or waits");
    }
    if (!may_end) {
        return call_fail(call, ERROR_PERMISSION_DENIED,
                         "Call %llu is somebody else's: who may not write to what it is about ends "
                         "own calls only.",
                         (unsigned long long)params->call);
    }
    result->call = params->call;
    result->outcome =
        calls_stop(victim, ERROR_CANCELLED, call->number) == CALLS_ENDED ? "ended" : "interrupted";
    return 0;
}
