/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protect.h - this process must not need a device that it has suspended.
 *
 * It would, if one of its pages had to be read from a disk, or if it had to wait for memory
 * that only a write to a disk can free. Not for the guardian, which does with less.
 */
#ifndef DMRPC_PROTECT_H
#define DMRPC_PROTECT_H

#include <stdint.h>

#include "lacks.h"

/* Sanitizers keep terabytes of their own, which nobody can lock, and need more stack. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROTECT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define PROTECT_SANITIZED 1
#endif
#endif

/* What may be refused. */
enum protect_part {
    PROTECT_LOCKED_MEMORY, /* all memory stays where it is */
    PROTECT_IO_FLUSHER,    /* asking for memory waits for no disk */
    PROTECT_OOM_SCORE,     /* others are killed first when memory runs out */
    PROTECT_PARTS,
};

extern const struct lack protect_parts[PROTECT_PARTS];

/* Before anything else, on the thread that makes all others: they, and children, inherit it. */
void protect_begin(struct lacks *lacks);

/* When children have been forked, which would only undo it, and before there are threads. */
void protect_memory(struct lacks *lacks);

/* Bytes of this process that are locked, and that are in memory; 0 where /proc does not tell. */
void protect_measure(uint64_t *ret_locked, uint64_t *ret_resident);

#endif
