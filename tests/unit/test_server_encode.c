/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of encode.c, on tables of their own that have every kind of field. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "encode.h"

struct pair {
    uint32_t a;
    const char *b;
};

struct all {
    bool flag, has_flag;
    uint32_t u32;
    bool has_u32;
    uint64_t u64;
    int64_t i64;
    const char *string;
    uint32_t flags, bits;
    struct pair pair;
    bool has_pair;
    const struct pair *pairs;
    size_t pairs_count;
    const uint32_t *numbers;
    size_t numbers_count;
    const char *json;
};

static const struct field pair_fields[] = {
    {.name = "a", .kind = FIELD_U32, .offset = offsetof(struct pair, a), .has_offset = NO_OFFSET},
    {.name = "b",
     .kind = FIELD_STRING,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct pair, b),
     .has_offset = NO_OFFSET},
};
static const struct type pair_type = {
    .name = "pair", .size = sizeof(struct pair), .fields = pair_fields, .count = 2};
static const struct field pair_item = {
    .kind = FIELD_OBJECT, .has_offset = NO_OFFSET, .type = &pair_type};
static const struct field number_item = {.kind = FIELD_U32, .has_offset = NO_OFFSET};

enum { FLAG, U32, U64, I64, STRING, FLAGS, BITS, PAIR, PAIRS, NUMBERS, JSON, COUNT };

#define PLAIN(member)                                                                              \
    .name = #member, .offset = offsetof(struct all, member), .has_offset = NO_OFFSET
#define WITH_HAS(member)                                                                           \
    .name = #member, .offset = offsetof(struct all, member),                                       \
    .has_offset = offsetof(struct all, has_##member)
#define WITH_COUNT(member)                                                                         \
    PLAIN(member), .kind = FIELD_ARRAY, .count_offset = offsetof(struct all, member##_count)

static const struct field all_fields[COUNT] = {
    [FLAG] = {WITH_HAS(flag), .kind = FIELD_BOOL},
    [U32] = {WITH_HAS(u32), .kind = FIELD_U32},
    [U64] = {PLAIN(u64), .kind = FIELD_U64},
    [I64] = {PLAIN(i64), .kind = FIELD_I64},
    [STRING] = {PLAIN(string), .kind = FIELD_STRING},
    [FLAGS] = {PLAIN(flags), .kind = FIELD_FLAGS},
    [BITS] = {PLAIN(bits), .kind = FIELD_BITS},
    [PAIR] = {WITH_HAS(pair), .kind = FIELD_OBJECT, .type = &pair_type},
    [PAIRS] = {WITH_COUNT(pairs), .item = &pair_item, .item_size = sizeof(struct pair)},
    [NUMBERS] = {WITH_COUNT(numbers), .item = &number_item, .item_size = sizeof(uint32_t)},
    [JSON] = {PLAIN(json), .kind = FIELD_JSON},
};

/* What `all` becomes where each field is of this absence. */
static char *print(const struct all *all, enum field_absence absence, size_t limit, int *ret_error)
{
    struct field fields[COUNT];
    const struct type type = {
        .name = "all", .size = sizeof(*all), .fields = fields, .count = COUNT};
    struct out out;

    memcpy(fields, all_fields, sizeof(fields));
    for (size_t i = 0; i < COUNT; i++) {
        fields[i].absence = absence;
    }
    out_init(&out, limit, NULL);
    encode_object(&type, all, &out);
    *ret_error = out.error;
    char *text = rig_text(&out, NULL);
    out_done(&out);
    return text;
}

static void assert_prints(const struct all *all, enum field_absence absence, const char *expected)
{
    int error = 1;
    char *text = print(all, absence, SIZE_MAX, &error);

    assert_string_equal(text, expected);
    assert_int_equal(error, 0);
    free(text);
}

static const uint32_t numbers[] = {0, 4294967295};
static const struct pair pairs[] = {{1, NULL}, {2, "two"}};
static const struct all full = {
    .flag = true,
    .has_flag = true,
    .u32 = 4294967295,
    .has_u32 = true,
    .u64 = UINT64_MAX,
    .i64 = INT64_MIN,
    .string = "\"x\"\n",
    .flags = DMI_READONLY | DMI_INTERNAL_SUSPEND | DMI_SUSPEND,
    .bits = 1U << 31 | 1U << 4,
    .pair = {7, "seven"},
    .has_pair = true,
    .pairs = pairs,
    .pairs_count = 2,
    .numbers = numbers,
    .numbers_count = 2,
    .json = "{\"raw\":[1.50]}",
};
static const char full_text[] =
    "{\"flag\":true,\"u32\":4294967295,\"u64\":18446744073709551615,"
    "\"i64\":-9223372036854775808,\"string\":\"\\\"x\\\"\\n\","
    "\"flags\":[\"DM_READONLY\",\"DM_SUSPEND\",\"DM_INTERNAL_SUSPEND\"],\"bits\":[4,31],"
    "\"pair\":{\"a\":7,\"b\":\"seven\"},\"pairs\":[{\"a\":1},{\"a\":2,\"b\":\"two\"}],"
    "\"numbers\":[0,4294967295],\"json\":{\"raw\":[1.50]}}";

static void test_all_kinds(void **state)
{
    (void)state;
    assert_prints(&full, FIELD_REQUIRED, full_text);
    assert_prints(&full, FIELD_OPTIONAL, full_text);
    assert_prints(&full, FIELD_NULLABLE, full_text);
}

static void test_absent(void **state)
{
    const struct all empty = {0};
    const struct all required = {.string = "", .json = "null"};

    (void)state;
    /* Numbers without a has_ are never absent. */
    assert_prints(&empty, FIELD_OPTIONAL, "{\"u64\":0,\"i64\":0}");
    assert_prints(&empty, FIELD_NULLABLE,
                  "{\"flag\":null,\"u32\":null,\"u64\":0,\"i64\":0,\"string\":null,\"flags\":null,"
                  "\"bits\":null,\"pair\":null,\"pairs\":null,\"numbers\":null,\"json\":null}");
    assert_prints(&required, FIELD_REQUIRED,
                  "{\"flag\":false,\"u32\":0,\"u64\":0,\"i64\":0,\"string\":\"\",\"flags\":[],"
                  "\"bits\":[],\"pair\":{\"a\":0},\"pairs\":[],\"numbers\":[],\"json\":null}");
}

/* Present and zero is not absent. */
static void test_zero(void **state)
{
    const struct all zero = {
        .has_flag = true, .has_u32 = true, .has_pair = true, .string = "", .json = "0"};

    (void)state;
    assert_prints(&zero, FIELD_OPTIONAL,
                  "{\"flag\":false,\"u32\":0,\"u64\":0,\"i64\":0,\"string\":\"\","
                  "\"pair\":{\"a\":0},\"json\":0}");
}

static void test_empty_type(void **state)
{
    const struct type type = {.name = "empty", .size = 1};
    struct out out;

    (void)state;
    out_init(&out, SIZE_MAX, NULL);
    encode_object(&type, "", &out);
    char *text = rig_text(&out, NULL);
    assert_string_equal(text, "{}");
    free(text);
    out_done(&out);
}

/* A result that is one value and no object. */
static void test_alone(void **state)
{
    const struct rpc_discover_result result = {.json = "{\"openrpc\":\"1.3.2\"}"};
    struct out out;

    (void)state;
    out_init(&out, SIZE_MAX, NULL);
    encode_object(&type_rpc_discover_result, &result, &out);
    char *text = rig_text(&out, NULL);
    assert_string_equal(text, "{\"openrpc\":\"1.3.2\"}");
    free(text);
    out_done(&out);
}

/* Whatever the limit cuts off, the error tells, and exactly the limit is enough. */
static void test_limit(void **state)
{
    (void)state;
    for (size_t limit = 0; limit <= strlen(full_text); limit++) {
        int error = 1;
        char *text = print(&full, FIELD_REQUIRED, limit, &error);
        assert_int_equal(error, limit < strlen(full_text) ? -EMSGSIZE : 0);
        assert_true(strlen(text) <= limit);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds), cmocka_unit_test(test_absent),
        cmocka_unit_test(test_zero),      cmocka_unit_test(test_empty_type),
        cmocka_unit_test(test_alone),     cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
