/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - the mapped devices by name, uuid and minor, and in order of names.
 */
#ifndef SIM_REGISTRY_H
#define SIM_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

#include "minors.h"

struct sim_device;

/* Embedded in a device: its places in the registry. */
struct sim_entry {
    struct sim_device *name_next, *uuid_next; /* hash chains */
    struct sim_device *left, *right;          /* treap of names */
    struct sim_device *before, *after;        /* the same order as a list */
    uint32_t name_hash, uuid_hash, priority;
};

struct sim_hash {
    struct sim_device **slots;
    uint32_t mask;
    uint32_t count;
};

struct sim_registry {
    struct sim_hash names, uuids;
    struct sim_device *root, *first;
    struct sim_minors minors;
    uint32_t random;
    uint32_t changes; /* of names, counted */
};

int sim_registry_init(struct sim_registry *registry);
void sim_registry_done(struct sim_registry *registry);

struct sim_device *sim_registry_by_name(const struct sim_registry *registry, const char *name);
struct sim_device *sim_registry_by_uuid(const struct sim_registry *registry, const char *uuid);

/* Enter a device under its name or uuid, which nobody else may have and it must keep. */
int sim_registry_add_name(struct sim_registry *registry, struct sim_device *device);
int sim_registry_add_uuid(struct sim_registry *registry, struct sim_device *device);
void sim_registry_drop_name(struct sim_registry *registry, struct sim_device *device);
void sim_registry_drop_uuid(struct sim_registry *registry, struct sim_device *device);

/* For walks in order of names: first, then device->entry.after. */
struct sim_device *sim_registry_first(const struct sim_registry *registry);

#endif
