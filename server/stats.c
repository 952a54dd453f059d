/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The counters of calls and errors, and the look at everything else that Stats
 * tells. It knows which numbers there are, not how they are told.
 */
#include "stats.h"

#include <time.h>

#include "dispatch.h"
#include "log.h"

/* Microseconds: from what a call without a thread takes to what a suspend may take. */
static const uint32_t up_to_us[STATS_BUCKETS] = {
    50,    100,    250,    500,    1000,    2500,    5000,    10000,    25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000,
};

static const char *const protocol_names[STATS_PROTOCOLS] = {
    [STATS_RAW] = "raw",
    [STATS_HTTP] = "http",
};

uint64_t stats_clock(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t up_to_ns(size_t bucket)
{
    return (uint64_t)up_to_us[bucket] * 1000;
}

static void measure(struct counters *counters, uint64_t ns)
{
    struct histogram *duration = &counters->stats.duration;

    duration->count++;
    duration->sum_ns += ns;
    for (size_t i = 0; i < STATS_BUCKETS; i++) {
        counters->durations[i].count += ns <= up_to_ns(i);
    }
}

void stats_failed(struct counters *counters, const struct failure *failure)
{
    counters->errors[failure->id].given++;
    counters->stats.limited += failure->data.has_limit;
}

void stats_ended(struct counters *counters, const struct call *call, const struct failure *failure)
{
    bool failed = failure->id != ERROR_NONE;

    if (failed) {
        stats_failed(counters, failure);
    }
    if (call->method) { /* else it names none that there is */
        struct method_stats *method = &counters->methods[call->method - method_table];
        method->ended++;
        method->failed += failed;
        measure(counters, stats_clock() - call->began);
    }
}

/* --- to be told --- */

/* The labels of the rows: the same each time. */
static void put_labels(struct counters *counters)
{
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        counters->methods[i].method = method_table[i].name;
    }
    for (size_t i = 0; i < ERROR_COUNT; i++) {
        counters->errors[i].error = error_table[i].name;
    }
    for (size_t i = 0; i < STATS_PROTOCOLS; i++) {
        counters->protocols[i].protocol = protocol_names[i];
    }
    for (size_t i = 0; i < STATS_BUCKETS; i++) {
        counters->durations[i].up_to_ns = up_to_ns(i);
    }
}

static void put_rows(const struct counters *counters, struct stats *stats)
{
    stats->calls = counters->methods;
    stats->calls_count = METHOD_COUNT;
    stats->errors = counters->errors + 1; /* the first is none */
    stats->errors_count = ERROR_COUNT - 1;
    stats->connections = counters->protocols;
    stats->connections_count = STATS_PROTOCOLS;
    stats->duration.buckets = counters->durations;
    stats->duration.buckets_count = STATS_BUCKETS;
}

static void look_up(const struct dispatcher *dispatcher, struct stats *stats)
{
    const struct host *host = &dispatcher->host;
    size_t threads;
    size_t busy;

    workers_count(dispatcher->workers, &threads, &busy);
    stats->build = (struct build_stats){DMRPC_VERSION, DMRPC_API, host->backend};
    stats->start_time_seconds = (uint64_t)host->started;
    stats->pending = dispatcher->pending + dispatcher->woken;
    stats->waits = waits_count(dispatcher->waits);
    stats->subscriptions = events_count(dispatcher->events);
    stats->held_bytes = dispatcher->budget->used;
    stats->held_limit_bytes = dispatcher->budget->limit;
    stats->log_lines_dropped = log_dropped();
    stats->audit_dropped = log_records_dropped();
    stats->workers = threads;
    stats->workers_busy = busy;
    stats->workers_limit = host->limits.workers;
}

void stats_read(struct dispatcher *dispatcher, struct stats *ret_stats)
{
    struct counters *counters = &dispatcher->counters;

    put_labels(counters);
    *ret_stats = counters->stats;
    put_rows(counters, ret_stats);
    look_up(dispatcher, ret_stats);
}
