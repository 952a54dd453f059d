/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lacks.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "lacks.h"

static const struct lack some[] = {{"one", "first this"}, {"two", "then that"}, {"three", "no"}};

static void test_nothing(void **state)
{
    struct lacks lacks = {0};
    char text[8] = "x";

    (void)state;
    lacks_tell(&lacks, text, sizeof(text));
    assert_string_equal(text, "");
    assert_false(lacks_has(&lacks, &some[0]));
}

static void test_some(void **state)
{
    struct lacks lacks = {0};
    char text[64];

    (void)state;
    lacks_add(&lacks, &some[0]);
    lacks_add(&lacks, &some[1]);
    assert_true(lacks_has(&lacks, &some[0]));
    assert_true(lacks_has(&lacks, &some[1]));
    assert_false(lacks_has(&lacks, &some[2]));
    lacks_tell(&lacks, text, sizeof(text));
    assert_string_equal(text, "first this; then that");
}

static void test_little_room(void **state)
{
    struct lacks lacks = {0};
    char text[64];

    (void)state;
    lacks_add(&lacks, &some[0]);
    lacks_add(&lacks, &some[1]);
    for (size_t size = 1; size <= sizeof("first this; then that"); size++) {
        memset(text, 'x', sizeof(text));
        lacks_tell(&lacks, text, size);
        assert_int_equal(strlen(text), size - 1);
        assert_memory_equal(text, "first this; then that", size - 1);
        assert_int_equal(text[size], 'x');
    }
    for (int i = 0; i < 2 * LACKS_MAX; i++) {
        lacks_add(&lacks, &some[2]);
    }
    assert_int_equal(lacks.count, LACKS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_little_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
