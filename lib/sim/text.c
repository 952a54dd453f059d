/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that a target writes into a caller's buffer: cut where the buffer ends,
 * never an error. Whoever gave the buffer decides what a full one means.
 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sim_emit(struct sim_text *text, const char *format, ...)
{
    if (text->used >= text->size)
        return;

    size_t left = text->size - text->used;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->data + text->used, left, format, arguments);
    va_end(arguments);

    if (length > 0)
        text->used += (size_t)length < left ? (size_t)length : left - 1;
}

bool sim_text_is_full(const struct sim_text *text)
{
    return text->size == 0 || strnlen(text->data, text->size) + 1 >= text->size;
}
