/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raid: md's levels. `<type> <count> <chunk size> <parameter>... <disks> [<metadata> <data>]...`
 *
 * Constructor rules and lines only: a resync or rebuild that begins with a resume has
 * ended, with its event, when the next call comes. All that a superblock tells is that
 * its array was in sync; reshaping is not known.
 */
#include "target_raid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device.h"
#include "media.h"
#include "state.h"

enum { RAID_6_DISKS_MIN = 4 };

static const struct raid_type types[] = {
    {"raid0", RAID_0, 0, 0},          {"raid1", RAID_1, 0, 0},        {"raid10_far", RAID_10, 0, 3},
    {"raid10_offset", RAID_10, 0, 2}, {"raid10_near", RAID_10, 0, 1}, {"raid10", RAID_10, 0, 0},
    {"raid4", RAID_45, 1, 0},         {"raid5_n", RAID_45, 1, 0},     {"raid5_ls", RAID_45, 1, 0},
    {"raid5_rs", RAID_45, 1, 0},      {"raid5_la", RAID_45, 1, 0},    {"raid5_ra", RAID_45, 1, 0},
    {"raid6_zr", RAID_6, 2, 0},       {"raid6_nr", RAID_6, 2, 0},     {"raid6_nc", RAID_6, 2, 0},
    {"raid6_n_6", RAID_6, 2, 0},      {"raid6_ls_6", RAID_6, 2, 0},   {"raid6_rs_6", RAID_6, 2, 0},
    {"raid6_la_6", RAID_6, 2, 0},     {"raid6_ra_6", RAID_6, 2, 0},
};

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

static const struct raid_type *type_find(const char *name)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcasecmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

static int open_disk(struct sim_target *target, struct sim_args *args, struct raid_disk *disk)
{
    const char *metadata = sim_args_shift(args), *data = sim_args_shift(args);

    if (!metadata)
        return -EINVAL;
    if (strcmp(metadata, "-") != 0) {
        int rc = sim_table_get_dev(target, metadata, target->table->mode, &disk->metadata);
        if (rc < 0) {
            target->error = "RAID metadata device lookup failure";
            return rc;
        }
    }
    if (!data)
        return -EINVAL;
    if (strcmp(data, "-") == 0) {
        if (disk->rebuild)
            return refuse(target, "Drive designated for rebuild not specified");
        return disk->metadata ? refuse(target, "No data device supplied with metadata device") : 0;
    }
    int rc = sim_table_get_dev(target, data, target->table->mode, &disk->data);
    if (rc < 0)
        target->error = "RAID device lookup failure";
    return rc;
}

/* rs_set_dev_and_array_sectors() */
static int set_sizes(struct sim_target *target, struct raid *raid)
{
    uint64_t sectors = target->length;
    uint32_t stripes = raid->count - raid->type->parity;
    uint32_t copies = raid->values[RAID_10_COPIES] ? (uint32_t)raid->values[RAID_10_COPIES] : 2;

    if (raid->type->family == RAID_10)
        sectors *= copies;
    if (raid->type->family != RAID_1) {
        if (sectors % stripes)
            return refuse(target, "Target length not divisible by number of data devices");
        sectors /= stripes;
    }
    raid->disk_sectors = sectors;
    for (uint32_t i = 0; i < raid->count; i++)
        if (raid->disks[i].data && raid->disks[i].data->open->bdev->sectors < sectors)
            return refuse(target, "Component device(s) too small");
    return 0;
}

static bool has_data(const struct raid *raid)
{
    bool any = false;
    for (uint32_t i = 0; i < raid->count; i++)
        any |= raid->disks[i].data != NULL;
    return any;
}

static bool has_metadata(const struct raid *raid)
{
    bool any = false;
    for (uint32_t i = 0; i < raid->count; i++)
        any |= raid->disks[i].metadata != NULL;
    return any;
}

static int refuse_to_run(struct sim_target *target, int rc)
{
    target->error = "Failed to run raid array";
    return rc;
}

/* md_run() */
static int check_runs(struct sim_target *target, const struct raid *raid)
{
    const uint32_t spare[] = {
        [RAID_0] = 0,
        [RAID_1] = raid->count - 1,
        [RAID_10] = raid->values[RAID_10_COPIES] ? (uint32_t)raid->values[RAID_10_COPIES] - 1 : 1,
        [RAID_45] = 1,
        [RAID_6] = 2,
    };
    enum raid_family family = raid->type->family;
    uint32_t missing = 0;

    /* Only a set with superblocks gets its layout; all others run with the type's number. */
    if (family == RAID_10 && !has_metadata(raid)) {
        sim_log_md(target->table->device->sim, "raid10", "unsupported raid10 layout: 0x%8x",
                   raid->type->layout);
        return refuse_to_run(target, -EINVAL);
    }
    if (family == RAID_6 && raid->count < RAID_6_DISKS_MIN)
        return refuse_to_run(target, -EINVAL);
    for (uint32_t i = 0; i < raid->count; i++)
        missing += !raid->disks[i].data || raid->disks[i].rebuild;
    if (missing <= spare[family])
        return 0;
    return refuse_to_run(target, family == RAID_45 || family == RAID_6 ? -EIO : -EINVAL);
}

/* super_init_validation(): `fresh` disks have blank superblocks, and are new to the array. */
static int check_fresh(struct sim_target *target, const struct raid *raid, uint32_t fresh)
{
    struct dmi_sim *sim = target->table->device->sim;
    uint32_t rebuilds = 0;

    for (uint32_t i = 0; i < raid->count; i++)
        rebuilds += raid->disks[i].rebuild;
    if (!fresh || fresh == raid->count || fresh == rebuilds)
        return 0;
    if (!rebuilds && fresh == (uint32_t)raid->values[RAID_DELTA_DISKS])
        return 0;
    if (rebuilds)
        sim_log(sim, "raid",
                "%u 'rebuild' devices cannot be injected into a raid set with %u other first-time "
                "devices",
                rebuilds, fresh);
    else
        sim_log(sim, "raid",
                "New device injected into existing raid set without 'delta_disks' or 'rebuild' "
                "parameter specified");
    return refuse(target, "Unable to assemble array: Invalid superblocks");
}

/* analyse_superblocks(), and what md makes of arrays that have none. */
static int read_superblocks(struct sim_target *target, struct raid *raid)
{
    const uint32_t synced = 1u << RAID_SYNC | 1u << RAID_NOSYNC | 1u << RAID_REBUILD;
    uint32_t fresh = 0;

    for (uint32_t i = 0; i < raid->count; i++) {
        struct sim_media *media;
        raid->recovering |= raid->disks[i].rebuild;
        if (!raid->disks[i].metadata)
            continue;
        int rc =
            sim_media_find(target->table->device->sim, raid->disks[i].metadata->open->bdev, &media);
        if (rc < 0)
            return rc;
        fresh += media->kind != SIM_MEDIA_RAID;
    }
    raid->unsynced =
        fresh == raid->count && raid->type->family != RAID_0 && !(raid->given & synced);
    return check_fresh(target, raid, fresh);
}

static int raid_parse(struct sim_target *target, struct raid *raid, struct sim_args *args,
                      uint32_t params)
{
    int rc = sim_raid_params_parse(target, raid, args, params);
    if (rc < 0)
        return rc;
    (void)sim_args_shift(args);
    for (uint32_t i = 0; i < raid->count; i++) {
        rc = open_disk(target, args, &raid->disks[i]);
        if (rc < 0)
            return rc;
    }
    rc = set_sizes(target, raid);
    if (rc == 0)
        rc = read_superblocks(target, raid);
    if (rc == 0 && !has_data(raid))
        rc = refuse(target, "Invalid rdev size");
    return rc < 0 ? rc : check_runs(target, raid);
}

static void raid_dtr(struct sim_target *target)
{
    struct raid *raid = target->data;

    sim_table_put_dev(target, raid->journal);
    for (uint32_t i = 0; i < raid->count; i++) {
        sim_table_put_dev(target, raid->disks[i].metadata);
        sim_table_put_dev(target, raid->disks[i].data);
    }
    free(raid);
}

/* How many disks the line says that there are, after its `params` words of parameters. */
static int count_disks(struct sim_target *target, struct sim_args args, uint32_t params,
                       uint32_t *ret_count)
{
    args.count -= params;
    args.words += params;
    const struct sim_arg number = {1, args.count ? (args.count - 1) / 2 : 0,
                                   "Cannot understand number of raid devices parameters"};
    int rc = sim_args_read(&args, &number, ret_count, &target->error);
    if (rc == 0 && *ret_count > RAID_DISKS_MAX)
        rc = refuse(target, "Invalid number of supplied raid devices");
    return rc;
}

static int raid_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    const struct sim_arg number = {0, argc, "Cannot understand number of raid parameters"};
    struct sim_args args = {.count = argc, .words = argv};
    uint32_t params, count;

    if (!argc)
        return refuse(target, "No arguments");
    const struct raid_type *type = type_find(sim_args_shift(&args));
    if (!type)
        return refuse(target, "Unrecognised raid_type");
    if (sim_args_read_group(&args, &number, &params, &target->error) < 0 ||
        count_disks(target, args, params, &count) < 0)
        return -EINVAL;
    if (count <= type->parity)
        return refuse(target, "Insufficient number of devices");

    struct raid *raid = calloc(1, sizeof(*raid) + count * sizeof(raid->disks[0]));
    if (!raid) {
        target->error = "Cannot allocate raid context";
        return -ENOMEM;
    }
    raid->type = type;
    raid->count = count;
    target->data = raid;
    int rc = raid_parse(target, raid, &args, params);
    if (rc < 0)
        raid_dtr(target);
    return rc;
}

/* get_raid_type_by_ll(): the name that goes with the layout, not the one that was given. */
static const char *layout_name(const struct raid *raid)
{
    if (raid->type->family != RAID_10)
        return raid->type->name;
    if (!raid->format || strcmp(raid->format, "near") == 0)
        return "raid10";
    return strcmp(raid->format, "far") == 0 ? "raid10_far" : "raid10_offset";
}

static const char *disk_status(const struct raid *raid, const struct raid_disk *disk)
{
    if (!disk->data)
        return "-";
    return raid->unsynced || (raid->recovering && disk->rebuild) ? "a" : "A";
}

static void raid_info(const struct sim_target *target, const struct raid *raid,
                      struct sim_text *out)
{
    uint64_t sectors = raid->type->family == RAID_10 ? target->length : raid->disk_sectors;
    bool at_start = raid->unsynced || (raid->frozen && raid->type->family != RAID_0);

    sim_emit(out, "%s %u ", layout_name(raid), raid->count);
    for (uint32_t i = 0; i < raid->count; i++)
        sim_emit(out, "%s", disk_status(raid, &raid->disks[i]));
    const char *journal = !raid->journal                                 ? "-"
                          : strcmp(raid->journal_mode, "writeback") == 0 ? "a"
                                                                         : "A";
    sim_emit(out, " %" PRIu64 "/%" PRIu64 " %s 0 %d %s", at_start ? 0 : sectors, sectors,
             raid->frozen ? "frozen" : "idle", raid->values[RAID_DATA_OFFSET], journal);
}

static void raid_table(const struct raid *raid, struct sim_text *out)
{
    sim_emit(out, "%s ", raid->type->name);
    sim_raid_params_emit(raid, out);
    sim_emit(out, " %u", raid->count);
    for (uint32_t i = 0; i < raid->count; i++)
        sim_emit(out, " %s %s", raid->disks[i].metadata ? raid->disks[i].metadata->name : "-",
                 raid->disks[i].data ? raid->disks[i].data->name : "-");
}

static void raid_ima(const struct raid *raid, struct sim_text *out)
{
    sim_emit(out, ",raid_type=%s,raid_disks=%u,raid_state=%s", layout_name(raid), raid->count,
             raid->frozen ? "frozen" : "idle");
    for (uint32_t i = 0; i < raid->count; i++)
        sim_emit(out, ",raid_device_%u_status=%s", i, disk_status(raid, &raid->disks[i]));
    if (raid->type->family == RAID_45 || raid->type->family == RAID_6)
        sim_emit(out, ",journal_dev_mode=%s",
                 raid->journal_mode ? raid->journal_mode : "writethrough");
    sim_emit(out, ";");
}

static void raid_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    switch (kind) {
    case SIM_STATUS_INFO:
        raid_info(target, target->data, out);
        break;
    case SIM_STATUS_TABLE:
        raid_table(target->data, out);
        break;
    case SIM_STATUS_IMA:
        sim_emit_type(out, target->type);
        raid_ima(target->data, out);
        break;
    }
}

static int raid_message(struct sim_target *target, unsigned int argc, char **argv,
                        struct sim_text *out)
{
    static const char *const actions[] = {"idle", "frozen", "resync", "recover", "check", "repair"};
    const struct raid *raid = target->data;
    (void)argc, (void)out;

    if (raid->type->family == RAID_0)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcasecmp(argv[0], actions[i]) == 0)
            return 0;
    return -EINVAL;
}

static int raid_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct raid *raid = target->data;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < raid->count; i++)
        if (raid->disks[i].data)
            rc = fn(target, raid->disks[i].data, 0, raid->disk_sectors, data);
    return rc;
}

static void raid_postsuspend(struct sim_target *target)
{
    ((struct raid *)target->data)->frozen = true;
}

static void write_superblocks(struct dmi_sim *sim, const struct raid *raid)
{
    for (uint32_t i = 0; i < raid->count; i++) {
        struct sim_media *media;
        if (!raid->disks[i].metadata ||
            sim_media_find(sim, raid->disks[i].metadata->open->bdev, &media) < 0)
            continue;
        sim_media_wipe(media);
        media->kind = SIM_MEDIA_RAID;
    }
}

static void raid_resume(struct sim_target *target)
{
    struct raid *raid = target->data;

    raid->frozen = false;
    write_superblocks(target->table->device->sim, raid);
    if (raid->unsynced || raid->recovering)
        sim_device_event_later(target->table->device);
    raid->unsynced = raid->recovering = false;
}

const struct sim_target_type sim_target_raid = {
    .name = "raid",
    .version = {1, 15, 1},
    .ctr = raid_ctr,
    .dtr = raid_dtr,
    .status = raid_status,
    .message = raid_message,
    .iterate = raid_iterate,
    .postsuspend = raid_postsuspend,
    .resume = raid_resume,
};
