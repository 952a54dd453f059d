/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON strings out of bytes that may be no UTF-8. It knows nothing of what they
 * mean.
 */
#include "text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool is_tail(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

size_t text_sequence(const char *bytes)
{
    const unsigned char c = (unsigned char)bytes[0];

    if (c < 0x80) {
        return 1;
    }
    if (c < 0xc2 || c > 0xf4 || !is_tail(bytes[1])) {
        return 0;
    }
    if (c < 0xe0) {
        return 2;
    }
    const unsigned char second = (unsigned char)bytes[1];
    if (c < 0xf0) {
        bool overlong = c == 0xe0 && second < 0xa0;
        bool surrogate = c == 0xed && second > 0x9f;
        return is_tail(bytes[2]) && !overlong && !surrogate ? 3 : 0;
    }
    bool overlong = c == 0xf0 && second < 0x90;
    bool beyond = c == 0xf4 && second > 0x8f;
    return is_tail(bytes[2]) && is_tail(bytes[3]) && !overlong && !beyond ? 4 : 0;
}

bool text_is_utf8(const char *string)
{
    while (*string) {
        size_t n = text_sequence(string);
        if (n == 0) {
            return false;
        }
        string += n;
    }
    return true;
}

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7f;
}

/* One character that cannot go as it is, or a whole multi-byte sequence; how long it was. */
static size_t put_special(struct out *out, const char *p)
{
    const unsigned char c = (unsigned char)*p;
    static const char *const shorts[128] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\t'] = "\\t", ['\r'] = "\\r",
    };
    char escape[8];
    size_t n = text_sequence(p);

    if (n > 1) {
        out_put(out, p, n);
        return n;
    }
    if (n == 1 && shorts[c]) {
        out_puts(out, shorts[c]);
    } else {
        (void)snprintf(escape, sizeof(escape), n == 1 ? "\\u%04x" : "\\\\x%02x", c);
        out_puts(out, escape);
    }
    return 1;
}

/* False where a byte is no UTF-8 and `exact` is asked for: what was printed must be taken back. */
static bool put_body(struct out *out, const char *string, bool exact)
{
    const char *p = string;

    while (*p) {
        const char *run = p;
        while (is_plain((unsigned char)*p)) {
            p++;
        }
        out_put(out, run, (size_t)(p - run));
        if (!*p) {
            break;
        }
        if (exact && text_sequence(p) == 0) {
            return false;
        }
        if (!exact && *p == '\\') {
            out_puts(out, "\\\\x5c"); /* else "\\xff" could be four characters or one byte */
            p++;
        } else {
            p += put_special(out, p);
        }
    }
    return true;
}

void text_put(struct out *out, const char *string)
{
    if (out->error) {
        return;
    }
    out_char(out, '"');
    struct out_mark mark = out_mark(out);
    if (!put_body(out, string, true) && !out->error) {
        out_rewind(out, mark);
        (void)put_body(out, string, false);
    }
    out_char(out, '"');
}

/* --- copies --- */

static bool is_never(const char *at)
{
    (void)at;
    return false;
}

static bool is_backslash(const char *at)
{
    return *at == '\\';
}

/* C0, DEL, and C1, which is U+0080 to U+009F. */
static bool is_control(const char *at)
{
    const unsigned char c = (unsigned char)*at;

    return c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)at[1] < 0xa0);
}

/* Shows bytes that are no part of a character as \xNN, and those that `is_special`. */
static void escape(const char *from, bool (*is_special)(const char *at), char *to, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = 0;

    while (*from) {
        const unsigned char c = (unsigned char)*from;
        const char shown[] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
        size_t sequence = text_sequence(from);
        bool plain = sequence > 0 && !is_special(from);
        size_t n = plain ? sequence : sizeof(shown);
        if (length + n >= size) {
            break;
        }
        memcpy(to + length, plain ? from : shown, n);
        length += n;
        from += plain ? sequence : 1;
    }
    to[length] = '\0';
}

void text_copy(const char *string, char *ret_text, size_t size)
{
    escape(string, text_is_utf8(string) ? is_never : is_backslash, ret_text, size);
}

void text_line(const char *string, char *ret_line, size_t size)
{
    escape(string, is_control, ret_line, size);
}

/* --- time --- */

void text_time(const struct timespec *when, char ret_text[TEXT_TIME_BYTES])
{
    struct tm tm;

    (void)gmtime_r(&when->tv_sec, &tm);
    size_t length = strftime(ret_text, TEXT_TIME_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(ret_text + length, TEXT_TIME_BYTES - length, ".%03uZ",
                   (unsigned)(when->tv_nsec / 1000000) % 1000);
}
