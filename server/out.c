/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain of blocks that replies are printed into. It knows bytes, its limit
 * and its budget; neither JSON nor connections.
 */
#include "out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { BLOCK_SMALL = 4096, BLOCK_LARGE = 65536, SEND_BLOCKS = 64, SEND_BYTES = 256 * 1024 };

struct out_block {
    struct out_block *next;
    size_t size; /* of data */
    size_t sent; /* data before it has left */
    size_t used;
    char data[];
};

void out_init(struct out *out, size_t limit, struct budget *budget)
{
    *out = (struct out){.limit = limit, .budget = budget};
}

static void block_free(struct out *out, struct out_block *block)
{
    explicit_bzero(block->data, block->used);
    budget_give(out->budget, sizeof(*block) + block->size);
    free(block);
}

static void blocks_free(struct out *out, struct out_block *block)
{
    while (block) {
        struct out_block *next = block->next;
        block_free(out, block);
        block = next;
    }
}

void out_done(struct out *out)
{
    blocks_free(out, out->first);
    out->first = out->last = NULL;
    out->length = 0;
}

static struct out_block *block_add(struct out *out)
{
    size_t size = (out->first ? BLOCK_LARGE : BLOCK_SMALL) - sizeof(struct out_block);
    if (!budget_take(out->budget, sizeof(struct out_block) + size)) {
        out->error = -ENOBUFS;
        return NULL;
    }
    struct out_block *block = malloc(sizeof(*block) + size);
    if (!block) {
        budget_give(out->budget, sizeof(struct out_block) + size);
        out->error = -ENOMEM;
        return NULL;
    }
    *block = (struct out_block){.size = size};
    if (out->last) {
        out->last->next = block;
    } else {
        out->first = block;
    }
    out->last = block;
    return block;
}

void out_put(struct out *out, const void *bytes, size_t length)
{
    const char *from = bytes;

    if (out->error) {
        return;
    }
    if (length > out->limit || out->length > out->limit - length) {
        out->error = -EMSGSIZE;
        return;
    }
    while (length > 0) {
        struct out_block *block = out->last;
        if (!block || block->used == block->size) {
            block = block_add(out);
            if (!block) {
                return;
            }
        }
        size_t n = block->size - block->used < length ? block->size - block->used : length;
        memcpy(block->data + block->used, from, n);
        block->used += n;
        out->length += n;
        from += n;
        length -= n;
    }
}

void out_puts(struct out *out, const char *string)
{
    out_put(out, string, strlen(string));
}

void out_char(struct out *out, char c)
{
    out_put(out, &c, 1);
}

void out_u64(struct out *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    out_put(out, digits + at, sizeof(digits) - at);
}

void out_i64(struct out *out, int64_t value)
{
    if (value < 0) {
        out_char(out, '-');
        out_u64(out, 0 - (uint64_t)value);
    } else {
        out_u64(out, (uint64_t)value);
    }
}

struct out_mark out_mark(const struct out *out)
{
    return (struct out_mark){
        .last = out->last,
        .used = out->last ? out->last->used : 0,
        .length = out->length,
    };
}

void out_rewind(struct out *out, struct out_mark mark)
{
    out->error = 0;
    out->length = mark.length;
    if (!mark.last) {
        blocks_free(out, out->first);
        out->first = out->last = NULL;
        return;
    }
    blocks_free(out, mark.last->next);
    mark.last->next = NULL;
    out->last = mark.last;
    explicit_bzero(mark.last->data + mark.used, mark.last->used - mark.used);
    mark.last->used = mark.used;
}

void out_move(struct out *out, struct out *from)
{
    struct out_block *only = from->first == from->last ? from->first : NULL;

    if (!from->first) {
        return;
    }
    /* One short reply among many goes into the room that is left: blocks stay full. */
    if (only && out->last && out->last->size - out->last->used >= only->used - only->sent) {
        size_t n = only->used - only->sent;
        memcpy(out->last->data + out->last->used, only->data + only->sent, n);
        out->last->used += n;
        out->length += n;
        out_done(from);
        return;
    }
    if (out->last) {
        out->last->next = from->first;
    } else {
        out->first = from->first;
    }
    out->last = from->last;
    out->length += from->length;
    from->first = from->last = NULL;
    from->length = 0;
}

size_t out_pieces(const struct out *out, struct iovec *pieces, size_t room)
{
    size_t count = 0;

    for (struct out_block *b = out->first; b; b = b->next, count++) {
        if (count < room) {
            pieces[count] = (struct iovec){b->data + b->sent, b->used - b->sent};
        }
    }
    return count;
}

static void out_drop(struct out *out, size_t length)
{
    out->length -= length;
    while (length > 0 && out->first) {
        struct out_block *block = out->first;
        size_t n = block->used - block->sent < length ? block->used - block->sent : length;
        block->sent += n;
        length -= n;
        if (block->sent == block->used) {
            out->first = block->next;
            if (!out->first) {
                out->last = NULL;
            }
            block_free(out, block);
        }
    }
}

size_t out_read(struct out *out, void *buffer, size_t room)
{
    char *to = buffer;
    size_t total = 0;

    while (out->first && total < room) {
        const struct out_block *block = out->first;
        size_t held = block->used - block->sent;
        size_t n = held < room - total ? held : room - total;
        memcpy(to + total, block->data + block->sent, n);
        total += n;
        out_drop(out, n);
    }
    return total;
}

ssize_t out_send(struct out *out, int fd)
{
    ssize_t total = 0;

    while (out->length > 0 && total < SEND_BYTES) {
        struct iovec iov[SEND_BLOCKS];
        struct msghdr msg = {.msg_iov = iov};
        size_t offered = 0;
        for (struct out_block *b = out->first;
             b && msg.msg_iovlen < SEND_BLOCKS && total + (ssize_t)offered < SEND_BYTES;
             b = b->next) {
            iov[msg.msg_iovlen++] = (struct iovec){b->data + b->sent, b->used - b->sent};
            offered += b->used - b->sent;
        }
        ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno == EAGAIN ? total : -errno;
        }
        out_drop(out, (size_t)n);
        total += n;
        if ((size_t)n < offered) {
            break;
        }
    }
    return total;
}
