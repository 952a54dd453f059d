/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's keyring, as far as crypt looks: names and sizes. No key material is
 * kept, since nothing encrypts.
 */
#include "keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

void sim_keys_done(struct sim_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        free(keys->entries[i].name);
    free(keys->entries);
    *keys = (struct sim_keys){0};
}

int sim_keys_find(const struct sim_keys *keys, const char *name, uint32_t *ret_size)
{
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->entries[i].name, name) == 0) {
            *ret_size = keys->entries[i].size;
            return 0;
        }
    return -ENOKEY;
}

static int keys_append(struct sim_keys *keys, const char *name, uint32_t size)
{
    struct sim_key *larger = reallocarray(keys->entries, keys->count + 1, sizeof(*larger));
    if (!larger)
        return -ENOMEM;
    keys->entries = larger;
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    keys->entries[keys->count++] = (struct sim_key){.name = copy, .size = size};
    return 0;
}

int dmi_sim_key_add(struct dmi_sim *sim, const char *name, uint32_t size)
{
    const char *colon = strchr(name, ':');
    uint32_t ignored;

    if (!colon || colon == name || !colon[1])
        return -EINVAL;
    sim_lock(sim);
    int rc = sim_keys_find(&sim->keys, name, &ignored) == 0 ? -EEXIST
                                                            : keys_append(&sim->keys, name, size);
    sim_unlock(sim);
    return rc;
}
