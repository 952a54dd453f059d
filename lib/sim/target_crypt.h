/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target_crypt.h - what the files of the crypt target share.
 */
#ifndef SIM_TARGET_CRYPT_H
#define SIM_TARGET_CRYPT_H

#include <stdbool.h>
#include <stdint.h>

#include "cipher.h"
#include "table.h"

enum {
    CRYPT_SAME_CPU = 1 << 0,
    CRYPT_SUBMIT_FROM_CPUS = 1 << 1,
    CRYPT_NO_READ_WORKQUEUE = 1 << 2,
    CRYPT_NO_WRITE_WORKQUEUE = 1 << 3,
    CRYPT_IV_LARGE_SECTORS = 1 << 4,
    CRYPT_ALLOW_DISCARDS = 1 << 5,
};

struct crypt {
    struct sim_dev *dev;
    uint64_t start, iv_offset;
    char *cipher_string;
    char *auth; /* of the integrity feature, or NULL */
    unsigned int features;
    uint16_t sector_size;
    uint32_t tag_size;
    bool aead, needs_integrity;
    struct sim_cipher cipher;
    uint32_t tfms, key_parts, key_extra;
    bool key_valid, suspended;
    uint32_t key_size;
    char *key_string; /* of a key in the keyring: ":type:description" without its colon */
    uint8_t *key;     /* key_size bytes */
};

/* Cipher, IV mode and key: crypt_ctr_cipher(). Wipes `key`. */
int sim_crypt_set_cipher(struct sim_target *target, struct crypt *crypt, char *cipher, char *key);

/* --- keys (target_crypt_key.c) --- */

/* get_key_size(): moves *key to the colon of a keyring key. Negative: cannot be parsed. */
int32_t sim_crypt_key_size(char **key);

/* crypt_set_key(): wipes `key`. -EINVAL, -ENOKEY, -ENOMEM. */
int sim_crypt_set_key(struct sim_target *target, struct crypt *crypt, char *key);
int sim_crypt_wipe_key(struct crypt *crypt);
void sim_crypt_forget_key_string(struct crypt *crypt);

#endif
