/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator of tests. Memory is zeroed when it is given out, so that all of it
 * may be searched when it comes back.
 */
#include "server_memory.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local long left = -1;
static _Thread_local int failed;
static const char *_Atomic watched;
static atomic_size_t seen;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
void __wrap_free(void *memory);

void memory_fail_at(long count)
{
    left = count;
    failed = 0;
}

int memory_failed(void)
{
    return failed;
}

void memory_watch(const char *secret)
{
    atomic_store(&seen, 0);
    atomic_store(&watched, secret);
}

size_t memory_seen(void)
{
    return atomic_load(&seen);
}

static int refuses(void)
{
    if (left < 0) {
        return 0;
    }
    failed = failed || left == 0;
    return left-- == 0;
}

static void look(void *memory)
{
    const char *secret = atomic_load(&watched);

    if (memory && secret && memmem(memory, malloc_usable_size(memory), secret, strlen(secret))) {
        atomic_fetch_add(&seen, 1);
    }
}

void *__wrap_malloc(size_t size)
{
    return refuses() ? NULL : __real_calloc(1, size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refuses() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return refuses() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return refuses() ? NULL : __real_realloc(old, count * size);
}

void __wrap_free(void *memory)
{
    look(memory);
    if (memory) {
        memset(memory, 0xdd, malloc_usable_size(memory)); /* whoever still uses it will stumble */
    }
    __real_free(memory);
}
