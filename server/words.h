/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.h - the words of a table line or a message, as the kernel splits and reads them.
 *
 * They are parted by white space, which is none behind a backslash: that stands for what follows
 * it, whatever it is.
 */
#ifndef DMRPC_WORDS_H
#define DMRPC_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of a text, as it came: with backslashes. */
struct word {
    const char *at;
    size_t length;
};

/* Takes the next word off *text. False: there is none. */
bool words_next(const char **text, struct word *ret_word);

/* Takes the next character that the kernel sees off a word that is not empty. */
char words_take(struct word *word);

/* A plain number up to `end`: digits, one at least. What else the kernel makes one of, is none. */
bool words_number(const char *text, const char *end, uint32_t max, uint32_t *ret_number);

#endif
