/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.h - one count of the bytes that requests and replies hold, and its limit.
 *
 * Buffers of clients' making take from it before they grow and give back when
 * they go. Any thread.
 */
#ifndef DMRPC_BUDGET_H
#define DMRPC_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct budget {
    atomic_size_t used;
    size_t limit;
};

/* False, and nothing taken, where `bytes` more would pass the limit. A NULL budget has none. */
static inline bool budget_take(struct budget *budget, size_t bytes)
{
    if (!budget) {
        return true;
    }
    size_t before = atomic_fetch_add(&budget->used, bytes);
    if (before + bytes <= budget->limit) {
        return true;
    }
    atomic_fetch_sub(&budget->used, bytes);
    return false;
}

static inline void budget_give(struct budget *budget, size_t bytes)
{
    if (budget) {
        atomic_fetch_sub(&budget->used, bytes);
    }
}

#endif
