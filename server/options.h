/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the command line, and the configuration file that it may name.
 *
 * Each limit of the schema is an option too (request_bytes is --request-bytes). What the command
 * line says wins over the file, at the start and whenever the file is read again.
 */
#ifndef DMRPC_OPTIONS_H
#define DMRPC_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "schema.h"

/* What the command line and the file can both say. Strings are borrowed from them. */
struct settings {
    const char *socket;
    const char *group; /* NULL: leave the socket's group */
    struct limits limits;
};

struct options {
    struct settings start; /* what holds then */
    struct settings line;  /* what the command line says; NULL where it does not, */
    uint64_t line_limits;  /* and bit i: it has limit i of type_limits */
    char *config;          /* owned; the file's absolute path, or NULL */
    bool simulate;
    struct config_file file; /* zeroed without one */
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_EXIT,  /* --help, --version or --check-config: it has been answered */
    OPTIONS_USAGE, /* wrong usage: it has been said */
    OPTIONS_FILE,  /* the configuration file cannot be used: it has been said */
};

enum options_result options_read(int argc, char **argv, struct options *ret_options);

/* What holds with the file's `config` in the place of the one at the start. */
struct settings options_settle(const struct options *options, const struct config *config);

void options_done(struct options *options);

#endif
