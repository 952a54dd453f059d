/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes server/scan.c. What it says must not depend on how the bytes are cut, and
 * must fit what the parser says of the same bytes.
 *
 * Input: three bytes (limits, cuts, cuts), then the bytes to scan.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "fuzz.h"
#include "scan.h"

enum { HEAD = 3, MAX_TEXTS = 4096 };

/* How it ended behind each text. */
struct verdict {
    size_t start, end;
    enum scan_result result;
};

struct verdicts {
    struct verdict items[MAX_TEXTS];
    size_t count;
};

static struct scan_limits limits_of(uint8_t choice)
{
    const struct scan_limits tight = {.bytes = 64, .depth = 3, .values = 8};
    const struct scan_limits wide = {.bytes = 1 << 20, .depth = 32, .values = 1 << 18};

    return (struct scan_limits){
        .bytes = choice & 1 ? tight.bytes : wide.bytes,
        .depth = choice & 2 ? tight.depth : wide.depth,
        .values = choice & 4 ? tight.values : wide.values,
    };
}

static bool add(struct verdicts *verdicts, size_t start, size_t end, enum scan_result result)
{
    verdicts->items[verdicts->count++] = (struct verdict){start, end, result};
    return verdicts->count < MAX_TEXTS;
}

/* The length of the next piece; a state of 0 cuts nowhere. */
static size_t piece(uint32_t *state, size_t left)
{
    if (*state == 0) {
        return left;
    }
    *state = *state * 1103515245U + 12345U;
    size_t length = 1 + (*state >> 16) % 7;
    return length < left ? length : left;
}

/* Scans as conn.c does: text by text, until one cannot go on. */
static void scan_all(const char *bytes, size_t size, const struct scan_limits *limits,
                     uint32_t cuts, struct verdicts *ret_verdicts)
{
    struct scan scan = {0};
    size_t at = 0;
    size_t start = 0;

    ret_verdicts->count = 0;
    while (at < size) {
        size_t length = piece(&cuts, size - at);
        size_t end = at + length;
        while (at < end) {
            bool between = scan.state == SCAN_BETWEEN;
            size_t used = SIZE_MAX;
            size_t blank = SIZE_MAX;
            enum scan_result result = scan_feed(&scan, limits, bytes + at, end - at, &used, &blank);
            CHECK(blank <= used && used <= end - at);
            CHECK(between || blank == 0);
            CHECK(result != SCAN_MORE || used == end - at);
            start = between ? at + blank : start;
            at += used;
            if (result == SCAN_DOCUMENT) {
                CHECK(scan.state == SCAN_BETWEEN && at > start);
                if (!add(ret_verdicts, start, at, result)) {
                    return;
                }
            } else if (result != SCAN_MORE) {
                (void)add(ret_verdicts, start, result == SCAN_GARBAGE ? at : 0, result);
                return;
            }
        }
    }
    start = scan.state == SCAN_BETWEEN ? size : start;
    (void)add(ret_verdicts, start, size, scan_end(&scan));
    CHECK(scan.state == SCAN_BETWEEN);
}

/* --- what the parser says --- */

/* How many values, and how deep. */
static size_t count_values(json_t *json, size_t *ret_depth)
{
    size_t count = 1;
    size_t deepest = 0;
    size_t depth = 0;
    size_t i;
    const char *key;
    json_t *value;

    if (json_is_object(json)) {
        json_object_foreach(json, key, value)
        {
            count += count_values(value, &depth);
            deepest = depth > deepest ? depth : deepest;
        }
    } else if (json_is_array(json)) {
        json_array_foreach(json, i, value)
        {
            count += count_values(value, &depth);
            deepest = depth > deepest ? depth : deepest;
        }
    }
    *ret_depth = deepest + (json_is_object(json) || json_is_array(json) ? 1 : 0);
    return count;
}

static bool is_scalar(char c)
{
    return c != '{' && c != '[' && c != '"';
}

/* A value that the parser takes from the start of `bytes` has the scanner's end and its limits. */
static void compare(const char *bytes, size_t size, const struct verdict *verdict,
                    const struct scan_limits *limits)
{
    const size_t flags =
        JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
    json_error_t error;
    size_t depth = 0;
    json_t *json = json_loadb(bytes + verdict->start, size - verdict->start, flags, &error);
    size_t length = json ? (size_t)error.position : 0;

    /* The parser passes over a NUL behind a number, and does not count it. */
    if (!json || memchr(bytes + verdict->start, '\0', length)) {
        json_decref(json);
        return;
    }
    size_t values = count_values(json, &depth);
    json_decref(json);
    switch (verdict->result) {
    case SCAN_DOCUMENT:
        CHECK(verdict->start + length == verdict->end ||
              (is_scalar(bytes[verdict->start]) && verdict->start + length < verdict->end));
        CHECK(length <= limits->bytes && values <= limits->values && depth <= limits->depth);
        break;
    case SCAN_TOO_LONG:
        CHECK(length > limits->bytes || is_scalar(bytes[verdict->start]));
        break;
    case SCAN_TOO_DEEP:
        CHECK(depth > limits->depth);
        break;
    case SCAN_TOO_MANY:
        CHECK(values > limits->values);
        break;
    case SCAN_MORE:
    case SCAN_GARBAGE:
        CHECK(verdict->result == SCAN_DOCUMENT); /* the parser has found an end */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct verdicts whole;
    static struct verdicts cut;

    if (size < HEAD) {
        return 0;
    }
    const char *bytes = (const char *)data + HEAD;
    const struct scan_limits limits = limits_of(data[0]);
    size -= HEAD;
    scan_all(bytes, size, &limits, 0, &whole);
    scan_all(bytes, size, &limits, 1 + data[1] + data[2] * 256U, &cut);

    for (size_t i = 0; i < whole.count && i < cut.count; i++) {
        const struct verdict *a = &whole.items[i];
        const struct verdict *b = &cut.items[i];
        /* Two limits may be passed in one piece: which is told first depends on the cut. */
        bool limit = a->result >= SCAN_TOO_LONG && b->result >= SCAN_TOO_LONG;
        CHECK(a->start == b->start && a->end == b->end && (limit || a->result == b->result));
        if (a->result != SCAN_MORE) {
            compare(bytes, size, a, &limits);
        }
    }
    CHECK(whole.count == cut.count);
    return 0;
}
