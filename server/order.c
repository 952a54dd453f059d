/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line of calls that change something. It knows keys, not devices: who
 * enters says by which keys, and a call that waits for an earlier one is started
 * as soon as none of those before it shares any.
 */
#include "order.h"

#include <string.h>

/* FNV-1a, 64 bits. */
static uint64_t hash(char kind, const void *bytes, size_t length)
{
    const unsigned char *p = bytes;
    uint64_t h = (0xcbf29ce484222325U ^ (unsigned char)kind) * 0x100000001b3U;

    for (size_t i = 0; i < length; i++) {
        h = (h ^ p[i]) * 0x100000001b3U;
    }
    return h;
}

static void add(struct order_entry *entry, uint64_t key)
{
    for (size_t i = 0; i < entry->count; i++) {
        if (entry->keys[i] == key) {
            return;
        }
    }
    if (entry->count == ORDER_KEYS) {
        entry->all = true;
        return;
    }
    entry->keys[entry->count++] = key;
}

void order_add_name(struct order_entry *entry, const char *name)
{
    add(entry, hash('n', name, strlen(name)));
}

void order_add_uuid(struct order_entry *entry, const char *uuid)
{
    add(entry, hash('u', uuid, strlen(uuid)));
}

void order_add_device(struct order_entry *entry, struct dmi_device device)
{
    uint64_t number = (uint64_t)device.major << 32 | device.minor;
    add(entry, hash('d', &number, sizeof(number)));
}

static bool conflict(const struct order_entry *a, const struct order_entry *b)
{
    if (a->all || b->all) {
        return true;
    }
    for (size_t i = 0; i < a->count; i++) {
        for (size_t j = 0; j < b->count; j++) {
            if (a->keys[i] == b->keys[j]) {
                return true;
            }
        }
    }
    return false;
}

static bool is_free(const struct order_entry *entry)
{
    for (const struct order_entry *e = entry->previous; e; e = e->previous) {
        if (conflict(e, entry)) {
            return false;
        }
    }
    /* One that came later runs already where only a refresh told that the device is the same. */
    for (const struct order_entry *e = entry->next; e; e = e->next) {
        if (e->running && conflict(e, entry)) {
            return false;
        }
    }
    return true;
}

/* Still free once it knows what its device is called by now? */
static bool is_free_now(struct order_entry *entry)
{
    if (!is_free(entry)) {
        return false;
    }
    entry->refresh(entry);
    return is_free(entry);
}

bool order_enter(struct order *order, struct order_entry *entry)
{
    entry->entered = true;
    entry->next = NULL;
    entry->previous = order->last;
    if (order->last) {
        order->last->next = entry;
    } else {
        order->first = entry;
    }
    order->last = entry;
    order->count++;
    entry->running = is_free_now(entry);
    return entry->running;
}

static void unlink_entry(struct order *order, struct order_entry *entry)
{
    if (entry->previous) {
        entry->previous->next = entry->next;
    } else {
        order->first = entry->next;
    }
    if (entry->next) {
        entry->next->previous = entry->previous;
    } else {
        order->last = entry->previous;
    }
    entry->entered = false;
    order->count--;
}

/* The first that can start now. A start may itself enter and leave: begin anew each time. */
static struct order_entry *next_free(struct order *order)
{
    for (struct order_entry *e = order->first; e; e = e->next) {
        if (!e->running && is_free_now(e)) {
            return e;
        }
    }
    return NULL;
}

void order_leave(struct order *order, struct order_entry *entry)
{
    struct order_entry *ready;

    if (!entry->entered) {
        return;
    }
    unlink_entry(order, entry);
    while ((ready = next_free(order))) {
        ready->running = true;
        ready->start(ready);
    }
}
