/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of json_line.c. Texts are told with their lines; each value says on which it stands. */
#include "server_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_line.h"

struct row {
    const char *text, *pointer;
    size_t line;
};

static const char mixed[] = "\n"
                            "{ \"a\": 2,\n"
                            "  \"b\":\n"
                            "    4,\n"
                            "  \"c\": [ 5, 5,\n"
                            "    6, [], {}, \"]}\\\"\n\", [ 7,\n"
                            "    { \"x\": \"{[\\\\\", \"a\": 8 } ]\n"
                            "  ],\n"
                            "  \"d/e\": 10, \"f~g\": 10,\n"
                            "  \"\\u0061b\": 11, \"\\\"\": 11, \"\": 11,\n"
                            "  \"z\": { \"a\" : { \"a\":\n"
                            " true } } }\n";

static const struct row rows[] = {
    {"1", "", 1},
    {"\n\n1", "", 3},
    {"\n\n1", "/a", 3},
    {"{}", "/a", 1},
    {"", "", 1},
    {"", "/a/b", 1},
    {mixed, "", 2},
    {mixed, "/a", 2},
    {mixed, "/b", 4},
    {mixed, "/c", 5},
    {mixed, "/c/0", 5},
    {mixed, "/c/1", 5},
    {mixed, "/c/2", 6},
    {mixed, "/c/3", 6},
    {mixed, "/c/3/0", 6}, /* there is none */
    {mixed, "/c/4/a", 6},
    {mixed, "/c/5", 6},
    {mixed, "/c/6/0", 7},
    {mixed, "/c/6/1", 8},
    {mixed, "/c/6/1/x", 8},
    {mixed, "/c/6/1/a", 8},
    {mixed, "/c/6/1/b", 8},
    {mixed, "/c/7", 5},
    {mixed, "/c/01", 5},
    {mixed, "/c/x", 5},
    {mixed, "/d~1e", 10},
    {mixed, "/d", 2},
    {mixed, "/d/e", 2},
    {mixed, "/f~0g", 10},
    {mixed, "/ab", 11},
    {mixed, "/\"", 11},
    {mixed, "/", 11},
    {mixed, "/z", 12},
    {mixed, "/z/a", 12},
    {mixed, "/z/a/a", 13},
    {mixed, "/z/a/a/a", 13},
    {mixed, "/z/b", 12},
    {mixed, "/nix", 2},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t line = json_line(rows[i].text, strlen(rows[i].text), rows[i].pointer);
        if (line != rows[i].line) {
            fail_msg("%s: %zu, not %zu", rows[i].pointer, line, rows[i].line);
        }
    }
}

/* Each line holds one value, its own number: whatever the pointer, they must agree. */
static void test_generated(void **state)
{
    static char text[65536];
    size_t length = (size_t)sprintf(text, "{\n");

    (void)state;
    for (unsigned int i = 0; i < 200; i++) {
        length += (size_t)sprintf(
            text + length,
            "%s\"k%u\": { \"s\": \"}{][,:\\\"\\\\\", \"v\": [ null, [1.5e3],\n%u ] }", i ? "," : "",
            i, i);
    }
    (void)strcpy(text + length, "\n}\n");
    for (unsigned int i = 0; i < 200; i++) {
        char pointer[32];
        (void)sprintf(pointer, "/k%u/v/2", i);
        assert_int_equal(json_line(text, strlen(text), pointer), i + 3);
        (void)sprintf(pointer, "/k%u/v/1/0", i);
        assert_int_equal(json_line(text, strlen(text), pointer), i + 2);
    }
}

/* What is cut off, or no JSON at all, is not read past its end. */
static void test_cut(void **state)
{
    (void)state;
    for (size_t length = 0; length < sizeof(mixed); length++) {
        char *copy = malloc(length + 1);
        assert_non_null(copy);
        memcpy(copy, mixed, length);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            size_t line = json_line(copy, length, rows[i].pointer);
            assert_in_range(line, 1, 14);
        }
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_generated),
        cmocka_unit_test(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
