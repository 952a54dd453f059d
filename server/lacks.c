/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short list, and its words in one line. It knows neither what is wanted nor who refuses.
 */
#include "lacks.h"

#include <stdio.h>

void lacks_add(struct lacks *lacks, const struct lack *lack)
{
    if (lacks->count < LACKS_MAX) {
        lacks->items[lacks->count++] = lack;
    }
}

bool lacks_has(const struct lacks *lacks, const struct lack *lack)
{
    bool has = false;

    for (size_t i = 0; !has && i < lacks->count; i++) {
        has = lacks->items[i] == lack;
    }
    return has;
}

void lacks_tell(const struct lacks *lacks, char *ret_text, size_t size)
{
    size_t length = 0;

    ret_text[0] = '\0';
    for (size_t i = 0; i < lacks->count && length < size; i++) {
        int n = snprintf(ret_text + length, size - length, "%s%s", i > 0 ? "; " : "",
                         lacks->items[i]->what);
        length += n > 0 ? (size_t)n : 0;
    }
}
