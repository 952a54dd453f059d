/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_line.h - on which line of a JSON text does a value stand? Parsed values do not tell.
 */
#ifndef DMRPC_JSON_LINE_H
#define DMRPC_JSON_LINE_H

#include <stddef.h>

/*
 * The line, from 1, of what `pointer` (RFC 6901) leads to in `text`, which must be valid JSON
 * without duplicate keys. Where it leads to nothing, of the last thing on the way.
 */
size_t json_line(const char *text, size_t length, const char *pointer);

#endif
