/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows a pointer through the bytes of a text. It relies on the parser, which has been there
 * before: what is not valid is not looked for, but nothing past the end is read.
 */
#include "json_line.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

struct cursor {
    const char *at, *end;
};

static bool is_at(const struct cursor *cursor, char c)
{
    return cursor->at < cursor->end && *cursor->at == c;
}

static void skip_blank(struct cursor *cursor)
{
    while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) && *cursor->at) {
        cursor->at++;
    }
}

static void skip_string(struct cursor *cursor)
{
    for (cursor->at++; cursor->at < cursor->end && *cursor->at != '"'; cursor->at++) {
        cursor->at += *cursor->at == '\\';
    }
    cursor->at += cursor->at < cursor->end;
}

/* A comma, a colon, or the end of what it stands in ends a number or a literal. */
static void skip_value(struct cursor *cursor)
{
    size_t depth = 0;

    do {
        skip_blank(cursor);
        if (is_at(cursor, '"')) {
            skip_string(cursor);
        } else if (is_at(cursor, '{') || is_at(cursor, '[')) {
            depth++;
            cursor->at++;
        } else if (is_at(cursor, '}') || is_at(cursor, ']')) {
            depth--;
            cursor->at++;
        } else {
            cursor->at += depth > 0 && cursor->at < cursor->end;
            while (depth == 0 && cursor->at < cursor->end && !strchr(",]} \t\r\n", *cursor->at)) {
                cursor->at++;
            }
        }
    } while (depth > 0 && cursor->at < cursor->end);
}

/* One part of a pointer, as it stands there. */
struct token {
    const char *text;
    size_t length;
};

/* Is the key what the token stands for? ~1 is a slash, ~0 a tilde. */
static bool is_key(const char *key, size_t length, const struct token *token)
{
    size_t at = 0;

    for (size_t i = 0; i < token->length; i++, at++) {
        char c = token->text[i];
        if (c == '~' && i + 1 < token->length) {
            c = token->text[++i] == '1' ? '/' : '~';
        }
        if (at >= length || key[at] != c) {
            return false;
        }
    }
    return at == length;
}

/* The key at the cursor, quotes and all, against the token. */
static bool take_key(struct cursor *cursor, const struct token *token)
{
    const char *start = cursor->at;

    skip_string(cursor);
    size_t length = (size_t)(cursor->at - start);
    if (!memchr(start, '\\', length)) {
        return length >= 2 && is_key(start + 1, length - 2, token);
    }
    json_t *key = json_loadb(start, length, JSON_DECODE_ANY, NULL);
    bool same = key && is_key(json_string_value(key), json_string_length(key), token);
    json_decref(key);
    return same;
}

/* Moves from a container to its member; false where it has none such. */
static bool enter(struct cursor *cursor, const struct token *token)
{
    bool object = is_at(cursor, '{');
    size_t index = 0;

    if (!object && !is_at(cursor, '[')) {
        return false;
    }
    do {
        char number[24];
        cursor->at++;
        skip_blank(cursor);
        if (is_at(cursor, object ? '}' : ']') || cursor->at >= cursor->end) {
            return false;
        }
        int digits = snprintf(number, sizeof(number), "%zu", index++);
        bool found = object ? take_key(cursor, token) : is_key(number, (size_t)digits, token);
        skip_blank(cursor);
        if (object) {
            cursor->at += cursor->at < cursor->end; /* the colon */
            skip_blank(cursor);
        }
        if (found) {
            return true;
        }
        skip_value(cursor);
        skip_blank(cursor);
    } while (is_at(cursor, ','));
    return false;
}

size_t json_line(const char *text, size_t length, const char *pointer)
{
    struct cursor cursor = {.at = text, .end = text + length};
    const char *found;
    size_t line = 1;

    skip_blank(&cursor);
    do {
        found = cursor.at;
        size_t skip = *pointer == '/';
        const struct token token = {.text = pointer + skip, .length = strcspn(pointer + skip, "/")};
        if (!skip || !enter(&cursor, &token)) {
            break;
        }
        pointer = token.text + token.length;
    } while (true);
    for (const char *at = text; at < found; at++) {
        line += *at == '\n';
    }
    return line;
}
