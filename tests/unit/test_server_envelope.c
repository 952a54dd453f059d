/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of envelope.c: ids, batches, and what the parser cannot hold. */
#include "server_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "json_memory.h"
#include "server_memory.h"

/* A parsed text in memory of just its length, so that no byte past it is read unseen. */
struct parsed {
    char *text;
    size_t length;
    enum envelope_result result;
    struct envelope envelope;
};

static struct parsed parse(const char *text, size_t length)
{
    struct parsed parsed = {.text = malloc(length ? length : 1), .length = length};

    assert_non_null(parsed.text);
    memcpy(parsed.text, text, length);
    parsed.result = envelope_parse(parsed.text, length, &parsed.envelope);
    return parsed;
}

static void done(struct parsed *parsed)
{
    envelope_done(&parsed->envelope);
    envelope_done(&parsed->envelope);
    free(parsed->text);
}

static void assert_id(const struct parsed *parsed, const struct request_parts *parts,
                      const char *expected)
{
    assert_true(parts->id.start <= parts->id.end && parts->id.end <= parsed->length);
    assert_int_equal(parts->id.end - parts->id.start, strlen(expected));
    assert_memory_equal(parsed->text + parts->id.start, expected, strlen(expected));
}

/* The id of a request that is valid but for what its id may be; "" where it is null. */
static void assert_request(const char *text, const char *id)
{
    struct parsed parsed = parse(text, strlen(text));
    struct request_parts parts;

    assert_int_equal(parsed.result, ENVELOPE_OK);
    assert_false(parsed.envelope.batch);
    assert_int_equal(parsed.envelope.count, 1);
    assert_null(envelope_member(&parsed.envelope, parsed.text, 0, &parts));
    assert_id(&parsed, &parts, id);
    assert_false(parts.notification);
    assert_string_equal(parts.method, "m");
    done(&parsed);
}

static void test_ids(void **state)
{
    static const char *const ids[] = {
        "1",
        "0",
        "-0",
        "-1",
        "1.5",
        "1e2",
        "0.10",
        "1E+2",
        "-1.50e-07",
        "null",
        "\"\"",
        "\"a\"",
        "\"a\\\"b\\\\\"",
        "\"\\u0069\\u0000\\ud83d\\ude00\"",
        "\"caf\xc3\xa9\"",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "123456789012345678901234567890",
        "1e400",
        "-1e400",
        "1e-400",
        "9e307",
        "9e999",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "0.00000000000000000000000000000000000000000000000000000000000000001",
    };
    static const char *const shapes[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"m\"}",
        " {\"id\" : \t%s\n ,\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{\"id\":7}}  ",
        "{\"params\":{\"id\":[1e999]},\"method\":\"m\",\"jsonrpc\":\"2.0\",\"id\":%s}",
        "{\"jsonrpc\":\"2.0\",\"\\u0069\\u0064\":%s,\"method\":\"m\"}",
        "{\"jsonrpc\":\"2.0\",\"i\\u0064\":%s,\"m\\u0065thod\":\"m\",\"x\":{\"id\":5}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        for (size_t j = 0; j < sizeof(shapes) / sizeof(shapes[0]); j++) {
            char text[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            (void)snprintf(text, sizeof(text), shapes[j], ids[i]);
#pragma GCC diagnostic pop
            assert_request(text, ids[i]);
        }
    }
}

struct fault {
    const char *text, *id, *reason;
};

#define CALL "\"jsonrpc\":\"2.0\",\"method\":\"m\""

static const struct fault faults[] = {
    {"1", "", "a request is an object"},
    {"null", "", "a request is an object"},
    {"\"{}\"", "", "a request is an object"},
    {"1e999", "", "a request is an object"},
    {"{}", "", "the member jsonrpc must be \"2.0\""},
    {"{\"id\":5}", "5", "the member jsonrpc must be \"2.0\""},
    {"{" CALL ",\"id\":true}", "", "an id is a string, a number or null"},
    {"{" CALL ",\"id\":false}", "", "an id is a string, a number or null"},
    {"{" CALL ",\"id\":[1]}", "", "an id is a string, a number or null"},
    {"{" CALL ",\"id\":{\"id\":1}}", "", "an id is a string, a number or null"},
    {"{" CALL ",\"id\":[1e999]}", "", "an id is a string, a number or null"},
    {"{\"jsonrpc\":\"1.0\",\"method\":\"m\",\"id\":1}", "1", "the member jsonrpc must be \"2.0\""},
    {"{\"jsonrpc\":\"2.0\\u0000\",\"method\":\"m\",\"id\":1}", "1",
     "the member jsonrpc must be \"2.0\""},
    {"{\"jsonrpc\":2.0,\"method\":\"m\",\"id\":1}", "1", "the member jsonrpc must be \"2.0\""},
    {"{\"method\":\"m\",\"id\":1}", "1", "the member jsonrpc must be \"2.0\""},
    {"{\"jsonrpc\":\"2.0\",\"id\":1}", "1", "the member method must be a string"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", "1", "the member method must be a string"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":null}", "1", "the member method must be a string"},
    {"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":5}", "1", "the member method must be a string"},
    {"{" CALL ",\"id\":1,\"params\":null}", "1", "params is an object"},
    {"{" CALL ",\"id\":1,\"params\":5}", "1", "params is an object"},
    {"{" CALL ",\"id\":1,\"params\":\"{}\"}", "1", "params is an object"},
    {"{" CALL ",\"params\":1}", "", "params is an object"},
    {"{" CALL ",\"id\":1,\"params\":1e999}", "1", "params is an object"},
    /* what the parser cannot hold, outside of params and id */
    {"{" CALL ",\"id\":1,\"x\":12345678901234567890}", "1",
     "a number past 64 bits, or a NUL in a key, outside of params"},
    {"{" CALL ",\"id\":1,\"x\":{\"y\":[1e400]}}", "1",
     "a number past 64 bits, or a NUL in a key, outside of params"},
    {"{" CALL ",\"id\":1,\"x\\u0000\":1}", "1",
     "a number past 64 bits, or a NUL in a key, outside of params"},
    {"{" CALL ",\"id\":1,\"x\":{\"\\\\\\u0000\" : 1}}", "1",
     "a number past 64 bits, or a NUL in a key, outside of params"},
    {"{" CALL ",\"id\":1,\"id\\u0000\":2}", "1",
     "a number past 64 bits, or a NUL in a key, outside of params"},
    {"{\"jsonrpc\":1e999,\"method\":\"m\",\"id\":1}", "1",
     "a number past 64 bits, or a NUL in a key, outside of params"},
    /* keys that stand twice */
    {"{" CALL ",\"id\":1,\"id\":2}", "", "a key stands twice in one object"},
    {"{" CALL ",\"id\":1,\"\\u0069d\":1}", "", "a key stands twice in one object"},
    {"{" CALL ",\"id\":1,\"id\":2,\"id\":3}", "", "a key stands twice in one object"},
    {"{" CALL ",\"id\":1,\"method\":\"n\"}", "1", "a key stands twice in one object"},
    {"{" CALL ",\"id\":1,\"params\":{\"a\":1,\"\\u0061\":1}}", "1",
     "a key stands twice in one object"},
    {"{" CALL ",\"id\":1.50,\"x\":[{\"a\":1,\"a\":1}]}", "1.50",
     "a key stands twice in one object"},
};

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct parsed parsed = parse(faults[i].text, strlen(faults[i].text));
        struct request_parts parts;
        assert_int_equal(parsed.result, ENVELOPE_OK);
        const char *reason = envelope_member(&parsed.envelope, parsed.text, 0, &parts);
        assert_non_null(reason);
        assert_string_equal(reason, faults[i].reason);
        assert_id(&parsed, &parts, faults[i].id);
        done(&parsed);
    }
}

static void test_not_json(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "}",
        "[1,",
        "{\"a\"}",
        "{\"a\":}",
        "{\"id\":",
        "{\"id",
        "{\"id\\",
        "\"",
        "01",
        "NaN",
        "-Infinity",
        "1.",
        ".5",
        "1e",
        "+1",
        "0x10",
        "tru",
        "'a'",
        "{\"a\":1,}",
        "[1,]",
        "[,]",
        "[1 2]",
        "{\"a\":1}}",
        "{}{}",
        "// no\n{}",
        "{/* no */}",
        "\"\x01\"",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\xef\xbb\xbf{}",
        "{\"a\":1,\"a\":2,}",
        "{\"a\":1,\"a\":2}]",
        "{\"a\":012345678901234567890}",
        "{\"a\":1e400e}",
        "{\"a\":12345678901234567890x}",
        "[12345678901234567890-]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct parsed parsed = parse(texts[i], strlen(texts[i]));
        assert_int_equal(parsed.result, ENVELOPE_NOT_JSON);
        done(&parsed);
    }
    static const char nuls[] = "{\"a\":\"\0\"}";
    struct parsed parsed = parse(nuls, sizeof(nuls) - 1);
    assert_int_equal(parsed.result, ENVELOPE_NOT_JSON);
    done(&parsed);
    parsed = parse("{}\0", 3);
    assert_int_equal(parsed.result, ENVELOPE_NOT_JSON);
    done(&parsed);
    parsed = parse("[1\0]", 4);
    assert_int_equal(parsed.result, ENVELOPE_NOT_JSON);
    done(&parsed);
}

static void test_notification(void **state)
{
    struct parsed parsed = parse("{" CALL ",\"params\":[]}", strlen("{" CALL ",\"params\":[]}"));
    struct request_parts parts;

    (void)state;
    assert_null(envelope_member(&parsed.envelope, parsed.text, 0, &parts));
    assert_true(parts.notification);
    assert_int_equal(parts.id.end, 0);
    assert_true(json_is_array(parts.params));
    done(&parsed);
}

/* In params large numbers and NUL keys are the decoder's to refuse, as values that it never takes.
 */
static void test_masks_in_params(void **state)
{
    static const char text[] =
        "{" CALL ",\"id\":1,\"params\":{\"big\":12345678901234567890,\"neg\":-1e999,"
        "\"most\":9223372036854775807,\"k\\u0000\":[1e400, 5],\"s\":\"\\u0000 "
        "1e999\",\"\\\\u0000\":6}}";
    struct parsed parsed = parse(text, strlen(text));
    struct request_parts parts;

    (void)state;
    assert_int_equal(parsed.result, ENVELOPE_OK);
    assert_null(envelope_member(&parsed.envelope, parsed.text, 0, &parts));
    assert_true(json_real_value(json_object_get(parts.params, "big")) > 1e300);
    assert_true(json_real_value(json_object_get(parts.params, "neg")) > 1e300);
    assert_int_equal(json_integer_value(json_object_get(parts.params, "most")), INT64_MAX);
    const json_t *array = json_object_get(parts.params, "k\x01");
    assert_true(json_real_value(json_array_get(array, 0)) > 1e300);
    assert_int_equal(json_integer_value(json_array_get(array, 1)), 5);
    const json_t *string = json_object_get(parts.params, "s");
    assert_int_equal(json_string_length(string), 7);
    assert_memory_equal(json_string_value(string), "\0 1e999", 7);
    /* A backslash and then letters: no NUL. */
    assert_int_equal(json_integer_value(json_object_get(parts.params, "\\u0000")), 6);
    assert_memory_equal(parsed.text, text, strlen(text)); /* the text itself is as it was */
    done(&parsed);
}

static void test_method_with_nul(void **state)
{
    static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\\u0000\"}";
    struct parsed parsed = parse(text, strlen(text));
    struct request_parts parts;

    (void)state;
    assert_null(envelope_member(&parsed.envelope, parsed.text, 0, &parts));
    assert_string_equal(parts.method, "");
    done(&parsed);
}

static void assert_member(const struct parsed *parsed, size_t i, const char *id, const char *reason)
{
    struct request_parts parts;
    const char *found = envelope_member(&parsed->envelope, parsed->text, i, &parts);

    assert_id(parsed, &parts, id);
    if (reason) {
        assert_non_null(found);
        assert_string_equal(found, reason);
    } else {
        assert_null(found);
    }
}

static void test_batch(void **state)
{
    static const char text[] =
        " [ {" CALL ",\"id\":1} , 5,[],\"x]\", {" CALL "},\n{" CALL ",\"id\":\"]\"},"
        "{" CALL ",\"id\":2,\"a\":1,\"a\":2},{" CALL ",\"id\":3,\"n\":1e999},"
        "{" CALL ",\"id\":4,\"params\":{\"n\":1e999}}, 1e999 ] ";
    struct parsed parsed = parse(text, strlen(text));

    (void)state;
    assert_int_equal(parsed.result, ENVELOPE_OK);
    assert_true(parsed.envelope.batch);
    assert_int_equal(parsed.envelope.count, 10);
    assert_member(&parsed, 0, "1", NULL);
    assert_member(&parsed, 1, "", "a request is an object");
    assert_member(&parsed, 2, "", "a request is an object");
    assert_member(&parsed, 3, "", "a request is an object");
    assert_member(&parsed, 4, "", NULL);
    assert_member(&parsed, 5, "\"]\"", NULL);
    assert_member(&parsed, 6, "2", "a key stands twice in one object");
    assert_member(&parsed, 7, "3", "a number past 64 bits, or a NUL in a key, outside of params");
    assert_member(&parsed, 8, "4", NULL);
    assert_member(&parsed, 9, "", "a request is an object");
    done(&parsed);

    parsed = parse("[]", 2);
    assert_int_equal(parsed.result, ENVELOPE_OK);
    assert_true(parsed.envelope.batch);
    assert_int_equal(parsed.envelope.count, 0);
    done(&parsed);

    parsed = parse("[ \n]", 4);
    assert_int_equal(parsed.envelope.count, 0);
    done(&parsed);
}

/* --- whatever comes --- */

static const char *const seeds[] = {
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"a\":[1,2,{\"b\":null}]}}",
    "[{\"jsonrpc\":\"2.0\",\"id\":\"x\\\"\",\"method\":\"m\"},{\"id\":1e999,\"\\u0069d\":2},[]]",
    "{\"id\":-12345678901234567890,\"k\\u0000\":{\"\\\\\\u0000\":1.5e-3},\"id\":true}",
    "[\"\\ud83d\\ude00\",\"\xf0\x9f\x98\x80\",-0,1E5,true,false,null]",
};

static const char alphabet[] = "{}[]\",:\\u0id19eE+-. \n\t\0\x80\xff"
                               "ntf/";

static size_t mutate(char *text, size_t length, size_t room, uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    size_t at = (*seed >> 8) % (length + 1);
    char c = alphabet[(*seed >> 16) % (sizeof(alphabet) - 1)];

    switch (*seed >> 28 & 3) {
    case 0:
        if (at < length) {
            text[at] = c;
        }
        return length;
    case 1:
        if (length < room) {
            memmove(text + at + 1, text + at, length - at);
            text[at] = c;
            return length + 1;
        }
        return length;
    case 2:
        if (at < length) {
            memmove(text + at, text + at + 1, length - at - 1);
            return length - 1;
        }
        return length;
    default:
        return *seed % 64 == 0 ? at : length; /* cut */
    }
}

/* Ids are those that the parser sees, wherever it can hold them. */
static void check_member(const struct parsed *parsed, const json_t *object, size_t i)
{
    struct request_parts parts;
    const char *reason = envelope_member(&parsed->envelope, parsed->text, i, &parts);
    const json_t *id = json_object_get(object, "id");

    assert_true(parts.id.start <= parts.id.end && parts.id.end <= parsed->length);
    if (!reason) {
        assert_int_equal(parts.notification, id == NULL);
    }
    if (parts.id.end > 0) {
        json_error_t error;
        json_t *alone = json_loadb(parsed->text + parts.id.start, parts.id.end - parts.id.start,
                                   JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        assert_true(json_equal(alone, id));
        json_decref(alone);
    }
}

static void check(const char *text, size_t length)
{
    struct parsed parsed = parse(text, length);
    json_error_t error;
    json_t *json = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);

    /* What the parser takes as it is, the envelope takes, and member for member. */
    if (memchr(text, '\0', length)) { /* the parser takes some of those */
        assert_int_equal(parsed.result, ENVELOPE_NOT_JSON);
        json_decref(json);
    } else if (json) {
        assert_int_equal(parsed.result, ENVELOPE_OK);
        assert_int_equal(parsed.envelope.batch, json_is_array(json));
        assert_int_equal(parsed.envelope.count, json_is_array(json) ? json_array_size(json) : 1);
        for (size_t i = 0; i < parsed.envelope.count; i++) {
            check_member(&parsed, json_is_array(json) ? json_array_get(json, i) : json, i);
        }
        json_decref(json);
    } else if (parsed.result == ENVELOPE_OK) {
        for (size_t i = 0; i < parsed.envelope.count; i++) {
            struct request_parts parts;
            (void)envelope_member(&parsed.envelope, parsed.text, i, &parts);
            assert_true(parts.id.start <= parts.id.end && parts.id.end <= length);
        }
    }
    done(&parsed);
}

static void test_mutations(void **state)
{
    uint32_t seed = 20240229;
    char text[256];

    (void)state;
    for (int round = 0; round < 12000; round++) {
        const char *start = seeds[round % 4];
        size_t length = strlen(start);
        memcpy(text, start, length);
        for (int i = 0; i <= round % 5; i++) {
            length = mutate(text, length, sizeof(text), &seed);
        }
        check(text, length);
    }
}

static void test_cuts(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (size_t length = 0; length <= strlen(seeds[i]); length++) {
            check(seeds[i], length);
        }
    }
}

/* --- memory --- */

static void test_no_memory(void **state)
{
    static const char text[] =
        "[{" CALL ",\"id\":1e999,\"a\":1,\"a\":1,\"b\":12345678901234567890}]";
    int succeeded = 0;

    (void)state;
    for (long at = 0; at < 200 && !succeeded; at++) {
        struct envelope envelope = {0};
        memory_fail_at(at);
        enum envelope_result result = envelope_parse(text, strlen(text), &envelope);
        succeeded = !memory_failed();
        memory_fail_at(-1);
        assert_int_equal(result, succeeded ? ENVELOPE_OK : ENVELOPE_NO_MEMORY);
        if (!succeeded) {
            assert_null(envelope.root);
            assert_null(envelope.members);
        }
        envelope_done(&envelope);
    }
    assert_true(succeeded);
}

/* The masked copy holds what the request held. */
static void test_wiped(void **state)
{
    static const char text[] = "{\"key\":\"the-secret-in-the-request\",\"n\":1e999}";
    struct envelope envelope;

    (void)state;
    memory_watch("the-secret-in-the-request");
    assert_int_equal(envelope_parse(text, strlen(text), &envelope), ENVELOPE_OK);
    envelope_done(&envelope);
    assert_int_equal(memory_seen(), 0);
    memory_watch(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_notification),
        cmocka_unit_test(test_masks_in_params),
        cmocka_unit_test(test_method_with_nul),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_wiped),
    };

    json_memory_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
