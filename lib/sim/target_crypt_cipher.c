/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypt's cipher word, in both spellings (`aes-xts-plain64`, `capi:xts(aes)-plain64`),
 * and what each IV mode asks of cipher and key.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "state.h"
#include "target_crypt.h"

enum { NAME_MAX_LENGTH = 128, ELEPHANT_KEY_MAX = 32, TCW_WHITENING = 16 };

struct spec {
    char name[NAME_MAX_LENGTH]; /* for the crypto API */
    const char *iv, *iv_options;
};

static int refuse(struct sim_target *target, const char *error, int rc)
{
    target->error = error;
    return rc;
}

static bool is_power_of_2(uint32_t value)
{
    return value && (value & (value - 1)) == 0;
}

static int write_name(struct spec *spec, const char *mode, const char *inner)
{
    bool essiv = spec->iv && strcmp(spec->iv, "essiv") == 0;
    int length = snprintf(spec->name, sizeof(spec->name), "%s%s%s%s%s%s%s", essiv ? "essiv(" : "",
                          mode, mode[0] ? "(" : "", inner, mode[0] ? ")" : "", essiv ? "," : "",
                          essiv ? spec->iv_options : "");
    if (essiv && length >= 0 && (size_t)length + 1 < sizeof(spec->name)) {
        spec->name[length] = ')';
        spec->name[++length] = '\0';
    }
    return length < 0 || (size_t)length >= sizeof(spec->name) ? -ENOMEM : 0;
}

/* crypt_ctr_cipher_new(): `capi:NAME-IV:OPTIONS` */
static int parse_new(struct sim_target *target, struct crypt *crypt, char *word, struct spec *spec)
{
    char *name = word + strlen("capi:"), *options = strrchr(name, ':');

    if (options)
        *options++ = '\0';
    spec->iv_options = options;
    char *iv = strrchr(name, '-');
    if (iv)
        *iv++ = '\0';
    spec->iv = iv;
    if (iv && strcmp(iv, "lmk") == 0) {
        if (crypt->aead)
            return refuse(target, "AEAD transforms not supported for LMK", -EINVAL);
        crypt->tfms = 64;
    }
    if (iv && strcmp(iv, "essiv") == 0 && !options)
        return refuse(target, "Digest algorithm missing for ESSIV mode", -EINVAL);
    return write_name(spec, "", name) < 0 ? refuse(target, "Cannot allocate cipher string", -ENOMEM)
                                          : 0;
}

/* crypt_ctr_cipher_old(): `CIPHER[:KEYS]-MODE-IV:OPTIONS` */
static int parse_old(struct sim_target *target, struct crypt *crypt, char *word, struct spec *spec)
{
    if (strchr(word, '(') || crypt->aead)
        return refuse(target, "Bad cipher specification", -EINVAL);

    char *rest = word, *keys = strsep(&rest, "-"), *cipher = strsep(&keys, ":");
    if (keys && (!sim_scan_u32(keys, &crypt->tfms) || !is_power_of_2(crypt->tfms)))
        return refuse(target, "Bad cipher key count specification", -EINVAL);
    const char *mode = strsep(&rest, "-");
    spec->iv = strsep(&rest, ":");
    spec->iv_options = rest;
    if (!mode || (strcmp(mode, "plain") == 0 && !spec->iv)) {
        mode = "cbc";
        spec->iv = "plain";
    }
    if (strcmp(mode, "ecb") != 0 && !spec->iv)
        return refuse(target, "IV mechanism required", -EINVAL);
    if (spec->iv && strcmp(spec->iv, "essiv") == 0 && !spec->iv_options)
        return refuse(target, "Digest algorithm missing for ESSIV mode", -EINVAL);
    return write_name(spec, mode, cipher) < 0
               ? refuse(target, "Cannot allocate cipher strings", -ENOMEM)
               : 0;
}

static int iv_elephant(struct crypt *crypt)
{
    crypt->key_parts = 2;
    crypt->key_extra = crypt->key_size / 2;
    return crypt->key_extra > ELEPHANT_KEY_MAX ? -EINVAL : 0;
}

static int iv_lmk(struct crypt *crypt)
{
    if (crypt->key_size % crypt->key_parts) {
        crypt->key_parts++;
        crypt->key_extra = crypt->key_size / crypt->key_parts;
    }
    return 0;
}

static int iv_tcw(struct crypt *crypt)
{
    crypt->key_parts += 2;
    crypt->key_extra = crypt->cipher.iv_size + TCW_WHITENING;
    return 0;
}

static int iv_random(struct crypt *crypt)
{
    crypt->needs_integrity = true;
    return 0;
}

static int check_eboiv(const struct crypt *crypt)
{
    return crypt->aead || crypt->cipher.block_size != crypt->cipher.iv_size ? -EINVAL : 0;
}

static int check_lmk(const struct crypt *crypt)
{
    return crypt->sector_size == 512 ? 0 : -EINVAL;
}

static int check_tcw(const struct crypt *crypt)
{
    return crypt->sector_size == 512 && crypt->key_size > crypt->cipher.iv_size + TCW_WHITENING
               ? 0
               : -EINVAL;
}

/* What an IV mode does before the key is set, and what it checks after it. */
static const struct iv_mode {
    const char *name;
    int (*prepare)(struct crypt *crypt);
    int (*check)(const struct crypt *crypt);
} iv_modes[] = {
    {"plain", NULL, NULL},        {"plain64", NULL, NULL},
    {"plain64be", NULL, NULL},    {"essiv", NULL, NULL},
    {"benbi", NULL, NULL},        {"null", NULL, NULL},
    {"eboiv", NULL, check_eboiv}, {"elephant", iv_elephant, check_eboiv},
    {"lmk", iv_lmk, check_lmk},   {"tcw", iv_tcw, check_tcw},
    {"random", iv_random, NULL},
};

/* crypt_ctr_ivmode() */
static int set_iv_mode(struct sim_target *target, struct crypt *crypt, const char *name,
                       const struct iv_mode **ret_mode)
{
    *ret_mode = NULL;
    if (name && !crypt->cipher.iv_size && !crypt->aead) {
        sim_log_crypt(target->table->device->sim, "Selected cipher does not support IVs");
        name = NULL;
    }
    if (crypt->cipher.iv_size && crypt->cipher.iv_size < sizeof(uint64_t))
        crypt->cipher.iv_size = sizeof(uint64_t);
    if (!name)
        return 0;
    for (size_t i = 0; i < sizeof(iv_modes) / sizeof(iv_modes[0]); i++)
        if (strcmp(iv_modes[i].name, name) == 0) {
            *ret_mode = &iv_modes[i];
            return iv_modes[i].prepare ? iv_modes[i].prepare(crypt) : 0;
        }
    return refuse(target, "Invalid IV mode", -EINVAL);
}

int sim_crypt_set_cipher(struct sim_target *target, struct crypt *crypt, char *cipher, char *key)
{
    struct spec spec = {0};
    const struct iv_mode *mode;

    crypt->cipher_string = strdup(cipher);
    if (!crypt->cipher_string)
        return refuse(target, "Cannot allocate cipher strings", -ENOMEM);
    crypt->tfms = 1;
    int rc = strncmp(cipher, "capi:", 5) == 0 ? parse_new(target, crypt, cipher, &spec)
                                              : parse_old(target, crypt, cipher, &spec);
    if (rc < 0)
        return rc;
    crypt->key_parts = crypt->tfms;
    /* Ciphers with authentication need a device that nobody can declare here; they fail there. */
    rc = crypt->aead ? 0 : sim_cipher_find(spec.name, &crypt->cipher);
    if (rc < 0)
        return refuse(target, "Error allocating crypto tfm", rc);
    rc = set_iv_mode(target, crypt, spec.iv, &mode);
    if (rc < 0)
        return rc;
    rc = sim_crypt_set_key(target, crypt, key);
    if (rc < 0)
        return refuse(target, "Error decoding and setting key", rc);
    rc = mode && mode->check ? mode->check(crypt) : 0;
    if (rc < 0)
        target->error = "Error creating IV";
    return rc;
}
