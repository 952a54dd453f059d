/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypt's key: its two written forms, setting it and wiping it. Every copy is
 * wiped when it goes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "state.h"
#include "target_crypt.h"

int32_t sim_crypt_key_size(char **key)
{
    const char *text = *key;
    uint64_t size;

    if (*text != ':')
        return (int32_t)(strlen(text) / 2);
    text++;
    if (!sim_scan_prefix(&text, &size) || *text != ':')
        return -EINVAL;
    *key += text - *key;
    return (int32_t)(uint32_t)size;
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* hex2bin() */
static int decode(uint8_t *bytes, const char *text, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        int high = hex_value(text[(size_t)2 * i]),
            low = high < 0 ? -1 : hex_value(text[(size_t)2 * i + 1]);
        if (low < 0)
            return -EINVAL;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

/* crypt_setkey(): would the cipher take it? */
static int try_key(const struct crypt *crypt)
{
    uint32_t subkey = crypt->key_size - crypt->key_extra;

    for (uint32_t tfms = crypt->tfms; tfms > 1; tfms /= 2)
        subkey /= 2;
    return crypt->aead || sim_cipher_takes_key(&crypt->cipher, subkey) ? 0 : -EINVAL;
}

void sim_crypt_forget_key_string(struct crypt *crypt)
{
    if (crypt->key_string)
        explicit_bzero(crypt->key_string, strlen(crypt->key_string));
    free(crypt->key_string);
    crypt->key_string = NULL;
}

/* crypt_set_keyring_key(): `key` is "type:description". */
static int set_keyring_key(struct dmi_sim *sim, struct crypt *crypt, const char *key)
{
    static const char *const types[] = {"logon", "user", "encrypted", "trusted"};
    const char *colon = strchr(key, ':');
    bool known = false;

    for (const char *at = key; *at; at++)
        if (sim_is_space(*at)) {
            sim_log_crypt(sim, "whitespace chars not allowed in key string");
            return -EINVAL;
        }
    for (size_t i = 0; colon && i < sizeof(types) / sizeof(types[0]); i++)
        known |= strlen(types[i]) == (size_t)(colon - key) &&
                 strncmp(key, types[i], (size_t)(colon - key)) == 0;
    if (!known || !colon[1])
        return -EINVAL;

    uint32_t size;
    int rc = sim_keys_find(&sim->keys, key, &size);
    if (rc == 0 && size != crypt->key_size)
        rc = -EINVAL;
    if (rc < 0)
        return rc;

    char *copy = strdup(key);
    if (!copy)
        return -ENOMEM;
    crypt->key_valid = try_key(crypt) == 0;
    if (!crypt->key_valid) {
        free(copy);
        return -EINVAL;
    }
    sim_crypt_forget_key_string(crypt);
    crypt->key_string = copy;
    return 0;
}

static int set_key(struct dmi_sim *sim, struct crypt *crypt, const char *key)
{
    /* A hyphen is how no key is written. */
    if (!crypt->key_size && strcmp(key, "-") != 0)
        return -EINVAL;
    if (*key == ':')
        return set_keyring_key(sim, crypt, key + 1);

    crypt->key_valid = false;
    sim_crypt_forget_key_string(crypt);
    if (decode(crypt->key, key, crypt->key_size) < 0)
        return -EINVAL;
    int rc = try_key(crypt);
    crypt->key_valid = rc == 0;
    return rc;
}

int sim_crypt_set_key(struct sim_target *target, struct crypt *crypt, char *key)
{
    size_t length = strlen(key);
    int rc = set_key(target->table->device->sim, crypt, key);

    memset(key, '0', length);
    if (rc == 0 && crypt->key_string)
        explicit_bzero(crypt->key, crypt->key_size);
    return rc;
}

int sim_crypt_wipe_key(struct crypt *crypt)
{
    crypt->key_valid = false;
    sim_crypt_forget_key_string(crypt);
    explicit_bzero(crypt->key, crypt->key_size);
    return try_key(crypt);
}
