/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method.h - what the schema says of a method: one row of the generated table.
 */
#ifndef DMRPC_METHOD_H
#define DMRPC_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "field.h"

struct call;

enum method_effect { EFFECT_READ, EFFECT_WRITE, EFFECT_ADMIN };

/* Where a method runs. */
enum method_place {
    PLACE_LOOP,   /* on the loop thread: cannot block and is short */
    PLACE_WORKER, /* on a worker: may block, or its result may be long */
    PLACE_PARKED, /* waits for a device event without a thread, then on a worker */
    PLACE_LISTED, /* waits for the next list of devices, then on a worker */
};

/* What a right to a method is bound to. */
enum method_scope {
    SCOPE_SERVER, /* no device: the right to call it on any */
    SCOPE_ALL,    /* all devices together */
    SCOPE_DEVICE, /* the device that it names, in whichever way */
    SCOPE_NAME,   /* names, which it gives or takes; the kernel knows no other way for it */
};

struct method {
    const char *name;
    enum method_effect effect;
    enum method_scope scope;
    enum method_place place;
    bool orders;        /* changes a device: one at a time for each device, in order of arrival */
    bool solo;          /* not in a batch */
    const char *drains; /* with this flag it may wait for I/O to end while it has its turn, */
    bool releases;      /* and this ends that, as does the former without the flag */
    bool simulated;     /* only where the kernel is simulated; unknown otherwise */
    uint32_t errors;    /* bit of each enum error_id that the schema declares for it */
    const struct type *params;
    const struct type *result;
    /* Calls method_NAME with the params and result structs. See call.h for its contract. */
    int (*handle)(struct call *call, const void *params, void *result);
};

/* Sorted by name; from the schema. */
extern const struct method method_table[];
extern const size_t method_count;

/* NULL where there is none. */
const struct method *method_find(const char *name);

#endif
