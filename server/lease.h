/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - the table of suspended devices that are to be resumed, and how one is.
 *
 * The table is one shared mapping, of a file that outlives the daemon or of memory.
 * The daemon (keeper.h) writes a slot before it suspends a device and frees it after
 * a resume that was verified; the guardian (guardian.h) reads the same slots and acts
 * where the daemon does not. Who changes a slot's state does so by compare and
 * exchange, so that one of the two rolls back. Nothing here allocates memory or logs,
 * but for what opens a table.
 */
#ifndef DMRPC_LEASE_H
#define DMRPC_LEASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dmioctl.h"

enum { LEASE_SLOTS = 4096, LEASE_SLOT_BYTES = 256, LEASE_BOOT_ID = 36 };

#define LEASE_NEVER UINT64_MAX

enum lease_state {
    LEASE_FREE,
    LEASE_FILLING, /* being written; its device is not suspended yet */
    LEASE_HELD,
    LEASE_ENDING, /* the daemon rolls back */
    LEASE_TAKEN,  /* the guardian does */
    LEASE_ENDED,  /* for the daemon to tell, and to free */
};

enum lease_terms {
    LEASE_ON_DISCONNECT = 1 << 0, /* ends with its connection */
    LEASE_HAD_INACTIVE = 1 << 1,  /* its inactive table is from before the suspend: not cleared */
};

enum lease_outcome {
    LEASE_ROLLED_BACK, /* resumed, and verified */
    LEASE_RESUMED,     /* somebody had resumed it: nothing was done */
    LEASE_REMOVED,     /* the device is gone */
};

enum lease_reason {
    LEASE_TIME_UP,
    LEASE_DISCONNECTED,
    LEASE_SHUTDOWN,
    LEASE_ORPHANED,  /* the daemon that gave it has died */
    LEASE_BY_OTHERS, /* somebody resumed or removed the device */
    LEASE_REASONS,
};

struct lease {
    atomic_uint state; /* enum lease_state */
    atomic_uint terms; /* enum lease_terms */
    atomic_uint outcome;
    atomic_uint reason;
    atomic_bool confirmed;     /* the suspend has returned: the device was seen suspended */
    _Atomic uint64_t deadline; /* by lease_clock; or LEASE_NEVER */
    _Atomic uint64_t assured;  /* at this time the daemon was seen to be at it */
    /* Written before the state makes the slot visible; the daemon's own from `pid` on. */
    struct dmi_device device;
    uint64_t diskseq; /* 0: not known */
    uint32_t depth;   /* how many layers of mapped devices are below it */
    _Atomic int32_t pid;
    _Atomic uint32_t uid;
    _Atomic uint32_t generation; /* another at each use of the slot */
    _Atomic uint64_t connection; /* 0: none that stays */
    uint64_t since;
    _Atomic uint64_t retry; /* not before this: whoever rolls back sets it, 0 is at once */
    char uuid[DMI_UUID_MAX + 1];
} __attribute__((aligned(LEASE_SLOT_BYTES)));

struct lease_head {
    char magic[8];
    uint32_t slots, slot_bytes;
    char boot_id[LEASE_BOOT_ID + 1];
    atomic_uint used; /* slots past these have not been used since all were free */
    atomic_uint live; /* that are not free */
} __attribute__((aligned(LEASE_SLOT_BYTES)));

struct lease_table {
    struct lease_head head;
    struct lease slots[LEASE_SLOTS];
};

/* What a file held when it was opened. */
enum lease_found {
    LEASE_FOUND_NOTHING,
    LEASE_FOUND_TABLE,   /* of this boot: its leases count */
    LEASE_FOUND_OLD,     /* of an earlier boot: begun anew */
    LEASE_FOUND_DAMAGED, /* no table: begun anew */
};

/*
 * Opens the file or makes it, locks it (flock) and maps it. *ret_fd holds the lock: as
 * long as it, or a copy that a fork made, is open, -EWOULDBLOCK is what others get.
 * -EPERM: it is not a plain file of ours alone. Or another -errno.
 */
int lease_table_open(const char *path, const char *boot_id, struct lease_table **ret_table,
                     int *ret_fd, enum lease_found *ret_found);

/* A table in memory that a child shares. 0 or -ENOMEM. */
int lease_table_new(struct lease_table **ret_table);

/* Takes NULL. Returns NULL. The file, if there is one, stays. */
struct lease_table *lease_table_free(struct lease_table *table);

/* This boot's id. 0 or -errno. */
int lease_boot_id(char ret_id[LEASE_BOOT_ID + 1]);

/* CLOCK_BOOTTIME, in nanoseconds: it goes on while the machine sleeps. */
uint64_t lease_clock(void);

/* A free slot, which becomes FILLING; NULL: there is none. One thread at a time. */
struct lease *lease_claim(struct lease_table *table);

/* Makes a filled slot count. */
void lease_publish(struct lease *lease);

/* Gives a slot back, whatever its state. */
void lease_free(struct lease_table *table, struct lease *lease);

/* Changes the state, if it is `from`. */
bool lease_move(struct lease *lease, enum lease_state from, enum lease_state to);

/* HELD, ENDING or TAKEN: somebody will have to do something. */
bool lease_is_live(const struct lease *lease);

/* The live lease on a device, or NULL. */
struct lease *lease_find(struct lease_table *table, struct dmi_device device);

/* When the guardian of a living daemon may act: `grace` after all that speaks against it. */
uint64_t lease_overdue(const struct lease *lease, uint64_t grace);

/*
 * Of a table whose daemon and guardian are dead: drops what is not a lease, and makes
 * due at once those that end with a connection or whose suspend may not be over.
 * Returns how many slots were dropped because they make no sense.
 */
size_t lease_adopt(struct lease_table *table, uint64_t now);

/* dmi_device_diskseq, or 0 where it is not told. */
uint64_t lease_diskseq(struct dmi *dm, struct dmi_device device);

/* Is it the lease of the device that `info` tells of, whose disk is `diskseq` (0: not known)? */
bool lease_is_of(const struct lease *lease, const struct dmi_info *info, uint64_t diskseq);

/*
 * Resumes a suspended device and sees that it runs. With `clears` an inactive table, which
 * the resume would make live, is dropped before. What a signal interrupts is repeated. *info
 * is the device as it was seen last, before and after. 0 or -errno; -EBUSY: it is suspended
 * all the same. May block.
 */
int lease_resume(struct dmi *dm, const struct dmi_id *id, bool clears, struct dmi_info *info);

/*
 * Resumes the device of a lease, if it is still the same and suspended. Before that a
 * table that was loaded after the suspend is cleared: it must not become live. Where
 * the suspend was not seen to return, one of our own waits for its end. 0 with the
 * outcome, or a negative errno: it is to be tried again. May block.
 */
int lease_roll_back(const struct lease *lease, struct dmi *dm, enum lease_outcome *ret_outcome);

#endif
