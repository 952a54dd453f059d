/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raid's optional parameters: which level takes which, within which limits, and
 * how they are shown. What they would do to an array is of no concern here.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <strings.h>

#include "device.h"
#include "state.h"
#include "target_raid.h"

enum { REGIONS_MAX = 1 << 21, JOURNAL_MIN = 8192, RESHAPE_MIN = 1 << 13 };

#define ON(family) (1U << (family))

enum {
    ALL_BUT_0 = ON(RAID_1) | ON(RAID_10) | ON(RAID_45) | ON(RAID_6),
    PARITY = ON(RAID_45) | ON(RAID_6),
};

/* A parameter: `families` that may have it at all, numbers from `min` to `max`. */
static const struct param {
    const char *name;
    unsigned int families;
    int32_t min, max;
    const char *twice, *range, *wrong_level;
} params[RAID_KEYS] = {
    [RAID_SYNC] = {"sync", ALL_BUT_0, 0, 0, "Only one 'sync' argument allowed", NULL, NULL},
    [RAID_NOSYNC] = {"nosync", ALL_BUT_0 & ~ON(RAID_6), 0, 0, "Only one 'nosync' argument allowed",
                     NULL, NULL},
    [RAID_REBUILD] = {"rebuild", ALL_BUT_0, INT_MIN, INT_MAX, NULL, NULL, NULL},
    [RAID_DAEMON_SLEEP] = {"daemon_sleep", ALL_BUT_0, 0, INT_MAX,
                           "Only one daemon_sleep argument pair allowed",
                           "daemon sleep period out of range", NULL},
    [RAID_MIN_RECOVERY_RATE] = {"min_recovery_rate", ALL_BUT_0, 0, INT_MAX,
                                "Only one min_recovery_rate argument pair allowed",
                                "min_recovery_rate out of range", NULL},
    [RAID_MAX_RECOVERY_RATE] = {"max_recovery_rate", ALL_BUT_0, 0, INT_MAX,
                                "Only one max_recovery_rate argument pair allowed",
                                "max_recovery_rate out of range", NULL},
    [RAID_WRITE_MOSTLY] = {"write_mostly", ON(RAID_1), INT_MIN, INT_MAX, NULL, NULL,
                           "write_mostly option is only valid for RAID1"},
    [RAID_MAX_WRITE_BEHIND] = {"max_write_behind", ON(RAID_1), 0, 32767,
                               "Only one max_write_behind argument pair allowed",
                               "Max write-behind limit out of range",
                               "max_write_behind option is only valid for RAID1"},
    [RAID_STRIPE_CACHE] = {"stripe_cache", PARITY, 0, INT_MAX,
                           "Only one stripe_cache argument pair allowed",
                           "Bogus stripe cache entries value",
                           "Inappropriate argument: stripe_cache"},
    [RAID_REGION_SIZE] = {"region_size", ALL_BUT_0, INT_MIN, INT_MAX,
                          "Only one region_size argument pair allowed", NULL, NULL},
    [RAID_10_COPIES] = {"raid10_copies", ON(RAID_10), INT_MIN, INT_MAX,
                        "Only one raid10_copies argument pair allowed", NULL, NULL},
    [RAID_10_FORMAT] = {"raid10_format", ON(RAID_10), 0, 0,
                        "Only one 'raid10_format' argument pair allowed", NULL,
                        "'raid10_format' is an invalid parameter for this RAID type"},
    [RAID_DELTA_DISKS] = {"delta_disks", ALL_BUT_0, INT_MIN, INT_MAX,
                          "Only one delta_disks argument pair allowed", NULL, NULL},
    [RAID_DATA_OFFSET] = {"data_offset", ON(RAID_0) | ALL_BUT_0, 0, INT_MAX,
                          "Only one data_offset argument pair allowed", "Bogus data_offset value",
                          NULL},
    [RAID_JOURNAL_DEV] = {"journal_dev", PARITY, 0, 0,
                          "Only one raid4/5/6 set journaling device allowed", NULL,
                          "'journal_dev' is an invalid parameter for this RAID type"},
    [RAID_JOURNAL_MODE] = {"journal_mode", PARITY, 0, 0,
                           "Only one raid4/5/6 'journal_mode' argument allowed", NULL, NULL},
    [RAID_10_NEAR_SETS] = {"raid10_use_near_sets", ON(RAID_10), 0, 0,
                           "Only one 'raid10_use_new_sets' argument allowed", NULL, NULL},
};

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

/* kstrtoint() */
static bool parse_int(const char *word, int32_t *ret_value)
{
    bool negative = *word == '-';
    uint64_t value;

    if (!sim_parse_u64(word + negative, &value) || (negative && word[1] == '+') ||
        value > (uint64_t)INT_MAX + negative)
        return false;
    *ret_value = (int32_t)(negative ? -(int64_t)value : (int64_t)value);
    return true;
}

/* One of NULL-terminated `names`; NULL: none. */
static const char *pick(const char *const *names, const char *word)
{
    while (*names && strcasecmp(*names, word) != 0)
        names++;
    return *names;
}

static int set_format(struct sim_target *target, struct raid *raid, const char *word)
{
    static const char *const formats[] = {"near", "offset", "far", NULL};
    raid->format = pick(formats, word);
    return raid->format ? 0 : refuse(target, "Invalid 'raid10_format' value given");
}

static int set_journal(struct sim_target *target, struct raid *raid, const char *word)
{
    int rc = sim_table_get_dev(target, word, target->table->mode, &raid->journal);
    if (rc < 0) {
        target->error = "raid4/5/6 journal device lookup failure";
        return rc;
    }
    if (raid->journal->open->bdev->sectors < JOURNAL_MIN) {
        target->error = "No space for raid4/5/6 journal";
        return -ENOSPC;
    }
    raid->journal_mode = "writethrough";
    return 0;
}

static int set_journal_mode(struct sim_target *target, struct raid *raid, const char *word)
{
    static const char *const modes[] = {"writethrough", "writeback", NULL};
    raid->journal_mode = pick(modes, word);
    return raid->journal_mode ? 0 : refuse(target, "Invalid 'journal_mode' argument");
}

/* Parameters that name a disk. */
static int set_index(struct sim_target *target, struct raid *raid, enum raid_key key, int32_t value)
{
    bool inside = value >= 0 && (uint32_t)value < raid->count;

    if (key == RAID_WRITE_MOSTLY) {
        if (!inside)
            return refuse(target, "Invalid write_mostly index given");
        raid->disks[value].write_mostly = true;
        return 0;
    }
    if (!inside)
        return refuse(target, "Invalid rebuild index given");
    if (raid->disks[value].rebuild)
        return refuse(target, "rebuild for this index already given");
    raid->disks[value].rebuild = true;
    return 0;
}

static int set_number(struct sim_target *target, struct raid *raid, enum raid_key key,
                      int32_t value)
{
    if (key == RAID_REBUILD || key == RAID_WRITE_MOSTLY)
        return set_index(target, raid, key, value);
    if (value < params[key].min || value > params[key].max)
        return refuse(target, params[key].range);
    if (key == RAID_DATA_OFFSET && value && (value < RESHAPE_MIN || value % 8))
        return refuse(target, params[key].range);
    if (key == RAID_DELTA_DISKS &&
        (value == 0 || value > RAID_DISKS_MAX - 2 || value < 2 - RAID_DISKS_MAX))
        return refuse(target, "Too many delta_disk requested");
    if (key == RAID_10_COPIES && (value < 2 || (uint32_t)value > raid->count))
        return refuse(target, "Bad value for 'raid10_copies'");
    raid->values[key] = value;
    return 0;
}

static int set_pair(struct sim_target *target, struct raid *raid, enum raid_key key,
                    const char *word)
{
    int32_t value;

    switch (key) {
    case RAID_10_FORMAT:
        return set_format(target, raid, word);
    case RAID_JOURNAL_DEV:
        return set_journal(target, raid, word);
    case RAID_JOURNAL_MODE:
        return set_journal_mode(target, raid, word);
    default:
        return parse_int(word, &value)
                   ? set_number(target, raid, key, value)
                   : refuse(target, "Bad numerical argument given in raid params");
    }
}

static enum raid_key key_of(const char *word)
{
    unsigned int key = 0;
    while (key < RAID_KEYS && strcasecmp(params[key].name, word) != 0)
        key++;
    return (enum raid_key)key;
}

/* Marks `key` as given, if it may be, once, at this level. */
static int take_key(struct sim_target *target, struct raid *raid, enum raid_key key)
{
    const struct param *param = &params[key];

    if (key == RAID_JOURNAL_MODE && !(raid->given >> RAID_JOURNAL_DEV & 1))
        return refuse(target, "raid4/5/6 'journal_mode' is invalid without 'journal_dev'");
    if (param->twice && raid->given >> key & 1)
        return refuse(target, param->twice);
    if (param->wrong_level && !(param->families & ON(raid->type->family)))
        return refuse(target, param->wrong_level);
    raid->given |= 1U << key;
    return 0;
}

/* One parameter; *used counts its words. */
static int parse_param(struct sim_target *target, struct raid *raid, struct sim_args *args,
                       uint32_t *used)
{
    const char *word = sim_args_shift(args);
    if (!word)
        return refuse(target, "Not enough raid parameters given");
    ++*used;

    enum raid_key key = key_of(word);
    if (key == RAID_SYNC || key == RAID_NOSYNC || key == RAID_10_NEAR_SETS)
        return take_key(target, raid, key);
    const char *value = sim_args_shift(args);
    if (!value)
        return refuse(target, "Wrong number of raid parameters given");
    ++*used;
    if (key == RAID_KEYS) {
        int32_t ignored;
        if (!parse_int(value, &ignored))
            return refuse(target, "Bad numerical argument given in raid params");
        sim_log(target->table->device->sim, "raid", "Unable to parse RAID parameter: %s", word);
        return refuse(target, "Unable to parse RAID parameter");
    }
    int rc = take_key(target, raid, key);
    return rc < 0 ? rc : set_pair(target, raid, key, value);
}

static int parse_chunk(struct sim_target *target, struct raid *raid, const char *word)
{
    int32_t value;

    if (!word || !parse_int(word, &value))
        return refuse(target, "Bad numerical argument given for chunk_size");
    if (raid->type->family == RAID_1) {
        if (value)
            sim_log(target->table->device->sim, "raid", "Ignoring chunk size parameter for RAID 1");
        value = 0;
    } else if (value <= 0 || (value & (value - 1))) {
        return refuse(target, "Chunk size must be a power of 2");
    } else if (value < 8) {
        return refuse(target, "Chunk size value is too small");
    }
    raid->chunk = (uint32_t)value;
    return 0;
}

/* validate_region_size() */
static int check_region_size(struct sim_target *target, const struct raid *raid)
{
    struct dmi_sim *sim = target->table->device->sim;
    uint64_t least = target->length / REGIONS_MAX;
    uint64_t size = (uint64_t)(int64_t)raid->values[RAID_REGION_SIZE];

    if (raid->type->family == RAID_0)
        return 0;
    if (!size) {
        if (least <= 1 << 13)
            sim_log(sim, "raid", "Choosing default region size of 4MiB");
        return 0;
    }
    if (size > target->length)
        return refuse(target, "Supplied region size is too large");
    if (size < least) {
        sim_log(sim, "raid",
                "Supplied region_size (%" PRIu64 " sectors) below minimum (%" PRIu64 ")", size,
                least);
        return refuse(target, "Supplied region size is too small");
    }
    if (size & (size - 1))
        return refuse(target, "Region size is not a power of 2");
    return size < raid->chunk ? refuse(target, "Region size is smaller than the chunk size") : 0;
}

/* What is checked once all are read. */
static int check_params(struct sim_target *target, const struct raid *raid)
{
    uint32_t both = 1U << RAID_SYNC | 1U << RAID_NOSYNC, mostly = 0, allowed = 0;

    for (uint32_t i = 0; i < raid->count; i++)
        mostly += raid->disks[i].write_mostly;
    for (unsigned int key = 0; key < RAID_KEYS; key++)
        if (params[key].families & ON(raid->type->family))
            allowed |= 1U << key;
    if ((raid->given & both) == both)
        return refuse(target, "sync and nosync are mutually exclusive");
    if (raid->given >> RAID_REBUILD & 1 && raid->given & both)
        return refuse(target, "sync/nosync and rebuild are mutually exclusive");
    if (mostly >= raid->count)
        return refuse(target, "Can't set all raid1 devices to write_mostly");
    if (raid->values[RAID_MAX_RECOVERY_RATE] &&
        raid->values[RAID_MIN_RECOVERY_RATE] > raid->values[RAID_MAX_RECOVERY_RATE])
        return refuse(target, "Bogus recovery rates");
    int rc = check_region_size(target, raid);
    if (rc < 0)
        return rc;
    if (raid->type->family == RAID_10 && raid->count < 2)
        return refuse(target, "Not enough devices to satisfy specification");
    if (raid->type->family == RAID_10 && raid->given >> RAID_10_NEAR_SETS & 1 &&
        (!raid->format || strcasecmp(raid->format, "near") == 0))
        return refuse(target, "RAID10 format 'near' and 'raid10_use_near_sets' are incompatible");
    return (raid->given & ~allowed) ? refuse(target, "Invalid flags combination") : 0;
}

int sim_raid_params_parse(struct sim_target *target, struct raid *raid, struct sim_args *args,
                          uint32_t count)
{
    uint32_t used = 0;

    int rc = parse_chunk(target, raid, sim_args_shift(args));
    count--; /* of no parameters at all it makes very many, as in the kernel */
    while (rc == 0 && used < count)
        rc = parse_param(target, raid, args, &used);
    return rc < 0 ? rc : check_params(target, raid);
}

static void emit_indexes(const struct raid *raid, enum raid_key key, struct sim_text *out)
{
    for (uint32_t i = 0; i < raid->count; i++)
        if (key == RAID_REBUILD ? raid->disks[i].rebuild : raid->disks[i].write_mostly)
            sim_emit(out, " %s %u", params[key].name, i);
}

static void emit_param(const struct raid *raid, enum raid_key key, struct sim_text *out)
{
    const char *name = params[key].name;

    switch (key) {
    case RAID_SYNC:
    case RAID_NOSYNC:
        sim_emit(out, " %s", name);
        break;
    case RAID_REBUILD:
    case RAID_WRITE_MOSTLY:
        emit_indexes(raid, key, out);
        break;
    case RAID_10_FORMAT:
        sim_emit(out, " %s %s", name, raid->format);
        break;
    case RAID_JOURNAL_DEV:
        sim_emit(out, " %s %s", name, raid->journal->name);
        break;
    case RAID_JOURNAL_MODE:
        sim_emit(out, " %s %s", name, raid->journal_mode);
        break;
    case RAID_MAX_WRITE_BEHIND:
        sim_emit(out, " %s %d", name, raid->values[key] / 2);
        break;
    default:
        sim_emit(out, " %s %d", name, raid->values[key]);
        break;
    }
}

static uint32_t count_words(const struct raid *raid)
{
    uint32_t words = 1;

    for (unsigned int key = 0; key < RAID_KEYS; key++) {
        if (!(raid->given >> key & 1) || key == RAID_REBUILD || key == RAID_WRITE_MOSTLY)
            continue;
        words += key == RAID_SYNC || key == RAID_NOSYNC || key == RAID_10_NEAR_SETS ? 1 : 2;
    }
    for (uint32_t i = 0; i < raid->count; i++)
        words += 2U * raid->disks[i].rebuild + 2U * raid->disks[i].write_mostly;
    return words;
}

void sim_raid_params_emit(const struct raid *raid, struct sim_text *out)
{
    sim_emit(out, "%u %u", count_words(raid), raid->chunk);
    for (unsigned int key = 0; key < RAID_10_NEAR_SETS; key++)
        if (raid->given >> key & 1)
            emit_param(raid, (enum raid_key)key, out);
}
