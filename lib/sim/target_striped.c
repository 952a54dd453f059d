/* SPDX-License-Identifier: Apache-2.0 */
/*
 * striped: chunks laid over several devices in turn.
 * `<stripes> <chunk size> [<device> <start>]...`
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "table.h"

struct stripe {
    struct sim_dev *dev;
    uint64_t start;
};

struct striped {
    uint32_t count, chunk;
    uint64_t width;
    struct stripe stripes[];
};

static void striped_free(struct sim_target *target, struct striped *striped)
{
    for (uint32_t i = 0; i < striped->count; i++)
        sim_table_put_dev(target, striped->stripes[i].dev);
    free(striped);
}

/* What is wrong with the numbers, or NULL. */
static const char *striped_check(struct sim_target *target, unsigned int argc, char **argv,
                                 struct striped *ret)
{
    if (argc < 2)
        return "Not enough arguments";
    if (!sim_parse_u32(argv[0], &ret->count) || !ret->count)
        return "Invalid stripe count";
    if (!sim_parse_u32(argv[1], &ret->chunk) || !ret->chunk)
        return "Invalid chunk_size";
    ret->width = target->length / ret->count;
    if (target->length % ret->count)
        return "Target length not divisible by number of stripes";
    if (ret->width % ret->chunk)
        return "Target length not divisible by chunk size";
    /* 32 bits, as the kernel computes it. */
    return argc != 2 + 2 * ret->count ? "Not enough destinations specified" : NULL;
}

static int striped_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    struct striped numbers = {0};

    target->error = striped_check(target, argc, argv, &numbers);
    if (target->error)
        return -EINVAL;
    struct striped *striped =
        calloc(1, sizeof(*striped) + (argc / 2) * sizeof(striped->stripes[0]));
    if (!striped) {
        target->error = "Memory allocation for striped context failed";
        return -ENOMEM;
    }
    *striped = numbers;
    for (uint32_t i = 0; i < striped->count; i++) {
        struct stripe *stripe = &striped->stripes[i];
        int rc = -EINVAL;
        if (sim_scan_u64(argv[3 + 2 * i], &stripe->start))
            rc = sim_table_get_dev(target, argv[2 + 2 * i], target->table->mode, &stripe->dev);
        if (rc < 0) {
            target->error = "Couldn't parse stripe destination";
            striped_free(target, striped);
            return rc;
        }
    }
    target->data = striped;
    return 0;
}

static void striped_dtr(struct sim_target *target)
{
    striped_free(target, target->data);
}

static void striped_info(const struct striped *striped, struct sim_text *out)
{
    sim_emit(out, "%d ", (int)striped->count);
    for (uint32_t i = 0; i < striped->count; i++)
        sim_emit(out, "%s ", striped->stripes[i].dev->name);
    sim_emit(out, "1 ");
    for (uint32_t i = 0; i < striped->count; i++)
        sim_emit(out, "A");
}

static void striped_table(const struct striped *striped, struct sim_text *out)
{
    sim_emit(out, "%d %u", (int)striped->count, striped->chunk);
    for (uint32_t i = 0; i < striped->count; i++)
        sim_emit(out, " %s %" PRIu64, striped->stripes[i].dev->name, striped->stripes[i].start);
}

static void striped_ima(const struct striped *striped, struct sim_text *out)
{
    sim_emit(out, ",stripes=%d,chunk_size=%u", (int)striped->count, striped->chunk);
    for (uint32_t i = 0; i < striped->count; i++)
        sim_emit(out,
                 ",stripe_%u_device_name=%s,stripe_%u_physical_start=%" PRIu64
                 ",stripe_%u_status=A",
                 i, striped->stripes[i].dev->name, i, striped->stripes[i].start, i);
    sim_emit(out, ";");
}

static void striped_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    switch (kind) {
    case SIM_STATUS_INFO:
        striped_info(target->data, out);
        break;
    case SIM_STATUS_TABLE:
        striped_table(target->data, out);
        break;
    case SIM_STATUS_IMA:
        sim_emit_type(out, target->type);
        striped_ima(target->data, out);
        break;
    }
}

static int striped_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct striped *striped = target->data;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < striped->count; i++)
        rc = fn(target, striped->stripes[i].dev, striped->stripes[i].start, striped->width, data);
    return rc;
}

static void striped_map(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                        uint64_t *ret_sector)
{
    const struct striped *striped = target->data;
    uint64_t chunk = offset / striped->chunk;
    const struct stripe *stripe = &striped->stripes[chunk % striped->count];

    *ret_dev = stripe->dev;
    *ret_sector = stripe->start + chunk / striped->count * striped->chunk + offset % striped->chunk;
}

const struct sim_target_type sim_target_striped = {
    .name = "striped",
    .version = {1, 6, 0},
    .features = SIM_DISCARDS,
    .ctr = striped_ctr,
    .dtr = striped_dtr,
    .status = striped_status,
    .iterate = striped_iterate,
    .map = striped_map,
};
