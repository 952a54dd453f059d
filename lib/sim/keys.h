/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - the kernel's keyring, as far as crypt looks: which keys exist.
 */
#ifndef SIM_KEYS_H
#define SIM_KEYS_H

#include <stddef.h>
#include <stdint.h>

struct sim_key {
    char *name; /* "type:description" */
    uint32_t size;
};

struct sim_keys {
    struct sim_key *entries;
    size_t count;
};

void sim_keys_done(struct sim_keys *keys);

/* request_key(): -ENOKEY if there is none of that name. */
int sim_keys_find(const struct sim_keys *keys, const char *name, uint32_t *ret_size);

#endif
