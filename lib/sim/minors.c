/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Minor numbers: who has which (an array), and the lowest that is free, as the
 * kernel's idr gives it (a bitmap of three levels, so that finding it costs the
 * same whatever is taken). A number stays taken while its device goes away,
 * when it is not found by it any more.
 */
#include "minors.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = SIM_MINOR_COUNT / 64, TOP_WORDS = WORDS / 64, ROOT_WORDS = TOP_WORDS / 64 };

int sim_minors_init(struct sim_minors *minors)
{
    *minors = (struct sim_minors){0};
    minors->taken = calloc(WORDS + TOP_WORDS + ROOT_WORDS, sizeof(uint64_t));
    return minors->taken ? 0 : -ENOMEM;
}

void sim_minors_done(struct sim_minors *minors)
{
    free(minors->devices);
    free(minors->taken);
}

struct sim_device *sim_minors_find(const struct sim_minors *minors, uint32_t minor)
{
    return minor < minors->size ? minors->devices[minor] : NULL;
}

static uint64_t *taken_top(const struct sim_minors *minors)
{
    return minors->taken + WORDS;
}

static uint64_t *taken_root(const struct sim_minors *minors)
{
    return taken_top(minors) + TOP_WORDS;
}

static bool minor_is_taken(const struct sim_minors *minors, uint32_t minor)
{
    return minors->taken[minor / 64] >> minor % 64 & 1;
}

static int minors_grow(struct sim_minors *minors, uint32_t minor)
{
    uint32_t size = minors->size ? minors->size : 64;
    while (size <= minor)
        size *= 2;
    if (size == minors->size)
        return 0;
    struct sim_device **larger = reallocarray(minors->devices, size, sizeof(*larger));
    if (!larger)
        return -ENOMEM;
    memset(larger + minors->size, 0, (size - minors->size) * sizeof(*larger));
    minors->devices = larger;
    minors->size = size;
    return 0;
}

int sim_minors_take(struct sim_minors *minors, uint32_t minor)
{
    if (minor_is_taken(minors, minor))
        return -EBUSY;
    if (minors_grow(minors, minor) < 0)
        return -ENOMEM;

    uint64_t *word = &minors->taken[minor / 64];
    uint64_t *top = &taken_top(minors)[minor / 4096];
    *word |= UINT64_C(1) << minor % 64;
    if (*word == UINT64_MAX)
        *top |= UINT64_C(1) << minor / 64 % 64;
    if (*top == UINT64_MAX)
        taken_root(minors)[minor / 262144] |= UINT64_C(1) << minor / 4096 % 64;
    return 0;
}

void sim_minors_free(struct sim_minors *minors, uint32_t minor)
{
    minors->taken[minor / 64] &= ~(UINT64_C(1) << minor % 64);
    taken_top(minors)[minor / 4096] &= ~(UINT64_C(1) << minor / 64 % 64);
    taken_root(minors)[minor / 262144] &= ~(UINT64_C(1) << minor / 4096 % 64);
}

static uint32_t lowest_zero(uint64_t word)
{
    return (uint32_t)__builtin_ctzll(~word);
}

int sim_minors_take_lowest(struct sim_minors *minors, uint32_t *ret_minor)
{
    uint32_t root = 0;
    while (root < ROOT_WORDS && taken_root(minors)[root] == UINT64_MAX)
        root++;
    if (root == ROOT_WORDS)
        return -ENOSPC;

    uint32_t top = root * 64 + lowest_zero(taken_root(minors)[root]);
    uint32_t word = top * 64 + lowest_zero(taken_top(minors)[top]);
    uint32_t minor = word * 64 + lowest_zero(minors->taken[word]);
    int rc = sim_minors_take(minors, minor);
    if (rc == 0)
        *ret_minor = minor;
    return rc;
}

void sim_minors_set(struct sim_minors *minors, uint32_t minor, struct sim_device *device)
{
    minors->devices[minor] = device;
}
