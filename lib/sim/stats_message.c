/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The @stats_* messages: their words, and what is wrong with them. What a region
 * is, stats.c knows.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device.h"
#include "state.h"
#include "stats.h"

static int parse_id(const char *word, int *ret_id)
{
    uint32_t id;
    if (!sim_scan_u32(word, &id) || id > INT_MAX)
        return -EINVAL;
    *ret_id = (int)id;
    return 0;
}

/* "-": the whole device; else "start+length". */
static int parse_range(const struct sim_device *device, const char *word, struct sim_region *region)
{
    uint64_t length;

    if (strcmp(word, "-") == 0) {
        length = device->bdev.sectors ? device->bdev.sectors : 1;
    } else if (!sim_scan_prefix(&word, &region->start) || *word++ != '+' ||
               !sim_scan_u64(word, &length)) {
        return -EINVAL;
    }
    region->end = region->start + length;
    return region->start < region->end ? 0 : -EINVAL;
}

/* "/parts" or a number of sectors. */
static int parse_step(const char *word, struct sim_region *region)
{
    uint64_t length = region->end - region->start;
    uint32_t parts;

    if (*word == '/' && sim_scan_u32(word + 1, &parts)) {
        if (!parts)
            return -EINVAL;
        region->step = length / parts + (length % parts != 0);
        return 0;
    }
    return sim_scan_u64(word, &region->step) && region->step ? 0 : -EINVAL;
}

/* Rising numbers with commas between them. */
static int parse_histogram(const char *word, struct sim_region *region)
{
    unsigned int count = 1;
    uint64_t last = 0;

    for (const char *at = word; *at; at++)
        count += *at == ',';
    region->bounds = calloc(count, sizeof(*region->bounds));
    if (!region->bounds)
        return -ENOMEM;
    for (unsigned int i = 0; i < count; i++) {
        uint64_t *bound = &region->bounds[i];
        if (!sim_scan_prefix(&word, bound) || *bound <= last ||
            *word != (i + 1 < count ? ',' : '\0'))
            return -EINVAL;
        last = *bound;
        word++;
    }
    region->bound_count = count;
    return 0;
}

static int parse_feature(const char *word, struct sim_region *region)
{
    static const char histogram[] = "histogram:";

    if (strcasecmp(word, "precise_timestamps") == 0) {
        region->precise = true;
        return 0;
    }
    if (strncasecmp(word, histogram, sizeof(histogram) - 1) != 0 || region->bound_count)
        return -EINVAL;
    return parse_histogram(word + sizeof(histogram) - 1, region);
}

static int parse_features(struct sim_args *args, struct sim_region *region)
{
    uint32_t count;

    if (!args->count || !sim_scan_u32(*args->words, &count))
        return 0;
    (void)sim_args_shift(args);
    while (count--) {
        const char *word = sim_args_shift(args);
        int rc = word ? parse_feature(word, region) : -EINVAL;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int parse_region(const struct sim_device *device, struct sim_args *args,
                        struct sim_region *region)
{
    int rc = parse_range(device, sim_args_shift(args), region);
    if (rc == 0)
        rc = parse_step(sim_args_shift(args), region);
    if (rc == 0)
        rc = parse_features(args, region);
    if (rc < 0)
        return rc;

    const char *program = sim_args_shift(args), *aux = sim_args_shift(args);
    if (args->count)
        return -EINVAL;
    region->program = strdup(program ? program : "-");
    region->aux = strdup(aux ? aux : "-");
    return region->program && region->aux ? 0 : -ENOMEM;
}

static int message_create(struct sim_device *device, unsigned int argc, char **argv,
                          struct sim_text *out)
{
    struct sim_args args = {.count = argc - 1, .words = argv + 1};
    if (argc < 3)
        return -EINVAL;

    struct sim_region *region = calloc(1, sizeof(*region));
    int rc = region ? parse_region(device, &args, region) : -ENOMEM;
    if (rc < 0) {
        (void)sim_region_free(region);
        return rc;
    }
    /* Too small a buffer must show before the region exists (message_stats_create). */
    sim_emit(out, "%d", INT_MAX);
    if (sim_text_is_full(out)) {
        (void)sim_region_free(region);
        return 1;
    }
    sim_device_settle(device);
    int id = sim_stats_add(&device->stats, region);
    if (id < 0)
        return id;
    out->used = 0;
    sim_emit(out, "%d", id);
    return 1;
}

static int message_print(struct sim_device *device, unsigned int argc, char **argv,
                         struct sim_text *out)
{
    uint64_t first = 0, count = UINT64_MAX;
    int id;

    if ((argc != 2 && argc != 4) || parse_id(argv[1], &id) < 0)
        return -EINVAL;
    if (argc == 4 && ((strcmp(argv[2], "-") != 0 && !sim_scan_u64(argv[2], &first)) ||
                      (strcmp(argv[3], "-") != 0 && !sim_scan_u64(argv[3], &count))))
        return -EINVAL;
    return sim_stats_print(&device->stats, id, first, count, out);
}

static int message_delete(struct sim_device *device, unsigned int argc, char **argv,
                          struct sim_text *out)
{
    int id;
    (void)out;
    return argc != 2 || parse_id(argv[1], &id) < 0 ? -EINVAL : sim_stats_delete(&device->stats, id);
}

static int message_clear(struct sim_device *device, unsigned int argc, char **argv,
                         struct sim_text *out)
{
    int id;
    (void)out;
    return argc != 2 || parse_id(argv[1], &id) < 0 ? -EINVAL : sim_stats_clear(&device->stats, id);
}

static int message_list(struct sim_device *device, unsigned int argc, char **argv,
                        struct sim_text *out)
{
    if (argc > 2)
        return -EINVAL;
    /* `out` may overlap the words. */
    char *program = argc > 1 ? strdup(argv[1]) : NULL;
    int rc = argc > 1 && !program ? -ENOMEM : sim_stats_list(&device->stats, program, out);
    free(program);
    return rc;
}

static int message_set_aux(struct sim_device *device, unsigned int argc, char **argv,
                           struct sim_text *out)
{
    int id;
    (void)out;
    return argc != 3 || parse_id(argv[1], &id) < 0 ? -EINVAL
                                                   : sim_stats_set_aux(&device->stats, id, argv[2]);
}

int sim_stats_message(struct sim_device *device, unsigned int argc, char **argv,
                      struct sim_text *out)
{
    static const struct {
        const char *name;
        int (*run)(struct sim_device *, unsigned int, char **, struct sim_text *);
    } messages[] = {
        {"@stats_create", message_create},   {"@stats_delete", message_delete},
        {"@stats_clear", message_clear},     {"@stats_list", message_list},
        {"@stats_print", message_print},     {"@stats_print_clear", message_print},
        {"@stats_set_aux", message_set_aux},
    };

    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        if (strcasecmp(argv[0], messages[i].name) == 0) {
            int rc = messages[i].run(device, argc, argv, out);
            if (rc == -EINVAL)
                sim_log(device->sim, "stats", "Invalid parameters for message %s", argv[0]);
            return rc;
        }
    return 2;
}
