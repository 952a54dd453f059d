/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interpreter of field tables for who scrapes: it prints what has a metric,
 * straight from the struct, as OpenMetrics text 1.0. It knows no counter by name.
 */
#include "metrics.h"

#include <string.h>

struct kind {
    const char *word;   /* behind # TYPE */
    const char *suffix; /* of its samples' names */
};

static const struct kind kinds[] = {
    [METRIC_COUNTER] = {"counter", "_total"},
    [METRIC_GAUGE] = {"gauge", ""},
    [METRIC_HISTOGRAM] = {"histogram", ""},
    /* Readers of the older text format do not know the word "info". */
    [METRIC_INFO] = {"gauge", ""},
};

/* Label values and helps are escaped alike. */
static void put_escaped(const char *string, struct out *out)
{
    for (size_t plain; *string; string += plain + 1) {
        plain = strcspn(string, "\\\"\n");
        out_put(out, string, plain);
        if (!string[plain]) {
            break;
        }
        out_char(out, '\\');
        out_put(out, string[plain] == '\n' ? "n" : &string[plain], 1);
    }
}

static void put_about(const char *what, const char *family, struct out *out)
{
    out_puts(out, "# ");
    out_puts(out, what);
    out_char(out, ' ');
    out_puts(out, family);
    out_char(out, ' ');
}

/* What stands before the samples of a family. */
static void put_family(const struct metric *metric, struct out *out)
{
    put_about("TYPE", metric->family, out);
    out_puts(out, kinds[metric->type].word);
    out_char(out, '\n');
    if (metric->unit) {
        put_about("UNIT", metric->family, out);
        out_puts(out, metric->unit);
        out_char(out, '\n');
    }
    put_about("HELP", metric->family, out);
    put_escaped(metric->help, out);
    out_char(out, '\n');
}

static void put_name(const struct metric *metric, const char *suffix, struct out *out)
{
    out_puts(out, metric->family);
    out_puts(out, suffix);
}

/* The strings of an object. */
static void put_labels(const struct type *type, const void *object, struct out *out)
{
    char before = '{';

    for (size_t i = 0; i < type->count; i++) {
        const struct field *field = &type->fields[i];
        if (field->kind == FIELD_STRING) {
            out_char(out, before);
            out_puts(out, field->name);
            out_puts(out, "=\"");
            put_escaped(*(const char *const *)((const char *)object + field->offset), out);
            out_char(out, '"');
            before = ',';
        }
    }
    if (before == ',') {
        out_char(out, '}');
    }
}

/* --- values --- */

static void put_value(uint64_t value, struct out *out)
{
    out_char(out, ' ');
    out_u64(out, value);
    out_char(out, '\n');
}

static void put_number(const struct field *field, const void *object, struct out *out)
{
    const char *at = (const char *)object + field->offset;

    put_value(field->kind == FIELD_U32 ? *(const uint32_t *)at : *(const uint64_t *)at, out);
}

/* As a decimal fraction, none of its digits lost: "0.00005", "2.5", "10.0". */
static void put_seconds(uint64_t ns, struct out *out)
{
    const uint64_t second = 1000000000;
    uint64_t rest = ns % second;

    out_u64(out, ns / second);
    out_char(out, '.');
    do {
        rest *= 10;
        out_char(out, (char)('0' + rest / second));
        rest %= second;
    } while (rest > 0);
}

static void put_histogram(const struct metric *metric, const struct histogram *histogram,
                          struct out *out)
{
    for (size_t i = 0; i < histogram->buckets_count; i++) {
        put_name(metric, "_bucket{le=\"", out);
        put_seconds(histogram->buckets[i].up_to_ns, out);
        out_puts(out, "\"}");
        put_value(histogram->buckets[i].count, out);
    }
    put_name(metric, "_bucket{le=\"+Inf\"}", out);
    put_value(histogram->count, out);
    put_name(metric, "_count", out);
    put_value(histogram->count, out);
    put_name(metric, "_sum ", out);
    put_seconds(histogram->sum_ns, out);
    out_char(out, '\n');
}

/* --- fields --- */

/* An array: each metric of an item is a family, with a sample of each item. */
static void put_rows(const struct field *array, const void *object, struct out *out)
{
    const char *items = *(const char *const *)((const char *)object + array->offset);
    size_t count = *(const size_t *)((const char *)object + array->count_offset);
    const struct type *type = array->item->type;

    for (size_t i = 0; i < type->count; i++) {
        const struct metric *metric = type->fields[i].metric;
        if (!metric) {
            continue;
        }
        put_family(metric, out);
        for (size_t row = 0; row < count; row++) {
            const char *item = items + row * array->item_size;
            put_name(metric, kinds[metric->type].suffix, out);
            put_labels(type, item, out);
            put_number(&type->fields[i], item, out);
        }
    }
}

static void put_field(const struct field *field, const void *object, struct out *out)
{
    const struct metric *metric = field->metric;
    const void *at = (const char *)object + field->offset;

    put_family(metric, out);
    switch (metric->type) {
    case METRIC_COUNTER:
    case METRIC_GAUGE:
        put_name(metric, kinds[metric->type].suffix, out);
        put_number(field, object, out);
        break;
    case METRIC_HISTOGRAM:
        put_histogram(metric, at, out);
        break;
    case METRIC_INFO:
        put_name(metric, "", out);
        put_labels(field->type, at, out);
        put_value(1, out);
        break;
    }
}

void metrics_put_object(const struct type *type, const void *object, struct out *out)
{
    for (size_t i = 0; i < type->count && !out->error; i++) {
        const struct field *field = &type->fields[i];
        if (field->metric) {
            put_field(field, object, out);
        } else if (field->kind == FIELD_ARRAY && field->item->type) {
            put_rows(field, object, out);
        }
    }
}

void metrics_put(const struct stats *stats, struct out *out)
{
    metrics_put_object(&type_stats, stats, out);
    out_puts(out, "# EOF\n");
}
