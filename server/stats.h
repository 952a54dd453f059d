/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - what the server counts: the numbers of server_stats and /metrics.
 *
 * The schema's Stats says which there are. A plain one is a member of
 * counters.stats and is counted up wherever what it counts happens; one with a
 * label lies in a row of its own. What can be looked up at any time (memory,
 * workers) is not counted but looked up when it is asked for. Loop thread only.
 */
#ifndef DMRPC_STATS_H
#define DMRPC_STATS_H

#include <stdint.h>

#include "schema.h"

struct call;
struct dispatcher;
struct failure;

enum stats_protocol { STATS_RAW, STATS_HTTP, STATS_PROTOCOLS };

enum { STATS_BUCKETS = 18 };

/* Begins zeroed. */
struct counters {
    struct stats stats; /* its plain members are counted here; the others lie below */
    struct method_stats methods[METHOD_COUNT];
    struct error_stats errors[ERROR_COUNT];
    struct protocol_stats protocols[STATS_PROTOCOLS];
    struct histogram_bucket durations[STATS_BUCKETS];
};

/* Nanoseconds on a clock that never goes back: for call->began. */
uint64_t stats_clock(void);

/* A call has ended, with `failure` where its id says so: its reply is printed, or it was a
 * notification. */
void stats_ended(struct counters *counters, const struct call *call, const struct failure *failure);

/* An error was given to what is no call. */
void stats_failed(struct counters *counters, const struct failure *failure);

/* All there is to tell now. Arrays stay the dispatcher's; they change with the next count. */
void stats_read(struct dispatcher *dispatcher, struct stats *ret_stats);

#endif
