/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - the numbers of stats.h as OpenMetrics text 1.0.
 *
 * The names, types, units and helps are the schema's (x-metric), by way of the
 * field tables.
 */
#ifndef DMRPC_METRICS_H
#define DMRPC_METRICS_H

#include "out.h"
#include "schema.h"

#define METRICS_CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* Prints a whole exposition, up to its # EOF. Failures stick in `out`. */
void metrics_put(const struct stats *stats, struct out *out);

/* Prints the metrics of any struct whose table has some, without the end. */
void metrics_put_object(const struct type *type, const void *object, struct out *out);

#endif
