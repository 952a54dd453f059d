/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of decode.c, on tables of their own that have every kind of field. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"

struct inner {
    uint32_t number;
    const char *word;
};

struct outer {
    bool yes;
    bool has_yes;
    uint32_t u32;
    uint64_t u64;
    int64_t i64;
    const char *string;
    uint32_t flags;
    struct inner inner;
    bool has_inner;
    const struct inner *items;
    size_t items_count;
    const uint32_t *numbers;
    size_t numbers_count;
    const char *slashes;
};

static const struct field inner_fields[] = {
    {.name = "number",
     .kind = FIELD_U32,
     .absence = FIELD_REQUIRED,
     .offset = offsetof(struct inner, number),
     .has_offset = NO_OFFSET,
     .max = 100},
    {.name = "word",
     .kind = FIELD_STRING,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct inner, word),
     .has_offset = NO_OFFSET,
     .max = 5},
};
static const struct type inner_type = {
    .name = "inner", .size = sizeof(struct inner), .fields = inner_fields, .count = 2};
static const struct field item = {
    .kind = FIELD_OBJECT, .has_offset = NO_OFFSET, .type = &inner_type};
static const struct field number_item = {
    .kind = FIELD_U32, .has_offset = NO_OFFSET, .min = 1, .max = 9};

static const struct field outer_fields[] = {
    {.name = "yes",
     .kind = FIELD_BOOL,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, yes),
     .has_offset = offsetof(struct outer, has_yes),
     .preset = 1},
    {.name = "u32",
     .kind = FIELD_U32,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, u32),
     .has_offset = NO_OFFSET,
     .min = 3,
     .max = UINT32_MAX,
     .preset = 7},
    {.name = "u64",
     .kind = FIELD_U64,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, u64),
     .has_offset = NO_OFFSET,
     .max = INT64_MAX,
     .preset = UINT64_C(1) << 40},
    {.name = "i64",
     .kind = FIELD_I64,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, i64),
     .has_offset = NO_OFFSET,
     .min = (uint64_t)-5,
     .max = 5,
     .preset = (uint64_t)-2},
    {.name = "string",
     .kind = FIELD_STRING,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, string),
     .has_offset = NO_OFFSET,
     .min = 1,
     .max = 8},
    {.name = "flags",
     .kind = FIELD_FLAGS,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, flags),
     .has_offset = NO_OFFSET,
     .flags = DMI_READONLY | DMI_NOFLUSH},
    {.name = "inner",
     .kind = FIELD_OBJECT,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, inner),
     .has_offset = offsetof(struct outer, has_inner),
     .type = &inner_type},
    {.name = "items",
     .kind = FIELD_ARRAY,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, items),
     .count_offset = offsetof(struct outer, items_count),
     .has_offset = NO_OFFSET,
     .max = 3,
     .item = &item,
     .item_size = sizeof(struct inner)},
    {.name = "numbers",
     .kind = FIELD_ARRAY,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, numbers),
     .count_offset = offsetof(struct outer, numbers_count),
     .has_offset = NO_OFFSET,
     .min = 1,
     .max = 3,
     .item = &number_item,
     .item_size = sizeof(uint32_t)},
    {.name = "a/b~c",
     .kind = FIELD_STRING,
     .absence = FIELD_OPTIONAL,
     .offset = offsetof(struct outer, slashes),
     .has_offset = NO_OFFSET,
     .max = 5},
};
static const struct type outer_type = {
    .name = "outer", .size = sizeof(struct outer), .fields = outer_fields, .count = 10};

struct taken {
    struct outer outer;
    struct arena arena;
    json_t *json;
    struct decode_fault fault;
    int rc;
};

static struct taken take(const struct type *type, const char *text)
{
    struct taken taken = {0};

    taken.json = text ? rig_json(text) : NULL;
    taken.rc = decode_object(type, taken.json, &taken.arena, &taken.outer, &taken.fault);
    return taken;
}

static void give(struct taken *taken)
{
    arena_done(&taken->arena);
    json_decref(taken->json);
}

static void test_presets(void **state)
{
    static const char *const texts[] = {"{}", "[]", NULL};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct taken taken = take(&outer_type, texts[i]);
        assert_int_equal(taken.rc, 0);
        assert_true(taken.outer.yes);
        assert_false(taken.outer.has_yes);
        assert_int_equal(taken.outer.u32, 7);
        assert_int_equal(taken.outer.u64, UINT64_C(1) << 40);
        assert_int_equal(taken.outer.i64, -2);
        assert_null(taken.outer.string);
        assert_int_equal(taken.outer.flags, 0);
        assert_false(taken.outer.has_inner);
        assert_null(taken.outer.items);
        assert_int_equal(taken.outer.items_count, 0);
        give(&taken);
    }
}

static void test_all_kinds(void **state)
{
    struct taken taken = take(
        &outer_type, "{\"yes\":false,\"u32\":4294967295,\"u64\":9223372036854775807,\"i64\":-5,"
                     "\"string\":\"\xc3\xa9\\n2345\",\"flags\":[\"DM_NOFLUSH\",\"DM_READONLY\"],"
                     "\"inner\":{\"number\":9,\"word\":\"hi\"},"
                     "\"items\":[{\"number\":1},{\"number\":100,\"word\":\"\"}],"
                     "\"numbers\":[1,5,9],\"a/b~c\":\"x\"}");

    (void)state;
    assert_string_equal(taken.fault.reason, "");
    assert_int_equal(taken.rc, 0);
    assert_false(taken.outer.yes);
    assert_true(taken.outer.has_yes);
    assert_int_equal(taken.outer.u32, UINT32_MAX);
    assert_int_equal(taken.outer.u64, INT64_MAX);
    assert_int_equal(taken.outer.i64, -5);
    assert_string_equal(taken.outer.string, "\xc3\xa9\n2345");
    assert_int_equal(taken.outer.flags, DMI_READONLY | DMI_NOFLUSH);
    assert_true(taken.outer.has_inner);
    assert_int_equal(taken.outer.inner.number, 9);
    assert_string_equal(taken.outer.inner.word, "hi");
    assert_int_equal(taken.outer.items_count, 2);
    assert_int_equal(taken.outer.items[0].number, 1);
    assert_null(taken.outer.items[0].word);
    assert_int_equal(taken.outer.items[1].number, 100);
    assert_string_equal(taken.outer.items[1].word, "");
    assert_int_equal(taken.outer.numbers_count, 3);
    assert_int_equal(taken.outer.numbers[2], 9);
    assert_string_equal(taken.outer.slashes, "x");
    give(&taken);
}

static void test_edges(void **state)
{
    static const char *const texts[] = {
        "{\"u32\":3}",           "{\"i64\":5}",    "{\"string\":\"12345678\"}",
        "{\"string\":\"1\"}",    "{\"flags\":[]}", "{\"items\":[]}",
        "{\"numbers\":[1,1,1]}", "{\"u64\":0}",    "{\"u64\":-0}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct taken taken = take(&outer_type, texts[i]);
        assert_int_equal(taken.rc, 0);
        give(&taken);
    }
}

struct refusal {
    const char *text, *path, *reason;
};

static const struct refusal refusals[] = {
    {"1", "", "must be an object"},
    {"null", "", "must be an object"},
    {"[1]", "", "params are taken by name: an object, not an array"},
    {"{\"nix\":1}", "/nix",
     "unknown; these are known: yes, u32, u64, i64, string, flags, inner, items, numbers, a/b~c"},
    {"{\"yes\":1}", "/yes", "must be true or false"},
    {"{\"yes\":null}", "/yes", "must be true or false"},
    {"{\"yes\":\"true\"}", "/yes", "must be true or false"},
    {"{\"u32\":\"3\"}", "/u32", "must be an integer"},
    {"{\"u32\":true}", "/u32", "must be an integer"},
    {"{\"u32\":2}", "/u32", "out of range: 3 to 4294967295"},
    {"{\"u32\":-1}", "/u32", "out of range: 3 to 4294967295"},
    {"{\"u32\":4294967296}", "/u32", "out of range: 3 to 4294967295"},
    {"{\"u32\":3.0}", "/u32", "must be an integer, written without fraction or exponent"},
    {"{\"u32\":1e3}", "/u32", "must be an integer, written without fraction or exponent"},
    {"{\"u32\":9e307}", "/u32", "out of range: 3 to 4294967295"},
    {"{\"u64\":-1}", "/u64", "out of range: 0 to 9223372036854775807"},
    {"{\"u64\":1e19}", "/u64", "out of range: 0 to 9223372036854775807"},
    {"{\"i64\":6}", "/i64", "out of range: -5 to 5"},
    {"{\"i64\":-6}", "/i64", "out of range: -5 to 5"},
    {"{\"i64\":-1e19}", "/i64", "out of range: -5 to 5"},
    {"{\"string\":1}", "/string", "must be a string"},
    {"{\"string\":null}", "/string", "must be a string"},
    {"{\"string\":\"\"}", "/string", "must not be empty"},
    {"{\"string\":\"123456789\"}", "/string", "too long: 9 bytes, at most 8"},
    {"{\"string\":\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9.\"}", "/string",
     "too long: 9 bytes, at most 8"},
    {"{\"flags\":\"DM_READONLY\"}", "/flags", "must be an array of flag names"},
    {"{\"flags\":[\"DM_READONLY\",1]}", "/flags/1", "must be a flag's name"},
    {"{\"flags\":[\"DM_NIX\"]}", "/flags/0",
     "not a device-mapper flag; this method takes: DM_READONLY, DM_NOFLUSH"},
    {"{\"flags\":[\"DM_NOFLUSH\",\"DM_SUSPEND\"]}", "/flags/1",
     "DM_SUSPEND is not taken here; this method takes: DM_READONLY, DM_NOFLUSH"},
    {"{\"flags\":[\"DM_SKIP_BDGET\"]}", "/flags/0",
     "DM_SKIP_BDGET is obsolete, no kernel heeds it; this method takes: DM_READONLY, DM_NOFLUSH"},
    {"{\"flags\":[\"DM_READONLY\",\"DM_READONLY\"]}", "/flags/1", "DM_READONLY stands twice"},
    {"{\"inner\":[]}", "/inner", "must be an object"},
    {"{\"inner\":{}}", "/inner/number", "missing"},
    {"{\"inner\":{\"number\":101}}", "/inner/number", "out of range: 0 to 100"},
    {"{\"inner\":{\"number\":1,\"x/y\":2}}", "/inner/x~1y",
     "unknown; these are known: number, word"},
    {"{\"items\":{}}", "/items", "must be an array"},
    {"{\"items\":[{\"number\":1},{\"number\":1},{\"number\":1},{\"number\":1}]}", "/items",
     "4 items, where 0 to 3 are taken"},
    {"{\"items\":[{\"number\":1},{\"number\":1,\"word\":\"123456\"}]}", "/items/1/word",
     "too long: 6 bytes, at most 5"},
    {"{\"items\":[{\"number\":1},5]}", "/items/1", "must be an object"},
    {"{\"numbers\":[]}", "/numbers", "0 items, where 1 to 3 are taken"},
    {"{\"numbers\":[1,2,0]}", "/numbers/2", "out of range: 1 to 9"},
    {"{\"a/b~c\":1}", "/a~1b~0c", "must be a string"},
    {"{\"~/~\":1}", "/~0~1~0",
     "unknown; these are known: yes, u32, u64, i64, string, flags, inner, items, numbers, a/b~c"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct taken taken = take(&outer_type, refusals[i].text);
        assert_int_equal(taken.rc, -EINVAL);
        assert_string_equal(taken.fault.path, refusals[i].path);
        assert_string_equal(taken.fault.reason, refusals[i].reason);
        give(&taken);
    }
}

/* A NUL ends a C string; what stands behind it must not be lost without a word. */
static void test_nul(void **state)
{
    json_t *json = json_pack("{s:s%}", "string", "a\0b", (size_t)3);
    struct decode_fault fault;
    struct arena arena = {0};
    struct outer outer = {0};

    (void)state;
    assert_int_equal(decode_object(&outer_type, json, &arena, &outer, &fault), -EINVAL);
    assert_string_equal(fault.path, "/string");
    assert_non_null(strstr(fault.reason, "NUL"));
    json_decref(json);

    json = json_pack("{s:[s%]}", "flags", "DM_READONLY\0DM_SUSPEND", (size_t)22);
    assert_int_equal(decode_object(&outer_type, json, &arena, &outer, &fault), -EINVAL);
    assert_string_equal(fault.path, "/flags/0");
    json_decref(json);
    arena_done(&arena);
}

static void test_one_of(void **state)
{
    const struct type type = {.name = "outer",
                              .size = sizeof(struct outer),
                              .fields = outer_fields,
                              .count = 10,
                              .one_of = 1 << 1 | 1 << 4 | 1 << 6};
    static const char reason[] = "exactly one of these must be given: u32, string, inner";
    static const char *const good[] = {"{\"u32\":3}", "{\"string\":\"x\",\"yes\":true}",
                                       "{\"inner\":{\"number\":1}}"};
    static const char *const bad[] = {NULL,
                                      "[]",
                                      "{}",
                                      "{\"yes\":true}",
                                      "{\"u32\":3,\"string\":\"x\"}",
                                      "{\"u32\":3,\"string\":\"x\",\"inner\":{\"number\":1}}"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct taken taken = take(&type, good[i]);
        assert_int_equal(taken.rc, 0);
        give(&taken);
    }
    for (size_t i = 0; i < 6; i++) {
        struct taken taken = take(&type, bad[i]);
        assert_int_equal(taken.rc, -EINVAL);
        assert_string_equal(taken.fault.path, "");
        assert_string_equal(taken.fault.reason, reason);
        give(&taken);
    }
}

static void test_required(void **state)
{
    struct taken taken = take(&inner_type, "{\"word\":\"x\"}");

    (void)state;
    assert_int_equal(taken.rc, -EINVAL);
    assert_string_equal(taken.fault.path, "/number");
    assert_string_equal(taken.fault.reason, "missing");
    give(&taken);
}

/* Fields that only results have. */
static void test_results_only(void **state)
{
    static const enum field_kind kinds[] = {FIELD_BITS, FIELD_JSON};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct field field = {.name = "x", .kind = kinds[i], .has_offset = NO_OFFSET};
        const struct type type = {.name = "t", .size = 8, .fields = &field, .count = 1};
        struct taken taken = take(&type, "{\"x\":[1]}");
        assert_int_equal(taken.rc, -EINVAL);
        assert_string_equal(taken.fault.path, "/x");
        give(&taken);
    }
}

/* A list of names that is too long is cut, not run over; an unknown name is not told at all. */
static void test_long(void **state)
{
    struct field fields[60];
    char names[60][24];
    const struct type type = {.name = "long", .size = 8, .fields = fields, .count = 60};
    char text[5000] = "{\"";
    struct taken taken;

    (void)state;
    for (int i = 0; i < 60; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "a-rather-long-name-%02d", i);
        fields[i] = (struct field){.name = names[i],
                                   .kind = FIELD_BOOL,
                                   .absence = FIELD_OPTIONAL,
                                   .has_offset = NO_OFFSET};
    }
    memset(text + 2, '~', 4000);
    (void)strcpy(text + 4002, "\":1}");
    taken = take(&type, text);
    assert_int_equal(taken.rc, -EINVAL);
    assert_string_equal(taken.fault.path, "");
    assert_null(strchr(taken.fault.reason, '~'));
    assert_memory_equal(taken.fault.reason, "has a member of a long name; these are known: a-", 48);
    /* Whole names only. */
    size_t length = strlen(taken.fault.reason);
    assert_true(length > 400);
    assert_memory_equal(taken.fault.reason + length - 23, ", a-rather-long-name-", 21);
    give(&taken);
}

/* A path that is too long is cut, too. */
static void test_long_path(void **state)
{
    char name[600] = {0};
    const struct field field = {
        .name = name, .kind = FIELD_U32, .absence = FIELD_REQUIRED, .has_offset = NO_OFFSET};
    const struct type type = {.name = "long", .size = 8, .fields = &field, .count = 1};

    (void)state;
    memset(name, '~', sizeof(name) - 1);
    struct taken taken = take(&type, "{}");
    assert_int_equal(taken.rc, -EINVAL);
    assert_string_equal(taken.fault.reason, "missing");
    assert_int_equal(strlen(taken.fault.path), sizeof(taken.fault.path) - 1);
    give(&taken);
}

/* The longest unknown name that is told, and one that may be a key: 128 bits. */
static void test_unknown_names(void **state)
{
    struct taken taken = take(&outer_type, "{\"0123456789abcdef0123456789abcde\":1}");

    (void)state;
    assert_int_equal(taken.rc, -EINVAL);
    assert_string_equal(taken.fault.path, "/0123456789abcdef0123456789abcde");
    give(&taken);
    taken = take(&outer_type, "{\"inner\":{\"0123456789abcdef0123456789abcdef\":1}}");
    assert_int_equal(taken.rc, -EINVAL);
    assert_string_equal(taken.fault.path, "/inner");
    assert_null(strstr(taken.fault.reason, "0123"));
    give(&taken);
}

/* Nothing of a value is ever told: it may be a key. */
static void test_values_untold(void **state)
{
    static const char *const texts[] = {
        "{\"string\":\"topsecret-1234\"}", "{\"u32\":\"topsecret\"}",
        "{\"flags\":[\"topsecret\"]}",     "{\"inner\":\"topsecret\"}",
        "{\"numbers\":[\"topsecret\"]}",   "{\"yes\":\"topsecret\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct taken taken = take(&outer_type, texts[i]);
        assert_int_equal(taken.rc, -EINVAL);
        assert_null(strstr(taken.fault.reason, "topsecret"));
        assert_null(strstr(taken.fault.path, "topsecret"));
        give(&taken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets),   cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_edges),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nul),       cmocka_unit_test(test_one_of),
        cmocka_unit_test(test_required),  cmocka_unit_test(test_results_only),
        cmocka_unit_test(test_long),      cmocka_unit_test(test_values_untold),
        cmocka_unit_test(test_long_path), cmocka_unit_test(test_unknown_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
