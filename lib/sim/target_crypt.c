/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypt: one device, encrypted.
 * `<cipher> <key> <iv offset> <device> <start> [<count> <feature>...]`
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "device.h"
#include "state.h"
#include "target_crypt.h"

enum { TAG_MAX = 480, KEY_MAX = 4 << 20 };

static const struct feature {
    const char *name;
    unsigned int bit;
} features[] = {
    /* in the order in which a table line has them */
    {"allow_discards", CRYPT_ALLOW_DISCARDS},
    {"same_cpu_crypt", CRYPT_SAME_CPU},
    {"submit_from_crypt_cpus", CRYPT_SUBMIT_FROM_CPUS},
    {"no_read_workqueue", CRYPT_NO_READ_WORKQUEUE},
    {"no_write_workqueue", CRYPT_NO_WRITE_WORKQUEUE},
    {"iv_large_sectors", CRYPT_IV_LARGE_SECTORS},
};

static int refuse(struct sim_target *target, const char *error)
{
    target->error = error;
    return -EINVAL;
}

static int parse_integrity(struct sim_target *target, struct crypt *crypt, const char *value)
{
    uint64_t size = 0;

    if (!sim_scan_prefix(&value, &size) || *value != ':')
        return refuse(target, "Invalid feature arguments");
    crypt->tag_size = (uint32_t)size;
    if (crypt->tag_size == 0 || crypt->tag_size > TAG_MAX) {
        crypt->tag_size = 0;
        return refuse(target, "Invalid integrity arguments");
    }
    value++;
    if (strcasecmp(value, "aead") == 0)
        crypt->aead = true;
    else if (strcasecmp(value, "none") != 0)
        return refuse(target, "Unknown integrity profile");
    free(crypt->auth);
    crypt->auth = strdup(value);
    return crypt->auth ? 0 : -ENOMEM;
}

static int parse_sector_size(struct sim_target *target, struct crypt *crypt, uint32_t value)
{
    crypt->sector_size = (uint16_t)value;
    if (crypt->sector_size < 512 || crypt->sector_size > 4096 ||
        (crypt->sector_size & (crypt->sector_size - 1)))
        return refuse(target, "Invalid feature value for sector_size");
    return (target->length & (crypt->sector_size / 512U - 1))
               ? refuse(target, "Device size is not multiple of sector_size feature")
               : 0;
}

static int parse_feature(struct sim_target *target, struct crypt *crypt, const char *word)
{
    static const char integrity[] = "integrity:", sector[] = "sector_size:";
    uint32_t size;

    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        if (strcasecmp(word, features[i].name) == 0) {
            crypt->features |= features[i].bit;
            return 0;
        }
    if (strncmp(word, integrity, sizeof(integrity) - 1) == 0)
        return parse_integrity(target, crypt, word + sizeof(integrity) - 1);
    if (strncmp(word, sector, sizeof(sector) - 1) == 0 &&
        sim_scan_u32(word + sizeof(sector) - 1, &size))
        return parse_sector_size(target, crypt, size);
    return refuse(target, "Invalid feature arguments");
}

/* crypt_ctr_optional() */
static int parse_features(struct sim_target *target, struct crypt *crypt, struct sim_args *args)
{
    static const struct sim_arg number = {0, 8, "Invalid number of feature args"};
    uint32_t count = 0;

    if (!args->count)
        return 0;
    int rc = sim_args_read_group(args, &number, &count, &target->error);
    while (rc == 0 && count--)
        rc = parse_feature(target, crypt, sim_args_shift(args));
    return rc;
}

static int crypt_parse(struct sim_target *target, struct crypt *crypt, unsigned int argc,
                       char **argv)
{
    struct sim_args args = {.count = argc - 5, .words = argv + 5};

    int rc = parse_features(target, crypt, &args);
    if (rc == 0)
        rc = sim_crypt_set_cipher(target, crypt, argv[0], argv[1]);
    if (rc < 0)
        return rc;
    if (!sim_scan_u64(argv[2], &crypt->iv_offset) ||
        crypt->iv_offset & (crypt->sector_size / 512U - 1))
        return refuse(target, "Invalid iv_offset sector");
    rc = sim_table_get_dev(target, argv[3], target->table->mode, &crypt->dev);
    if (rc < 0) {
        target->error = "Device lookup failed";
        return rc;
    }
    if (!sim_scan_u64(argv[4], &crypt->start))
        return refuse(target, "Invalid device sector");
    /* No device here has the profile that dm-integrity's have. */
    if (crypt->aead || crypt->needs_integrity)
        return refuse(target, "Integrity profile not supported.");
    return 0;
}

static void crypt_dtr(struct sim_target *target)
{
    struct crypt *crypt = target->data;

    sim_table_put_dev(target, crypt->dev);
    sim_crypt_forget_key_string(crypt);
    if (crypt->key)
        explicit_bzero(crypt->key, crypt->key_size);
    free(crypt->key);
    free(crypt->auth);
    free(crypt->cipher_string);
    free(crypt);
}

static int crypt_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    if (argc < 5)
        return refuse(target, "Not enough arguments");
    int32_t key_size = sim_crypt_key_size(&argv[1]);
    if (key_size < 0)
        return refuse(target, "Cannot parse key size");

    struct crypt *crypt = key_size > KEY_MAX ? NULL : calloc(1, sizeof(*crypt));
    if (crypt)
        crypt->key = calloc(1, (size_t)key_size + 1);
    if (!crypt || !crypt->key) {
        free(crypt);
        target->error = "Cannot allocate encryption context";
        return -ENOMEM;
    }
    crypt->key_size = (uint32_t)key_size;
    crypt->sector_size = 512;
    target->data = crypt;
    int rc = crypt_parse(target, crypt, argc, argv);
    if (rc < 0)
        crypt_dtr(target);
    return rc;
}

static void emit_key(const struct crypt *crypt, struct sim_text *out)
{
    if (!crypt->key_size)
        sim_emit(out, "-");
    else if (crypt->key_string)
        sim_emit(out, ":%u:%s", crypt->key_size, crypt->key_string);
    else
        for (uint32_t i = 0; i < crypt->key_size; i++)
            sim_emit(out, "%02x", (unsigned int)crypt->key[i]);
}

static void crypt_table(const struct crypt *crypt, struct sim_text *out)
{
    int count =
        (crypt->sector_size != 512) + (crypt->tag_size != 0) + __builtin_popcount(crypt->features);

    sim_emit(out, "%s ", crypt->cipher_string);
    emit_key(crypt, out);
    sim_emit(out, " %" PRIu64 " %s %" PRIu64, crypt->iv_offset, crypt->dev->name, crypt->start);
    if (count)
        sim_emit(out, " %d", count);
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        if (features[i].bit == CRYPT_IV_LARGE_SECTORS) {
            if (crypt->tag_size)
                sim_emit(out, " integrity:%u:%s", crypt->tag_size, crypt->auth);
            if (crypt->sector_size != 512)
                sim_emit(out, " sector_size:%u", crypt->sector_size);
        }
        if (crypt->features & features[i].bit)
            sim_emit(out, " %s", features[i].name);
    }
}

static void crypt_ima(const struct crypt *crypt, struct sim_text *out)
{
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        sim_emit(out, ",%s=%c", features[i].name, crypt->features & features[i].bit ? 'y' : 'n');
    if (crypt->tag_size)
        sim_emit(out, ",integrity_tag_size=%u,cipher_auth=%s", crypt->tag_size, crypt->auth);
    if (crypt->sector_size != 512)
        sim_emit(out, ",sector_size=%u", crypt->sector_size);
    sim_emit(out, ",cipher_string=%s,key_size=%u,key_parts=%u,key_extra_size=%u,key_mac_size=0;",
             crypt->cipher_string, crypt->key_size, crypt->key_parts, crypt->key_extra);
}

static void crypt_status(struct sim_target *target, enum sim_status kind, struct sim_text *out)
{
    if (kind == SIM_STATUS_TABLE)
        crypt_table(target->data, out);
    if (kind == SIM_STATUS_IMA) {
        sim_emit_type(out, target->type);
        crypt_ima(target->data, out);
    }
}

static int message_key(struct sim_target *target, unsigned int argc, char **argv)
{
    struct crypt *crypt = target->data;

    if (argc == 3 && strcasecmp(argv[1], "set") == 0) {
        int32_t size = sim_crypt_key_size(&argv[2]);
        if (size < 0 || (uint32_t)size != crypt->key_size) {
            memset(argv[2], '0', strlen(argv[2]));
            return -EINVAL;
        }
        return sim_crypt_set_key(target, crypt, argv[2]);
    }
    if (argc == 2 && strcasecmp(argv[1], "wipe") == 0)
        return sim_crypt_wipe_key(crypt);
    sim_log_crypt(target->table->device->sim, "unrecognised message received.");
    return -EINVAL;
}

static int crypt_message(struct sim_target *target, unsigned int argc, char **argv,
                         struct sim_text *out)
{
    const struct crypt *crypt = target->data;
    struct dmi_sim *sim = target->table->device->sim;
    (void)out;

    if (argc < 2 || strcasecmp(argv[0], "key") != 0) {
        sim_log_crypt(sim, "unrecognised message received.");
        return -EINVAL;
    }
    if (!crypt->suspended) {
        sim_log_crypt(sim, "not suspended during key manipulation.");
        return -EINVAL;
    }
    return message_key(target, argc, argv);
}

static void crypt_postsuspend(struct sim_target *target)
{
    ((struct crypt *)target->data)->suspended = true;
}

static int crypt_preresume(struct sim_target *target)
{
    if (((struct crypt *)target->data)->key_valid)
        return 0;
    sim_log_crypt(target->table->device->sim, "aborting resume - crypt key is not set.");
    return -EAGAIN;
}

static void crypt_resume(struct sim_target *target)
{
    ((struct crypt *)target->data)->suspended = false;
}

static int crypt_iterate(struct sim_target *target, sim_iterate_fn fn, void *data)
{
    const struct crypt *crypt = target->data;
    return fn(target, crypt->dev, crypt->start, target->length, data);
}

static void crypt_io_hints(struct sim_target *target, struct sim_limits *limits)
{
    const struct crypt *crypt = target->data;
    if (limits->block_size < crypt->sector_size)
        limits->block_size = crypt->sector_size;
}

static void crypt_map(struct sim_target *target, uint64_t offset, struct sim_dev **ret_dev,
                      uint64_t *ret_sector)
{
    const struct crypt *crypt = target->data;
    *ret_dev = crypt->dev;
    *ret_sector = crypt->start + offset;
}

const struct sim_target_type sim_target_crypt = {
    .name = "crypt",
    .version = {1, 24, 0},
    .ctr = crypt_ctr,
    .dtr = crypt_dtr,
    .status = crypt_status,
    .message = crypt_message,
    .iterate = crypt_iterate,
    .map = crypt_map,
    .io_hints = crypt_io_hints,
    .postsuspend = crypt_postsuspend,
    .preresume = crypt_preresume,
    .resume = crypt_resume,
};
