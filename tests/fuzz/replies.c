/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges replies. An id is compared as bytes, and blotted out before the parser sees
 * the reply, since it may be a number that the parser cannot hold.
 */
#include "replies.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "check.h"

/* --- what is owed --- */

static bool is_string(const json_t *json, const char *expected)
{
    return json_is_string(json) && json_string_length(json) == strlen(expected) &&
           strcmp(json_string_value(json), expected) == 0;
}

/* By JSON-RPC 2.0, section 4. */
static bool is_notification(const json_t *member)
{
    const json_t *params = json_object_get(member, "params");

    return json_is_object(member) && !json_object_get(member, "id") &&
           is_string(json_object_get(member, "jsonrpc"), "2.0") &&
           json_is_string(json_object_get(member, "method")) &&
           (!params || json_is_array(params) || json_is_object(params));
}

/* A device_wait may be given up where the connection ends early. */
static bool is_wait(const json_t *root)
{
    return is_string(json_object_get(root, "method"), "device_wait");
}

static size_t owed_to(const json_t *root, const struct replies_limits *limits)
{
    size_t count = 0;
    size_t i;
    const json_t *member;

    if (!json_is_array(root)) {
        return is_notification(root) ? 0 : 1;
    }
    if (json_array_size(root) == 0 || json_array_size(root) > limits->batch) {
        return 1;
    }
    json_array_foreach(root, i, member)
    {
        count += is_notification(member) ? 0 : 1;
    }
    return count;
}

/* One text. Where the parser refuses what may yet be JSON, it may be anything. */
static void add_text(struct replies_owed *owed, const char *text, size_t length,
                     const struct replies_limits *limits)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_error_t error;
    json_t *root = json_loadb(text, length, flags, &error);
    size_t most = 1;

    if (memchr(text, '\0', length)) { /* no JSON, although the parser may pass over it */
        json_decref(root);
        owed->least++;
        owed->most++;
        return;
    }
    if (root) {
        size_t count = owed_to(root, limits);
        owed->least += count;
        owed->most += count;
        owed->waits += is_wait(root);
        json_decref(root);
        return;
    }
    for (size_t i = 0; i < length && text[0] == '['; i++) {
        most += text[i] == ',';
    }
    owed->most += most;
}

struct replies_owed replies_owed(const char *sent, size_t size, bool ended,
                                 const struct replies_limits *limits)
{
    struct replies_owed owed = {0};
    struct scan scan = {0};
    enum scan_result result = SCAN_DOCUMENT;
    size_t start = 0;
    size_t used;
    size_t blank;

    while (start < size && result == SCAN_DOCUMENT) {
        result = scan_feed(&scan, &limits->scan, sent + start, size - start, &used, &blank);
        if (result == SCAN_DOCUMENT) {
            add_text(&owed, sent + start + blank, used - blank, limits);
            start += used;
        } else if (result == SCAN_MORE) {
            start += blank;
        }
    }
    if (result == SCAN_MORE && ended) {
        result = scan_end(&scan);
        if (result == SCAN_DOCUMENT) {
            add_text(&owed, sent + start, size - start, limits);
        }
    }
    if (result != SCAN_MORE && result != SCAN_DOCUMENT) {
        owed.least = owed.least > owed.waits ? owed.least - owed.waits : 0;
        owed.least++; /* why the connection is closed */
        owed.most++;
    }
    return owed;
}

/* --- what came --- */

/* Behind the string or the number that stands at `at`. */
static const char *behind_id(const char *at, const char *end)
{
    if (*at == '"') {
        for (at++; at < end && *at != '"'; at++) {
            at += *at == '\\';
        }
        CHECK(at < end);
        return at + 1;
    }
    while (at < end && *at != ',') {
        at++;
    }
    return at;
}

/* Behind the object that stands at `at`. */
static const char *behind_object(const char *at, const char *end)
{
    size_t depth = 0;

    do {
        CHECK(at < end);
        if (*at == '"') {
            at = behind_id(at, end);
            continue;
        }
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at++;
    } while (depth > 0);
    return at;
}

static void check_members(json_t *reply)
{
    const json_t *error = json_object_get(reply, "error");

    CHECK(json_object_size(reply) == 3);
    CHECK(is_string(json_object_get(reply, "jsonrpc"), "2.0"));
    CHECK(json_object_get(reply, "id"));
    if (error) {
        CHECK(json_is_integer(json_object_get(error, "code")));
        CHECK(json_is_string(json_object_get(error, "message")));
        CHECK(json_is_string(json_object_get(json_object_get(error, "data"), "error")));
    } else {
        CHECK(json_object_get(reply, "result"));
    }
}

static void check_one(const char *at, const char *end, const char *sent, size_t size)
{
    static const char head[] = "{\"jsonrpc\":\"2.0\",\"id\":";
    const size_t head_length = sizeof(head) - 1;
    const size_t length = (size_t)(end - at);
    json_error_t error;

    CHECK(length > head_length && memcmp(at, head, head_length) == 0);
    const char *id = at + head_length;
    const size_t id_length = (size_t)(behind_id(id, end) - id);
    CHECK(id_length > 0);
    CHECK((id_length == 4 && memcmp(id, "null", 4) == 0) ||
          memmem(sent, size, id, id_length) != NULL);

    char *copy = malloc(length);
    CHECK(copy);
    memcpy(copy, at, length);
    memset(copy + head_length, ' ', id_length);
    copy[head_length] = '0';
    json_t *reply = json_loadb(copy, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    free(copy);
    CHECK(reply);
    check_members(reply);
    json_decref(reply);
}

/* A line with its newline. */
static size_t check_line(const char *at, const char *end, const char *sent, size_t size)
{
    size_t count = 0;

    if (*at != '[') {
        check_one(at, end - 1, sent, size);
        return 1;
    }
    do {
        const char *member = at + 1;
        at = behind_object(member, end);
        check_one(member, at, sent, size);
        count++;
    } while (*at == ',');
    CHECK(*at == ']' && at + 2 == end);
    return count;
}

static bool begins(const char *at, const char *end, const char *with)
{
    const size_t length = strlen(with);

    return (size_t)(end - at) >= length && memcmp(at, with, length) == 0;
}

/* It comes on its own, to who subscribed. */
static bool is_event(const char *at, const char *end)
{
    return begins(at, end,
                  "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"subscription\":");
}

static void check_event(const char *at, const char *end)
{
    json_error_t error;
    json_t *event = json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, &error);

    CHECK(event && json_object_size(event) == 3);
    CHECK(json_is_string(json_object_get(json_object_get(event, "params"), "kind")));
    json_decref(event);
}

size_t replies_check(const char *got, size_t length, const char *sent, size_t size)
{
    const char *const end = got + length;
    size_t count = 0;

    while (got < end) {
        const char *newline = memchr(got, '\n', (size_t)(end - got));
        CHECK(newline);
        if (is_event(got, end)) {
            check_event(got, newline);
        } else {
            count += check_line(got, newline + 1, sent, size);
        }
        got = newline + 1;
    }
    return count;
}

bool replies_subscribed(const char *got, size_t length)
{
    static const char result[] = "\"result\":{\"subscription\":";

    return memmem(got, length, result, sizeof(result) - 1) != NULL;
}

/* --- HTTP --- */

/* The value of a header in [head, end), up to its line's end; NULL: it is not there. */
static const char *header(const char *head, const char *end, const char *name)
{
    const size_t length = strlen(name);

    for (const char *at = head; at && (size_t)(end - at) > length; at++) {
        if (strncasecmp(at, name, length) == 0) {
            return at + length;
        }
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at) {
            break;
        }
    }
    return NULL;
}

/* Behind the response at `at`. HEAD's have a length and no body. */
static const char *check_response(const char *at, const char *end, const char *sent, size_t size)
{
    static const char blank[] = "\r\n\r\n";

    CHECK(begins(at, end, "HTTP/1."));
    const char *head_end = memmem(at, (size_t)(end - at), blank, sizeof(blank) - 1);
    CHECK(head_end);
    const char *body = head_end + sizeof(blank) - 1;
    const char *length = header(at, body, "Content-Length: ");
    const char *type = header(at, body, "Content-Type: ");
    if (type && begins(type, body, "text/event-stream")) {
        return end; /* nothing else follows */
    }
    if (!length || body == end || begins(body, end, "HTTP/1.")) {
        return body;
    }
    size_t bytes = strtoul(length, NULL, 10);
    CHECK(bytes <= (size_t)(end - body));
    if (type && begins(type, body, "application/json") && !begins(body, end, "{\"openrpc\"")) {
        (void)replies_check(body, bytes, sent, size);
    }
    return body + bytes;
}

void replies_check_http(const char *got, size_t length, const char *sent, size_t size)
{
    const char *const end = got + length;

    while (got < end) {
        got = check_response(got, end, sent, size);
    }
}
