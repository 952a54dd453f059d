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

/* The first that waits for `entry` and is not to, because it drains. */
static struct order_entry *released_by(const struct order_entry *entry)
{
    for (struct order_entry *e = entry->next; entry->drains && e; e = e->next) {
        if (e->releases && !e->running && conflict(e, entry)) {
            return e;
        }
    }
    return NULL;
}

/* Has those that drain and run before `entry` yield to it: one, since they share a device. */
static void release(struct order_entry *entry)
{
    for (struct order_entry *e = entry->previous; entry->releases && e; e = e->previous) {
        if (e->running && e->drains && conflict(e, entry)) {
            e->yield(e, entry);
            return;
        }
    }
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
    order->changes++;
    entry->running = is_free_now(entry);
    order->waiting += !entry->running;
    if (entry->running) {
        return true;
    }
    release(entry); /* which may have started it */
    return false;
}

bool order_runs(const struct order *order, struct dmi_device device)
{
    struct order_entry asked = {0};

    order_add_device(&asked, device);
    for (const struct order_entry *e = order->first; e; e = e->next) {
        if (e->running && conflict(e, &asked)) {
            return true;
        }
    }
    return false;
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
    order->waiting -= !entry->running;
    order->changes++;
}

/*
 * The keys of entries that have been gone through, as bits: what is not in here
 * shares no key with any of them. With thousands in line this saves comparing each
 * with each.
 */
enum { SEEN_BITS = 65536 };

struct seen {
    bool any, all;
    uint64_t bits[SEEN_BITS / 64];
};

static void seen_add(struct seen *seen, const struct order_entry *entry)
{
    seen->any = true;
    seen->all = seen->all || entry->all;
    for (size_t i = 0; i < entry->count; i++) {
        size_t bit = entry->keys[i] % SEEN_BITS;
        seen->bits[bit / 64] |= UINT64_C(1) << bit % 64;
    }
}

/* As is_free, of an entry before which all have been seen, and all that run. */
static bool is_free_of(const struct seen *seen, const struct order_entry *entry)
{
    if (seen->all || (entry->all && seen->any)) {
        return false;
    }
    for (size_t i = 0; i < entry->count; i++) {
        size_t bit = entry->keys[i] % SEEN_BITS;
        if (seen->bits[bit / 64] >> bit % 64 & 1) {
            return is_free(entry);
        }
    }
    return true;
}

static bool is_free_now_of(const struct seen *seen, struct order_entry *entry)
{
    if (!is_free_of(seen, entry)) {
        return false;
    }
    entry->refresh(entry);
    return is_free_of(seen, entry);
}

/* Starts those that can start now; false where a start has changed the line meanwhile. */
static bool start_free(struct order *order)
{
    const uint64_t changes = order->changes;
    struct seen seen = {0};

    for (const struct order_entry *e = order->first; e; e = e->next) {
        if (e->running) {
            seen_add(&seen, e);
        }
    }
    for (struct order_entry *e = order->first; e; e = e->next) {
        if (!e->running && is_free_now_of(&seen, e)) {
            struct order_entry *by = released_by(e);
            e->running = true;
            order->waiting--;
            e->start(e);
            if (by && order->changes == changes) {
                e->yield(e, by);
            }
            if (order->changes != changes) {
                return false;
            }
        }
        seen_add(&seen, e);
    }
    return true;
}

void order_leave(struct order *order, struct order_entry *entry)
{
    if (!entry->entered) {
        return;
    }
    unlink_entry(order, entry);
    while (order->waiting > 0 && !start_free(order)) {
    }
}
