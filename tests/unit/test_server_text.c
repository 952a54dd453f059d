/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of text.c. */
#include "server_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

struct row {
    const char *bytes;
    size_t length; /* of the sequence at its front; 0: none is well-formed */
};

static const struct row rows[] = {
    {"a", 1},
    {"\x7f", 1},
    {"\xc2\x80", 2},
    {"\xc3\xa9", 2},
    {"\xdf\xbf", 2},
    {"\xe0\xa0\x80", 3},
    {"\xe2\x82\xac", 3},
    {"\xed\x9f\xbf", 3},
    {"\xee\x80\x80", 3},
    {"\xef\xbf\xbf", 3},
    {"\xf0\x90\x80\x80", 4},
    {"\xf3\xbf\xbf\xbf", 4},
    {"\xf4\x8f\xbf\xbf", 4},
    /* tails alone, and heads without */
    {"\x80", 0},
    {"\xbf", 0},
    {"\xc2", 0},
    {"\xc2"
     "a",
     0},
    {"\xc2\xc2", 0},
    {"\xe2\x82", 0},
    {"\xe2", 0},
    {"\xe2\x82"
     "a",
     0},
    {"\xf0\x90\x80", 0},
    {"\xf0\x90", 0},
    {"\xf0", 0},
    {"\xf0\x90\x80"
     "a",
     0},
    /* overlong */
    {"\xc0\x80", 0},
    {"\xc0\xaf", 0},
    {"\xc1\xbf", 0},
    {"\xe0\x80\x80", 0},
    {"\xe0\x9f\xbf", 0},
    {"\xf0\x80\x80\x80", 0},
    {"\xf0\x8f\xbf\xbf", 0},
    /* surrogates */
    {"\xed\xa0\x80", 0},
    {"\xed\xbf\xbf", 0},
    {"\xed\xa0\x80\xed\xb0\x80", 0},
    /* past U+10FFFF, and what never stands in UTF-8 */
    {"\xf4\x90\x80\x80", 0},
    {"\xf5\x80\x80\x80", 0},
    {"\xf8\x88\x80\x80\x80", 0},
    {"\xfe", 0},
    {"\xff", 0},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[16];
        assert_int_equal(text_sequence(rows[i].bytes), rows[i].length);
        (void)snprintf(text, sizeof(text), "x%s", rows[i].bytes);
        assert_int_equal(text_is_utf8(text), rows[i].length > 0);
    }
    assert_true(text_is_utf8(""));
}

/* Every two bytes, and every third byte behind the critical ones, against the parser's own check.
 */
static void test_against_parser(void **state)
{
    (void)state;
    for (unsigned first = 0x80; first < 0x100; first++) {
        for (unsigned second = 1; second < 0x100; second++) {
            const char text[] = {(char)first, (char)second, '\x80', '\x80', '\0'};
            json_t *string = json_string(text);
            assert_int_equal(text_is_utf8(text), string != NULL);
            json_decref(string);
            const char three[] = {(char)first, (char)second, '\x80', '\0'};
            string = json_string(three);
            assert_int_equal(text_is_utf8(three), string != NULL);
            json_decref(string);
        }
    }
}

static void assert_prints(const char *string, const char *expected)
{
    struct out out;

    out_init(&out, SIZE_MAX, NULL);
    text_put(&out, string);
    char *text = rig_text(&out, NULL);
    assert_string_equal(text, expected);
    free(text);
    out_done(&out);
}

static void test_escapes(void **state)
{
    (void)state;
    assert_prints("", "\"\"");
    assert_prints("plain /dev/mapper-x", "\"plain /dev/mapper-x\"");
    assert_prints("\"", "\"\\\"\"");
    assert_prints("a\"b\\c", "\"a\\\"b\\\\c\"");
    assert_prints("\n\t\r", "\"\\n\\t\\r\"");
    assert_prints("\x01\x1f\x7f\b\f", "\"\\u0001\\u001f\\u007f\\u0008\\u000c\"");
    assert_prints("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                  "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    assert_prints("a\xff", "\"a\\\\xff\"");
    assert_prints("\xed\xa0\x80", "\"\\\\xed\\\\xa0\\\\x80\"");
    assert_prints("\xc3", "\"\\\\xc3\"");
    assert_prints("\xc3\"", "\"\\\\xc3\\\"\"");
}

/* Whatever the kernel's bytes are, what goes out is JSON, and says the same where it can. */
static void test_always_json(void **state)
{
    uint32_t seed = 1;

    (void)state;
    for (int round = 0; round < 3000; round++) {
        char string[40];
        size_t length = (size_t)round % 39;
        for (size_t i = 0; i < length; i++) {
            seed = seed * 1664525 + 1013904223;
            string[i] = (char)(seed >> 24 ? seed >> 24 : 1);
        }
        string[length] = '\0';
        struct out out;
        out_init(&out, SIZE_MAX, NULL);
        text_put(&out, string);
        char *text = rig_text(&out, NULL);
        json_t *json = rig_json(text);
        assert_int_equal(strcmp(json_string_value(json), string) == 0, text_is_utf8(string));
        char copy[4 * sizeof(string)];
        text_copy(string, copy, sizeof(copy));
        assert_string_equal(copy, json_string_value(json));
        json_decref(json);
        free(text);
        out_done(&out);
    }
}

static void assert_line(const char *string, size_t size, const char *expected)
{
    char line[64];

    text_line(string, line, size);
    assert_string_equal(line, expected);
}

static void test_lines(void **state)
{
    (void)state;
    assert_line("", 64, "");
    assert_line("caf\xc3\xa9 \"\\x0a\"", 64, "caf\xc3\xa9 \"\\x0a\"");
    assert_line("a\n\r\t\x1b\x7f", 64, "a\\x0a\\x0d\\x09\\x1b\\x7f");
    assert_line("\xc2\x80\xc2\x9f\xc2\xa0", 64, "\\xc2\\x80\\xc2\\x9f\xc2\xa0");
    assert_line("a\xff", 64, "a\\xff");
    /* What does not fit is left out whole. */
    assert_line("abc", 3, "ab");
    assert_line("a\n", 5, "a");
    assert_line("a\n", 6, "a\\x0a");
    assert_line("a\xc3\xa9", 3, "a");
    assert_line("a", 1, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),   cmocka_unit_test(test_against_parser),
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_always_json),
        cmocka_unit_test(test_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
