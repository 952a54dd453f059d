/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the kernel's crypto API shows through crypt's constructor: which cipher
 * names exist, their IV sizes, and the sizes of key that they take. There is no
 * cryptography here.
 */
#include "cipher.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Key sizes from min to max in steps. */
static const struct block {
    const char *name;
    uint32_t size, key_min, key_max, key_step;
} blocks[] = {
    {"aes", 16, 16, 32, 8},      {"blowfish", 8, 4, 56, 1}, {"camellia", 16, 16, 32, 8},
    {"cast5", 8, 5, 16, 1},      {"cast6", 16, 16, 32, 4},  {"des", 8, 8, 8, 1},
    {"des3_ede", 8, 24, 24, 1},  {"serpent", 16, 0, 32, 1}, {"twofish", 16, 16, 32, 8},
    {"cipher_null", 1, 0, 0, 1},
};

static const struct mode {
    const char *name;
    bool has_iv, is_stream;
    uint32_t block_wanted, key_factor, key_extra;
} modes[] = {
    {"cbc", true, false, 0, 1, 0},  {"cfb", true, true, 0, 1, 0},    {"ctr", true, true, 0, 1, 0},
    {"ecb", false, false, 0, 1, 0}, {"lrw", true, false, 16, 1, 16}, {"ofb", true, true, 0, 1, 0},
    {"pcbc", true, false, 0, 1, 0}, {"xts", true, false, 16, 2, 0},
};

static const struct hash {
    const char *name;
    uint32_t size;
} hashes[] = {
    {"md5", 16}, {"rmd160", 20}, {"sha1", 20}, {"sha224", 28}, {"sha256", 32}, {"wp256", 32},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct block *block_find(const char *name)
{
    for (size_t i = 0; i < COUNT(blocks); i++)
        if (strcmp(blocks[i].name, name) == 0)
            return &blocks[i];
    return NULL;
}

static const struct mode *mode_find(const char *name)
{
    for (size_t i = 0; i < COUNT(modes); i++)
        if (strcmp(modes[i].name, name) == 0)
            return &modes[i];
    return NULL;
}

static const struct hash *hash_find(const char *name)
{
    for (size_t i = 0; i < COUNT(hashes); i++)
        if (strcmp(hashes[i].name, name) == 0)
            return &hashes[i];
    return NULL;
}

/* Splits "outer(inner)" in place; false if it is not of that form. */
static bool split_call(char *name, char **ret_inner)
{
    size_t length = strlen(name);
    char *open = strchr(name, '(');
    if (!open || name[length - 1] != ')')
        return false;
    name[length - 1] = '\0';
    *open = '\0';
    *ret_inner = open + 1;
    return true;
}

static int find_essiv(char *arguments, struct sim_cipher *ret_cipher)
{
    char *comma = strrchr(arguments, ',');
    if (!comma)
        return -ENOENT;
    *comma = '\0';
    int rc = sim_cipher_find(arguments, ret_cipher);
    if (rc < 0)
        return rc;
    const struct hash *hash = hash_find(comma + 1);
    if (!hash)
        return -ENOENT;
    /* The digest is a key of the block cipher. One between its sizes is found out with the key. */
    if (hash->size < ret_cipher->key_min || hash->size > ret_cipher->key_max)
        return -ENOENT;
    if ((hash->size - ret_cipher->key_min) % ret_cipher->key_step)
        ret_cipher->key_max = 0;
    return 0;
}

static int find_adiantum(const char *arguments, struct sim_cipher *ret_cipher)
{
    if (strcmp(arguments, "xchacha12,aes") != 0 && strcmp(arguments, "xchacha20,aes") != 0)
        return -ENOENT;
    *ret_cipher = (struct sim_cipher){.iv_size = 32,
                                      .block_size = 16,
                                      .key_min = 32,
                                      .key_max = 32,
                                      .key_step = 1,
                                      .key_factor = 1};
    return 0;
}

static int find_mode(const char *outer, const char *inner, struct sim_cipher *ret_cipher)
{
    const struct mode *mode = mode_find(outer);
    const struct block *block = block_find(inner);

    if (!mode || !block)
        return -ENOENT;
    if (mode->block_wanted && mode->block_wanted != block->size)
        return -ENOENT;
    *ret_cipher = (struct sim_cipher){
        .iv_size = mode->has_iv ? block->size : 0,
        .block_size = mode->is_stream ? 1 : block->size,
        .key_min = block->key_min,
        .key_max = block->key_max,
        .key_step = block->key_step,
        .key_factor = mode->key_factor,
        .key_extra = mode->key_extra,
    };
    return 0;
}

int sim_cipher_find(const char *name, struct sim_cipher *ret_cipher)
{
    char copy[128], *inner;

    if ((size_t)snprintf(copy, sizeof(copy), "%s", name) >= sizeof(copy))
        return -ENOENT;
    if (!split_call(copy, &inner))
        return -ENOENT;
    if (strcmp(copy, "essiv") == 0)
        return find_essiv(inner, ret_cipher);
    if (strcmp(copy, "adiantum") == 0)
        return find_adiantum(inner, ret_cipher);
    return find_mode(copy, inner, ret_cipher);
}

bool sim_cipher_takes_key(const struct sim_cipher *cipher, uint32_t size)
{
    if (size < cipher->key_extra || (size - cipher->key_extra) % cipher->key_factor)
        return false;
    uint32_t one = (size - cipher->key_extra) / cipher->key_factor;
    return one >= cipher->key_min && one <= cipher->key_max &&
           (one - cipher->key_min) % cipher->key_step == 0;
}
