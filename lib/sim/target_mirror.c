/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror: the same data on several devices, with a log of what is in sync.
 * `<log> <count> <log argument>... <mirrors> [<device> <start>]... [<count> <feature>...]`
 *
 * Recovery takes no time here: a mirror is in sync once it is resumed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "state.h"
#include "table.h"

enum { LEGS_MAX = 9, LOG_OFFSET = 2 };

enum log_sync { SYNC_DEFAULT, SYNC_FORCE, SYNC_NONE };

struct dirty_log {
    struct sim_dev *dev; /* NULL: the log is in memory ("core") */
    uint32_t region_size;
    uint64_t regions;
    enum log_sync sync;
};

struct leg {
    struct sim_dev *dev;
    uint64_t start;
};

struct mirror {
    struct dirty_log log;
    uint32_t count;
    struct leg legs[LEGS_MAX];
    bool handle_errors, keep_log;
    bool in_sync;
};

static struct dmi_sim *world_of(const struct sim_target *target)
{
    return target->table->device->sim;
}

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

static int log_refuse(struct sim_target *target, const char *what, const char *word)
{
    sim_log(world_of(target), "dirty region log", "%s%s", what, word);
    return -EINVAL;
}

/* Does the log device hold its header and a bit for each region? */
static int log_check_device(struct sim_target *target, const struct dirty_log *log)
{
    const struct sim_bdev *bdev = log->dev->open->bdev;
    uint64_t bytes = (uint64_t)LOG_OFFSET * UINT64_C(512) + (log->regions + 63) / 64 * 8;

    bytes = (bytes + bdev->block_size - 1) / bdev->block_size * bdev->block_size;
    if (bytes <= bdev->sectors * 512)
        return 0;
    sim_log(world_of(target), "dirty region log", "log device %s too small: need %" PRIu64 " bytes",
            log->dev->name, bytes);
    return -EINVAL;
}

/* create_log_context(): `<region size> [sync|nosync]` */
static int log_parse(struct sim_target *target, struct dirty_log *log, struct sim_args args)
{
    if (args.count < 1 || args.count > 2)
        return log_refuse(target, "wrong number of arguments to dirty region log", "");
    if (args.count > 1) {
        if (strcmp(args.words[1], "sync") != 0 && strcmp(args.words[1], "nosync") != 0)
            return log_refuse(target,
                              "unrecognised sync argument to dirty region log: ", args.words[1]);
        log->sync = args.words[1][0] == 's' ? SYNC_FORCE : SYNC_NONE;
    }
    if (!sim_scan_u32(args.words[0], &log->region_size) || log->region_size < 2 ||
        log->region_size > target->length || (log->region_size & (log->region_size - 1)))
        return log_refuse(target, "invalid region size ", args.words[0]);
    log->regions = (target->length + log->region_size - 1) / log->region_size;
    return log->dev ? log_check_device(target, log) : 0;
}

static int log_create(struct sim_target *target, struct dirty_log *log, const char *type,
                      struct sim_args args)
{
    if (strcmp(type, "core") == 0)
        return log_parse(target, log, args);
    if (strcmp(type, "disk") != 0) {
        sim_log(world_of(target), "dirty region log", "Module for logging type \"%s\" not found.",
                type);
        return -EINVAL;
    }
    if (args.count < 2 || args.count > 3)
        return log_refuse(target, "wrong number of arguments to disk dirty region log", "");
    int rc = sim_table_get_dev(target, sim_args_shift(&args), target->table->mode, &log->dev);
    return rc < 0 ? rc : log_parse(target, log, args);
}

/* create_dirty_log() */
static int parse_log(struct sim_target *target, struct sim_args *args, struct dirty_log *log)
{
    uint32_t count;

    if (args->count < 2)
        return refuse(target, "Insufficient mirror log arguments");
    const char *type = sim_args_shift(args);
    if (!sim_scan_u32(sim_args_shift(args), &count))
        return refuse(target, "Invalid mirror log argument count");
    if (count > args->count)
        return refuse(target, "Insufficient mirror log arguments");
    struct sim_args words = {.count = count, .words = args->words};
    args->count -= count;
    args->words += count;
    return log_create(target, log, type, words) < 0
               ? refuse(target, "Error creating mirror dirty log")
               : 0;
}

static int parse_legs(struct sim_target *target, struct sim_args *args, struct mirror *mirror)
{
    uint32_t count;
    const char *word = sim_args_shift(args);

    if (!word || !sim_scan_u32(word, &count) || count < 2 || count > LEGS_MAX)
        return refuse(target, "Invalid number of mirrors");
    if (args->count < count * 2)
        return refuse(target, "Too few mirror arguments");
    while (mirror->count < count) {
        struct leg *leg = &mirror->legs[mirror->count];
        const char *device = sim_args_shift(args);
        if (!sim_scan_u64(sim_args_shift(args), &leg->start))
            return refuse(target, "Invalid offset");
        int rc = sim_table_get_dev(target, device, target->table->mode, &leg->dev);
        if (rc < 0) {
            target->error = "Device lookup failure";
            return rc;
        }
        mirror->count++;
    }
    return 0;
}

static int parse_features(struct sim_target *target, struct sim_args *args, struct mirror *mirror)
{
    uint32_t count;

    if (!args->count)
        return 0;
    if (!sim_scan_u32(sim_args_shift(args), &count))
        return refuse(target, "Invalid number of features");
    if (count > args->count)
        return refuse(target, "Not enough arguments to support feature count");
    while (count--) {
        const char *name = sim_args_shift(args);
        if (strcmp(name, "handle_errors") == 0)
            mirror->handle_errors = true;
        else if (strcmp(name, "keep_log") == 0)
            mirror->keep_log = true;
        else
            return refuse(target, "Unrecognised feature requested");
    }
    if (mirror->keep_log && !mirror->handle_errors)
        return refuse(target, "keep_log feature requires the handle_errors feature");
    return args->count ? refuse(target, "Too many mirror arguments") : 0;
}

static void mirror_dtr(struct sim_target *target)
{
    struct mirror *mirror = target->data;

    for (uint32_t i = 0; i < LEGS_MAX; i++)
        sim_table_put_dev(target, mirror->legs[i].dev);
    sim_table_put_dev(target, mirror->log.dev);
    free(mirror);
}

static int mirror_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    struct sim_args args = {.count = argc, .words = argv};
    struct mirror *mirror = calloc(1, sizeof(*mirror));
    if (!mirror) {
        target->error = "Cannot allocate mirror context";
        return -ENOMEM;
    }
    target->data = mirror;
    int rc = parse_log(target, &args, &mirror->log);
    if (rc == 0)
        rc = parse_legs(target, &args, mirror);
    if (rc == 0)
        rc = parse_features(target, &args, mirror);
    mirror->in_sync = mirror->log.sync == SYNC_NONE;
    if (rc < 0)
        mirror_dtr(target);
    return rc;
}

static void mirror_resume(struct sim_target *target)
{
    ((struct mirror *)target->data)->in_sync = true;
}

static void mirror_info(const struct mirror *mirror, struct sim_text *out)
{
    const struct dirty_log *log = &mirror->log;

    sim_emit(out, "%u ", mirror->count);
    for (uint32_t i = 0; i < mirror->count; i++)
        sim_emit(out, "%s ", mirror->legs[i].dev->name);
    sim_emit(out, "%" PRIu64 "/%" PRIu64 " 1 ", mirror->in_sync ? log->regions : 0, log->regions);
    for (uint32_t i = 0; i < mirror->count; i++)
        sim_emit(out, "A");
    if (log->dev)
        sim_emit(out, " 3 disk %s A", log->dev->name);
    else
        sim_emit(out, " 1 core");
}

static void mirror_table(const struct mirror *mirror, struct sim_text *out)
{
    const struct dirty_log *log = &mirror->log;
    unsigned int arguments = 1U + (log->dev != NULL) + (log->sync != SYNC_DEFAULT);

    sim_emit(out, "%s %u ", log->dev ? "disk" : "core", arguments);
    if (log->dev)
        sim_emit(out, "%s ", log->dev->name);
    sim_emit(out, "%u ", log->region_size);
    if (log->sync != SYNC_DEFAULT)
        sim_emit(out, "%ssync ", log->sync == SYNC_NONE ? "no" : "");
    sim_emit(out, "%u", mirror->count);
    for (uint32_t i = 0; i < mirror->count; i++)
        sim_emit(out, " %s %" PRIu64, mirror->legs[i].dev->name, mirror->legs[i].start);
    if (mirror->handle_errors)
        sim_emit(out, " %d handle_errors%s", mirror->keep_log ? 2 : 1,
                 mirror->keep_log ? " keep_log" : "");
}

static void mirror_ima(const struct mirror *mirror, struct sim_text *out)
{
    sim_emit(out, ",nr_mirrors=%u", mirror->count);
    for (uint32_t i = 0; i < mirror->count; i++)
        sim_emit(out, ",mirror_device_%u=%s,mirror_device_%u_status=A", i,
                 mirror->legs[i].dev->name, i);
    sim_emit(out, ",handle_errors=%c,keep_log=%c,log_type_status=;",
             mirror->handle_errors ? 'y' : 'n', mirror->keep_log ? 'y' : 'n');
}

static void mirror_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    switch (kind) {
    case SIM_STATUS_INFO:
        mirror_info(target->data, out);
        break;
    case SIM_STATUS_TABLE:
        mirror_table(target->data, out);
        break;
    case SIM_STATUS_IMA:
        sim_emit_type(out, target->type);
        mirror_ima(target->data, out);
        break;
    }
}

static int mirror_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct mirror *mirror = target->data;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < mirror->count; i++)
        rc = fn(target, mirror->legs[i].dev, mirror->legs[i].start, target->length, data);
    return rc;
}

static void mirror_map(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                       uint64_t *ret_sector)
{
    const struct mirror *mirror = target->data;
    *ret_dev = mirror->legs[0].dev;
    *ret_sector = mirror->legs[0].start + offset;
}

const struct sim_target_type sim_target_mirror = {
    .name = "mirror",
    .version = {1, 14, 0},
    .features = SIM_DISCARDS,
    .ctr = mirror_ctr,
    .dtr = mirror_dtr,
    .status = mirror_status,
    .iterate = mirror_iterate,
    .map = mirror_map,
    .resume = mirror_resume,
};
