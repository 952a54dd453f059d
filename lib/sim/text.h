/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - text that a target writes into a caller's buffer.
 */
#ifndef SIM_TEXT_H
#define SIM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct sim_text {
    char *data;  /* borrowed; not terminated before the first sim_emit */
    size_t size; /* with the NUL */
    size_t used; /* without */
};

/* Appends what fits, as the kernel's DMEMIT() does; the end is always NUL-terminated. */
__attribute__((format(printf, 2, 3))) void sim_emit(struct sim_text *text, const char *format, ...);

/* dm_message_test_buffer_overflow(): a full buffer may have lost something. */
bool sim_text_is_full(const struct sim_text *text);

#endif
