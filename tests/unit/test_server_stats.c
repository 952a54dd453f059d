/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of stats.c, and of the places where calls are counted. */
#include "server_ask.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Where it is not 0 the time is this. */
static uint64_t fixed_ns;

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    if (fixed_ns == 0) {
        return __real_clock_gettime(clock, time);
    }
    time->tv_sec = (time_t)(fixed_ns / 1000000000);
    time->tv_nsec = (long)(fixed_ns % 1000000000);
    return 0;
}

static int setup(void **state)
{
    static struct rig rig;

    rig_init(&rig);
    rig_device(&rig, "x", NULL);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    fixed_ns = 0;
    rig_done(*state);
    return 0;
}

static struct stats read_stats(struct rig *rig)
{
    struct stats stats;

    stats_read(&rig->dispatcher, &stats);
    return stats;
}

static void assert_calls(struct rig *rig, const char *name, unsigned ended, unsigned failed)
{
    const struct stats stats = read_stats(rig);

    for (size_t i = 0; i < stats.calls_count; i++) {
        if (strcmp(stats.calls[i].method, name) == 0) {
            assert_int_equal(stats.calls[i].ended, ended);
            assert_int_equal(stats.calls[i].failed, failed);
            return;
        }
    }
    fail_msg("there is no row of %s", name);
}

static void assert_errors(struct rig *rig, const char *name, unsigned given)
{
    const struct stats stats = read_stats(rig);

    for (size_t i = 0; i < stats.errors_count; i++) {
        if (strcmp(stats.errors[i].error, name) == 0) {
            assert_int_equal(stats.errors[i].given, given);
            return;
        }
    }
    fail_msg("there is no row of %s", name);
}

/* --- the histogram --- */

static void test_buckets(void **state)
{
    struct rig *rig = *state;
    struct counters *counters = &rig->dispatcher.counters;
    struct call call = {.method = method_find("version"), .began = 1};
    const uint64_t first = 50000;
    const uint64_t last = UINT64_C(30000000000);

    struct stats stats = read_stats(rig);
    assert_int_equal(stats.duration.buckets_count, STATS_BUCKETS);
    assert_int_equal(stats.duration.buckets[0].up_to_ns, first);
    assert_int_equal(stats.duration.buckets[STATS_BUCKETS - 1].up_to_ns, last);
    for (size_t i = 1; i < STATS_BUCKETS; i++) {
        assert_true(stats.duration.buckets[i - 1].up_to_ns < stats.duration.buckets[i].up_to_ns);
    }

    /* One at each bound, which belongs to it, and one just past it. */
    uint64_t sum = 0;
    for (size_t i = 0; i < STATS_BUCKETS; i++) {
        for (uint64_t past = 0; past < 2; past++) {
            uint64_t took = stats.duration.buckets[i].up_to_ns + past;
            fixed_ns = call.began + took;
            stats_ended(counters, &call, &call.failure);
            sum += took;
        }
    }
    stats = read_stats(rig);
    for (size_t i = 0; i < STATS_BUCKETS; i++) {
        assert_int_equal(stats.duration.buckets[i].count, 2 * i + 1);
    }
    assert_int_equal(stats.duration.count, 2 * STATS_BUCKETS);
    assert_int_equal(stats.duration.sum_ns, sum);
    assert_calls(rig, "version", 2 * STATS_BUCKETS, 0);
}

/* --- calls --- */

static void test_calls(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    (void)ask_now(rig, &asked, "version", NULL);
    ask_done(&asked);
    (void)ask_now(rig, &asked, "list_devices", NULL);
    ask_done(&asked);
    (void)ask_now(rig, &asked, "device_status", "{\"name\":\"none\"}");
    ask_done(&asked);
    (void)ask_now(rig, &asked, "device_remove", "{\"name\":\"none\"}");
    ask_done(&asked);
    (void)ask_now(rig, &asked, "version", "{\"a\":1}");
    ask_done(&asked);
    assert_calls(rig, "version", 2, 1);
    assert_calls(rig, "list_devices", 1, 0);
    assert_calls(rig, "device_status", 1, 1);
    assert_calls(rig, "device_remove", 1, 1);
    assert_calls(rig, "device_create", 0, 0);
    assert_errors(rig, "device_not_found", 2);
    assert_errors(rig, "invalid_params", 1);
    assert_int_equal(read_stats(rig).duration.count, 5);
    assert_int_equal(read_stats(rig).limited, 0);
}

static void test_notifications(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    (void)ask_how(rig, &asked, "version", NULL, (struct ask_how){.notification = true});
    ask_done(&asked);
    (void)ask_how(rig, &asked, "device_remove", "{\"name\":\"none\"}",
                  (struct ask_how){.notification = true});
    ask_wait(rig, &asked);
    ask_done(&asked);
    assert_calls(rig, "version", 1, 0);
    assert_calls(rig, "device_remove", 1, 1);
    assert_errors(rig, "device_not_found", 1);
}

/* A call that names no method is an error, and nobody's call. */
static void test_no_method(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    (void)ask_now(rig, &asked, "nix", NULL);
    ask_done(&asked);
    assert_errors(rig, "method_not_found", 1);
    assert_int_equal(read_stats(rig).duration.count, 0);
}

static void test_denied(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    assert_true(
        ask_how(rig, &asked, "remove_all", "{\"confirm\":true}", (struct ask_how){.uid = 12345}));
    ask_done(&asked);
    assert_calls(rig, "remove_all", 1, 1);
    assert_errors(rig, "permission_denied", 1);
}

static void test_limited(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    rig->dispatcher.host.limits.reply_bytes = 100;
    (void)ask_now(rig, &asked, "server_stats", NULL);
    assert_error(asked.reply, 12, "reply_too_large");
    ask_done(&asked);
    rig->dispatcher.host.limits.queued_calls = 0;
    (void)ask_now(rig, &asked, "list_devices", NULL);
    assert_error(asked.reply, 11, "overloaded");
    ask_done(&asked);
    assert_calls(rig, "server_stats", 1, 1);
    assert_calls(rig, "list_devices", 1, 1);
    assert_errors(rig, "reply_too_large", 1);
    assert_errors(rig, "overloaded", 1);
    assert_int_equal(read_stats(rig).limited, 2);
}

/* The time on a worker counts, and that in a line for it. */
static void test_worker_time(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    uint64_t hold = rig_hold(rig, DMI_DEV_REMOVE, "x");
    assert_false(ask(rig, &asked, "device_remove", "{\"name\":\"x\"}"));
    rig_until_held(rig, hold, 1);
    rig_sleep(rig, 20);
    rig_release(rig, hold);
    ask_wait(rig, &asked);
    ask_done(&asked);
    const struct stats stats = read_stats(rig);
    assert_int_equal(stats.duration.count, 1);
    assert_true(stats.duration.sum_ns >= 20000000);
    assert_int_equal(stats.duration.buckets[7].up_to_ns, 10000000);
    assert_int_equal(stats.duration.buckets[7].count, 0);
}

/* --- waits --- */

static const char wait_x[] = "{\"name\":\"x\",\"event_nr\":0}";

/* What was spent in waiting is not in the histogram, however the wait ends. */
static void test_wait_time(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    assert_false(ask(rig, &asked, "device_wait", wait_x));
    rig_sleep(rig, 300);
    rig_event(rig, "x");
    ask_wait(rig, &asked);
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
    assert_false(
        ask(rig, &asked, "device_wait", "{\"name\":\"x\",\"event_nr\":1,\"timeout_ms\":300}"));
    ask_wait(rig, &asked);
    assert_error(asked.reply, 9, "timed_out");
    ask_done(&asked);

    const struct stats stats = read_stats(rig);
    assert_calls(rig, "device_wait", 2, 1);
    assert_errors(rig, "timed_out", 1);
    assert_int_equal(stats.duration.count, 2);
    assert_true(stats.duration.sum_ns < 300000000);
    assert_int_equal(stats.waits_abandoned, 0);
}

static void test_wait_abandoned(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    assert_false(ask(rig, &asked, "device_wait", wait_x));
    assert_int_equal(read_stats(rig).waits, 1);
    dispatch_forget(&asked.call);
    asked.done = 1;
    ask_done(&asked);
    assert_int_equal(read_stats(rig).waits, 0);
    assert_int_equal(read_stats(rig).waits_abandoned, 1);
    assert_calls(rig, "device_wait", 0, 0);
}

/* --- what is looked up --- */

/* A thread that has nothing to do stays for a while. */
static bool is_unused(void *what)
{
    const struct stats stats = read_stats(what);
    return stats.workers == 1 && stats.workers_busy == 0;
}

static void test_load(void **state)
{
    struct rig *rig = *state;
    struct asked first;
    struct asked second;

    struct stats stats = read_stats(rig);
    assert_int_equal(stats.pending, 0);
    assert_int_equal(stats.workers, 0);
    assert_int_equal(stats.held_bytes, 0);
    assert_true(budget_take(&rig->budget, 1234));
    uint64_t hold = rig_hold(rig, DMI_DEV_REMOVE, "x");
    assert_false(ask(rig, &first, "device_remove", "{\"name\":\"x\"}"));
    assert_false(ask(rig, &second, "device_remove", "{\"name\":\"x\"}")); /* not its turn */
    rig_until_held(rig, hold, 1);
    stats = read_stats(rig);
    assert_int_equal(stats.pending, 2);
    assert_int_equal(stats.workers, 1);
    assert_int_equal(stats.workers_busy, 1);
    assert_int_equal(stats.held_bytes, 1234);
    rig_release(rig, hold);
    ask_wait(rig, &first);
    ask_wait(rig, &second);
    ask_done(&first);
    ask_done(&second);
    budget_give(&rig->budget, 1234);
    rig_until(rig, is_unused, rig);
    stats = read_stats(rig);
    assert_int_equal(stats.pending, 0);
    assert_int_equal(stats.held_bytes, 0);
    assert_calls(rig, "device_remove", 2, 1);
}

static void test_constant(void **state)
{
    struct rig *rig = *state;

    rig->dispatcher.host.started = 1700000000;
    const struct stats stats = read_stats(rig);
    assert_int_equal(stats.start_time_seconds, 1700000000);
    assert_string_equal(stats.build.api, DMRPC_API);
    assert_string_equal(stats.build.backend, "simulated");
    assert_true(stats.build.version[0]);
    assert_int_equal(stats.workers_limit, rig->dispatcher.host.limits.workers);
    assert_int_equal(stats.held_limit_bytes, rig->budget.limit);
    assert_int_equal(stats.connections_count, STATS_PROTOCOLS);
    assert_string_equal(stats.connections[STATS_RAW].protocol, "raw");
    assert_string_equal(stats.connections[STATS_HTTP].protocol, "http");
    assert_int_equal(stats.calls_count, method_count);
    assert_string_equal(stats.errors[0].error, "parse_error");
    assert_int_equal(stats.errors_count, ERROR_COUNT - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_buckets),     TEST(test_calls),     TEST(test_notifications),
        TEST(test_no_method),   TEST(test_denied),    TEST(test_limited),
        TEST(test_worker_time), TEST(test_wait_time), TEST(test_wait_abandoned),
        TEST(test_load),        TEST(test_constant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
