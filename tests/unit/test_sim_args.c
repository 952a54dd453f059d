/* SPDX-License-Identifier: Apache-2.0 */
/* Words and numbers as the kernel reads them. */
#include "sim/args.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void lines_are_split_at_white_space(void **state)
{
    char line[] = "  a\tbb\\ c  \\\\d \xa0 e\\";
    unsigned int argc;
    char **argv;
    (void)state;

    assert_int_equal(sim_args_split(line, &argc, &argv), 0);
    assert_int_equal(argc, 4);
    assert_string_equal(argv[0], "a");
    assert_string_equal(argv[1], "bb c");
    assert_string_equal(argv[2], "\\d");
    assert_string_equal(argv[3], "e\\");
    free(argv);
}

static void an_empty_line_has_no_words(void **state)
{
    char line[] = "   ";
    unsigned int argc;
    char **argv;
    (void)state;

    assert_int_equal(sim_args_split(line, &argc, &argv), 0);
    assert_int_equal(argc, 0);
    free(argv);
}

static void many_words_grow_the_array(void **state)
{
    char line[2001];
    unsigned int argc;
    char **argv;
    (void)state;

    for (size_t i = 0; i < sizeof(line) - 1; i++)
        line[i] = i % 2 ? ' ' : 'x';
    line[sizeof(line) - 1] = '\0';
    assert_int_equal(sim_args_split(line, &argc, &argv), 0);
    assert_int_equal(argc, 1000);
    free(argv);
}

static void sscanf_wraps_and_skips(void **state)
{
    uint64_t wide;
    uint32_t narrow;
    (void)state;

    assert_true(sim_scan_u64(" 12", &wide));
    assert_int_equal(wide, 12);
    assert_true(sim_scan_u64("18446744073709551617", &wide));
    assert_int_equal(wide, 1);
    assert_true(sim_scan_u32("4294967298", &narrow));
    assert_int_equal(narrow, 2);
    assert_false(sim_scan_u64("12x", &wide));
    assert_false(sim_scan_u64("-1", &wide));
    assert_false(sim_scan_u64("+1", &wide));
    assert_false(sim_scan_u64("", &wide));
}

static void kstrto_does_neither(void **state)
{
    uint64_t wide;
    uint32_t narrow;
    (void)state;

    assert_true(sim_parse_u64("+12\n", &wide));
    assert_int_equal(wide, 12);
    assert_true(sim_parse_u64("18446744073709551615", &wide));
    assert_false(sim_parse_u64("18446744073709551616", &wide));
    assert_false(sim_parse_u32("4294967296", &narrow));
    assert_false(sim_parse_u64(" 1", &wide));
    assert_false(sim_parse_u64("", &wide));
    assert_false(sim_parse_u64("+", &wide));
}

static void devices_are_two_numbers(void **state)
{
    uint32_t major, minor;
    (void)state;

    assert_true(sim_scan_device("253:7", &major, &minor));
    assert_int_equal(major, 253);
    assert_int_equal(minor, 7);
    assert_false(sim_scan_device("253:7x", &major, &minor));
    assert_false(sim_scan_device("253", &major, &minor));
    assert_false(sim_scan_device("x:1", &major, &minor));
}

static void groups_may_not_be_larger_than_the_words_left(void **state)
{
    static const struct sim_arg number = {0, 3, "no"};
    static char two[] = "2", a[] = "a", b[] = "b", four[] = "4";
    char *words[] = {two, a, b};
    struct sim_args args = {.count = 3, .words = words};
    const char *error = NULL;
    uint32_t value;
    (void)state;

    assert_int_equal(sim_args_read_group(&args, &number, &value, &error), 0);
    assert_int_equal(value, 2);
    args = (struct sim_args){.count = 2, .words = words};
    assert_int_equal(sim_args_read_group(&args, &number, &value, &error), -EINVAL);
    assert_string_equal(error, "no");
    words[0] = four;
    args = (struct sim_args){.count = 3, .words = words};
    assert_int_equal(sim_args_read(&args, &number, &value, &error), -EINVAL);
    args.count = 0;
    assert_int_equal(sim_args_read(&args, &number, &value, &error), -EINVAL);
    assert_null(sim_args_shift(&args));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_split_at_white_space),
        cmocka_unit_test(an_empty_line_has_no_words),
        cmocka_unit_test(many_words_grow_the_array),
        cmocka_unit_test(sscanf_wraps_and_skips),
        cmocka_unit_test(kstrto_does_neither),
        cmocka_unit_test(devices_are_two_numbers),
        cmocka_unit_test(groups_may_not_be_larger_than_the_words_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
