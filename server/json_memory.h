/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_memory.h - the JSON parser's memory: wiped before it is given back, since parsed
 * table lines and messages hold keys, and safe where it runs out.
 */
#ifndef DMRPC_JSON_MEMORY_H
#define DMRPC_JSON_MEMORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Once, before the first JSON value is made; it also seeds the parser's hashes. */
void json_memory_init(void);

/*
 * As json_loadb. False where there was no memory, with nothing kept; jansson alone
 * would then drop bytes of a string unnoticed, or abort. Any thread.
 */
bool json_memory_load(const char *text, size_t length, size_t flags, json_error_t *error,
                      json_t **ret_json);

#endif
