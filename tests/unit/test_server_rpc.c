/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of rpc.c: texts in, whole replies out, on the simulated kernel. */
#include "server_rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc.h"
#include "server_memory.h"

enum { LONG = 70000 }; /* past what is parsed in the loop */

static bool no_threads;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*main)(void *), void *argument)
{
    return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, main, argument);
}

static int setup(void **state)
{
    static struct rig rig;

    rig_init(&rig);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    return 0;
}

/* Whoever asks: what a connection is to its requests. */
struct owner {
    struct rpc *rpc;
    bool at_once;
    int ended, parked; /* calls of `ended`, by what they say */
    bool close;
    char *text; /* the reply */
};

static void take(struct owner *owner)
{
    owner->text = rig_text(&owner->rpc->out, NULL);
    owner->close = owner->rpc->close;
    owner->rpc = rpc_free(owner->rpc);
}

static void on_ended(struct rpc *rpc)
{
    struct owner *owner = rpc->owner;

    assert_ptr_equal(owner->rpc, rpc);
    if (rpc->parked) {
        owner->parked++;
    } else {
        owner->ended++;
        take(owner);
    }
}

static void begin(struct rig *rig, struct owner *owner, const char *text)
{
    const struct peer peer = {0};
    char *bytes = strdup(text); /* it goes at once: rpc has its own copy */

    memset(owner, 0, sizeof(*owner));
    owner->at_once =
        rpc_begin(&rig->dispatcher, &peer, bytes, strlen(bytes), owner, on_ended, &owner->rpc);
    memset(bytes, '?', strlen(text));
    free(bytes);
    if (owner->at_once) {
        take(owner);
    }
}

static bool has_ended(void *what)
{
    const struct owner *owner = what;
    return owner->at_once || owner->ended > 0;
}

static char *answer(struct rig *rig, const char *text)
{
    struct owner owner;

    begin(rig, &owner, text);
    rig_until(rig, has_ended, &owner);
    assert_int_equal(owner.ended, !owner.at_once);
    assert_false(owner.close);
    return owner.text;
}

#define CALL(id, rest) "{\"jsonrpc\":\"2.0\",\"id\":" id "," rest "}"
#define NOTE(rest)     "{\"jsonrpc\":\"2.0\"," rest "}"
#define VERSION        "\"method\":\"version\""
#define CREATE(name)   "\"method\":\"device_create\",\"params\":{\"name\":\"" name "\"}"
#define WAIT           "\"method\":\"device_wait\",\"params\":{\"name\":\"x\",\"event_nr\":0}"

/* Each reply in turn: "id:code" for an error, "id:ok" for a result, as "id:ok id:code". */
static void assert_replies(struct rig *rig, const char *text, const char *expected)
{
    char *reply = answer(rig, text);
    char found[512] = "";

    if (*reply) {
        assert_int_equal(reply[strlen(reply) - 1], '\n');
        assert_ptr_equal(strchr(reply, '\n'), reply + strlen(reply) - 1); /* one line */
        json_t *json = rig_json(reply);
        size_t count = json_is_array(json) ? json_array_size(json) : 1;
        for (size_t i = 0; i < count; i++) {
            const json_t *one = json_is_array(json) ? json_array_get(json, i) : json;
            char *id = json_dumps(json_object_get(one, "id"), JSON_ENCODE_ANY);
            const json_t *code = rig_at(one, "error/code");
            size_t length = strlen(found);
            assert_int_equal(json_object_size(one), 3);
            if (code) {
                (void)snprintf(found + length, sizeof(found) - length, "%s%s:%d", i ? " " : "", id,
                               (int)json_integer_value(code));
            } else {
                assert_non_null(rig_at(one, "result"));
                (void)snprintf(found + length, sizeof(found) - length, "%s%s:ok", i ? " " : "", id);
            }
            free(id);
        }
        assert_int_equal(json_is_array(json), *reply == '[');
        json_decref(json);
    }
    assert_string_equal(found, expected);
    free(reply);
}

static void test_single(void **state)
{
    static const char *const rows[][2] = {
        {CALL("1", VERSION), "1:ok"},
        {CALL("null", VERSION), "null:ok"},
        {CALL("\"a\"", "\"method\":\"nix\""), "\"a\":-32601"},
        {CALL("1", VERSION ",\"params\":{\"nix\":1}"), "1:-32602"},
        {CALL("1", VERSION ",\"params\":[1]"), "1:-32602"},
        {CALL("1", VERSION ",\"params\":[]"), "1:ok"},
        {CALL("1", VERSION ",\"params\":5"), "1:-32600"},
        {CALL("1", VERSION ",\"extra\":{\"a\":[1]}"), "1:ok"},
        {CALL("true", VERSION), "null:-32600"},
        {NOTE(VERSION), ""},
        {NOTE("\"method\":\"nix\""), ""},
        {NOTE(VERSION ",\"params\":{\"nix\":1}"), ""},
        {NOTE("\"nomethod\":1"), "null:-32600"},
        {"{}", "null:-32600"},
        {"5", "null:-32600"},
        {"\"x\"", "null:-32600"},
        {"{,}", "null:-32700"},
        {"01", "null:-32700"},
        {"\"\xff\"", "null:-32700"},
        {CALL("1", VERSION ",\"method\":\"nix\""), "1:-32600"},
        {CALL("1", VERSION ",\"x\":1e999"), "1:-32600"},
        {CALL("1", "\"method\":\"list_devices\""), "1:ok"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_replies(*state, rows[i][0], rows[i][1]);
    }
}

static void test_id_bytes(void **state)
{
    static const char *const ids[] = {"1.50", "1e400", "123456789012345678901234567890",
                                      "\"\\u0061\\/\"", "-0"};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        char text[128];
        char expected[128];
        (void)snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\": %s , \"method\":\"nix\"}",
                       ids[i]);
        (void)snprintf(expected, sizeof(expected), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{",
                       ids[i]);
        char *reply = answer(*state, text);
        assert_memory_equal(reply, expected, strlen(expected));
        free(reply);
    }
}

static void test_batch(void **state)
{
    struct rig *rig = *state;
    static const char *const rows[][2] = {
        {"[]", "null:-32600"},
        {"[1,2]", "null:-32600 null:-32600"},
        {"[" CALL("1", VERSION) "]", "1:ok"},
        {"[" NOTE(VERSION) "," NOTE("\"method\":\"nix\"") "]", ""},
        {"[" NOTE(VERSION) "," CALL("2", VERSION) "," NOTE(VERSION) "]", "2:ok"},
        {"[5," NOTE(VERSION) "," CALL("2", VERSION) ",{}]", "null:-32600 2:ok null:-32600"},
        {"[" CALL("1", CREATE("x")) "," CALL("2", CREATE("x")) "," CALL(
             "3", "\"method\":\"device_"
                  "status\",\"params\":{"
                  "\"name\":\"x\"}") "," CALL("4", "\"method\":\"device_remove\",\"params\":{"
                                                   "\"name\":\"x\"}") "," CALL("5", "\"method\":"
                                                                                    "\"device_"
                                                                                    "status\","
                                                                                    "\"params\":"
                                                                                    "{\"name\":"
                                                                                    "\"x\"}") "]",
         "1:ok 2:2 3:ok 4:ok 5:1"},
        {"[" NOTE(CREATE("y")) "," CALL("1", "\"method\":\"list_devices\"") "]", "1:ok"},
        {"[" CALL("1", WAIT) "," CALL("2", VERSION) "]", "1:-32600 2:ok"},
        {"[" CALL("1", VERSION) "," CALL("2", VERSION ",\"a\":1,\"a\":1") "]", "1:ok 2:-32600"},
        {"[" CALL("1", VERSION) "," CALL("2", VERSION) "", "null:-32700"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_replies(rig, rows[i][0], rows[i][1]);
    }
    assert_true(rig_exists(rig, "y"));
}

static char *batch_of(const char *member, size_t count)
{
    char *text = calloc(count, strlen(member) + 2);
    char *p = text;

    assert_non_null(text);
    for (size_t i = 0; i < count; i++) {
        *p++ = i ? ',' : '[';
        p = stpcpy(p, member);
    }
    (void)stpcpy(p, "]");
    return text;
}

static void test_batch_limit(void **state)
{
    struct rig *rig = *state;
    char *three = batch_of(CALL("1", VERSION), 3);
    char *four = batch_of(CALL("1", VERSION), 4);

    rig->dispatcher.host.limits.batch = 3;
    assert_replies(rig, three, "1:ok 1:ok 1:ok");
    assert_replies(rig, four, "null:-32600");
    char *reply = answer(rig, four);
    json_t *json = rig_json(reply);
    assert_int_equal(json_integer_value(rig_at(json, "error/data/limit")), 3);
    json_decref(json);
    free(reply);
    free(four);
    free(three);
}

/* The limit is for the whole reply; what does not fit is told for each call. */
static void test_batch_reply_limit(void **state)
{
    struct rig *rig = *state;
    char *one = answer(rig, CALL("1", VERSION));
    char *text = batch_of(CALL("1", VERSION), 5);

    rig->dispatcher.host.limits.reply_bytes = (uint32_t)(2 * strlen(one));
    assert_replies(rig, text, "1:ok 1:ok 1:12 1:12 1:12");
    free(text);
    text = batch_of("5," CALL("1", "\"method\":\"nix\"") "," CALL("1", VERSION), 2);
    assert_replies(rig, text, "null:-32600 1:-32601 1:12 null:-32600 1:-32601 1:12");
    free(text);
    free(one);
}

/* --- memory --- */

static void test_budget(void **state)
{
    struct rig *rig = *state;
    struct owner owner;

    rig->budget.limit = 10;
    begin(rig, &owner, CALL("1", VERSION));
    assert_false(owner.at_once);
    assert_null(owner.rpc);

    /* The text fits, the reply does not: nobody must wait for it for good. */
    static const char *const texts[] = {CALL("1", VERSION), "{,}", "[]", "[1,2]"};
    rig->budget.limit = 500;
    for (size_t i = 0; i < 4; i++) {
        begin(rig, &owner, texts[i]);
        assert_true(owner.at_once);
        assert_string_equal(owner.text, "");
        assert_true(owner.close);
        free(owner.text);
    }
    rig->budget.limit = 4000;
    begin(rig, &owner, NOTE(VERSION)); /* nobody waits for this one's */
    assert_true(owner.at_once);
    assert_false(owner.close);
    free(owner.text);
}

static void test_no_memory(void **state)
{
    static const char *const texts[] = {CALL("1", VERSION), "[" CALL("1e999", VERSION) ",5]",
                                        CALL("1", VERSION ",\"a\":1,\"a\":2"), "{,}"};
    struct rig *rig = *state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        bool failed = true;
        for (long at = 0; failed; at++) {
            const struct peer peer = {0};
            struct owner owner = {0};
            memory_fail_at(at);
            owner.at_once = rpc_begin(&rig->dispatcher, &peer, texts[i], strlen(texts[i]), &owner,
                                      on_ended, &owner.rpc);
            failed = memory_failed();
            memory_fail_at(-1);
            if (owner.rpc) {
                assert_true(owner.at_once);
                take(&owner);
                assert_true(*owner.text || owner.close);
                if (*owner.text && !strstr(owner.text, "1e999")) {
                    json_decref(rig_json(owner.text));
                }
                free(owner.text);
            } else {
                assert_true(failed);
            }
            assert_int_equal(rig->budget.used, 0);
        }
    }
}

/* What a request held is not left in memory; the parser's own is another matter. */
static void test_wiped(void **state)
{
    static const char secret[] = "the-secret-in-the-table";
    struct rig *rig = *state;
    char text[512];

    (void)snprintf(text, sizeof(text),
                   CALL("1", "\"method\":\"table_load\",\"params\":{\"name\":\"none\",\"targets\":["
                             "{\"start\":0,\"length\":8,\"type\":\"crypt\",\"params\":\"%s\"}]}"),
                   secret);
    struct owner owner;
    memory_watch(secret);
    const struct peer peer = {0};
    owner = (struct owner){0};
    owner.at_once =
        rpc_begin(&rig->dispatcher, &peer, text, strlen(text), &owner, on_ended, &owner.rpc);
    rig_until(rig, has_ended, &owner);
    assert_null(strstr(owner.text, secret));
    assert_int_equal(memory_seen(), 0);
    memory_watch(NULL);
    free(owner.text);
}

/* --- long texts --- */

static char *padded(const char *text)
{
    char *longer = malloc(LONG + 1);

    assert_non_null(longer);
    memset(longer, ' ', LONG);
    memcpy(longer, text, strlen(text));
    longer[LONG] = '\0';
    return longer;
}

static void test_long(void **state)
{
    static const char *const rows[][2] = {
        {CALL("1.50", VERSION), "1.5:ok"},
        {"{,}", "null:-32700"},
        {"[]", "null:-32600"},
        {"[" CALL("1", VERSION) "," CALL("2", CREATE("x")) "]", "1:ok 2:ok"},
        {NOTE(VERSION), ""},
    };
    struct rig *rig = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *text = padded(rows[i][0]);
        struct owner owner;
        rig_until_idle(rig); /* what the one before took is given back on a worker, too */
        begin(rig, &owner, text);
        assert_false(owner.at_once); /* not in the loop */
        assert_int_equal(workers_busy(rig->dispatcher.workers), 1);
        rig_until(rig, has_ended, &owner);
        free(owner.text);
        if (strstr(rows[i][0], "device_create")) {
            rig_remove(rig, "x");
        }
        assert_replies(rig, text, rows[i][1]);
        free(text);
    }
    char *text = padded(CALL("1", VERSION));
    text[8192] = '\0';
    struct owner owner;
    begin(rig, &owner, text); /* just not too long */
    assert_true(owner.at_once);
    free(owner.text);
    free(text);
}

/* A wait in a long text is told when it is known to be one, and again when it ends. */
static void test_long_wait(void **state)
{
    struct rig *rig = *state;
    char *text = padded(CALL("1", WAIT));
    struct owner owner;

    rig_device(rig, "x", NULL);
    begin(rig, &owner, text);
    assert_false(owner.at_once);
    assert_false(owner.rpc->parked);
    rig_until_idle(rig);
    rig_turns(rig, 2);
    assert_int_equal(owner.parked, 1);
    assert_int_equal(owner.ended, 0);
    rig_event(rig, "x");
    rig_until(rig, has_ended, &owner);
    assert_int_equal(owner.ended, 1);
    assert_non_null(strstr(owner.text, "\"event_nr\":1"));
    free(owner.text);
    free(text);
}

/* Calls that end inside of their own beginning; and long texts are parsed here, rather than not. */
static void test_no_threads(void **state)
{
    char *text = padded("[" CALL("1", CREATE("x")) "," CALL("2", VERSION) "]");

    no_threads = true;
    assert_replies(*state, CALL("1", "\"method\":\"list_devices\""), "1:11");
    assert_replies(*state,
                   "[" CALL("1", CREATE("x")) "," CALL("2", VERSION) "," NOTE(CREATE("y")) "," CALL(
                       "3", "\"method\":\"list_devices\"") "]",
                   "1:11 2:ok 3:11");
    assert_replies(*state, text, "1:11 2:ok");
    no_threads = false;
    assert_false(rig_exists(*state, "x"));
    free(text);
}

/* --- owners that go --- */

static void test_abandon_running(void **state)
{
    struct rig *rig = *state;
    struct owner owner;

    uint64_t held = rig_hold(rig, DMI_DEV_CREATE, "x");
    begin(rig, &owner, "[" CALL("1", CREATE("x")) "," CALL("2", CREATE("y")) ",5]");
    rig_until_held(rig, held, 1);
    rpc_abandon(owner.rpc);
    rig_release(rig, held);
    rig_until_idle(rig);
    assert_int_equal(owner.ended, 0);
    assert_true(rig_exists(rig, "x")); /* the whole of it is carried out, once */
    assert_true(rig_exists(rig, "y"));
}

static void test_abandon_waiting(void **state)
{
    struct rig *rig = *state;
    struct owner first, second;

    uint64_t held = rig_hold(rig, DMI_DEV_CREATE, "x");
    begin(rig, &first, CALL("1", CREATE("x")));
    begin(rig, &second, CALL("1", "\"method\":\"device_remove\",\"params\":{\"name\":\"x\"}"));
    rig_until_held(rig, held, 1);
    rpc_abandon(second.rpc); /* in line behind the first */
    rig_release(rig, held);
    rig_until(rig, has_ended, &first);
    rig_until_idle(rig);
    assert_int_equal(second.ended, 0);
    assert_false(rig_exists(rig, "x"));
    free(first.text);
}

static void test_abandon_parked(void **state)
{
    struct rig *rig = *state;
    struct owner owner;

    rig_device(rig, "x", NULL);
    begin(rig, &owner, CALL("1", WAIT));
    assert_false(owner.at_once);
    assert_true(owner.rpc->parked);
    rpc_abandon(owner.rpc);
    rig_event(rig, "x");
    rig_sleep(rig, 15);
    assert_int_equal(owner.ended, 0);
}

/* Its event has come, and its answer is on its way: it is not to be freed under the worker. */
static void test_abandon_unparked(void **state)
{
    struct rig *rig = *state;
    struct owner owner;

    rig_device(rig, "x", NULL);
    begin(rig, &owner, CALL("1", WAIT));
    uint64_t held = rig_hold(rig, DMI_TABLE_STATUS, "x");
    rig_event(rig, "x");
    rig_until_held(rig, held, 1);
    assert_int_equal(owner.ended, 0);
    rpc_abandon(owner.rpc);
    rig_release(rig, held);
    rig_until_idle(rig);
    assert_int_equal(owner.ended, 0);
}

static void test_abandon_long(void **state)
{
    static const char *const texts[] = {CALL("1", VERSION), CALL("1", WAIT), CALL("1", CREATE("y")),
                                        "{,}"};
    struct rig *rig = *state;

    rig_device(rig, "x", NULL);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *text = padded(texts[i]);
        struct owner owner;
        begin(rig, &owner, text);
        assert_false(owner.at_once);
        rpc_abandon(owner.rpc); /* it is being parsed */
        rig_until_idle(rig);
        assert_int_equal(owner.ended, 0);
        assert_int_equal(rig->budget.used, 0); /* a wait, too, was given up */
        free(text);
    }
    assert_true(rig_exists(rig, "y"));
}

static void test_put_error(void **state)
{
    struct rig *rig = *state;
    struct failure failure;
    struct out out;

    failure_set(&failure, ERROR_PARSE_ERROR, "No.");
    out_init(&out, SIZE_MAX, NULL);
    rpc_put_error(&rig->dispatcher, &out, &failure);
    char *text = rig_text(&out, NULL);
    assert_string_equal(text, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,"
                              "\"message\":\"No.\",\"data\":{\"error\":\"parse_error\"}}}\n");
    assert_int_equal(rig->dispatcher.counters.errors[ERROR_PARSE_ERROR].given, 1);
    free(text);
    assert_null(rpc_free(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_single),
        TEST(test_id_bytes),
        TEST(test_batch),
        TEST(test_batch_limit),
        TEST(test_batch_reply_limit),
        TEST(test_budget),
        TEST(test_no_memory),
        TEST(test_wiped),
        TEST(test_long),
        TEST(test_long_wait),
        TEST(test_no_threads),
        TEST(test_abandon_running),
        TEST(test_abandon_waiting),
        TEST(test_abandon_parked),
        TEST(test_abandon_unparked),
        TEST(test_abandon_long),
        TEST(test_put_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
