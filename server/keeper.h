/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - the daemon's side of leases: who holds them, and when they end.
 *
 * A handler that suspends a device records the lease first (keeper_begin). The loop
 * rolls back what is due, as a call of its own that waits its turn like any change of
 * the device. Functions marked "any thread" are for handlers; the rest is the loop
 * thread's.
 */
#ifndef DMRPC_KEEPER_H
#define DMRPC_KEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guardian.h"
#include "lease.h"
#include "peer.h"

struct dispatcher;
struct keeper;

/*
 * `table` and `guardian` (NULL: there is none) are borrowed. What the table holds from
 * before goes on. 0 or -errno.
 */
int keeper_new(struct dispatcher *dispatcher, struct lease_table *table,
               const struct guardian *guardian, struct keeper **ret_keeper);

/* Takes NULL. Returns NULL. No worker may run; the table stays as it is. */
struct keeper *keeper_free(struct keeper *keeper);

/* Asked of connections whose number a lease has: is it there? Without, all are. */
void keeper_ask_connected(struct keeper *keeper,
                          bool (*is_connected)(void *data, uint64_t connection), void *data);

/* A connection has gone; takes `keeper` NULL. */
void keeper_disconnected(struct keeper *keeper, uint64_t connection);

/* The guardian has died: what it had taken is the keeper's again. Takes NULL. */
void keeper_guardian_gone(struct keeper *keeper);

/* Ends all leases, and each that comes. Takes NULL. */
void keeper_close(struct keeper *keeper);

/* Any thread. Leases that have not been dealt with; of NULL none. */
size_t keeper_count(const struct keeper *keeper);

/* Is the device being rolled back, or has it been, and nobody was told yet? Takes NULL. */
bool keeper_ends(struct keeper *keeper, struct dmi_device device);

/* --- for handlers: any thread; calls that change the device run one at a time --- */

struct keeper_terms {
    bool given;        /* the caller asked for them: they are new terms for a lease he holds */
    uint64_t after_ms; /* 0: no end by time */
    bool on_disconnect;
};

struct keeper_request {
    struct dmi *dm;
    const struct dmi_info *info; /* of the device, read just now */
    const struct peer *peer;
    struct keeper_terms terms;
};

/* One lease, copied. Times by lease_clock. */
struct keeper_view {
    struct dmi_device device;
    char uuid[DMI_UUID_MAX + 1];
    unsigned int slot;   /* the two tell */
    uint32_t generation; /* which one it is */
    int32_t pid;
    uint32_t uid;
    uint64_t connection; /* 0: none */
    uint64_t since;
    uint64_t deadline; /* or LEASE_NEVER */
    bool on_disconnect;
    bool ending;    /* its roll-back has begun */
    bool confirmed; /* the device was seen suspended */
};

enum keeper_answer {
    KEEPER_NONE,    /* no lease was asked for, and there is none */
    KEEPER_NEW,     /* recorded: keeper_confirm or keeper_drop follows */
    KEEPER_HELD,    /* the caller holds it, by new terms if there are any: keeper_confirm follows */
    KEEPER_OTHERS,  /* somebody else does, or its roll-back has begun */
    KEEPER_FOREIGN, /* the device was suspended by somebody without a lease; so it stays */
    KEEPER_FULL,    /* the table is full */
};

/* Before a suspend. *ret_view is the lease with NEW, HELD and OTHERS. Takes `keeper` NULL. */
enum keeper_answer keeper_begin(struct keeper *keeper, const struct keeper_request *request,
                                struct keeper_view *ret_view);

/*
 * The device of `info` is suspended. KEEPER_HELD: the lease holds. KEEPER_OTHERS: the guardian
 * ends it, and resumes the device. KEEPER_NONE: it has ended before. KEEPER_FOREIGN: it is
 * another device's.
 */
enum keeper_answer keeper_confirm(struct keeper *keeper, struct dmi *dm,
                                  const struct keeper_view *view, const struct dmi_info *info);

/* It is not, and nobody will suspend it: the lease is forgotten. */
void keeper_drop(struct keeper *keeper, const struct keeper_view *view);

/*
 * A table is about to be loaded, or cleared: what the device has from now on was not there before
 * its suspend, and a roll-back does not make it live. Before the kernel is asked, because the
 * daemon may be killed when the kernel has done it. Takes `keeper` NULL.
 */
void keeper_loads(struct keeper *keeper, struct dmi_device device);

/* The device was seen running, or is gone: a lease on it is over. Take `keeper` NULL. */
void keeper_resumed(struct keeper *keeper, struct dmi_device device);
void keeper_removed(struct keeper *keeper, struct dmi_device device);

/* The same of one lease that was listed, if it is still that one, and held. */
void keeper_over(struct keeper *keeper, const struct keeper_view *view, enum lease_outcome outcome);

/* Up to `room` leases; how many they are. */
size_t keeper_list(struct keeper *keeper, struct keeper_view *ret_views, size_t room);

#endif
