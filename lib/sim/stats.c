/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics regions of a device. There is no I/O to count: every counter that is
 * printed is 0, but regions, ids, steps and histograms are kept as in the kernel's
 * dm-stats.c.
 */
#include "stats.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What an entry costs the kernel, and the quarter of a machine's memory that it grants. */
enum { ENTRY_COST = 320, MEMORY = 256 << 20 };

struct sim_region *sim_region_free(struct sim_region *region)
{
    if (!region)
        return NULL;
    free(region->bounds);
    free(region->program);
    free(region->aux);
    free(region);
    return NULL;
}

void sim_stats_done(struct sim_stats *stats)
{
    while (stats->regions) {
        struct sim_region *region = stats->regions;
        stats->regions = region->next;
        (void)sim_region_free(region);
    }
}

static struct sim_region **stats_find(struct sim_stats *stats, int id)
{
    struct sim_region **link = &stats->regions;
    while (*link && (*link)->id < id)
        link = &(*link)->next;
    return *link && (*link)->id == id ? link : NULL;
}

int sim_stats_add(struct sim_stats *stats, struct sim_region *region)
{
    uint64_t length = region->end - region->start;

    region->entries = length / region->step + (length % region->step != 0);
    if (region->entries > (uint64_t)MEMORY / ENTRY_COST) {
        (void)sim_region_free(region);
        return -ENOMEM;
    }
    struct sim_region **link = &stats->regions;
    region->id = 0;
    while (*link && (*link)->id == region->id) {
        region->id++;
        link = &(*link)->next;
    }
    region->next = *link;
    *link = region;
    return region->id;
}

int sim_stats_delete(struct sim_stats *stats, int id)
{
    struct sim_region **link = stats_find(stats, id);
    if (!link)
        return -ENOENT;
    struct sim_region *region = *link;
    *link = region->next;
    (void)sim_region_free(region);
    return 0;
}

int sim_stats_clear(struct sim_stats *stats, int id)
{
    return stats_find(stats, id) ? 1 : -ENOENT;
}

int sim_stats_set_aux(struct sim_stats *stats, int id, const char *aux)
{
    struct sim_region **link = stats_find(stats, id);
    if (!link)
        return -ENOENT;
    char *copy = strdup(aux);
    if (!copy)
        return -ENOMEM;
    free((*link)->aux);
    (*link)->aux = copy;
    return 0;
}

int sim_stats_list(const struct sim_stats *stats, const char *program, struct sim_text *out)
{
    for (const struct sim_region *region = stats->regions; region; region = region->next) {
        if (program && strcmp(program, region->program) != 0)
            continue;
        sim_emit(out, "%d: %" PRIu64 "+%" PRIu64 " %" PRIu64 " %s %s", region->id, region->start,
                 region->end - region->start, region->step, region->program, region->aux);
        if (region->precise)
            sim_emit(out, " precise_timestamps");
        for (unsigned int i = 0; i < region->bound_count; i++)
            sim_emit(out, "%s%" PRIu64, i ? "," : " histogram:", region->bounds[i]);
        sim_emit(out, "\n");
    }
    return 1;
}

int sim_stats_print(struct sim_stats *stats, int id, uint64_t first, uint64_t count,
                    struct sim_text *out)
{
    struct sim_region **link = stats_find(stats, id);
    if (!link)
        return -ENOENT;

    const struct sim_region *region = *link;
    uint64_t last = first + count;
    if (last < first || last > region->entries)
        last = region->entries;
    for (uint64_t i = first; i < last; i++) {
        sim_emit(out, "%" PRIu64 "+%" PRIu64 " 0 0 0 0 0 0 0 0 0 0 0 0 0",
                 region->start + region->step * i, region->step);
        for (unsigned int j = 0; region->bound_count && j <= region->bound_count; j++)
            sim_emit(out, "%s0", j ? ":" : " ");
        sim_emit(out, "\n");
        if (out->used + 1 >= out->size)
            break;
    }
    return 1;
}
