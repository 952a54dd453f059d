/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_memory.h - the JSON parser's memory, wiped before it is given back: parsed
 * table lines and messages hold keys.
 */
#ifndef DMRPC_JSON_MEMORY_H
#define DMRPC_JSON_MEMORY_H

/* Once, before the first JSON value is made; it also seeds the parser's hashes. */
void json_memory_init(void);

#endif
