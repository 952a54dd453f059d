/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cipher.h - what of the kernel's crypto API shows through crypt's constructor.
 */
#ifndef SIM_CIPHER_H
#define SIM_CIPHER_H

#include <stdbool.h>
#include <stdint.h>

struct sim_cipher {
    uint32_t iv_size;    /* bytes; 0: takes no IV */
    uint32_t block_size; /* of the mode: 1 for stream modes */
    uint32_t key_min, key_max, key_step;
    uint32_t key_factor; /* 2: a pair of keys of one size (xts) */
    uint32_t key_extra;  /* bytes after them (lrw) */
};

/* By a name such as "xts(aes)" or "essiv(cbc(aes),sha256)". -ENOENT. */
int sim_cipher_find(const char *name, struct sim_cipher *ret_cipher);

bool sim_cipher_takes_key(const struct sim_cipher *cipher, uint32_t size);

#endif
