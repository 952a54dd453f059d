/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrapped allocator. Its counters are shared by all threads: which thread
 * makes the allocation that fails is up to them, as on a machine without memory.
 */
#include "scarce.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_long left = LONG_MAX; /* allocations before the first failure */
static atomic_size_t failing;       /* how many fail then */
static atomic_size_t failed;
static atomic_long held;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__wrap_strdup(const char *string);
char *__wrap_strndup(const char *string, size_t most);
void __wrap_free(void *memory);

void scarce_begin(size_t passes, size_t failures)
{
    atomic_store(&failed, 0);
    atomic_store(&failing, failures);
    atomic_store(&left, passes > LONG_MAX ? LONG_MAX : (long)passes);
}

size_t scarce_end(void)
{
    atomic_store(&failing, 0);
    atomic_store(&left, LONG_MAX);
    return atomic_load(&failed);
}

long scarce_held(void)
{
    return atomic_load(&held);
}

static bool refuses(void)
{
    if (atomic_load(&failing) == 0 || atomic_fetch_sub(&left, 1) > 0) {
        return false;
    }
    if (atomic_load(&failing) != SCARCE_FOREVER) {
        atomic_fetch_sub(&failing, 1);
    }
    atomic_fetch_add(&failed, 1);
    return true;
}

static void *count(void *memory)
{
    atomic_fetch_add(&held, memory != NULL);
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return refuses() ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t count_of, size_t size)
{
    return refuses() ? NULL : count(__real_calloc(count_of, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (refuses()) {
        return NULL;
    }
    void *memory = __real_realloc(old, size);
    return old ? memory : count(memory);
}

void *__wrap_reallocarray(void *old, size_t count_of, size_t size)
{
    size_t bytes;

    return __builtin_mul_overflow(count_of, size, &bytes) ? NULL : __wrap_realloc(old, bytes);
}

char *__wrap_strndup(const char *string, size_t most)
{
    const size_t length = strnlen(string, most);
    char *copy = __wrap_calloc(1, length + 1);

    return copy ? memcpy(copy, string, length) : NULL;
}

char *__wrap_strdup(const char *string)
{
    return __wrap_strndup(string, SIZE_MAX);
}

void __wrap_free(void *memory)
{
    atomic_fetch_sub(&held, memory != NULL);
    __real_free(memory);
}
