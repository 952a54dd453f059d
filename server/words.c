/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splits texts as dm_split_args() of the kernel does. It knows nothing of what words mean.
 */
#include "words.h"

/* The kernel's isspace(): it takes bytes for Latin-1, and 0xa0 is a blank there. */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0';
}

bool words_next(const char **text, struct word *ret_word)
{
    const char *at = *text;

    while (is_blank(*at)) {
        at++;
    }
    const char *end = at;
    while (*end && !is_blank(*end)) {
        end += end[0] == '\\' && end[1] ? 2 : 1;
    }
    *text = end;
    *ret_word = (struct word){at, (size_t)(end - at)};
    return end > at;
}

char words_take(struct word *word)
{
    size_t skipped = word->at[0] == '\\' && word->length > 1;
    char c = word->at[skipped];

    word->at += skipped + 1;
    word->length -= skipped + 1;
    return c;
}

bool words_number(const char *text, const char *end, uint32_t max, uint32_t *ret_number)
{
    uint64_t number = 0;

    for (const char *at = text; at < end; at++) {
        if (*at < '0' || *at > '9' || number > max) {
            return false;
        }
        number = number * 10 + (uint64_t)(*at - '0');
    }
    *ret_number = (uint32_t)number;
    return text < end && number <= max;
}
