/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON-RPC envelope: ids, batches, and what makes a request valid. It walks
 * the text once by itself, for what the parser would lose, and leaves all else to
 * the parser. It knows no methods and no connections.
 */
#include "envelope.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json_memory.h"

/*
 * A place in the text. Walks never pass `length`, however broken the text is. What
 * must be masked is masked in a copy, made when it is first needed: ids are echoed
 * from the text as it came.
 */
struct cursor {
    const char *text;
    size_t at, length;
    char *masked; /* owned; NULL while nothing had to be masked */
    bool no_memory;
};

static char *masked_text(struct cursor *c)
{
    if (!c->masked && !c->no_memory) {
        c->masked = malloc(c->length);
        c->no_memory = !c->masked;
        if (c->masked) {
            memcpy(c->masked, c->text, c->length);
        }
    }
    return c->masked;
}

static char peek(const struct cursor *c)
{
    if (c->at >= c->length) {
        return '\0';
    }
    return c->text[c->at];
}

static void skip_blank(struct cursor *c)
{
    while (c->at < c->length && strchr(" \t\r\n", c->text[c->at]) && c->text[c->at]) {
        c->at++;
    }
}

/* From an opening quote to behind the closing one. */
static struct span skip_string(struct cursor *c)
{
    struct span span = {c->at, c->at};

    c->at++;
    while (c->at < c->length && c->text[c->at] != '"') {
        c->at += c->text[c->at] == '\\' ? 2 : 1;
    }
    c->at = c->at < c->length ? c->at + 1 : c->length;
    span.end = c->at;
    return span;
}

static bool skip_digits(const char **p, const char *end)
{
    const char *start = *p;
    while (*p < end && **p >= '0' && **p <= '9') {
        ++*p;
    }
    return *p > start;
}

/* RFC 8259, section 6. */
static bool is_number(const char *p, const char *end, bool *ret_integer)
{
    *ret_integer = true;
    if (p < end && *p == '-') {
        p++;
    }
    if (p < end && *p == '0') {
        p++;
    } else if (!skip_digits(&p, end)) {
        return false;
    }
    if (p < end && *p == '.') {
        *ret_integer = false;
        p++;
        if (!skip_digits(&p, end)) {
            return false;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        *ret_integer = false;
        p++;
        if (p < end && (*p == '+' || *p == '-')) {
            p++;
        }
        if (!skip_digits(&p, end)) {
            return false;
        }
    }
    return p == end;
}

/* Is it valid JSON that jansson cannot hold (an int64 or a double)? `number` ends with a NUL. */
static bool overflows(const char *number, bool integer)
{
    errno = 0;
    if (integer) {
        (void)strtoll(number, NULL, 10);
        return errno == ERANGE;
    }
    return isinf(strtod(number, NULL));
}

/* Any number too large for the parser becomes one that it holds and no method takes. */
static bool mask_number(struct cursor *c, struct span span)
{
    static const char mask[] = "9e307";
    size_t length = span.end - span.start;
    const char *token = c->text + span.start;
    bool integer;

    if (length < strlen(mask) || !is_number(token, token + length, &integer)) {
        return false;
    }
    char *copy = strndup(token, length);
    c->no_memory = c->no_memory || !copy;
    bool large = copy && overflows(copy, integer);
    free(copy);
    if (!large || !masked_text(c)) {
        return false;
    }
    memset(c->masked + span.start, ' ', length);
    memcpy(c->masked + span.start, mask, strlen(mask));
    return true;
}

/* jansson refuses a whole text for a NUL in a key; with \u0001 it is merely an unknown key. */
static bool mask_key(struct cursor *c, struct span key)
{
    bool masked = false;

    for (size_t i = key.start + 1; i + 1 < key.end; i++) {
        if (c->text[i] != '\\') {
            continue;
        }
        if (i + 6 < key.end && memcmp(c->text + i, "\\u0000", 6) == 0 && masked_text(c)) {
            c->masked[i + 5] = '1';
            masked = true;
        }
        i++;
    }
    return masked;
}

static bool is_delimiter(char c)
{
    return c == '\0' || strchr(" \t\r\n,:]}[{\"", c) != NULL;
}

/* A number or a literal; true where it had to be masked. */
static bool skip_scalar(struct cursor *c)
{
    struct span span = {c->at, c->at};

    while (c->at < c->length && !is_delimiter(c->text[c->at])) {
        c->at++;
    }
    if (c->at == span.start) {
        c->at++; /* whatever it is, the parser will refuse it: move on */
        return false;
    }
    span.end = c->at;
    return mask_number(c, span);
}

/* A string inside of a value: a key where a colon follows. True where it had to be masked. */
static bool skip_inner_string(struct cursor *c)
{
    struct span span = skip_string(c);

    skip_blank(c);
    bool key = peek(c) == ':';
    c->at = span.end;
    return key && mask_key(c, span);
}

/* A whole value, however deep; true where anything in it had to be masked. */
static bool skip_value(struct cursor *c)
{
    size_t depth = 0;
    bool masked = false;

    do {
        skip_blank(c);
        switch (peek(c)) {
        case '{':
        case '[':
            depth++;
            c->at++;
            break;
        case '}':
        case ']':
            depth -= depth > 0;
            c->at++;
            break;
        case ',':
        case ':':
            c->at++;
            break;
        case '"':
            masked |= skip_inner_string(c);
            break;
        default:
            masked |= skip_scalar(c);
            break;
        }
    } while (depth > 0 && c->at < c->length);
    return masked;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *p = c ? strchr(digits, c) : NULL;
    if (!p) {
        return -1;
    }
    return (int)(p - digits) < 16 ? (int)(p - digits) : (int)(p - digits) - 6;
}

/* The value of a four-digit escape, or -1. */
static int escape_value(const char *p, const char *end)
{
    int value = 0;

    if (end - p < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* Does a key, quotes and escapes and all, spell `word` (plain ASCII letters)? */
static bool key_is(const char *text, struct span key, const char *word)
{
    const char *p = text + key.start + 1;
    const char *end = text + key.end - 1;

    while (p < end) {
        int c = (unsigned char)*p++;
        if (c == '\\') {
            if (p == end || *p != 'u') {
                return false;
            }
            c = escape_value(p + 1, end);
            p += 5;
        }
        if (c != (unsigned char)*word || !*word) {
            return false;
        }
        word++;
    }
    return !*word;
}

/* One key and its value, at the top of a member. */
static void walk_pair(struct cursor *c, struct member *member)
{
    struct span key = skip_string(c);
    bool masked = mask_key(c, key);

    skip_blank(c);
    if (peek(c) != ':') {
        return;
    }
    c->at++;
    skip_blank(c);
    size_t start = c->at;
    masked |= skip_value(c);
    if (key_is(c->text, key, "id")) {
        member->ids = member->id.end > 0;
        member->id = (struct span){start, c->at};
    } else if (!key_is(c->text, key, "params")) {
        member->foreign |= masked;
    }
}

/* One element of a batch, or the whole of a text that is none. */
static void walk_member(struct cursor *c, struct member *member)
{
    *member = (struct member){.whole = {c->at, c->at}};
    if (peek(c) != '{') {
        member->foreign = skip_value(c);
        member->whole.end = c->at;
        return;
    }
    c->at++;
    for (skip_blank(c); c->at < c->length && peek(c) != '}'; skip_blank(c)) {
        if (peek(c) == '"') {
            walk_pair(c, member);
        } else {
            c->at++;
        }
    }
    c->at = c->at < c->length ? c->at + 1 : c->length;
    member->whole.end = c->at;
}

static struct member *member_add(struct envelope *envelope, size_t *capacity)
{
    if (envelope->count == *capacity) {
        size_t more = *capacity ? *capacity * 2 : 1;
        struct member *members = reallocarray(envelope->members, more, sizeof(*members));
        if (!members) {
            return NULL;
        }
        envelope->members = members;
        *capacity = more;
    }
    return &envelope->members[envelope->count++];
}

static int walk(struct cursor *c, struct envelope *envelope)
{
    size_t capacity = 0;

    skip_blank(c);
    envelope->batch = peek(c) == '[';
    if (envelope->batch) {
        c->at++;
    }
    do {
        skip_blank(c);
        if (envelope->batch && (peek(c) == ']' || c->at >= c->length)) {
            break;
        }
        struct member *member = member_add(envelope, &capacity);
        if (!member) {
            return -ENOMEM;
        }
        walk_member(c, member);
        skip_blank(c);
    } while (envelope->batch && peek(c) == ',' && c->at++ < c->length);
    return 0;
}

static const size_t PARSE_FLAGS = JSON_ALLOW_NUL | JSON_DECODE_ANY;

/* A text that is JSON but for a key that stands twice: which members have it? */
static enum envelope_result parse_twice(const char *text, size_t length, json_error_t *error,
                                        struct envelope *envelope)
{
    if (!json_memory_load(text, length, PARSE_FLAGS, error, &envelope->root)) {
        return ENVELOPE_NO_MEMORY;
    }
    if (!envelope->root) {
        return ENVELOPE_NOT_JSON;
    }
    for (size_t i = 0; i < envelope->count; i++) {
        struct member *member = &envelope->members[i];
        json_t *alone;
        if (!json_memory_load(text + member->whole.start, member->whole.end - member->whole.start,
                              PARSE_FLAGS | JSON_REJECT_DUPLICATES, error, &alone)) {
            return ENVELOPE_NO_MEMORY;
        }
        member->twice = !alone;
        json_decref(alone);
    }
    return ENVELOPE_OK;
}

static enum envelope_result parse_all(const char *text, size_t length, json_error_t *error,
                                      struct envelope *envelope)
{
    if (!json_memory_load(text, length, PARSE_FLAGS | JSON_REJECT_DUPLICATES, error,
                          &envelope->root)) {
        return ENVELOPE_NO_MEMORY;
    }
    if (envelope->root) {
        return ENVELOPE_OK;
    }
    return json_error_code(error) == json_error_duplicate_key
               ? parse_twice(text, length, error, envelope)
               : ENVELOPE_NOT_JSON;
}

static enum envelope_result parse(const char *text, size_t length, struct envelope *envelope)
{
    json_error_t error;
    enum envelope_result result = parse_all(text, length, &error, envelope);

    explicit_bzero(&error, sizeof(error)); /* its text may quote the input: it is never shown */
    return result;
}

enum envelope_result envelope_parse(const char *text, size_t length, struct envelope *ret_envelope)
{
    struct cursor cursor = {.text = text, .length = length};
    struct envelope envelope = {0};
    enum envelope_result result = ENVELOPE_NO_MEMORY;

    if (memchr(text, '\0', length)) {
        result = ENVELOPE_NOT_JSON; /* jansson passes over a NUL behind a number or a literal */
    } else if (walk(&cursor, &envelope) == 0 && !cursor.no_memory) {
        result = parse(cursor.masked ? cursor.masked : text, length, &envelope);
    }
    if (cursor.masked) {
        explicit_bzero(cursor.masked, length);
        free(cursor.masked);
    }
    if (result == ENVELOPE_OK) {
        *ret_envelope = envelope;
    } else {
        envelope_done(&envelope);
    }
    return result;
}

void envelope_done(struct envelope *envelope)
{
    json_decref(envelope->root);
    free(envelope->members);
    *envelope = (struct envelope){0};
}

/* A string, a number or null; all else is no id (JSON-RPC 2.0, section 4). */
static bool is_id(char first)
{
    return first == '"' || first == '-' || first == 'n' || (first >= '0' && first <= '9');
}

static const char *judge(const struct member *member, const json_t *object,
                         struct request_parts *parts)
{
    const json_t *version = json_object_get(object, "jsonrpc");
    const json_t *method = json_object_get(object, "method");

    if (!json_is_object(object)) {
        return "a request is an object";
    }
    if (member->twice) {
        return "a key stands twice in one object";
    }
    if (member->foreign) {
        return "a number past 64 bits, or a NUL in a key, outside of params";
    }
    if (member->id.end > 0 && parts->id.end == 0) {
        return "an id is a string, a number or null";
    }
    if (!json_is_string(version) || strcmp(json_string_value(version), "2.0") != 0 ||
        json_string_length(version) != strlen("2.0")) {
        return "the member jsonrpc must be \"2.0\"";
    }
    if (!json_is_string(method)) {
        return "the member method must be a string";
    }
    parts->method = json_string_value(method);
    if (strlen(parts->method) != json_string_length(method)) {
        parts->method = ""; /* with a NUL in it, it is no method's name */
    }
    parts->params = json_object_get(object, "params");
    if (parts->params && !json_is_object(parts->params) && !json_is_array(parts->params)) {
        return "params is an object";
    }
    parts->notification = member->id.end == 0;
    return NULL;
}

const char *envelope_member(const struct envelope *envelope, const char *text, size_t i,
                            struct request_parts *ret_parts)
{
    const struct member *member = &envelope->members[i];
    const json_t *object = envelope->batch ? json_array_get(envelope->root, i) : envelope->root;

    *ret_parts = (struct request_parts){0};
    if (member->id.end > 0 && !member->ids && is_id(text[member->id.start])) {
        ret_parts->id = member->id;
    }
    return judge(member, object, ret_parts);
}
