/* SPDX-License-Identifier: Apache-2.0 */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

enum { BUFFER_LEAST = 65536 }; /* what one read brings */

static bool reserve(struct buffer *buffer, struct budget *budget, size_t more)
{
    size_t kept = buffer->end - buffer->start;
    size_t size = buffer->size ? buffer->size : BUFFER_LEAST;

    if (buffer->start > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->start, kept);
        explicit_bzero(buffer->bytes + kept, buffer->start);
        buffer->start = 0;
        buffer->end = kept;
    }
    while (size < kept + more) {
        size *= 2;
    }
    if (size == buffer->size) {
        return true;
    }
    if (!budget_take(budget, size)) {
        return false;
    }
    char *bytes = malloc(size);
    if (!bytes) {
        budget_give(budget, size);
        return false;
    }
    if (kept > 0) {
        memcpy(bytes, buffer->bytes, kept);
    }
    buffer_done(buffer, budget);
    *buffer = (struct buffer){.bytes = bytes, .size = size, .end = kept};
    return true;
}

bool buffer_append(struct buffer *buffer, struct budget *budget, const char *bytes, size_t length)
{
    if (!reserve(buffer, budget, length)) {
        return false;
    }
    memcpy(buffer->bytes + buffer->end, bytes, length);
    buffer->end += length;
    return true;
}

void buffer_done(struct buffer *buffer, struct budget *budget)
{
    if (buffer->bytes) {
        explicit_bzero(buffer->bytes, buffer->end);
        free(buffer->bytes);
        budget_give(budget, buffer->size);
        *buffer = (struct buffer){0};
    }
}
