/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lacks.h - what this process wanted of the system and was refused, and does without.
 */
#ifndef DMRPC_LACKS_H
#define DMRPC_LACKS_H

#include <stdbool.h>
#include <stddef.h>

struct lack {
    const char *name; /* in server_info */
    const char *what; /* for the log: what follows from it, and what to do */
};

enum { LACKS_MAX = 8 };

/* Zeroed: nothing. */
struct lacks {
    size_t count;
    const struct lack *items[LACKS_MAX]; /* borrowed */
};

void lacks_add(struct lacks *lacks, const struct lack *lack);

bool lacks_has(const struct lacks *lacks, const struct lack *lack);

/* All as one text, cut to fit; "" where nothing is lacked. */
void lacks_tell(const struct lacks *lacks, char *ret_text, size_t size);

#endif
