/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.h - changes of one device run one at a time, in the order they came.
 *
 * The kernel does not bear two changes of one device at once (Linux 6.1 crashes),
 * and a retry must not overtake its first try. An entry stands for a call that
 * changes something, with a key for each way its device can be named: an entry
 * runs when no earlier one, and none that runs, shares a key with it. Loop thread only.
 */
#ifndef DMRPC_ORDER_H
#define DMRPC_ORDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

enum { ORDER_KEYS = 8 };

struct order_entry {
    struct order_entry *next, *previous; /* in order of arrival */
    uint64_t keys[ORDER_KEYS];           /* hashes: a collision only makes one wait */
    size_t count;
    bool all;      /* concerns every device */
    bool drains;   /* may wait for good, and for what one that releases is to free */
    bool releases; /* is not to wait for one that drains: that has to yield */
    bool running;
    bool entered;
    /* Before its turn: adds keys for what its device is called by now (a rename may have run). */
    void (*refresh)(struct order_entry *entry);
    void (*start)(struct order_entry *entry); /* its turn has come */
    /* Where it drains: `by` waits for it. It ends early if it can, even in here. */
    void (*yield)(struct order_entry *entry, struct order_entry *by);
};

struct order {
    struct order_entry *first, *last;
    size_t count;
    size_t waiting;   /* of those, the ones that do not run */
    uint64_t changes; /* how often one entered or left */
};

/* Keys of an entry that does not run yet. One past ORDER_KEYS makes it concern all. */
void order_add_name(struct order_entry *entry, const char *name);
void order_add_uuid(struct order_entry *entry, const char *uuid);
void order_add_device(struct order_entry *entry, struct dmi_device device);

/* True where it may run now; else entry->start is called when its turn comes. */
bool order_enter(struct order *order, struct order_entry *entry);

/* Is an entry running that concerns the device? */
bool order_runs(const struct order *order, struct dmi_device device);

/* Ends an entry, run or not, and starts those whose turn has come. Safe if it never entered. */
void order_leave(struct order *order, struct order_entry *entry);

#endif
