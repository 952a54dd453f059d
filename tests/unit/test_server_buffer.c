/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of buffer.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "buffer.h"

static void test_grows_and_keeps(void **state)
{
    struct budget budget = {.limit = 1048576};
    struct buffer buffer = {0};
    char bytes[1000];

    (void)state;
    for (size_t i = 0; i < 300; i++) {
        memset(bytes, (int)(i % 251), sizeof(bytes));
        assert_true(buffer_append(&buffer, &budget, bytes, sizeof(bytes)));
        assert_int_equal(budget.used, buffer.size);
    }
    assert_int_equal(buffer.end - buffer.start, 300 * sizeof(bytes));
    for (size_t i = 0; i < 300 * sizeof(bytes); i++) {
        assert_int_equal((unsigned char)buffer.bytes[buffer.start + i], i / sizeof(bytes) % 251);
    }
    buffer_done(&buffer, &budget);
    assert_null(buffer.bytes);
    assert_int_equal(budget.used, 0);
    buffer_done(&buffer, &budget);
}

static void test_room_in_front_is_used_and_wiped(void **state)
{
    struct budget budget = {.limit = 1048576};
    struct buffer buffer = {0};
    char bytes[40000];

    (void)state;
    memset(bytes, 'a', sizeof(bytes));
    assert_true(buffer_append(&buffer, &budget, bytes, sizeof(bytes)));
    size_t size = buffer.size;
    buffer.start = 30000;
    memset(bytes, 'b', sizeof(bytes));
    assert_true(buffer_append(&buffer, &budget, bytes, 1));
    assert_int_equal(buffer.size, size);
    assert_int_equal(buffer.end - buffer.start, 10001);
    assert_int_equal(buffer.bytes[buffer.start + 9999], 'a');
    assert_int_equal(buffer.bytes[buffer.start + 10000], 'b');
    for (size_t i = buffer.end; i < sizeof(bytes); i++) {
        assert_int_equal(buffer.bytes[i], '\0');
    }
    buffer_done(&buffer, &budget);
}

static void test_budget(void **state)
{
    struct budget budget = {.limit = 100000};
    struct buffer buffer = {0};
    char bytes[50000] = "x";

    (void)state;
    assert_true(buffer_append(&buffer, &budget, bytes, sizeof(bytes)));
    size_t used = budget.used;
    assert_false(buffer_append(&buffer, &budget, bytes, sizeof(bytes)));
    assert_int_equal(budget.used, used);
    assert_int_equal(buffer.end, sizeof(bytes));
    assert_int_equal(buffer.bytes[0], 'x');
    buffer_done(&buffer, &budget);
    assert_int_equal(budget.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_keeps),
        cmocka_unit_test(test_room_in_front_is_used_and_wiped),
        cmocka_unit_test(test_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
