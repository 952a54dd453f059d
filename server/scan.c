/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner that finds document ends. It is resumable at every byte, keeps
 * counters and no bytes, and knows neither connections nor the parser.
 */
#include "scan.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_scalar(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '+' || c == '.';
}

/* The bytes that a literal or a number begins with. */
static bool starts_scalar(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == 't' || c == 'f' || c == 'n';
}

/* Passes over plain bytes of a string; returns where a quote, a backslash or the end is. */
static size_t string_run(const char *bytes, size_t at, size_t length)
{
    while (at < length && bytes[at] != '"' && bytes[at] != '\\') {
        at++;
    }
    return at;
}

static enum scan_result begin(struct scan *scan, const struct scan_limits *limits, char c)
{
    scan->values = 1;
    if (c == '{' || c == '[') {
        scan->state = SCAN_CONTAINER;
        scan->opened = true;
        scan->depth = 1;
        return scan->depth > limits->depth ? SCAN_TOO_DEEP : SCAN_MORE;
    }
    if (c == '"') {
        scan->state = SCAN_STRING;
        return SCAN_MORE;
    }
    if (starts_scalar(c)) {
        scan->state = SCAN_SCALAR;
        return SCAN_MORE;
    }
    return SCAN_GARBAGE;
}

/* One byte inside of a container, outside of strings. */
static enum scan_result structure(struct scan *scan, const struct scan_limits *limits, char c)
{
    if (is_blank(c)) {
        return SCAN_MORE;
    }
    if (c == '}' || c == ']') {
        scan->opened = false;
        return --scan->depth == 0 ? SCAN_DOCUMENT : SCAN_MORE;
    }
    /* Each container that is not empty has one value more than commas. */
    if (scan->opened || c == ',') {
        scan->opened = false;
        if (++scan->values > limits->values) {
            return SCAN_TOO_MANY;
        }
    }
    if (c == '"') {
        scan->in_string = true;
    } else if (c == '{' || c == '[') {
        scan->opened = true;
        if (++scan->depth > limits->depth) {
            return SCAN_TOO_DEEP;
        }
    }
    return SCAN_MORE;
}

/* Goes on in a string at `at`; returns the place behind what was taken. */
static size_t string(struct scan *scan, const char *bytes, size_t at, size_t length, bool *ret_end)
{
    *ret_end = false;
    while (at < length) {
        if (scan->escaped) {
            scan->escaped = false;
            at++;
            continue;
        }
        at = string_run(bytes, at, length);
        if (at == length) {
            break;
        }
        if (bytes[at++] == '"') {
            *ret_end = true;
            break;
        }
        scan->escaped = true;
    }
    return at;
}

/* Goes on in a document; *at is behind what was taken. */
static enum scan_result advance(struct scan *scan, const struct scan_limits *limits,
                                const char *bytes, size_t length, size_t *at)
{
    enum scan_result result = SCAN_MORE;
    bool end;

    while (*at < length && result == SCAN_MORE) {
        if (scan->state == SCAN_SCALAR) {
            if (!is_scalar(bytes[*at])) {
                return SCAN_DOCUMENT;
            }
            ++*at;
        } else if (scan->state == SCAN_STRING) {
            *at = string(scan, bytes, *at, length, &end);
            result = end ? SCAN_DOCUMENT : SCAN_MORE;
        } else if (scan->in_string) {
            *at = string(scan, bytes, *at, length, &end);
            scan->in_string = !end;
        } else {
            result = structure(scan, limits, bytes[(*at)++]);
        }
    }
    return result;
}

enum scan_result scan_feed(struct scan *scan, const struct scan_limits *limits, const char *bytes,
                           size_t length, size_t *ret_used, size_t *ret_blank)
{
    enum scan_result result = SCAN_MORE;
    size_t at = 0;

    if (scan->state == SCAN_BETWEEN) {
        while (at < length && is_blank(bytes[at])) {
            at++;
        }
    }
    *ret_blank = at;
    if (at < length && scan->state == SCAN_BETWEEN) {
        result = begin(scan, limits, bytes[at]);
        at += result == SCAN_GARBAGE ? 0 : 1;
    }
    if (result == SCAN_MORE) {
        result = advance(scan, limits, bytes, length, &at);
    }
    *ret_used = at;
    scan->bytes += at - *ret_blank;
    if (scan->bytes > limits->bytes && (result == SCAN_MORE || result == SCAN_DOCUMENT)) {
        return SCAN_TOO_LONG;
    }
    if (result == SCAN_DOCUMENT) {
        *scan = (struct scan){0};
    }
    return result;
}

enum scan_result scan_end(struct scan *scan)
{
    enum scan_state state = scan->state;

    *scan = (struct scan){0};
    if (state == SCAN_SCALAR) {
        return SCAN_DOCUMENT;
    }
    return state == SCAN_BETWEEN ? SCAN_MORE : SCAN_GARBAGE;
}
