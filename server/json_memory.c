/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An allocator for jansson that knows each block's size, which jansson does not
 * tell when it frees, and so can wipe it.
 */
#include "json_memory.h"

#include <jansson.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Stands before each block. */
struct header {
    alignas(max_align_t) size_t size;
};

static void *allocate(size_t size)
{
    struct header *header =
        size > SIZE_MAX - sizeof(*header) ? NULL : malloc(sizeof(*header) + size);

    if (!header) {
        return NULL;
    }
    header->size = size;
    return header + 1;
}

static void release(void *block)
{
    if (block) {
        struct header *header = (struct header *)block - 1;
        explicit_bzero(block, header->size);
        free(header);
    }
}

void json_memory_init(void)
{
    json_set_alloc_funcs(allocate, release);
    json_object_seed(0);
}
