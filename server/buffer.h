/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.h - bytes that have come in, kept until they can be used.
 *
 * Grows as they come, within the budget; its memory is wiped before it goes back,
 * since requests hold keys. Zeroed it is empty and holds no memory.
 */
#ifndef DMRPC_BUFFER_H
#define DMRPC_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "budget.h"

struct buffer {
    char *bytes; /* NULL where it holds no memory; [start, end) is what is kept */
    size_t size, start, end;
};

/* False, and nothing appended, where the budget or memory ends. */
bool buffer_append(struct buffer *buffer, struct budget *budget, const char *bytes, size_t length);

/* Empties it and gives its memory back. */
void buffer_done(struct buffer *buffer, struct budget *budget);

#endif
