/* SPDX-License-Identifier: Apache-2.0 */
/*
 * out.h - bytes on their way out: a chain of blocks that is written once.
 *
 * Replies are printed straight into one. An error sticks: after the first
 * failure the puts do nothing and out->error tells why, so that printing code
 * needs no checks; whoever finishes a reply looks once. What it held is wiped
 * before its memory goes back, since table lines may hold keys.
 */
#ifndef DMRPC_OUT_H
#define DMRPC_OUT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "budget.h"

struct out_block;

struct out {
    struct out_block *first, *last;
    size_t length;         /* bytes held */
    size_t limit;          /* of length; past it error is -EMSGSIZE */
    struct budget *budget; /* borrowed, or NULL; where it is used up error is -ENOBUFS */
    int error;             /* 0, -ENOMEM, -EMSGSIZE or -ENOBUFS */
};

void out_init(struct out *out, size_t limit, struct budget *budget);
void out_done(struct out *out);

void out_put(struct out *out, const void *bytes, size_t length);
void out_puts(struct out *out, const char *string);
void out_char(struct out *out, char c);
void out_u64(struct out *out, uint64_t value);
void out_i64(struct out *out, int64_t value);

/* A place to go back to. out_rewind drops, and wipes, all that came after it, the error too. */
struct out_mark {
    struct out_block *last;
    size_t used, length;
};

struct out_mark out_mark(const struct out *out);
void out_rewind(struct out *out, struct out_mark mark);

/* Appends all of `from`, which is empty then. Both must have the same budget. */
void out_move(struct out *out, struct out *from);

/*
 * Where its bytes lie: the first `room` pieces of them. Returns how many there are
 * in all. They stay there until it is changed.
 */
size_t out_pieces(const struct out *out, struct iovec *pieces, size_t room);

/* Takes up to `room` bytes from its beginning. Returns how many. */
size_t out_read(struct out *out, void *buffer, size_t room);

/*
 * Sends what `fd`, a non-blocking socket, takes now and drops it; of a long chain
 * only a part, so that others have their turn. Returns how much that was, 0 where
 * the socket is full, or a negative errno.
 */
ssize_t out_send(struct out *out, int fd);

#endif
