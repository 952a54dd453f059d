/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flakey: a device that fails from time to time.
 * `<device> <start> <up seconds> <down seconds> [<count> <feature>...]`
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

#include "table.h"

struct flakey {
    struct sim_dev *dev;
    uint64_t start;
    uint32_t up, down;
    bool drop_writes, error_writes;
    uint32_t corrupt_byte, corrupt_value, corrupt_flags;
    bool corrupt_writes;
};

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

/* `count` words of the group are left; more are read than it has if the line is wrong. */
static int parse_corrupt(struct sim_target *target, struct sim_args *args, uint32_t *count,
                         struct flakey *flakey)
{
    static const struct sim_arg byte = {1, UINT32_MAX, "Invalid corrupt bio byte"};
    static const struct sim_arg value = {0, 255,
                                         "Invalid corrupt value to write into bio byte (0-255)"};
    static const struct sim_arg flags = {0, UINT32_MAX, "Invalid corrupt bio flags mask"};

    if (!*count)
        return refuse(target, "Feature corrupt_bio_byte requires parameters");
    int rc = sim_args_read(args, &byte, &flakey->corrupt_byte, &target->error);
    if (rc < 0)
        return rc;
    const char *direction = sim_args_shift(args);
    if (!direction || (strcasecmp(direction, "w") != 0 && strcasecmp(direction, "r") != 0))
        return refuse(target, "Invalid corrupt bio direction (r or w)");
    flakey->corrupt_writes = strcasecmp(direction, "w") == 0;
    rc = sim_args_read(args, &value, &flakey->corrupt_value, &target->error);
    if (rc == 0)
        rc = sim_args_read(args, &flags, &flakey->corrupt_flags, &target->error);
    *count -= 4;
    return rc;
}

static int parse_feature(struct sim_target *target, struct sim_args *args, uint32_t *count,
                         struct flakey *flakey)
{
    const char *name = sim_args_shift(args);

    --*count;
    if (!name)
        return refuse(target, "Insufficient feature arguments");
    if (strcasecmp(name, "drop_writes") == 0) {
        if (flakey->drop_writes)
            return refuse(target, "Feature drop_writes duplicated");
        flakey->drop_writes = true;
        return flakey->error_writes
                   ? refuse(target, "Feature drop_writes conflicts with feature error_writes")
                   : 0;
    }
    if (strcasecmp(name, "error_writes") == 0) {
        if (flakey->error_writes)
            return refuse(target, "Feature error_writes duplicated");
        flakey->error_writes = true;
        return flakey->drop_writes
                   ? refuse(target, "Feature error_writes conflicts with feature drop_writes")
                   : 0;
    }
    if (strcasecmp(name, "corrupt_bio_byte") == 0)
        return parse_corrupt(target, args, count, flakey);
    return refuse(target, "Unrecognised flakey feature requested");
}

static int parse_features(struct sim_target *target, struct sim_args *args, struct flakey *flakey)
{
    static const struct sim_arg number = {0, 6, "Invalid number of feature args"};
    uint32_t count = 0;

    if (!args->count)
        return 0;
    int rc = sim_args_read_group(args, &number, &count, &target->error);
    while (rc == 0 && count)
        rc = parse_feature(target, args, &count, flakey);
    if (rc < 0)
        return rc;
    if (flakey->drop_writes && flakey->corrupt_writes)
        return refuse(target, "drop_writes is incompatible with corrupt_bio_byte with the WRITE "
                              "flag set");
    if (flakey->error_writes && flakey->corrupt_writes)
        return refuse(target, "error_writes is incompatible with corrupt_bio_byte with the WRITE "
                              "flag set");
    return 0;
}

static int flakey_parse(struct sim_target *target, struct sim_args *args, struct flakey *flakey)
{
    static const struct sim_arg up = {0, UINT32_MAX, "Invalid up interval"};
    const char *device = sim_args_shift(args);

    if (!sim_scan_u64(sim_args_shift(args), &flakey->start))
        return refuse(target, "Invalid device sector");
    int rc = sim_args_read(args, &up, &flakey->up, &target->error);
    if (rc == 0) /* the kernel reads the second one by the rules, and the words, of the first */
        rc = sim_args_read(args, &up, &flakey->down, &target->error);
    if (rc < 0)
        return rc;
    if (flakey->up + flakey->down == 0)
        return refuse(target, "Total (up + down) interval is zero");
    if (flakey->up + flakey->down < flakey->up)
        return refuse(target, "Interval overflow");
    rc = parse_features(target, args, flakey);
    if (rc < 0)
        return rc;
    rc = sim_table_get_dev(target, device, target->table->mode, &flakey->dev);
    if (rc < 0)
        target->error = "Device lookup failed";
    return rc;
}

static int flakey_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    struct sim_args args = {.count = argc, .words = argv};

    if (argc < 4)
        return refuse(target, "Invalid argument count");
    struct flakey *flakey = calloc(1, sizeof(*flakey));
    if (!flakey) {
        target->error = "Cannot allocate context";
        return -ENOMEM;
    }
    int rc = flakey_parse(target, &args, flakey);
    if (rc < 0) {
        free(flakey);
        return rc;
    }
    target->data = flakey;
    return 0;
}

static void flakey_dtr(struct sim_target *target)
{
    struct flakey *flakey = target->data;
    sim_table_put_dev(target, flakey->dev);
    free(flakey);
}

static void flakey_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    const struct flakey *flakey = target->data;
    unsigned int features =
        (unsigned int)flakey->drop_writes + flakey->error_writes + (flakey->corrupt_byte ? 5U : 0U);

    if (kind != SIM_STATUS_TABLE)
        return;
    sim_emit(out, "%s %" PRIu64 " %u %u %u ", flakey->dev->name, flakey->start, flakey->up,
             flakey->down, features);
    if (flakey->drop_writes)
        sim_emit(out, "drop_writes ");
    else if (flakey->error_writes)
        sim_emit(out, "error_writes ");
    if (flakey->corrupt_byte)
        sim_emit(out, "corrupt_bio_byte %u %c %u %u ", flakey->corrupt_byte,
                 flakey->corrupt_writes ? 'w' : 'r', flakey->corrupt_value, flakey->corrupt_flags);
}

static int flakey_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct flakey *flakey = target->data;
    return fn(target, flakey->dev, flakey->start, target->length, data);
}

static void flakey_map(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                       uint64_t *ret_sector)
{
    const struct flakey *flakey = target->data;
    *ret_dev = flakey->dev;
    *ret_sector = flakey->start + offset;
}

const struct sim_target_type sim_target_flakey = {
    .name = "flakey",
    .version = {1, 5, 0},
    .features = SIM_DISCARDS,
    .ctr = flakey_ctr,
    .dtr = flakey_dtr,
    .status = flakey_status,
    .iterate = flakey_iterate,
    .map = flakey_map,
};
