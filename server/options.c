/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the command line. Which limits there are, and what they may be, it reads from the
 * schema's table; what a file may say, config.c knows.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define DEFAULT_SOCKET "/run/dmrpc/dmrpcd.sock"

enum { MAX_LIMITS = 32, NAME_BYTES = 48, FIXED = 7, FIRST_LIMIT = 256 };

/* getopt's table: the fixed options, then one for each limit. */
struct table {
    struct option rows[FIXED + MAX_LIMITS + 1];
    char names[MAX_LIMITS][NAME_BYTES];
};

static void table_init(struct table *table)
{
    static const struct option fixed[FIXED] = {
        {"socket", required_argument, NULL, 's'},
        {"group", required_argument, NULL, 'g'},
        {"config", required_argument, NULL, 'c'},
        {"simulate", no_argument, NULL, 'S'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {"check-config", required_argument, NULL, 'C'},
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
                 "  --config FILE   read the configuration from a JSON file, and again on SIGHUP\n"
                 "  --check-config FILE\n"
                 "                  say whether such a file is good, and exit\n"
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
    config_set_limit(&options->line.limits, field, value);
    options->line_limits |= UINT64_C(1) << i;
    return true;
}

struct settings options_settle(const struct options *options, const struct config *config)
{
    const struct settings *line = &options->line;
    struct settings settings = {.limits = config->limits};

    settings.socket = line->socket ? line->socket : config->socket;
    settings.socket = settings.socket ? settings.socket : DEFAULT_SOCKET;
    settings.group = line->group ? line->group : config->group;
    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        if (options->line_limits >> i & 1) {
            config_set_limit(&settings.limits, field, config_limit(&line->limits, field));
        }
    }
    return settings;
}

/* SIGHUP finds the file again, wherever the working folder is by then. */
static char *absolute(const char *path)
{
    char folder[PATH_MAX] = "";
    char *whole = NULL;

    if (*path != '/' && !getcwd(folder, sizeof(folder))) {
        return NULL;
    }
    return asprintf(&whole, *path == '/' ? "%s%s" : "%s/%s", folder, path) < 0 ? NULL : whole;
}

static bool read_file(struct options *options, const char *path)
{
    if (config_read(path, &options->file) < 0) {
        log_line("%s", options->file.fault);
        return false;
    }
    options->config = absolute(path);
    if (!options->config) {
        log_line("%s: the folder that it lies in cannot be told: %s. Give the whole path.", path,
                 strerror(errno));
    }
    return options->config;
}

/* --- to check a file --- */

static void print_remark(void *data, const char *remark)
{
    (void)data;
    (void)printf("  %s\n", remark);
}

static enum options_result check_file(const char *path)
{
    struct config_file file;

    if (config_read(path, &file) < 0) {
        log_line("%s", file.fault);
        config_done(&file);
        return OPTIONS_FILE;
    }
    if (file.rules) {
        size_t count = rules_count(file.rules);
        (void)printf("%s: good: %zu rule%s.\n", path, count, count == 1 ? "" : "s");
    } else {
        (void)printf("%s: good: no rules of its own: root and the daemon's user may do all, others "
                     "may read.\n",
                     path);
    }
    config_remark(&file, print_remark, NULL);
    config_done(&file);
    return OPTIONS_EXIT;
}

/* --- the command line --- */

/* The file is read before all else, wherever --config stands. */
static enum options_result read_config_first(int argc, char **argv, const struct table *table,
                                             struct options *options)
{
    const char *path = NULL; /* the last one counts, as of all options */
    int c;

    opterr = 0;
    optind = 0;
    while ((c = getopt_long(argc, argv, "", table->rows, NULL)) != -1) {
        path = c == 'c' ? optarg : path;
    }
    return path && !read_file(options, path) ? OPTIONS_FILE : OPTIONS_RUN;
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
            options->line.socket = optarg;
            break;
        case 'g':
            options->line.group = optarg;
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
        case 'C':
            return check_file(optarg);
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
    *ret_options = (struct options){0};
    config_default_limits(&ret_options->file.config.limits);
    enum options_result result = read_config_first(argc, argv, &table, ret_options);
    if (result == OPTIONS_RUN) {
        result = apply(argc, argv, &table, ret_options);
    }
    ret_options->start = options_settle(ret_options, &ret_options->file.config);
    return result;
}

void options_done(struct options *options)
{
    config_done(&options->file);
    free(options->config);
    options->config = NULL;
}
