/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of scan.c: where documents end, however the bytes come. */
#include "server_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

static const struct scan_limits wide = {.bytes = 1 << 20, .depth = 32, .values = 1000};

enum { MOST = 16 };

/* What a scanner made of an input: documents, and how it ended. */
struct found {
    struct {
        size_t start, end;
    } documents[MOST];
    size_t count;
    enum scan_result last; /* SCAN_MORE: the input ended between documents */
};

/* Feeds `text` up to each of the cuts in turn; `cuts` ends with the length. */
static struct found scan(const struct scan_limits *limits, const char *text, const size_t *cuts,
                         size_t cut_count)
{
    struct found found = {0};
    struct scan scanner = {0};
    size_t start = 0; /* of the document that is on its way */
    size_t at = 0;

    for (size_t i = 0; i < cut_count; i++) {
        while (at < cuts[i]) {
            size_t used = 99;
            size_t blank = 99;
            enum scan_state before = scanner.state;
            found.last = scan_feed(&scanner, limits, text + at, cuts[i] - at, &used, &blank);
            assert_true(blank <= used && used <= cuts[i] - at);
            if (before == SCAN_BETWEEN) {
                start = at + blank;
            } else {
                assert_int_equal(blank, 0);
            }
            at += used;
            if (found.last == SCAN_DOCUMENT) {
                assert_true(found.count < MOST);
                found.documents[found.count].start = start;
                found.documents[found.count++].end = at;
            } else if (found.last == SCAN_MORE) {
                assert_int_equal(at, cuts[i]);
            } else {
                return found;
            }
        }
    }
    found.last = scan_end(&scanner);
    if (found.last == SCAN_DOCUMENT) {
        found.documents[found.count].start = start;
        found.documents[found.count++].end = at;
        found.last = SCAN_MORE;
    }
    return found;
}

static struct found scan_whole(const struct scan_limits *limits, const char *text, size_t length)
{
    return scan(limits, text, &length, 1);
}

static void assert_same(const struct found *a, const struct found *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->last, b->last);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(a->documents[i].start, b->documents[i].start);
        assert_int_equal(a->documents[i].end, b->documents[i].end);
    }
}

/* In one piece, cut at every byte, and byte for byte: the same. */
static struct found scan_all_ways(const struct scan_limits *limits, const char *text, size_t length)
{
    const struct found whole = scan_whole(limits, text, length);
    size_t *every = calloc(length + 1, sizeof(*every));

    assert_non_null(every);
    for (size_t cut = 0; cut <= length; cut++) {
        const size_t cuts[] = {cut, length};
        const struct found found = scan(limits, text, cuts, 2);
        assert_same(&whole, &found);
        every[cut] = cut;
    }
    const struct found found = scan(limits, text, every, length + 1);
    assert_same(&whole, &found);
    free(every);
    return whole;
}

struct row {
    const char *text;
    const char *documents; /* each followed by '|' */
    enum scan_result last;
};

static const struct row rows[] = {
    {"", "", SCAN_MORE},
    {" \n\r\t", "", SCAN_MORE},
    {"{}", "{}|", SCAN_MORE},
    {"  {}  ", "{}|", SCAN_MORE},
    {"[]\n", "[]|", SCAN_MORE},
    {"{\"a\":[1,{\"b\":\"}]\"}]}", "{\"a\":[1,{\"b\":\"}]\"}]}|", SCAN_MORE},
    {"{\"a\":\"\\\"}\"}{}", "{\"a\":\"\\\"}\"}|{}|", SCAN_MORE},
    {"{\"a\":\"\\\\\"}{}", "{\"a\":\"\\\\\"}|{}|", SCAN_MORE},
    {"{\"\\u0069d\\\\\":1}", "{\"\\u0069d\\\\\":1}|", SCAN_MORE},
    /* several, with a newline between and without, and printed over many lines */
    {"{}{}[]\n{}", "{}|{}|[]|{}|", SCAN_MORE},
    {"{\n  \"a\": [\n    1,\n    2\n  ]\n}\n", "{\n  \"a\": [\n    1,\n    2\n  ]\n}|", SCAN_MORE},
    /* top-level scalars */
    {"1", "1|", SCAN_MORE},
    {"1 2", "1|2|", SCAN_MORE},
    {"-1.5e+3\n", "-1.5e+3|", SCAN_MORE},
    {"true false null", "true|false|null|", SCAN_MORE},
    {"01", "01|", SCAN_MORE}, /* the parser's to refuse */
    {"nul", "nul|", SCAN_MORE},
    {"\"a b\\\"c\"\"\"", "\"a b\\\"c\"|\"\"|", SCAN_MORE},
    {"1{}\"a\"2[]", "1|{}|\"a\"|2|[]|", SCAN_MORE},
    {"null{", "null|", SCAN_GARBAGE},
    /* garbage: alone, and behind a document */
    {"]", "", SCAN_GARBAGE},
    {"}", "", SCAN_GARBAGE},
    {",", "", SCAN_GARBAGE},
    {"NaN", "", SCAN_GARBAGE},
    {"Infinity", "", SCAN_GARBAGE},
    {"+1", "", SCAN_GARBAGE},
    {"// a comment\n{}", "", SCAN_GARBAGE},
    {"# a comment\n{}", "", SCAN_GARBAGE},
    {"\xef\xbb\xbf{}", "", SCAN_GARBAGE},
    {"'{}'", "", SCAN_GARBAGE},
    {"{}]{}", "{}|", SCAN_GARBAGE},
    {"{} x", "{}|", SCAN_GARBAGE},
    {"{}, {}", "{}|", SCAN_GARBAGE},
    {"HEAD / HTTP/1.0", "", SCAN_GARBAGE},
    {"\v{}", "", SCAN_GARBAGE},
    /* what no parser takes ends all the same, so that the next is found */
    {"{]{}", "{]|{}|", SCAN_MORE},
    {"{1 2,,:}[]", "{1 2,,:}|[]|", SCAN_MORE},
    {"{\"a\":/*x*/1}[]", "{\"a\":/*x*/1}|[]|", SCAN_MORE},
    /* cut for good */
    {"{", "", SCAN_GARBAGE},
    {"{}[", "{}|", SCAN_GARBAGE},
    {"{\"a", "", SCAN_GARBAGE},
    {"{\"a\\", "", SCAN_GARBAGE},
    {"\"a", "", SCAN_GARBAGE},
    {"\"a\\\"", "", SCAN_GARBAGE},
};

static void assert_documents(const char *text, const struct found *found, const char *expected)
{
    char documents[256] = "";
    size_t length = 0;

    for (size_t i = 0; i < found->count; i++) {
        length += (size_t)snprintf(documents + length, sizeof(documents) - length, "%.*s|",
                                   (int)(found->documents[i].end - found->documents[i].start),
                                   text + found->documents[i].start);
    }
    assert_string_equal(documents, expected);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct found found = scan_all_ways(&wide, rows[i].text, strlen(rows[i].text));
        assert_documents(rows[i].text, &found, rows[i].documents);
        assert_int_equal(found.last, rows[i].last);
    }
}

static void test_nul(void **state)
{
    const char between[] = "{}\0{}";
    const char inside[] = "{\"a\0\":\0}{}";

    (void)state;
    struct found found = scan_all_ways(&wide, between, sizeof(between) - 1);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.last, SCAN_GARBAGE);
    found = scan_all_ways(&wide, inside, sizeof(inside) - 1);
    assert_int_equal(found.count, 2);
    assert_int_equal(found.documents[0].end, 8);
}

static void assert_result(const struct scan_limits *limits, const char *text, enum scan_result last)
{
    const struct found found = scan_all_ways(limits, text, strlen(text));
    assert_int_equal(found.last, last);
}

static void test_depth(void **state)
{
    const struct scan_limits limits = {.bytes = 1000, .depth = 3, .values = 1000};

    (void)state;
    assert_result(&limits, "[[[1]]]", SCAN_MORE);
    assert_result(&limits, "[[[]],[[]],{\"[[[[\":{}}]", SCAN_MORE);
    assert_result(&limits, "[[[1]]][[[1]]]", SCAN_MORE);
    assert_result(&limits, "[[[[", SCAN_TOO_DEEP);
    assert_result(&limits, "[[[]],[{\"a\":{}}]]", SCAN_TOO_DEEP);
    const struct scan_limits flat = {.bytes = 1000, .depth = 1, .values = 1000};
    assert_result(&flat, "[1]{}", SCAN_MORE);
    assert_result(&flat, "[[", SCAN_TOO_DEEP);
    const struct scan_limits none = {.bytes = 1000, .depth = 0, .values = 1000};
    assert_result(&none, "1", SCAN_MORE);
    assert_result(&none, "[]", SCAN_TOO_DEEP);
}

static void test_values(void **state)
{
    const struct scan_limits limits = {.bytes = 1000, .depth = 9, .values = 5};

    (void)state;
    assert_result(&limits, "[1,2,3,4]", SCAN_MORE); /* the array is one, too */
    assert_result(&limits, "[1,2,3,4,5]", SCAN_TOO_MANY);
    assert_result(&limits, "[1,2,[3]]", SCAN_MORE);
    assert_result(&limits, "[1,2,[3,4]]", SCAN_TOO_MANY);
    assert_result(&limits, "[[],[],{},[ ]]", SCAN_MORE);
    assert_result(&limits, "[[],[],{},[ 1]]", SCAN_TOO_MANY);
    assert_result(&limits, "{\"a\":1,\"b\":\"2,2,2,2,2\",\"c\":3,\"d\":4}", SCAN_MORE);
    assert_result(&limits, "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}", SCAN_TOO_MANY);
    assert_result(&limits, "[,,,,,", SCAN_TOO_MANY);
    assert_result(&limits, "[1,2,3,4][1,2,3,4]5", SCAN_MORE);
}

static void test_bytes(void **state)
{
    const struct scan_limits limits = {.bytes = 10, .depth = 9, .values = 99};

    (void)state;
    assert_result(&limits, "[12345678]", SCAN_MORE);
    assert_result(&limits, "                    [12345678]          ",
                  SCAN_MORE); /* blanks are free */
    assert_result(&limits, "[12345678][12345678]", SCAN_MORE);
    assert_result(&limits, "[123456789]", SCAN_TOO_LONG);
    assert_result(&limits, "[1234567890", SCAN_TOO_LONG);
    assert_result(&limits, "\"12345678\"", SCAN_MORE);
    assert_result(&limits, "\"123456789\"", SCAN_TOO_LONG);
    assert_result(&limits, "1234567890 ", SCAN_MORE);
    assert_result(&limits, "12345678901", SCAN_TOO_LONG);
    assert_result(&limits, "[12345678] [123456789]", SCAN_TOO_LONG);
}

/* The places of the documents in what a generator made are those that it noted. */
static void test_random(void **state)
{
    static const char *const pieces[] = {
        "{}", "[1,2]", "{\"a\":\"]}\\\"\"}", "\"x\\\\\"", "[[],{}]", " ", "\n\n", "{\"k\":[{}]}"};
    uint32_t seed = 5;

    (void)state;
    for (int round = 0; round < 200; round++) {
        char text[256] = "";
        struct found expected = {.last = SCAN_MORE};
        for (size_t i = 0; i < 12; i++) {
            seed = seed * 1664525 + 1013904223;
            const char *piece = pieces[(seed >> 16) % 8];
            size_t start = strlen(text);
            (void)strcat(text, piece);
            if (piece[0] != ' ' && piece[0] != '\n') {
                expected.documents[expected.count].start = start;
                expected.documents[expected.count++].end = strlen(text);
            }
        }
        const struct found found = scan_all_ways(&wide, text, strlen(text));
        assert_same(&expected, &found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),   cmocka_unit_test(test_nul),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_values), cmocka_unit_test(test_bytes), cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
