/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the command line and the configuration file. Which limits there are, and
 * what they may be, it reads from the schema's table.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "log.h"

#define DEFAULT_SOCKET "/run/dmrpc/dmrpcd.sock"

enum { MAX_LIMITS = 32, NAME_BYTES = 48, FIXED = 6, FIRST_LIMIT = 256, SOCKET_PATH_MAX = 107 };

/* getopt's table: the fixed options, then one for each limit. */
struct table {
    struct option rows[FIXED + MAX_LIMITS + 1];
    char names[MAX_LIMITS][NAME_BYTES];
};

static void table_init(struct table *table)
{
    static const struct option fixed[FIXED] = {
        {"socket", required_argument, NULL, 's'}, {"group", required_argument, NULL, 'g'},
        {"config", required_argument, NULL, 'c'}, {"simulate", no_argument, NULL, 'S'},
        {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'V'},
    };

    *table = (struct table){0};
    memcpy(table->rows, fixed, sizeof(fixed));
    for (size_t i = 0; i < type_limits.count && i < MAX_LIMITS; i++) {
        (void)snprintf(table->names[i], NAME_BYTES, "%s", type_limits.fields[i].name);
        for (char *c = table->names[i]; *c; c++) {
            if (*c == '_') {
                *c = '-';
            }
        }
        table->rows[FIXED + i] =
            (struct option){table->names[i], required_argument, NULL, FIRST_LIMIT + (int)i};
    }
}

static void print_help(const struct table *table)
{
    (void)printf("Usage: dmrpcd [OPTION...]\n"
                 "Serves this host's device-mapper as JSON-RPC 2.0 on a Unix socket.\n\n"
                 "  --socket PATH   listen there (default " DEFAULT_SOCKET ")\n"
                 "  --group NAME    give the socket to this group: its members may read\n"
                 "  --config FILE   read the configuration from a JSON file\n"
                 "  --simulate      serve a simulated kernel that holds no data, for tests\n"
                 "  --help          show this and exit\n"
                 "  --version       show the version and exit\n\n"
                 "Limits (default):\n");
    for (size_t i = 0; i < type_limits.count; i++) {
        (void)printf("  --%s N (%" PRIu64 ")\n", table->names[i], type_limits.fields[i].preset);
    }
    (void)printf("\nIt exits with 0 after SIGTERM or SIGINT, 1 if it could not start, 2 on wrong "
                 "usage.\n");
}

static void limit_set(struct limits *limits, const struct field *field, uint64_t value)
{
    void *at = (char *)limits + field->offset;

    if (field->kind == FIELD_U32) {
        *(uint32_t *)at = (uint32_t)value;
    } else {
        *(uint64_t *)at = value;
    }
}

static bool set_limit(struct options *options, const struct table *table, size_t i,
                      const char *argument)
{
    const struct field *field = &type_limits.fields[i];
    char *end;

    errno = 0;
    unsigned long long value = strtoull(argument, &end, 10);
    if (errno || *end || *argument < '0' || *argument > '9' || value < field->min ||
        value > field->max) {
        log_line("--%s: '%s' is no number from %" PRIu64 " to %" PRIu64 ".", table->names[i],
                 argument, field->min, field->max);
        return false;
    }
    limit_set(&options->limits, field, value);
    return true;
}

/* What the schema says holds where neither the file nor the command line does. */
static void set_defaults(struct options *options)
{
    *options = (struct options){.socket = DEFAULT_SOCKET};
    for (size_t i = 0; i < type_limits.count; i++) {
        limit_set(&options->limits, &type_limits.fields[i], type_limits.fields[i].preset);
    }
}

/* What a configuration file holds. */
struct config {
    const char *socket;
    const char *group;
    struct limits limits;
};

/* The limits of the schema, each of which a file may leave out. */
struct config_tables {
    struct field limit_fields[MAX_LIMITS];
    struct type limits;
    struct field fields[3];
    struct type config;
};

static void config_tables_init(struct config_tables *t)
{
    t->limits = type_limits;
    t->limits.fields = t->limit_fields;
    for (size_t i = 0; i < type_limits.count; i++) {
        t->limit_fields[i] = type_limits.fields[i];
        t->limit_fields[i].absence = FIELD_OPTIONAL;
    }
    t->fields[0] = (struct field){.name = "socket",
                                  .kind = FIELD_STRING,
                                  .absence = FIELD_OPTIONAL,
                                  .offset = offsetof(struct config, socket),
                                  .has_offset = NO_OFFSET,
                                  .min = 1,
                                  .max = SOCKET_PATH_MAX};
    t->fields[1] = t->fields[0];
    t->fields[1].name = "group";
    t->fields[1].offset = offsetof(struct config, group);
    t->fields[2] = (struct field){.name = "limits",
                                  .kind = FIELD_OBJECT,
                                  .absence = FIELD_OPTIONAL,
                                  .offset = offsetof(struct config, limits),
                                  .has_offset = NO_OFFSET,
                                  .type = &t->limits};
    t->config = (struct type){
        .name = "config", .size = sizeof(struct config), .fields = t->fields, .count = 3};
}

static bool read_file(struct options *options, const char *path)
{
    struct config config = {.limits = options->limits};
    struct config_tables tables;
    struct decode_fault fault = {0};
    json_error_t error;

    options->file = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!options->file && json_error_code(&error) == json_error_cannot_open_file) {
        log_line("%s: cannot be read: %s. Mend the file or name another.", path, strerror(errno));
        return false;
    }
    if (!options->file) {
        log_line("%s: line %d: not valid JSON. Mend the file.", path, error.line);
        return false;
    }
    config_tables_init(&tables);
    int rc = decode_object(&tables.config, options->file, &options->arena, &config, &fault);
    if (rc < 0) {
        log_line("%s: at \"%s\": %s. Mend the file.", path, fault.path,
                 rc == -EINVAL ? fault.reason : "no memory");
        return false;
    }
    options->config = path;
    options->socket = config.socket ? config.socket : options->socket;
    options->group = config.group;
    options->limits = config.limits;
    return true;
}

/* The file is read before all else, wherever --config stands. */
static enum options_result read_config_first(int argc, char **argv, const struct table *table,
                                             struct options *options)
{
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, "", table->rows, NULL)) != -1) {
        if (c == 'c' && !options->file && !read_file(options, optarg)) {
            return OPTIONS_FILE;
        }
    }
    return OPTIONS_RUN;
}

static enum options_result apply(int argc, char **argv, const struct table *table,
                                 struct options *options)
{
    int c;

    opterr = 1;
    optind = 0;
    while ((c = getopt_long(argc, argv, "", table->rows, NULL)) != -1) {
        switch (c) {
        case 's':
            options->socket = optarg;
            break;
        case 'g':
            options->group = optarg;
            break;
        case 'c':
            break;
        case 'S':
            options->simulate = true;
            break;
        case 'h':
            print_help(table);
            return OPTIONS_EXIT;
        case 'V':
            (void)printf("dmrpcd %s (api %s)\n", DMRPC_VERSION, DMRPC_API);
            return OPTIONS_EXIT;
        default:
            if (c < FIRST_LIMIT || !set_limit(options, table, (size_t)(c - FIRST_LIMIT), optarg)) {
                return OPTIONS_USAGE;
            }
        }
    }
    if (optind < argc) {
        log_line("'%s' is not an option. See dmrpcd --help.", argv[optind]);
        return OPTIONS_USAGE;
    }
    return OPTIONS_RUN;
}

enum options_result options_read(int argc, char **argv, struct options *ret_options)
{
    struct table table;

    table_init(&table);
    set_defaults(ret_options);
    enum options_result result = read_config_first(argc, argv, &table, ret_options);
    return result == OPTIONS_RUN ? apply(argc, argv, &table, ret_options) : result;
}

void options_done(struct options *options)
{
    json_decref(options->file);
    arena_done(&options->arena);
}
