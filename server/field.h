/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field.h - what the generated tables say of a struct.
 *
 * proto/generate.py turns each object of the schema into a C struct and a
 * `struct type` that describes it; decode.c fills such a struct from JSON,
 * encode.c writes JSON from one, metrics.c a text of metrics. The tables are data:
 * these are their only interpreters.
 */
#ifndef DMRPC_FIELD_H
#define DMRPC_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_BOOL,   /* bool */
    FIELD_U32,    /* uint32_t */
    FIELD_U64,    /* uint64_t */
    FIELD_I64,    /* int64_t */
    FIELD_STRING, /* const char *: borrowed; absent is NULL */
    FIELD_FLAGS,  /* uint32_t: an array of DM_ flag names in JSON, enum dmi_flag bits in C */
    FIELD_BITS,   /* uint32_t: an array of bit numbers in JSON (results only) */
    FIELD_OBJECT, /* the nested struct itself */
    FIELD_ARRAY,  /* const ITEM * and a size_t count */
    FIELD_JSON,   /* const char *: a whole JSON text, sent as it is (results only) */
};

/* What a field does when it has no value. */
enum field_absence {
    FIELD_REQUIRED, /* params: refused. results: always there */
    FIELD_OPTIONAL, /* params: the preset. results: left out when empty */
    FIELD_NULLABLE, /* results: always there, null when empty */
};

enum metric_type {
    METRIC_COUNTER,   /* a number that only grows */
    METRIC_GAUGE,     /* a number */
    METRIC_HISTOGRAM, /* the schema's Histogram: nanoseconds here, seconds there */
    METRIC_INFO,      /* an object of strings: its labels; the value is 1 */
};

/* What a number of the server's statistics is in OpenMetrics. */
struct metric {
    const char *family; /* its name; the samples of a counter add _total */
    enum metric_type type;
    const char *unit; /* or NULL */
    const char *help;
};

struct type;

/*
 * "Empty" is: a NULL string or JSON text, a false `has_` where there is one, no
 * bits, an array of none. Where has_offset is set, a bool stands there that tells
 * an absent number, boolean or object from a zero one.
 */
struct field {
    const char *name; /* NULL, in a type's only field: the value stands alone, not in an object */
    enum field_kind kind;
    enum field_absence absence;
    size_t offset;
    size_t count_offset; /* FIELD_ARRAY: of its size_t count */
    size_t has_offset;   /* NO_OFFSET: none */
    uint64_t min,
        max; /* numbers: the value (two's complement for I64). strings: bytes. arrays: items */
    uint64_t preset;          /* of an optional number or boolean that is absent */
    uint32_t flags;           /* FIELD_FLAGS: those it takes */
    const struct type *type;  /* FIELD_OBJECT */
    const struct field *item; /* FIELD_ARRAY: describes one item, at offset 0 */
    size_t item_size;         /* FIELD_ARRAY */

    const struct metric *metric; /* or NULL */
};

#define NO_OFFSET ((size_t)-1)

struct type {
    const char *name;
    size_t size; /* of the C struct */
    const struct field *fields;
    size_t count;
    uint64_t one_of; /* bit i: field i is among those of which exactly one must be given */
};

#endif
