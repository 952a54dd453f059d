/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_memory.h - memory that runs out when a test says so, and that is looked
 * at when it is given back. For programs linked with --wrap=malloc,--wrap=calloc,
 * --wrap=realloc,--wrap=reallocarray,--wrap=free. Of the wrapped programs' own
 * code only: shared libraries keep their allocator.
 */
#ifndef SERVER_MEMORY_H
#define SERVER_MEMORY_H

#include <stddef.h>

/* The calling thread's next `count` allocations succeed, the one after fails once; -1: none does.
 */
void memory_fail_at(long count);

/* Has the failure happened? */
int memory_failed(void);

/* From now on memory that is freed must not hold `secret` (NULL: whatever it holds). */
void memory_watch(const char *secret);

/* How often freed memory did hold it. */
size_t memory_seen(void);

#endif
