/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of words.c: the same words, and the same characters in them, as the kernel has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "words.h"

static void test_words(void **state)
{
    static const struct {
        const char *text;
        const char *words[4]; /* without what quotes */
    } rows[] = {
        {"", {NULL}},
        {" \t\n\v\f\r\xa0", {NULL}},
        {"one", {"one"}},
        {" one\t\ttwo\xa0three\n", {"one", "two", "three"}},
        {"a\\ b c", {"a b", "c"}},
        {"\\a\\\\ \\\tb", {"a\\", "\tb"}},
        {"a\\\xa0", {"a\xa0"}},
        {"end\\", {"end\\"}},
        {"\\", {"\\"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *text = rows[i].text;
        size_t count = 0;
        struct word word;
        while (words_next(&text, &word)) {
            char seen[16] = "";
            for (size_t k = 0; word.length > 0; k++) {
                seen[k] = words_take(&word);
            }
            assert_non_null(rows[i].words[count]);
            assert_string_equal(seen, rows[i].words[count++]);
        }
        assert_null(rows[i].words[count]);
        assert_string_equal(text, "");
    }
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        uint32_t max;
        bool good;
        uint32_t number;
    } rows[] = {
        {"0", 0, true, 0},
        {"1", 0, false, 0},
        {"0012", 12, true, 12},
        {"13", 12, false, 0},
        {"4294967295", UINT32_MAX, true, UINT32_MAX},
        {"4294967296", UINT32_MAX, false, 0},
        {"18446744073709551617", UINT32_MAX, false, 0},
        {"340282366920938463463374607431768211457", UINT32_MAX, false, 0},
        {"", 9, false, 0},
        {"-1", 9, false, 0},
        {"+1", 9, false, 0},
        {" 1", 9, false, 0},
        {"1 ", 9, false, 0},
        {"0x1", 99, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *end = rows[i].text + strlen(rows[i].text);
        uint32_t number = 77;
        assert_int_equal(words_number(rows[i].text, end, rows[i].max, &number), rows[i].good);
        assert_true(!rows[i].good || number == rows[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
