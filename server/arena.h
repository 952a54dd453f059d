/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory that lives as long as one call, and goes at once, wiped.
 */
#ifndef DMRPC_ARENA_H
#define DMRPC_ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks;
};

/* Zeroed and aligned for any type; NULL where there is no memory. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);

/* A copy of `length` bytes with a NUL behind; NULL where there is no memory. */
char *arena_copy(struct arena *arena, const char *bytes, size_t length);

/* Takes a zeroed arena too; it can be used again afterwards. */
void arena_done(struct arena *arena);

#endif
