/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scarce.h - memory that runs out on all threads, and a count of what is held.
 *
 * For programs linked with fuzz_scarce, which wraps the allocator of the program's
 * own code; shared libraries keep theirs. The parser's memory counts, since the
 * daemon gives it its own.
 */
#ifndef SCARCE_H
#define SCARCE_H

#include <stddef.h>

/* What SCARCE_FOREVER allocations fail: all from then on. */
#define SCARCE_FOREVER ((size_t)-1)

/* The allocation after the next `passes` fails, and so do the `failures` - 1 that follow it. */
void scarce_begin(size_t passes, size_t failures);

/* From now on none fails. Returns how many did since scarce_begin. */
size_t scarce_end(void);

/* Allocations that are not freed yet; only those made and freed between two calls count. */
long scarce_held(void);

#endif
