/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of json_memory.c: what a parse leaves when its memory ends, and what it wipes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "json_memory.h"
#include "server_memory.h"

/* Tokens that outgrow the parser's first buffer, and of each kind of value one. */
static const char text[] = "{\"a key that is longer than sixteen bytes\":"
                           "[\"and a value that is longer than thirty-two bytes\",1,1.5,true,{}]}";
static const size_t FLAGS = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;

static void check_whole(const json_t *json)
{
    const json_t *value = json_object_get(json, "a key that is longer than sixteen bytes");

    assert_int_equal(json_array_size(value), 5);
    assert_string_equal(json_string_value(json_array_get(value, 0)),
                        "and a value that is longer than thirty-two bytes");
}

/* All of the text or nothing, whichever allocation fails. */
static void test_each_fails(void **state)
{
    bool failed = true;
    long at = 0;

    (void)state;
    for (; failed; at++) {
        json_error_t error;
        json_t *json = NULL;
        memory_fail_at(at);
        bool loaded = json_memory_load(text, strlen(text), FLAGS, &error, &json);
        failed = memory_failed();
        memory_fail_at(-1);
        assert_int_equal(loaded, !failed);
        if (loaded) {
            check_whole(json);
            json_decref(json);
        } else {
            assert_null(json);
        }
    }
    assert_true(at > 10);
}

/* A token that goes on where memory ended: jansson alone aborts. */
static void test_bad_token(void **state)
{
    static const char bad[] = "[\"sixteen bytes ..\xce\"]";
    json_error_t error;

    (void)state;
    for (long at = 0; at < 20; at++) {
        json_t *json = NULL;
        memory_fail_at(at);
        bool loaded = json_memory_load(bad, strlen(bad), FLAGS, &error, &json);
        assert_int_equal(loaded, !memory_failed());
        memory_fail_at(-1);
        assert_null(json);
    }
}

static void test_not_json(void **state)
{
    json_error_t error;
    json_t *json = NULL;

    (void)state;
    assert_true(json_memory_load("[1,", 3, FLAGS, &error, &json));
    assert_null(json);
    assert_int_equal(json_error_code(&error), json_error_premature_end_of_input);
}

static void test_wiped(void **state)
{
    static const char secret[] = "[\"a-key-that-nobody-may-find-later\"]";
    json_error_t error;

    (void)state;
    memory_watch("a-key-that-nobody-may-find-later");
    for (long at = -1; at < 20; at++) {
        json_t *json = NULL;
        memory_fail_at(at);
        (void)json_memory_load(secret, strlen(secret), FLAGS, &error, &json);
        memory_fail_at(-1);
        json_decref(json);
    }
    assert_int_equal(memory_seen(), 0);
    memory_watch(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_fails),
        cmocka_unit_test(test_bad_token),
        cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_wiped),
    };

    json_memory_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
