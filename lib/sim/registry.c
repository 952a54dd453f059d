/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mapped devices by name and uuid (hashes) and in order of names (a treap
 * that tells a new device its place in a list; walks use the list). Whatever the number of devices,
 * finding, adding and removing one costs the same but for the treap's logarithm. It owns none of
 * the devices.
 */
#include "registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

enum { FIRST_SLOTS = 64 };

/* --- hashes --- */

/* A hash by one of a device's strings. */
struct key {
    size_t string, hash, next; /* offsets in struct sim_device */
};

static const struct key by_name = {offsetof(struct sim_device, name),
                                   offsetof(struct sim_device, entry.name_hash),
                                   offsetof(struct sim_device, entry.name_next)};
static const struct key by_uuid = {offsetof(struct sim_device, uuid),
                                   offsetof(struct sim_device, entry.uuid_hash),
                                   offsetof(struct sim_device, entry.uuid_next)};

static const char *key_string(const struct key *key, struct sim_device *device)
{
    return *(char **)(void *)((char *)device + key->string);
}

static uint32_t *key_hash(const struct key *key, struct sim_device *device)
{
    return (uint32_t *)(void *)((char *)device + key->hash);
}

static struct sim_device **key_next(const struct key *key, struct sim_device *device)
{
    return (struct sim_device **)(void *)((char *)device + key->next);
}

static uint32_t hash_of(const char *string)
{
    uint32_t hash = 2166136261U;
    for (; *string; string++)
        hash = (hash ^ (unsigned char)*string) * 16777619U;
    return hash ^ hash >> 15;
}

static int hash_init(struct sim_hash *hash)
{
    hash->slots = calloc(FIRST_SLOTS, sizeof(struct sim_device *));
    hash->mask = FIRST_SLOTS - 1;
    return hash->slots ? 0 : -ENOMEM;
}

static struct sim_device *hash_find(const struct sim_hash *hash, const struct key *key,
                                    const char *string)
{
    uint32_t value = hash_of(string);
    struct sim_device *device = hash->slots[value & hash->mask];
    while (device &&
           (*key_hash(key, device) != value || strcmp(key_string(key, device), string) != 0))
        device = *key_next(key, device);
    return device;
}

static void hash_link(struct sim_hash *hash, const struct key *key, struct sim_device *device)
{
    struct sim_device **slot = &hash->slots[*key_hash(key, device) & hash->mask];
    *key_next(key, device) = *slot;
    *slot = device;
}

static int hash_grow(struct sim_hash *hash, const struct key *key)
{
    struct sim_hash larger = {.mask = hash->mask * 2 + 1, .count = hash->count};
    larger.slots = calloc((size_t)larger.mask + 1, sizeof(struct sim_device *));
    if (!larger.slots)
        return -ENOMEM;
    for (uint32_t i = 0; i <= hash->mask; i++)
        for (struct sim_device *device = hash->slots[i], *next; device; device = next) {
            next = *key_next(key, device);
            hash_link(&larger, key, device);
        }
    free(hash->slots);
    *hash = larger;
    return 0;
}

static int hash_add(struct sim_hash *hash, const struct key *key, struct sim_device *device)
{
    if (hash->count > hash->mask && hash_grow(hash, key) < 0)
        return -ENOMEM;
    *key_hash(key, device) = hash_of(key_string(key, device));
    hash_link(hash, key, device);
    hash->count++;
    return 0;
}

static void hash_drop(struct sim_hash *hash, const struct key *key, struct sim_device *device)
{
    struct sim_device **link = &hash->slots[*key_hash(key, device) & hash->mask];
    while (*link != device)
        link = key_next(key, *link);
    *link = *key_next(key, device);
    hash->count--;
}

/* --- order of names --- */

static struct sim_device *treap_insert(struct sim_device *root, struct sim_device *device)
{
    if (!root) {
        device->entry.left = device->entry.right = NULL;
        return device;
    }
    if (strcmp(device->name, root->name) < 0) {
        struct sim_device *left = treap_insert(root->entry.left, device);
        root->entry.left = left;
        if (left->entry.priority <= root->entry.priority)
            return root;
        root->entry.left = left->entry.right;
        left->entry.right = root;
        return left;
    }
    struct sim_device *right = treap_insert(root->entry.right, device);
    root->entry.right = right;
    if (right->entry.priority <= root->entry.priority)
        return root;
    root->entry.right = right->entry.left;
    right->entry.left = root;
    return right;
}

static struct sim_device *treap_merge(struct sim_device *low, struct sim_device *high)
{
    if (!low || !high)
        return low ? low : high;
    if (low->entry.priority > high->entry.priority) {
        low->entry.right = treap_merge(low->entry.right, high);
        return low;
    }
    high->entry.left = treap_merge(low, high->entry.left);
    return high;
}

static void treap_drop(struct sim_device **root, struct sim_device *device)
{
    while (*root != device)
        root =
            strcmp(device->name, (*root)->name) < 0 ? &(*root)->entry.left : &(*root)->entry.right;
    *root = treap_merge(device->entry.left, device->entry.right);
}

/* The device whose name comes right before `name`. */
static struct sim_device *treap_before(struct sim_device *root, const char *name)
{
    struct sim_device *best = NULL;
    while (root) {
        bool before = strcmp(root->name, name) < 0;
        if (before)
            best = root;
        root = before ? root->entry.right : root->entry.left;
    }
    return best;
}

static void list_link(struct sim_registry *registry, struct sim_device *device)
{
    struct sim_device *before = treap_before(registry->root, device->name);
    struct sim_device *after = before ? before->entry.after : registry->first;

    device->entry.before = before;
    device->entry.after = after;
    *(before ? &before->entry.after : &registry->first) = device;
    if (after)
        after->entry.before = device;
}

static void list_unlink(struct sim_registry *registry, struct sim_device *device)
{
    struct sim_device *before = device->entry.before, *after = device->entry.after;

    *(before ? &before->entry.after : &registry->first) = after;
    if (after)
        after->entry.before = before;
}

/* --- the registry --- */

int sim_registry_init(struct sim_registry *registry)
{
    *registry = (struct sim_registry){.random = 1};
    if (hash_init(&registry->names) < 0 || hash_init(&registry->uuids) < 0 ||
        sim_minors_init(&registry->minors) < 0) {
        sim_registry_done(registry);
        return -ENOMEM;
    }
    return 0;
}

void sim_registry_done(struct sim_registry *registry)
{
    free(registry->names.slots);
    free(registry->uuids.slots);
    sim_minors_done(&registry->minors);
}

struct sim_device *sim_registry_by_name(const struct sim_registry *registry, const char *name)
{
    return hash_find(&registry->names, &by_name, name);
}

struct sim_device *sim_registry_by_uuid(const struct sim_registry *registry, const char *uuid)
{
    return hash_find(&registry->uuids, &by_uuid, uuid);
}

int sim_registry_add_name(struct sim_registry *registry, struct sim_device *device)
{
    int rc = hash_add(&registry->names, &by_name, device);
    if (rc < 0)
        return rc;
    registry->random = registry->random * 1664525U + 1013904223U;
    device->entry.priority = registry->random >> 1 ^ device->entry.name_hash;
    list_link(registry, device);
    registry->changes++;
    registry->root = treap_insert(registry->root, device);
    return 0;
}

int sim_registry_add_uuid(struct sim_registry *registry, struct sim_device *device)
{
    return hash_add(&registry->uuids, &by_uuid, device);
}

void sim_registry_drop_name(struct sim_registry *registry, struct sim_device *device)
{
    hash_drop(&registry->names, &by_name, device);
    treap_drop(&registry->root, device);
    list_unlink(registry, device);
    registry->changes++;
}

void sim_registry_drop_uuid(struct sim_registry *registry, struct sim_device *device)
{
    hash_drop(&registry->uuids, &by_uuid, device);
}

struct sim_device *sim_registry_first(const struct sim_registry *registry)
{
    return registry->first;
}
