/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - kernel strings as JSON strings.
 *
 * The kernel's names and lines are bytes; JSON's strings are Unicode. What is
 * UTF-8 goes out as it is. Of a string that is not, each byte that is no part of a
 * character is shown as \xNN, and so is each backslash, so that the bytes can be
 * told; a caller who must know asks text_is_utf8.
 */
#ifndef DMRPC_TEXT_H
#define DMRPC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "out.h"

/* Well-formed UTF-8 by RFC 3629: no overlong forms, no surrogates, at most U+10FFFF. */
bool text_is_utf8(const char *string);

/* The length of the well-formed sequence at `bytes` (which ends with a NUL), or 0. */
size_t text_sequence(const char *bytes);

enum { TEXT_TIME_BYTES = sizeof("9999-12-31T23:59:59.999Z") };

/* A time by CLOCK_REALTIME, in UTC, as RFC 3339 with milliseconds. */
void text_time(const struct timespec *when, char ret_text[TEXT_TIME_BYTES]);

/* Prints a NUL-terminated string with quotes and escapes. */
void text_put(struct out *out, const char *string);

/*
 * The string that text_put prints, without JSON: a copy that is UTF-8, cut where it does not fit
 * into `size` bytes.
 */
void text_copy(const char *string, char *ret_text, size_t size);

/*
 * A copy for a line that people read: control characters, too, are shown as \xNN, and backslashes
 * stay. So nobody's name ends the line or speaks to a terminal.
 */
void text_line(const char *string, char *ret_line, size_t size);

#endif
