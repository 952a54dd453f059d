/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of majors.c. */
#include "majors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

static char usual[] = "Character devices:\n"
                      "  1 mem\n"
                      "254 device-mapper\n"
                      "\n"
                      "Block devices:\n"
                      "  7 loop\n"
                      "253 device-mapper\n"
                      "252 device-mapper-not\n"
                      "251 not device-mapper\n"
                      " device-mapper\n"
                      "99999999999 device-mapper\n"
                      "  9 device-mapper\n"
                      "250 device-mapper"; /* cut: not believed */

static void test_usual(void **state)
{
    FILE *devices = fmemopen(usual, strlen(usual), "r");
    uint32_t *majors = NULL;
    size_t count = 0;

    (void)state;
    assert_int_equal(majors_parse(devices, &majors, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(majors[0], 253);
    assert_int_equal(majors[1], 9);
    free(majors);
    (void)fclose(devices);
}

static void test_none(void **state)
{
    char text[] = "Character devices:\n 10 device-mapper\n";
    FILE *devices = fmemopen(text, strlen(text), "r");
    uint32_t some = 0, *majors = &some;
    size_t count = 5;

    (void)state;
    assert_int_equal(majors_parse(devices, &majors, &count), 0);
    assert_int_equal(count, 0);
    assert_null(majors);
    (void)fclose(devices);
}

static ssize_t broken_read(void *cookie, char *bytes, size_t size)
{
    size_t *calls = cookie;
    static const char text[] = "Block devices:\n253 device-mapper\n";

    if ((*calls)++ == 0) {
        assert_true(size >= sizeof(text) - 1);
        memcpy(bytes, text, sizeof(text) - 1);
        return sizeof(text) - 1;
    }
    return -1;
}

static void test_broken(void **state)
{
    size_t calls = 0;
    FILE *devices = fopencookie(&calls, "r", (cookie_io_functions_t){.read = broken_read});
    uint32_t *majors = NULL;
    size_t count = 5;

    (void)state;
    assert_int_equal(majors_parse(devices, &majors, &count), -EIO);
    assert_null(majors);
    assert_int_equal(count, 5);
    (void)fclose(devices);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
