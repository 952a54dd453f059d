/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the configuration file: read and judged whole.
 *
 * The file is JSON, of the form of proto/dmrpcd.config.yaml, decoded by the same strict rules as
 * requests. What is found wrong is told with line and JSON pointer. It gives rights, so it must
 * be a plain file that nobody but root or this process's user could have written.
 *
 * It reads files and looks up users and groups: for a thread that may block.
 */
#ifndef DMRPC_CONFIG_H
#define DMRPC_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "arena.h"
#include "rules.h"
#include "schema.h"

enum { CONFIG_FILE_BYTES = 1048576, CONFIG_DEPTH = 16, CONFIG_FAULT_BYTES = 960 };

/* One reading of a file. */
struct config_file {
    struct config config; /* strings are borrowed from `json`, arrays from `arena` */
    struct rules *rules;  /* owned; NULL: it has none, and the built-in ones hold */
    uid_t owner;
    json_t *json;
    struct arena arena;
    char *text;
    size_t length;
    /* Where it cannot be used: one line, with what to do. */
    char fault[CONFIG_FAULT_BYTES];
};

/* 0; or -errno with ret_file->fault. config_done in any case. */
int config_read(const char *path, struct config_file *ret_file);

/* Takes a zeroed one too, and zeroes it. */
void config_done(struct config_file *file);

/* Tells what is worth knowing of a good file, and may not be meant so: a sentence each. */
void config_remark(const struct config_file *file, void (*tell)(void *data, const char *remark),
                   void *data);

/* --- limits, which the command line has too --- */

/* What the schema says holds where nothing else is said. */
void config_default_limits(struct limits *ret_limits);

uint64_t config_limit(const struct limits *limits, const struct field *field);

/* Other threads may read the limits meanwhile. */
void config_set_limit(struct limits *limits, const struct field *field, uint64_t value);

/* Does it count only at a start? Things are made by it then, or workers read it. */
bool config_is_fixed(const struct field *field);

#endif
