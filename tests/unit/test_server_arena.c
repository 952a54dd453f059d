/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of arena.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdalign.h>
#include <string.h>

#include "arena.h"
#include "server_memory.h"

static void test_zeroed_and_aligned(void **state)
{
    struct arena arena = {0};

    (void)state;
    for (size_t size = 1; size < 6000; size += 7) {
        unsigned char *p = arena_alloc(&arena, 1, size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(p[i], 0);
        }
        memset(p, 0xff, size); /* whoever comes next must see none of it */
    }
    arena_done(&arena);
    assert_null(arena.blocks);
}

static void test_apart(void **state)
{
    struct arena arena = {0};
    char *pieces[300];

    (void)state;
    for (size_t i = 0; i < 300; i++) {
        pieces[i] = arena_alloc(&arena, 3, 17);
        assert_non_null(pieces[i]);
        memset(pieces[i], (int)i % 251, 51);
    }
    for (size_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < 51; j++) {
            assert_int_equal((unsigned char)pieces[i][j], i % 251);
        }
    }
    arena_done(&arena);
}

static void test_nothing(void **state)
{
    struct arena arena = {0};

    (void)state;
    arena_done(&arena);
    assert_non_null(arena_alloc(&arena, 0, 8)); /* none of something is not "no memory" */
    assert_non_null(arena_alloc(&arena, 8, 0));
    arena_done(&arena);
    arena_done(&arena);
}

static void test_too_much(void **state)
{
    struct arena arena = {0};

    (void)state;
    assert_null(arena_alloc(&arena, SIZE_MAX, 2));
    assert_null(arena_alloc(&arena, 2, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX / 4, 4));
    assert_null(arena_alloc(&arena, 1, SIZE_MAX));
    assert_non_null(arena_alloc(&arena, 1, 1));
    arena_done(&arena);
}

static void test_copy(void **state)
{
    struct arena arena = {0};
    char *copy = arena_copy(&arena, "ab\0cd-not this", 5);

    (void)state;
    assert_non_null(copy);
    assert_memory_equal(copy, "ab\0cd", 6);
    assert_string_equal(arena_copy(&arena, "", 0), "");
    arena_done(&arena);
}

static void test_no_memory(void **state)
{
    struct arena arena = {0};

    (void)state;
    memory_fail_at(0);
    assert_null(arena_alloc(&arena, 1, 1));
    memory_fail_at(1);
    assert_non_null(arena_alloc(&arena, 1, 4000));
    assert_null(arena_alloc(&arena, 1, 4000));
    memory_fail_at(0);
    assert_null(arena_alloc(&arena, 1, 5000));
    memory_fail_at(-1);
    assert_non_null(arena_alloc(&arena, 1, 4000));
    arena_done(&arena);
}

static void test_wiped(void **state)
{
    static const char secret[] = "the-secret-in-the-arena";
    struct arena arena = {0};

    (void)state;
    for (int i = 0; i < 1000; i++) { /* several blocks, up to the last byte of each */
        assert_non_null(arena_copy(&arena, secret, strlen(secret)));
    }
    memory_watch(secret);
    arena_done(&arena);
    assert_int_equal(memory_seen(), 0);
    memory_watch(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed_and_aligned),
        cmocka_unit_test(test_apart),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_wiped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
