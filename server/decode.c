/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter of field tables for what comes in. It knows types and bounds;
 * what a value means is the handler's business.
 */
#include "decode.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "schema.h"
#include "secret.h"

struct decoder {
    struct arena *arena;
    struct decode_fault *fault;
    size_t path; /* bytes of fault->path that are the place we are at */
};

static int decode_value(struct decoder *d, const struct field *field, json_t *json, void *object);

__attribute__((format(printf, 2, 3))) static int refuse(struct decoder *d, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(d->fault->reason, sizeof(d->fault->reason), format, args);
    va_end(args);
    d->fault->path[d->path] = '\0';
    return -EINVAL;
}

/* Appends as much as fits; a path that is too long is cut, and still tells most. */
static void path_put(struct decoder *d, char c)
{
    if (d->path < sizeof(d->fault->path) - 1) {
        d->fault->path[d->path++] = c;
    }
}

static size_t path_push(struct decoder *d, const char *key)
{
    size_t before = d->path;

    path_put(d, '/');
    for (; *key; key++) {
        if (*key == '~' || *key == '/') {
            path_put(d, '~');
            path_put(d, *key == '~' ? '0' : '1');
        } else {
            path_put(d, *key);
        }
    }
    return before;
}

static size_t path_push_index(struct decoder *d, size_t index)
{
    char digits[24];

    (void)snprintf(digits, sizeof(digits), "%zu", index);
    return path_push(d, digits);
}

/* A list of words in a reason: "a, b, c". */
struct words {
    char text[512];
    size_t length;
};

static void words_add(struct words *words, const char *word)
{
    int n = snprintf(words->text + words->length, sizeof(words->text) - words->length, "%s%s",
                     words->length ? ", " : "", word);
    if (n > 0 && (size_t)n < sizeof(words->text) - words->length) {
        words->length += (size_t)n;
    }
    words->text[words->length] = '\0'; /* whole words only */
}

static const struct flag_row *flag_find(const json_t *name)
{
    for (size_t i = 0; i < flag_count; i++) {
        if (strlen(flag_table[i].name) == json_string_length(name) &&
            strcmp(flag_table[i].name, json_string_value(name)) == 0) {
            return &flag_table[i];
        }
    }
    return NULL;
}

static int refuse_flag(struct decoder *d, const struct field *field, const struct flag_row *row)
{
    struct words words = {0};

    for (size_t i = 0; i < flag_count; i++) {
        if (field->flags & flag_table[i].bit) {
            words_add(&words, flag_table[i].name);
        }
    }
    if (!row) {
        return refuse(d, "not a device-mapper flag; this method takes: %s", words.text);
    }
    return refuse(d, "%s is %s; this method takes: %s", row->name,
                  row->bit == DMI_SKIP_BDGET ? "obsolete, no kernel heeds it" : "not taken here",
                  words.text);
}

static int decode_flags(struct decoder *d, const struct field *field, json_t *json,
                        uint32_t *ret_flags)
{
    uint32_t flags = 0;

    if (!json_is_array(json)) {
        return refuse(d, "must be an array of flag names");
    }
    for (size_t i = 0; i < json_array_size(json); i++) {
        json_t *item = json_array_get(json, i);
        size_t before = path_push_index(d, i);
        if (!json_is_string(item)) {
            return refuse(d, "must be a flag's name");
        }
        const struct flag_row *row = flag_find(item);
        if (!row || !(row->bit & field->flags)) {
            return refuse_flag(d, field, row);
        }
        if (flags & row->bit) {
            return refuse(d, "%s stands twice", row->name);
        }
        flags |= row->bit;
        d->path = before;
    }
    *ret_flags = flags;
    return 0;
}

static int refuse_range(struct decoder *d, const struct field *field)
{
    if (field->kind == FIELD_I64) {
        return refuse(d, "out of range: %" PRId64 " to %" PRId64, (int64_t)field->min,
                      (int64_t)field->max);
    }
    return refuse(d, "out of range: %" PRIu64 " to %" PRIu64, field->min, field->max);
}

/* A real number where an integer belongs: too large for 64 bits (see envelope.h), or a fraction. */
static int refuse_real(struct decoder *d, const struct field *field, double value)
{
    if (fabs(value) >= 9223372036854775808.0) {
        return refuse_range(d, field);
    }
    return refuse(d, "must be an integer, written without fraction or exponent");
}

static bool is_in_range(const struct field *field, int64_t value)
{
    if (field->kind == FIELD_I64) {
        return value >= (int64_t)field->min && value <= (int64_t)field->max;
    }
    return value >= 0 && (uint64_t)value >= field->min && (uint64_t)value <= field->max;
}

static int decode_number(struct decoder *d, const struct field *field, json_t *json,
                         json_int_t *ret_value)
{
    if (json_is_real(json)) {
        return refuse_real(d, field, json_real_value(json));
    }
    if (!json_is_integer(json)) {
        return refuse(d, "must be an integer");
    }
    if (!is_in_range(field, json_integer_value(json))) {
        return refuse_range(d, field);
    }
    *ret_value = json_integer_value(json);
    return 0;
}

static int decode_string(struct decoder *d, const struct field *field, json_t *json,
                         const char **ret_string)
{
    if (!json_is_string(json)) {
        return refuse(d, "must be a string");
    }
    size_t length = json_string_length(json);
    if (strlen(json_string_value(json)) != length) {
        return refuse(d, "holds a NUL, which the kernel would take for its end");
    }
    if (length < field->min) {
        return refuse(d, field->min == 1 ? "must not be empty" : "too short: %zu bytes", length);
    }
    if (length > field->max) {
        return refuse(d, "too long: %zu bytes, at most %" PRIu64, length, field->max);
    }
    *ret_string = json_string_value(json);
    return 0;
}

static int decode_array(struct decoder *d, const struct field *field, json_t *json, void *object)
{
    if (!json_is_array(json)) {
        return refuse(d, "must be an array");
    }
    size_t count = json_array_size(json);
    if (count < field->min || count > field->max) {
        return refuse(d, "%zu items, where %" PRIu64 " to %" PRIu64 " are taken", count, field->min,
                      field->max);
    }
    char *items = arena_alloc(d->arena, count, field->item_size);
    if (!items) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        size_t before = path_push_index(d, i);
        int rc =
            decode_value(d, field->item, json_array_get(json, i), items + i * field->item_size);
        if (rc < 0) {
            return rc;
        }
        d->path = before;
    }
    *(void **)((char *)object + field->offset) = items;
    *(size_t *)((char *)object + field->count_offset) = count;
    return 0;
}

static const char *member_names(const struct type *type, uint64_t which, struct words *words)
{
    for (size_t i = 0; i < type->count; i++) {
        if (which >> i & 1) {
            words_add(words, type->fields[i].name);
        }
    }
    return words->length ? words->text : "none";
}

static const struct field *field_find(const struct type *type, const char *name)
{
    for (size_t i = 0; i < type->count; i++) {
        if (strcmp(type->fields[i].name, name) == 0) {
            return &type->fields[i];
        }
    }
    return NULL;
}

static int check_keys(struct decoder *d, const struct type *type, json_t *json)
{
    const char *key;
    json_t *value;

    json_object_foreach(json, key, value)
    {
        if (!field_find(type, key)) {
            struct words words = {0};
            const char *why = "has a member of a long name";
            if (strnlen(key, SECRET_QUOTABLE + 1) <= SECRET_QUOTABLE) {
                (void)path_push(d, key);
                why = "unknown";
            }
            return refuse(d, "%s; these are known: %s", why,
                          member_names(type, UINT64_MAX, &words));
        }
    }
    return 0;
}

static int check_one_of(struct decoder *d, const struct type *type, json_t *json)
{
    struct words words = {0};
    size_t given = 0;

    for (size_t i = 0; i < type->count; i++) {
        given += (type->one_of >> i & 1) && json_object_get(json, type->fields[i].name);
    }
    if (!type->one_of || given == 1) {
        return 0;
    }
    return refuse(d, "exactly one of these must be given: %s",
                  member_names(type, type->one_of, &words));
}

static void store_preset(const struct field *field, void *object)
{
    char *at = (char *)object + field->offset;

    switch (field->kind) {
    case FIELD_BOOL:
        *(bool *)at = field->preset != 0;
        break;
    case FIELD_U32:
        *(uint32_t *)at = (uint32_t)field->preset;
        break;
    case FIELD_U64:
    case FIELD_I64:
        *(uint64_t *)at = field->preset;
        break;
    default:
        break;
    }
}

static int decode_members(struct decoder *d, const struct type *type, json_t *json, void *object)
{
    int rc = check_keys(d, type, json);
    if (rc == 0) {
        rc = check_one_of(d, type, json);
    }
    for (size_t i = 0; i < type->count && rc == 0; i++) {
        const struct field *field = &type->fields[i];
        json_t *value = json_object_get(json, field->name);
        size_t before = path_push(d, field->name);
        if (value) {
            rc = decode_value(d, field, value, object);
        } else if (field->absence == FIELD_REQUIRED) {
            rc = refuse(d, "missing");
        } else {
            store_preset(field, object);
        }
        if (rc == 0) {
            d->path = before;
        }
    }
    return rc;
}

static int decode_nested(struct decoder *d, const struct type *type, json_t *json, void *object)
{
    if (!json_is_object(json)) {
        return refuse(d, "must be an object");
    }
    return decode_members(d, type, json, object);
}

static int decode_value(struct decoder *d, const struct field *field, json_t *json, void *object)
{
    char *at = (char *)object + field->offset;
    json_int_t number = 0;
    int rc;

    switch (field->kind) {
    case FIELD_BOOL:
        if (!json_is_boolean(json)) {
            return refuse(d, "must be true or false");
        }
        *(bool *)at = json_is_true(json);
        rc = 0;
        break;
    case FIELD_U32:
        rc = decode_number(d, field, json, &number);
        *(uint32_t *)at = (uint32_t)number;
        break;
    case FIELD_U64:
    case FIELD_I64:
        rc = decode_number(d, field, json, &number);
        *(uint64_t *)at = (uint64_t)number;
        break;
    case FIELD_STRING:
        rc = decode_string(d, field, json, (const char **)at);
        break;
    case FIELD_FLAGS:
        rc = decode_flags(d, field, json, (uint32_t *)at);
        break;
    case FIELD_OBJECT:
        rc = decode_nested(d, field->type, json, at);
        break;
    case FIELD_ARRAY:
        rc = decode_array(d, field, json, object);
        break;
    default: /* FIELD_BITS, FIELD_JSON: results only */
        return refuse(d, "not taken");
    }
    if (rc == 0 && field->has_offset != NO_OFFSET) {
        *(bool *)((char *)object + field->has_offset) = true;
    }
    return rc;
}

int decode_object(const struct type *type, json_t *json, struct arena *arena, void *ret_object,
                  struct decode_fault *ret_fault)
{
    struct decoder d = {.arena = arena, .fault = ret_fault};

    if (json_is_array(json)) {
        if (json_array_size(json) > 0) {
            return refuse(&d, "params are taken by name: an object, not an array");
        }
        json = NULL;
    }
    if (json && !json_is_object(json)) {
        return refuse(&d, "must be an object");
    }
    return decode_members(&d, type, json, ret_object);
}
