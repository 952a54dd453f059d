/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the command line and the configuration file.
 *
 * The file is JSON, of the schema's Config, decoded by the same strict rules as
 * requests. Each limit of the schema is an option too (request_bytes is
 * --request-bytes); the command line wins over the file.
 */
#ifndef DMRPC_OPTIONS_H
#define DMRPC_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>

#include "arena.h"
#include "schema.h"

struct options {
    const char *socket;
    const char *group; /* NULL: leave the socket's group */
    const char *config;
    bool simulate;
    struct limits limits;
    json_t *file; /* owned; strings above may be borrowed from it */
    struct arena arena;
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_EXIT,  /* --help or --version: it has been answered */
    OPTIONS_USAGE, /* wrong usage: it has been said */
    OPTIONS_FILE,  /* the configuration file cannot be used: it has been said */
};

enum options_result options_read(int argc, char **argv, struct options *ret_options);

void options_done(struct options *options);

#endif
