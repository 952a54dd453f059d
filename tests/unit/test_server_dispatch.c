/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of dispatch.c, on the simulated kernel. */
#include "server_ask.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server_memory.h"

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

static void test_methods(void **state)
{
    (void)state;
    for (size_t i = 0; i < method_count; i++) {
        assert_ptr_equal(method_find(method_table[i].name), &method_table[i]);
        assert_true(i == 0 || strcmp(method_table[i - 1].name, method_table[i].name) < 0);
    }
    assert_null(method_find(""));
    assert_null(method_find("A"));
    assert_null(method_find("zzz"));
    assert_null(method_find("versio"));
    assert_null(method_find("version "));
}

static void test_loop(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    assert_true(ask(&rig, &asked, "version", NULL));
    assert_json_equal(asked.reply,
                      "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"version\":{\"major\":4,"
                      "\"minor\":47,\"patch\":0},\"backend\":\"simulated\"}}");
    ask_done(&asked);
    assert_true(ask(&rig, &asked, "version", "[]")); /* as none */
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
    assert_int_equal(workers_busy(rig.dispatcher.workers), 0);
    rig_done(&rig);
}

static void test_worker(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", "U");
    assert_false(ask(&rig, &asked, "list_devices", "{}"));
    assert_int_equal(rig.dispatcher.pending, 1);
    assert_false(asked.call.parked);
    ask_wait(&rig, &asked);
    assert_int_equal(rig.dispatcher.pending, 0);
    assert_string_equal(rig_string(asked.reply, "result/devices/0/name"), "x");
    assert_string_equal(rig_string(asked.reply, "result/devices/0/uuid"), "U");
    ask_done(&asked);
    rig_done(&rig);
}

/* Ids are bytes here. */
static void test_ids(void **state)
{
    static const char *const ids[] = {"1.50", "\"a\\u0062\"", "-0", ""};
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    for (size_t i = 0; i < 4; i++) {
        char expected[80];
        (void)snprintf(expected, sizeof(expected),
                       "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":", *ids[i] ? ids[i] : "null");
        (void)ask_how(&rig, &asked, "version", NULL, (struct ask_how){.id = ids[i]});
        assert_memory_equal(asked.text, expected, strlen(expected));
        ask_done(&asked);
        (void)ask_how(&rig, &asked, "nix", NULL, (struct ask_how){.id = ids[i]});
        assert_memory_equal(asked.text, expected, strlen(expected) - strlen("\"result\":"));
        ask_done(&asked);
    }
    rig_done(&rig);
}

static void test_unknown(void **state)
{
    static const char *const names[] = {"nix", "", "rpc.", "rpc.nix", "VERSION", "version\n"};
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_true(ask(&rig, &asked, names[i], "{\"whatever\":1}"));
        assert_error(asked.reply, -32601, "method_not_found");
        assert_string_equal(rig_string(asked.reply, "error/data/method"), names[i]);
        ask_done(&asked);
    }
    char name[5001] = {0};
    memset(name, 'x', sizeof(name) - 1);
    for (size_t length = 32; length > 30; length--) {
        name[length] = '\0';
        assert_true(ask(&rig, &asked, name, NULL));
        assert_error(asked.reply, -32601, "method_not_found");
        /* It may be a key that stands in the wrong place. */
        assert_int_equal(rig_at(asked.reply, "error/data/method") != NULL, length < 32);
        ask_done(&asked);
    }
    rig_done(&rig);
}

/* Methods that steer a simulation are unknown where there is none. */
static void test_simulated(void **state)
{
    struct rig rig;
    struct asked asked;
    int count = 0;

    (void)state;
    rig_init(&rig);
    rig.dispatcher.host.sim = NULL;
    for (size_t i = 0; i < method_count; i++) {
        if (method_table[i].simulated) {
            count++;
            assert_true(ask(&rig, &asked, method_table[i].name, "{}"));
            assert_error(asked.reply, -32601, "method_not_found");
            ask_done(&asked);
        }
    }
    assert_true(count > 0);
    rig_done(&rig);
}

static void test_solo(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    assert_true(ask_how(&rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":0}",
                        (struct ask_how){.batch = true}));
    assert_error(asked.reply, -32600, "invalid_request");
    ask_done(&asked);
    assert_true(ask_how(&rig, &asked, "version", NULL, (struct ask_how){.batch = true}));
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
    rig_done(&rig);
}

static void test_access(void **state)
{
    const struct ask_how other = {.uid = 4711};
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    for (size_t i = 0; i < method_count; i++) {
        const struct method *method = &method_table[i];
        if (method->effect == EFFECT_READ) {
            continue;
        }
        /* Before the params are looked at: they are none of this caller's business. */
        assert_true(ask_how(&rig, &asked, method->name, "{\"nix\":1}", other));
        assert_error(asked.reply, 6, "permission_denied");
        assert_non_null(strstr(rig_string(asked.reply, "error/message"), "4711"));
        ask_done(&asked);
    }
    assert_true(ask_how(&rig, &asked, "version", NULL, other));
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
    rig_done(&rig);
}

/* Who may read gets lines without keys, and hears why it gets no others. */
static void test_show_keys(void **state)
{
    static const struct {
        const char *asked_for;
        uid_t uid;
        bool refused, shown;
    } rows[] = {
        {"", 0, false, false},
        {",\"show_keys\":true", 0, false, true},
        {"", 4711, false, false},
        {",\"show_keys\":false", 4711, false, false},
        {",\"show_keys\":true", 4711, true, false},
    };
    struct rig rig;
    struct asked asked;
    char params[128];

    (void)state;
    rig_init(&rig);
    (void)ask_now(&rig, &asked, "simulate_disk_add", "{\"path\":\"/dev/x\",\"sectors\":64}");
    ask_done(&asked);
    (void)ask_now(&rig, &asked, "device_create", "{\"name\":\"c\"}");
    ask_done(&asked);
    (void)ask_now(
        &rig, &asked, "table_load",
        "{\"name\":\"c\",\"targets\":[{\"start\":0,\"length\":8,\"type\":\"crypt\",\"params\":"
        "\"aes-cbc-plain 00112233445566778899aabbccddeeff 0 /dev/x 0\"}]}");
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(
            params, sizeof(params),
            "{\"name\":\"c\",\"flags\":[\"DM_STATUS_TABLE\",\"DM_QUERY_INACTIVE_TABLE\"]%s}",
            rows[i].asked_for);
        (void)ask_how(&rig, &asked, "table_status", params, (struct ask_how){.uid = rows[i].uid});
        ask_wait(&rig, &asked);
        if (rows[i].refused) {
            assert_error(asked.reply, 6, "permission_denied");
            assert_non_null(strstr(rig_string(asked.reply, "error/message"), "may not see keys"));
            assert_null(rig_at(asked.reply, "error/data/ioctl"));
        } else {
            assert_non_null(rig_at(asked.reply, "result"));
        }
        assert_int_equal(strstr(asked.text, "00112233445566778899aabbccddeeff") != NULL,
                         rows[i].shown);
        assert_int_equal(strstr(asked.text, "\"keys_hidden\":true") != NULL,
                         !rows[i].refused && !rows[i].shown);
        ask_done(&asked);
    }
    rig_done(&rig);
}

static void test_params(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    assert_true(ask(&rig, &asked, "device_create", "{\"name\":\"x\",\"nix\":1}"));
    assert_error(asked.reply, -32602, "invalid_params");
    assert_string_equal(rig_string(asked.reply, "error/data/path"), "/nix");
    assert_memory_equal(rig_string(asked.reply, "error/data/reason"), "unknown;", 8);
    ask_done(&asked);
    assert_true(ask(&rig, &asked, "device_status", "[1]"));
    assert_error(asked.reply, -32602, "invalid_params");
    ask_done(&asked);
    assert_true(ask(&rig, &asked, "device_status", NULL));
    assert_error(asked.reply, -32602, "invalid_params");
    ask_done(&asked);
    /* What only the handler can tell. */
    (void)ask_now(&rig, &asked, "device_create", "{\"name\":\"a/b\"}");
    assert_error(asked.reply, -32602, "invalid_params");
    assert_string_equal(rig_string(asked.reply, "error/data/path"), "/name");
    ask_done(&asked);
    rig_done(&rig);
}

/* Whatever becomes of it, and wherever it runs. */
static void test_notifications(void **state)
{
    static const struct {
        const char *method, *params;
    } rows[] = {
        {"version", NULL},
        {"nix", NULL},
        {"device_status", "{\"name\":\"none\"}"},
        {"device_status", "{\"nix\":1}"},
        {"list_devices", NULL},
        {"device_create", "{\"name\":\"made\"}"},
        {"device_create", "{\"name\":\"made\"}"},
        {"device_wait", "{\"name\":\"made\",\"event_nr\":0}"},
        {"device_wait", "{\"name\":\"none\",\"event_nr\":0}"},
    };
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!ask_how(&rig, &asked, rows[i].method, rows[i].params,
                     (struct ask_how){.notification = true, .id = ""})) {
            ask_wait(&rig, &asked);
        }
        assert_string_equal(asked.text, "");
        ask_done(&asked);
    }
    assert_true(rig_exists(&rig, "made")); /* done all the same */
    rig_done(&rig);
}

static void test_closing(void **state)
{
    static const char *const methods[] = {"version", "list_devices", "device_wait"};
    static const char *const params[] = {NULL, NULL, "{\"name\":\"x\",\"event_nr\":0}"};
    struct rig rig;
    struct asked asked;
    struct asked before;

    (void)state;
    rig_init(&rig);
    uint64_t held = rig_hold(&rig, DMI_LIST_DEVICES, "");
    assert_false(ask(&rig, &before, "list_devices", NULL));
    rig_until_held(&rig, held, 1);
    rig.dispatcher.closing = true;
    for (size_t i = 0; i < 3; i++) {
        assert_true(ask(&rig, &asked, methods[i], params[i]));
        assert_error(asked.reply, 13, "shutting_down");
        ask_done(&asked);
    }
    rig_release(&rig, held);
    ask_wait(&rig, &before); /* what ran already is answered */
    assert_non_null(rig_at(before.reply, "result"));
    ask_done(&before);
    rig_done(&rig);
}

static void test_overloaded(void **state)
{
    struct rig rig;
    struct asked first;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig.dispatcher.host.limits.queued_calls = 1;
    uint64_t held = rig_hold(&rig, DMI_LIST_DEVICES, "");
    assert_false(ask(&rig, &first, "list_devices", NULL));
    assert_true(ask(&rig, &asked, "list_devices", NULL));
    assert_error(asked.reply, 11, "overloaded");
    assert_int_equal(json_integer_value(rig_at(asked.reply, "error/data/limit")), 1);
    ask_done(&asked);
    assert_true(ask(&rig, &asked, "version", NULL)); /* the loop serves on */
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
    rig_release(&rig, held);
    ask_wait(&rig, &first);
    ask_done(&first);
    assert_false(ask(&rig, &asked, "list_devices", NULL));
    ask_wait(&rig, &asked);
    ask_done(&asked);
    rig_done(&rig);
}

/* Many wait for one event: when it comes they take no room from others. */
static void test_woken(void **state)
{
    struct rig rig;
    struct asked waits[3];
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", NULL);
    rig.dispatcher.host.limits.queued_calls = 1;
    uint64_t held = rig_hold(&rig, DMI_TABLE_STATUS, "x");
    for (int i = 0; i < 3; i++) {
        assert_false(ask(&rig, &waits[i], "device_wait", "{\"name\":\"x\",\"event_nr\":0}"));
    }
    rig_event(&rig, "x");
    rig_until_held(&rig, held, 3);
    assert_int_equal(rig.dispatcher.woken, 3);
    assert_non_null(rig_at(ask_now(&rig, &asked, "list_devices", NULL), "result"));
    ask_done(&asked);
    rig.dispatcher.host.limits.waits = 3; /* they count among those */
    assert_true(ask(&rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":1}"));
    assert_error(asked.reply, 11, "overloaded");
    ask_done(&asked);
    rig_release(&rig, held);
    for (int i = 0; i < 3; i++) {
        ask_wait(&rig, &waits[i]);
        ask_done(&waits[i]);
    }
    rig_done(&rig);
}

static bool is_paused(void *what)
{
    const struct call *call = what;
    return call->life.stage == CALL_PAUSED;
}

/* A remove of a device that is busy for so many tries (0: for all), which is tried again. */
static void begin_remove(struct rig *rig, struct asked *asked, uint32_t busy)
{
    rig_init(rig);
    rig_device(rig, "x", NULL);
    rig_fault(rig, DMI_DEV_REMOVE, EBUSY, busy);
    assert_false(
        ask(rig, asked, "device_remove", "{\"name\":\"x\",\"retry\":true,\"timeout_ms\":60000}"));
}

/* However often it is tried: one result, zeroed. */
static void test_tries(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    begin_remove(&rig, &asked, 3);
    rig_until(&rig, is_paused, &asked.call);
    const void *result = asked.call.result;
    ask_wait(&rig, &asked);
    assert_ptr_equal(asked.call.result, result);
    assert_int_equal(json_integer_value(rig_at(asked.reply, "result/tries")), 4);
    assert_null(rig_at(asked.reply, "error"));
    ask_done(&asked);
    rig_done(&rig);
}

static void wait_for_workers(struct rig *rig)
{
    size_t threads;
    size_t running;

    do {
        workers_count(rig->dispatcher.workers, &threads, &running);
    } while (running > 0);
}

/* The try has failed, and the loop has not heard of it yet: there is no other one. */
static void test_ended_after_a_try(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    begin_remove(&rig, &asked, 1);
    wait_for_workers(&rig);
    assert_int_equal(calls_stop(&asked.call, ERROR_CANCELLED, 5), CALLS_INTERRUPTED);
    ask_wait(&rig, &asked);
    assert_error(asked.reply, 10, "cancelled");
    assert_non_null(strstr(rig_string(asked.reply, "error/message"), "tried 1 time while"));
    assert_true(rig_exists(&rig, "x"));
    ask_done(&asked);
    rig_done(&rig);
}

static bool is_in_line(void *what)
{
    const struct call *call = what;
    return call->life.stage == CALL_WORKER;
}

/* Its time ends while the next try stands behind others: that one is the last, and looks for the
 * reason. */
static void test_time_ends_before_the_last_try(void **state)
{
    enum { WORKERS = 4 };
    struct rig rig;
    struct asked asked, others[WORKERS];
    char params[] = "{\"name\":\"0\"}";

    (void)state;
    begin_remove(&rig, &asked, 0);
    rig_until(&rig, is_paused, &asked.call);
    uint64_t held = rig_hold(&rig, DMI_TABLE_CLEAR, "");
    for (int i = 0; i < WORKERS; i++) {
        params[9] = (char)('a' + i);
        rig_device(&rig, (char[]){params[9], '\0'}, NULL);
        assert_false(ask(&rig, &others[i], "table_clear", params));
    }
    rig_until_held(&rig, held, WORKERS);
    rig_until(&rig, is_in_line, &asked.call);
    unsigned int tries = asked.call.tries;
    asked.call.life.came -= UINT64_C(60000000000);
    assert_int_equal(calls_stop(&asked.call, ERROR_TIMED_OUT, 0), CALLS_INTERRUPTED);
    rig_release(&rig, held);
    wait_for_workers(&rig);
    ask_wait(&rig, &asked);
    assert_error(asked.reply, 3, "device_busy");
    assert_int_equal(asked.call.tries, tries + 1);
    assert_non_null(strstr(rig_string(asked.reply, "error/data/state"), "as before; tried "));
    assert_non_null(rig_string(asked.reply, "error/data/hint"));
    for (int i = 0; i < WORKERS; i++) {
        ask_wait(&rig, &others[i]);
        ask_done(&others[i]);
    }
    ask_done(&asked);
    rig_done(&rig);
}

/* Its time ends between two tries, as when the loop was late: it is tried at once, for the last
 * time. */
static void test_time_ends_between_two_tries(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    begin_remove(&rig, &asked, 0);
    rig_until(&rig, is_paused, &asked.call);
    unsigned int tries = asked.call.tries;
    asked.call.life.came -= UINT64_C(60000000000);
    assert_int_equal(calls_stop(&asked.call, ERROR_TIMED_OUT, 0), CALLS_INTERRUPTED);
    ask_wait(&rig, &asked);
    assert_error(asked.reply, 3, "device_busy");
    assert_int_equal(asked.call.tries, tries + 1);
    assert_non_null(rig_string(asked.reply, "error/data/hint"));
    ask_done(&asked);
    rig_done(&rig);
}

static void test_no_thread(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", NULL);
    no_threads = true;
    assert_false(ask(&rig, &asked, "list_devices", NULL)); /* it comes back as from a thread */
    assert_int_equal(asked.done, 0);
    ask_wait(&rig, &asked);
    assert_error(asked.reply, 11, "overloaded");
    ask_done(&asked);
    assert_false(ask(&rig, &asked, "device_remove", "{\"name\":\"x\"}"));
    ask_wait(&rig, &asked);
    assert_error(asked.reply, 11, "overloaded");
    ask_done(&asked);
    assert_false(ask(&rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":99}"));
    ask_wait(&rig, &asked);
    assert_error(asked.reply, 11, "overloaded");
    ask_done(&asked);
    no_threads = false;
    assert_true(rig_exists(&rig, "x"));
    rig_done(&rig);
}

/* --- order --- */

static void test_one_device_in_order(void **state)
{
    struct rig rig;
    struct asked create, remove, other, again;
    int clock = 0;
    const struct ask_how how = {.clock = &clock};

    (void)state;
    rig_init(&rig);
    uint64_t held = rig_hold(&rig, DMI_DEV_CREATE, "x");
    assert_false(ask_how(&rig, &create, "device_create", "{\"name\":\"x\"}", how));
    assert_false(ask_how(&rig, &remove, "device_remove", "{\"name\":\"x\"}", how));
    assert_false(ask_how(&rig, &again, "device_create", "{\"name\":\"x\"}", how));
    assert_false(ask_how(&rig, &other, "device_create", "{\"name\":\"y\"}", how));
    ask_wait(&rig, &other); /* another device does not wait for this one */
    rig_until_held(&rig, held, 1);
    rig_sleep(&rig, 10);
    assert_int_equal(create.done + remove.done + again.done, 0);
    assert_int_equal(rig.dispatcher.pending, 3);
    rig_release(&rig, held);
    ask_wait(&rig, &again);
    assert_int_equal(other.when, 1);
    assert_int_equal(create.when, 2);
    assert_int_equal(remove.when, 3);
    assert_int_equal(again.when, 4);
    assert_non_null(rig_at(remove.reply, "result"));
    assert_non_null(rig_at(again.reply, "result"));
    ask_done(&create);
    ask_done(&remove);
    ask_done(&other);
    ask_done(&again);
    rig_done(&rig);
}

/* By name, uuid or number: it is one device. */
static void test_one_device_by_all_names(void **state)
{
    static const char *const params[] = {
        "{\"uuid\":\"U\"}", "{\"device\":{\"major\":254,\"minor\":0}}", "{\"name\":\"x\"}"};
    struct rig rig;
    struct asked first, asked[3], other;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", "U");
    rig_device(&rig, "y", NULL);
    uint64_t held = rig_hold(&rig, DMI_TABLE_CLEAR, "x");
    assert_false(ask(&rig, &first, "table_clear", "{\"name\":\"x\"}"));
    rig_until_held(&rig, held, 1);
    for (int i = 0; i < 3; i++) {
        assert_false(ask(&rig, &asked[i], "table_clear", params[i]));
    }
    assert_false(ask(&rig, &other, "table_clear", "{\"name\":\"y\"}"));
    ask_wait(&rig, &other);
    rig_sleep(&rig, 10);
    rig_until_held(&rig, held, 1);
    assert_int_equal(workers_busy(rig.dispatcher.workers), 1); /* those that wait hold no worker */
    rig_release(&rig, held);
    for (int i = 0; i < 3; i++) {
        ask_wait(&rig, &asked[i]);
        assert_non_null(rig_at(asked[i].reply, "result"));
        ask_done(&asked[i]);
    }
    ask_done(&first);
    ask_done(&other);
    rig_done(&rig);
}

/* What somebody else renames or removes meanwhile is still the device that a change runs on. */
static void test_names_move(void **state)
{
    struct rig rig;
    struct asked first, second;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", NULL);
    uint64_t held = rig_hold(&rig, DMI_TABLE_CLEAR, "");
    assert_false(ask(&rig, &first, "table_clear", "{\"name\":\"x\"}"));
    rig_until_held(&rig, held, 1);
    rig_rename(&rig, "x", "w");
    assert_false(ask(&rig, &second, "table_clear", "{\"name\":\"w\"}"));
    assert_int_equal(workers_busy(rig.dispatcher.workers), 1);
    rig_release(&rig, held);
    ask_wait(&rig, &first);
    ask_wait(&rig, &second);
    assert_error(first.reply, 1, "device_not_found");
    assert_non_null(rig_at(second.reply, "result"));
    ask_done(&first);
    ask_done(&second);

    held = rig_hold(&rig, DMI_TABLE_CLEAR, "");
    assert_false(ask(&rig, &first, "table_clear", "{\"device\":{\"major\":254,\"minor\":0}}"));
    rig_until_held(&rig, held, 1);
    rig_remove(&rig, "w");
    assert_false(ask(&rig, &second, "device_create", "{\"name\":\"w\"}"));
    assert_int_equal(workers_busy(rig.dispatcher.workers), 1);
    rig_release(&rig, held);
    ask_wait(&rig, &first);
    ask_wait(&rig, &second);
    assert_error(first.reply, 1, "device_not_found");
    assert_non_null(rig_at(second.reply, "result"));
    ask_done(&first);
    ask_done(&second);
    rig_done(&rig);
}

/* remove_all concerns every device; reads wait for nothing. */
static void test_all_devices(void **state)
{
    struct rig rig;
    struct asked create, all, list, late;
    int clock = 0;
    const struct ask_how how = {.clock = &clock};

    (void)state;
    rig_init(&rig);
    uint64_t held = rig_hold(&rig, DMI_DEV_CREATE, "x");
    assert_false(ask_how(&rig, &create, "device_create", "{\"name\":\"x\"}", how));
    assert_false(ask_how(&rig, &all, "remove_all", "{\"confirm\":true}", how));
    assert_false(ask_how(&rig, &late, "device_create", "{\"name\":\"y\"}", how));
    assert_false(ask_how(&rig, &list, "list_devices", NULL, how));
    ask_wait(&rig, &list);
    assert_int_equal(create.done + all.done + late.done, 0);
    rig_release(&rig, held);
    ask_wait(&rig, &late);
    assert_int_equal(create.when, 2);
    assert_int_equal(all.when, 3);
    assert_int_equal(late.when, 4);
    assert_false(rig_exists(&rig, "x"));
    assert_true(rig_exists(&rig, "y"));
    ask_done(&create);
    ask_done(&all);
    ask_done(&list);
    ask_done(&late);
    rig_done(&rig);
}

/* --- replies --- */

static void test_reply_too_large(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    for (int i = 0; i < 200; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "dev-%d", i);
        rig_device(&rig, name, NULL);
    }
    (void)ask_now(&rig, &asked, "list_devices", NULL);
    size_t length = strlen(asked.text);
    ask_done(&asked);

    rig.dispatcher.host.limits.reply_bytes = (uint32_t)length; /* the kernel's own is shorter */
    (void)ask_now(&rig, &asked, "list_devices", NULL);
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);

    rig.dispatcher.host.limits.reply_bytes = (uint32_t)length - 1;
    (void)ask_now(&rig, &asked, "list_devices", NULL);
    assert_error(asked.reply, 12, "reply_too_large");
    assert_int_equal(json_integer_value(rig_at(asked.reply, "error/data/limit")), length - 1);
    assert_int_equal(json_integer_value(rig_at(asked.reply, "id")), 7);
    ask_done(&asked);
    rig_done(&rig);
}

/* An error is told whatever the limit: it must not turn into "carried out". */
static void test_error_past_limit(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig.dispatcher.host.limits.reply_bytes = 20;
    (void)ask(&rig, &asked, "nix", NULL);
    assert_error(asked.reply, -32601, "method_not_found");
    ask_done(&asked);
    (void)ask(&rig, &asked, "version", NULL);
    assert_error(asked.reply, 12, "reply_too_large");
    ask_done(&asked);
    rig_done(&rig);
}

static void test_no_room_for_reply(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    for (int i = 0; i < 200; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "dev-%d", i);
        rig_device(&rig, name, NULL);
    }
    rig.budget.limit = 8192; /* one small block, not a large one */
    (void)ask_now(&rig, &asked, "list_devices", NULL);
    assert_error(asked.reply, 11, "overloaded");
    ask_done(&asked);
    rig.budget.limit = 100; /* nothing at all: whoever sends replies must see it */
    assert_true(ask(&rig, &asked, "version", NULL));
    assert_string_equal(asked.text, "");
    assert_int_equal(asked.out.error, -ENOBUFS);
    ask_done(&asked);
    rig_done(&rig);
}

/* --- what fails --- */

static void test_kernel_fails(void **state)
{
    struct rig rig;
    struct asked asked;
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = "x"};

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", "U");
    (void)ask_now(&rig, &asked, "device_status", "{\"name\":\"none\"}");
    assert_error(asked.reply, 1, "device_not_found");
    assert_string_equal(rig_string(asked.reply, "error/data/name"), "none");
    assert_string_equal(rig_string(asked.reply, "error/data/ioctl"), "DM_DEV_STATUS");
    assert_int_equal(json_integer_value(rig_at(asked.reply, "error/data/errno")), ENXIO);
    ask_done(&asked);

    assert_int_equal(dmi_sim_hold(rig.sim, &id), 0);
    (void)ask_now(&rig, &asked, "device_remove", "{\"uuid\":\"U\"}");
    assert_error(asked.reply, 3, "device_busy");
    assert_json_equal(rig_at(asked.reply, "error/data/device"), "{\"major\":254,\"minor\":0}");
    assert_int_equal(dmi_sim_release(rig.sim, &id), 0);
    ask_done(&asked);

    /* ENXIO of a device that is there is about another. */
    (void)ask_now(&rig, &asked, "table_load",
                  "{\"name\":\"x\",\"targets\":[{\"start\":0,\"length\":8,\"type\":\"linear\","
                  "\"params\":\"/dev/none 0\"}]}");
    assert_error(asked.reply, 4, "table_rejected");
    ask_done(&asked);

    rig_fault(&rig, DMI_DEV_STATUS, EIO, 1);
    (void)ask_now(&rig, &asked, "device_status", "{\"device\":{\"major\":254,\"minor\":0}}");
    assert_error(asked.reply, 14, "kernel_error");
    assert_json_equal(rig_at(asked.reply, "error/data/device"), "{\"major\":254,\"minor\":0}");
    ask_done(&asked);
    rig_done(&rig);
}

/*
 * Memory that ends at each allocation in turn, on the loop thread: an error or the
 * result, never neither, and nothing stays behind.
 */
static void test_no_memory(void **state)
{
    static const struct {
        const char *method, *params;
    } rows[] = {
        {"version", NULL},
        {"server_info", NULL},
        {"server_stats", NULL},
        {"device_status", "{\"name\":\"x\"}"},
        {"table_deps", "{\"name\":\"x\"}"},
        {"list_versions", NULL},
        {"nix", NULL},
        {"device_wait", "{\"name\":\"x\",\"event_nr\":0,\"timeout_ms\":1}"},
    };
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", NULL);
    (void)ask_now(&rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":0,\"timeout_ms\":0}");
    ask_done(&asked); /* the control file is open now: the simulation's own memory may not fail */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool failed = true;
        int failures = 0;
        for (long at = 0; failed; at++) {
            const struct dispatch_request request = {.peer = &(struct peer){0},
                                                     .method = rows[i].method};
            struct out out;
            struct call call = {.id = "7", .id_length = 1, .out = &out};
            json_t *params = rows[i].params ? rig_json(rows[i].params) : NULL;
            call.params_json = params;
            out_init(&out, SIZE_MAX, &rig.budget);
            memory_fail_at(at);
            bool ended = dispatch_begin(&rig.dispatcher, &call, &request);
            failed = memory_failed();
            memory_fail_at(-1);
            failures += failed;
            if (!ended) {
                assert_true(call.parked);
                dispatch_forget(&call);
            } else if (!out.error) {
                char *text = rig_text(&out, NULL);
                json_t *reply = rig_json(text);
                assert_int_equal(rig_at(reply, "error") != NULL,
                                 failed || strcmp(rows[i].method, "nix") == 0);
                json_decref(reply);
                free(text);
            }
            assert_null(call.arena.blocks);
            out_done(&out);
            json_decref(params);
            assert_int_equal(rig.budget.used, 0);
        }
        assert_true(failures > 0);
    }
    rig_done(&rig);
}

/* --- parked --- */

static void test_parked(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", NULL);
    assert_false(ask(&rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":0}"));
    assert_true(asked.call.parked);
    assert_int_equal(rig.dispatcher.pending, 0);
    assert_int_equal(workers_busy(rig.dispatcher.workers), 0);
    rig_event(&rig, "x");
    ask_wait(&rig, &asked);
    assert_false(asked.call.parked);
    assert_int_equal(json_integer_value(rig_at(asked.reply, "result/info/event_nr")), 1);
    ask_done(&asked);

    /* A number that differs already is answered at once, by a worker. */
    assert_false(ask(&rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":0}"));
    assert_false(asked.call.parked);
    assert_int_equal(rig.dispatcher.woken, 1);
    ask_wait(&rig, &asked);
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);

    assert_true(ask(&rig, &asked, "device_wait", "{\"name\":\"none\",\"event_nr\":0}"));
    assert_error(asked.reply, 1, "device_not_found");
    ask_done(&asked);
    rig_done(&rig);
}

static void test_forget(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    rig_device(&rig, "x", NULL);
    assert_false(ask(&rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":0}"));
    dispatch_forget(&asked.call);
    assert_false(asked.call.parked);
    rig_event(&rig, "x");
    rig_sleep(&rig, 15);
    assert_int_equal(asked.done, 0);
    asked.done = 1;
    ask_done(&asked);
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_loop),
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_simulated),
        cmocka_unit_test(test_solo),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_show_keys),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_notifications),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_overloaded),
        cmocka_unit_test(test_woken),
        cmocka_unit_test(test_tries),
        cmocka_unit_test(test_ended_after_a_try),
        cmocka_unit_test(test_time_ends_before_the_last_try),
        cmocka_unit_test(test_time_ends_between_two_tries),
        cmocka_unit_test(test_no_thread),
        cmocka_unit_test(test_one_device_in_order),
        cmocka_unit_test(test_one_device_by_all_names),
        cmocka_unit_test(test_names_move),
        cmocka_unit_test(test_all_devices),
        cmocka_unit_test(test_reply_too_large),
        cmocka_unit_test(test_error_past_limit),
        cmocka_unit_test(test_no_room_for_reply),
        cmocka_unit_test(test_kernel_fails),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_parked),
        cmocka_unit_test(test_forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
