/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter of field tables for what goes out: it prints each member
 * straight from the struct. It knows nothing of methods or errors.
 */
#include "encode.h"

#include "schema.h"
#include "text.h"

static void encode_value(const struct field *field, const void *object, struct out *out);

bool encode_is_empty(const struct field *field, const void *object)
{
    const char *at = (const char *)object + field->offset;

    if (field->has_offset != NO_OFFSET) {
        return !*(const bool *)((const char *)object + field->has_offset);
    }
    switch (field->kind) {
    case FIELD_STRING:
    case FIELD_JSON:
        return !*(const char *const *)at;
    case FIELD_FLAGS:
    case FIELD_BITS:
        return *(const uint32_t *)at == 0;
    case FIELD_ARRAY:
        return *(const size_t *)((const char *)object + field->count_offset) == 0;
    default:
        return false;
    }
}

static void encode_flags(uint32_t flags, struct out *out)
{
    const char *comma = "";

    out_char(out, '[');
    for (size_t i = 0; i < flag_count; i++) {
        if (flags & flag_table[i].bit) {
            out_puts(out, comma);
            text_put(out, flag_table[i].name);
            comma = ",";
        }
    }
    out_char(out, ']');
}

static void encode_bits(uint32_t bits, struct out *out)
{
    const char *comma = "";

    out_char(out, '[');
    for (unsigned bit = 0; bit < 32; bit++) {
        if (bits >> bit & 1) {
            out_puts(out, comma);
            out_u64(out, bit);
            comma = ",";
        }
    }
    out_char(out, ']');
}

static void encode_array(const struct field *field, const void *object, struct out *out)
{
    const char *items = *(const char *const *)((const char *)object + field->offset);
    size_t count = *(const size_t *)((const char *)object + field->count_offset);

    out_char(out, '[');
    for (size_t i = 0; i < count && !out->error; i++) {
        if (i > 0) {
            out_char(out, ',');
        }
        encode_value(field->item, items + i * field->item_size, out);
    }
    out_char(out, ']');
}

static void encode_value(const struct field *field, const void *object, struct out *out)
{
    const char *at = (const char *)object + field->offset;

    switch (field->kind) {
    case FIELD_BOOL:
        out_puts(out, *(const bool *)at ? "true" : "false");
        break;
    case FIELD_U32:
        out_u64(out, *(const uint32_t *)at);
        break;
    case FIELD_U64:
        out_u64(out, *(const uint64_t *)at);
        break;
    case FIELD_I64:
        out_i64(out, *(const int64_t *)at);
        break;
    case FIELD_STRING:
        text_put(out, *(const char *const *)at);
        break;
    case FIELD_FLAGS:
        encode_flags(*(const uint32_t *)at, out);
        break;
    case FIELD_BITS:
        encode_bits(*(const uint32_t *)at, out);
        break;
    case FIELD_OBJECT:
        encode_object(field->type, at, out);
        break;
    case FIELD_ARRAY:
        encode_array(field, object, out);
        break;
    case FIELD_JSON:
        out_puts(out, *(const char *const *)at);
        break;
    }
}

void encode_object(const struct type *type, const void *object, struct out *out)
{
    const char *comma = "";

    if (type->count == 1 && !type->fields[0].name) {
        encode_value(&type->fields[0], object, out);
        return;
    }
    out_char(out, '{');
    for (size_t i = 0; i < type->count && !out->error; i++) {
        const struct field *field = &type->fields[i];
        bool empty = encode_is_empty(field, object);
        if (empty && field->absence == FIELD_OPTIONAL) {
            continue;
        }
        out_puts(out, comma);
        text_put(out, field->name);
        out_char(out, ':');
        if (empty && field->absence == FIELD_NULLABLE) {
            out_puts(out, "null");
        } else {
            encode_value(field, object, out);
        }
        comma = ",";
    }
    out_char(out, '}');
}
