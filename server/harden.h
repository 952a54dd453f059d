/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harden.h - this process can do little but its work.
 *
 * Who finds a fault in it gets no more than device-mapper: rights that it does not need are
 * dropped, system calls that it does not make are refused, and nobody but root reads its
 * memory. A refused call gets ENOSYS, and kills nobody: a killed daemon holds leases.
 * For the daemon and for its guardian, each in its own process.
 */
#ifndef DMRPC_HARDEN_H
#define DMRPC_HARDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lacks.h"

/* What may be refused. */
enum harden_part {
    HARDEN_CAPABILITIES, /* in all sets: what is not needed is dropped */
    HARDEN_NO_NEW_PRIVS, /* nothing that would be executed has more rights */
    HARDEN_LIMITS,       /* no core file, and no more descriptors than it said it needs */
    HARDEN_NOT_DUMPABLE, /* no dump, and no debugger but root's */
    HARDEN_SECCOMP,      /* only system calls that are needed */
    HARDEN_PARTS,
};

/* Whose system calls are allowed. */
enum harden_calls {
    HARDEN_CALLS_DAEMON,
    HARDEN_CALLS_GUARDIAN, /* when its threads have been made */
};

extern const struct lack harden_parts[HARDEN_PARTS];

struct harden {
    struct lacks lacks; /* of harden_parts */
    uint64_t kept;      /* capabilities that it has, a bit for each */
};

/* One capability of linux/capability.h as a bit. */
#define HARDEN_BIT(capability) ((uint64_t)1 << (capability))

/*
 * The capabilities of who uses the host's device-mapper, as bits; `locked`: its memory is.
 * Without a limit of locked memory that takes no right, and so none is kept for it.
 */
uint64_t harden_needed(bool locked);

/*
 * All but the system calls, on the only thread: capabilities belong to threads, which
 * inherit them. `keep`: those that are to stay, as bits, where it has them.
 */
void harden_begin(struct harden *harden, uint64_t keep);

/* The system calls: of all threads, and for good. After harden_begin. */
void harden_calls(struct harden *harden, enum harden_calls calls);

enum { HARDEN_CAPABILITY_NAME = 32 };

/* "CAP_SYS_ADMIN"; false where it is not kept, or there is none of this number below 64. */
bool harden_kept(const struct harden *harden, unsigned int capability,
                 char ret_name[HARDEN_CAPABILITY_NAME]);

#endif
