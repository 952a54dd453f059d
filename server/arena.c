/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bump allocator for what one call needs: decoded params, result structs and
 * lists. It knows nothing of what lies in it, and wipes all of it.
 */
#include "arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 4096 };

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    alignas(max_align_t) char data[];
};

static struct arena_block *block_new(struct arena *arena, size_t size)
{
    struct arena_block *block = calloc(1, sizeof(*block) + size);
    if (!block) {
        return NULL;
    }
    block->size = size;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    const size_t align = alignof(max_align_t);
    struct arena_block *block = arena->blocks;
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    bytes = (bytes + align - 1) / align * align;
    if (!block || block->size - block->used < bytes) {
        block = block_new(arena, bytes > BLOCK_SIZE ? bytes : BLOCK_SIZE);
        if (!block) {
            return NULL;
        }
    }
    void *p = block->data + block->used;
    block->used += bytes;
    return p;
}

char *arena_copy(struct arena *arena, const char *bytes, size_t length)
{
    char *copy = arena_alloc(arena, 1, length + 1);
    if (copy) {
        memcpy(copy, bytes, length);
    }
    return copy;
}

void arena_done(struct arena *arena)
{
    while (arena->blocks) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        explicit_bzero(block->data, block->used);
        free(block);
    }
}
