/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of waits.c: parked device_wait calls, on the simulated kernel. */
#include "server_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char wait_x[] = "{\"name\":\"x\",\"event_nr\":0}";
static const char wait_y[] = "{\"name\":\"y\",\"event_nr\":0}";

static int setup(void **state)
{
    static struct rig rig;

    rig_init(&rig);
    rig_device(&rig, "x", "UX");
    rig_device(&rig, "y", NULL);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_done(*state);
    return 0;
}

static void park(struct rig *rig, struct asked *asked, const char *params)
{
    assert_false(ask(rig, asked, "device_wait", params));
    assert_true(asked->call.parked);
}

static void assert_event(const struct asked *asked, const char *name, int event_nr)
{
    assert_string_equal(rig_string(asked->reply, "result/info/name"), name);
    assert_int_equal(json_integer_value(rig_at(asked->reply, "result/info/event_nr")), event_nr);
    assert_string_equal(rig_string(asked->reply, "result/targets/0/type"), "zero");
}

static void test_event(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    park(rig, &asked, wait_x);
    rig_event(rig, "x");
    ask_wait(rig, &asked);
    assert_event(&asked, "x", 1);
    ask_done(&asked);
}

/* Only those whose device it was; the others wait on, and are not lost by the wake-up. */
static void test_others_wait_on(void **state)
{
    struct rig *rig = *state;
    struct asked x, x2, y;

    park(rig, &x, wait_x);
    park(rig, &y, wait_y);
    park(rig, &x2, "{\"uuid\":\"UX\",\"event_nr\":0}");
    rig_event(rig, "x");
    ask_wait(rig, &x);
    ask_wait(rig, &x2);
    assert_int_equal(y.done, 0);
    rig_sleep(rig, 25);
    assert_int_equal(y.done, 0);
    assert_true(y.call.parked);
    rig_event(rig, "y");
    ask_wait(rig, &y);
    assert_event(&y, "y", 1);
    ask_done(&x);
    ask_done(&x2);
    ask_done(&y);
}

/* Events of a device nobody waits for, one after another. */
static void test_spurious(void **state)
{
    struct rig *rig = *state;
    struct asked x;

    park(rig, &x, wait_x);
    for (int i = 0; i < 5; i++) {
        rig_event(rig, "y");
        rig_sleep(rig, 12);
        assert_int_equal(x.done, 0);
    }
    rig_event(rig, "x");
    ask_wait(rig, &x);
    ask_done(&x);
}

/* Events faster than lists: at most one list in 10 ms, and none is missed. */
static void test_many_events(void **state)
{
    struct rig *rig = *state;

    for (int i = 0; i < 20; i++) {
        char params[64];
        struct asked asked;
        (void)snprintf(params, sizeof(params), "{\"name\":\"x\",\"event_nr\":%d}", i);
        park(rig, &asked, params);
        rig_event(rig, "y");
        rig_event(rig, "x");
        ask_wait(rig, &asked);
        assert_event(&asked, "x", i + 1);
        ask_done(&asked);
    }
}

static double now(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void test_timeout(void **state)
{
    struct rig *rig = *state;
    struct asked asked;
    struct asked other;
    double start = now();

    park(rig, &other, wait_x);
    park(rig, &asked, "{\"name\":\"x\",\"event_nr\":0,\"timeout_ms\":20}");
    ask_wait(rig, &asked);
    assert_true(now() - start >= 0.02);
    assert_error(asked.reply, 9, "timed_out");
    assert_non_null(strstr(rig_string(asked.reply, "error/message"), "20 ms"));
    assert_non_null(strstr(rig_string(asked.reply, "error/message"), "device 'x'"));
    ask_done(&asked);
    assert_int_equal(other.done, 0);

    park(rig, &asked, "{\"name\":\"x\",\"event_nr\":0,\"timeout_ms\":0}");
    ask_wait(rig, &asked);
    assert_error(asked.reply, 9, "timed_out");
    ask_done(&asked);

    /* In time: the timer must not fire afterwards. */
    park(rig, &asked, "{\"name\":\"x\",\"event_nr\":0,\"timeout_ms\":60000}");
    assert_true(ev_is_active(&asked.call.life.deadline));
    rig_event(rig, "x");
    ask_wait(rig, &asked);
    ask_wait(rig, &other);
    assert_event(&asked, "x", 1);
    assert_false(ev_is_active(&asked.call.life.deadline));
    ask_done(&asked);
    ask_done(&other);
}

static void test_remove(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    park(rig, &asked, wait_x);
    rig_remove(rig, "x");
    ask_wait(rig, &asked);
    assert_error(asked.reply, 1, "device_not_found");
    ask_done(&asked);
}

/* Another device under the same name, or even the same number, is not the one waited for. */
static void test_made_anew(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    park(rig, &asked, wait_x);
    rig_remove(rig, "x");
    rig_device(rig, "other", NULL); /* takes the number */
    rig_device(rig, "x", NULL);
    ask_wait(rig, &asked);
    assert_error(asked.reply, 1, "device_not_found");
    ask_done(&asked);
}

/* A rename is an event, and the answer bears the new name. */
static void test_rename(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    park(rig, &asked, wait_x);
    rig_rename(rig, "x", "z");
    ask_wait(rig, &asked);
    if (rig_at(asked.reply, "result")) {
        assert_event(&asked, "z", 1);
    } else {
        fail_msg("%s", asked.text);
    }
    ask_done(&asked);
}

static void test_end_all(void **state)
{
    struct rig *rig = *state;
    struct asked asked[3];

    park(rig, &asked[0], wait_x);
    park(rig, &asked[1], "{\"name\":\"y\",\"event_nr\":0,\"timeout_ms\":10000}");
    park(rig, &asked[2], wait_x);
    waits_end_all(rig->dispatcher.waits);
    for (int i = 0; i < 3; i++) {
        ask_wait(rig, &asked[i]);
        assert_error(asked[i].reply, 13, "shutting_down");
        ask_done(&asked[i]);
    }
    waits_end_all(rig->dispatcher.waits);
}

/* Removed in any order: the line stays whole. */
static void test_remove_any(void **state)
{
    static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 0, 2}, {1, 2, 0}};
    struct rig *rig = *state;

    for (size_t i = 0; i < 4; i++) {
        struct asked asked[3];
        for (int j = 0; j < 3; j++) {
            park(rig, &asked[j], wait_x);
        }
        for (int j = 0; j < 3; j++) {
            struct asked *gone = &asked[orders[i][j]];
            dispatch_forget(&gone->call);
            gone->done = 1;
            ask_done(gone);
        }
    }
}

/* The number moves between the look at it and the wait: armed first, nothing is lost. */
static void test_list_is_older(void **state)
{
    struct rig *rig = *state;
    struct asked first, second;

    park(rig, &first, wait_x);
    uint64_t held = rig_hold(rig, DMI_LIST_DEVICES, "");
    rig_event(rig, "y"); /* a list is on its way, and slow */
    rig_until_held(rig, held, 1);
    park(rig, &second, "{\"name\":\"y\",\"event_nr\":1}");
    rig_event(rig, "y");
    rig_release(rig, held);
    ask_wait(rig, &second);
    assert_event(&second, "y", 2);
    assert_int_equal(first.done, 0);
    rig_event(rig, "x");
    ask_wait(rig, &first);
    ask_done(&first);
    ask_done(&second);
}

/* Neither the list before nor the one after has it: nothing seems to have changed between them. */
static void test_gone_between_two_lists(void **state)
{
    struct rig *rig = *state;
    struct asked first, listed, asked;

    park(rig, &first, wait_x);
    park(rig, &listed, wait_y);
    rig_event(rig, "y");
    ask_wait(rig, &listed); /* so there is a list */
    rig_device(rig, "z", NULL);
    park(rig, &asked, "{\"name\":\"z\",\"event_nr\":0}");
    rig_remove(rig, "z");
    ask_wait(rig, &asked);
    assert_error(asked.reply, 1, "device_not_found");
    assert_int_equal(first.done, 0);
    rig_event(rig, "x");
    ask_wait(rig, &first);
    ask_done(&first);
    ask_done(&listed);
    ask_done(&asked);
}

/* All leave while a list is on its way; who comes then is served all the same. */
static void test_empty_while_listing(void **state)
{
    struct rig *rig = *state;
    struct asked first, second;

    park(rig, &first, wait_x);
    uint64_t held = rig_hold(rig, DMI_LIST_DEVICES, "");
    rig_event(rig, "y");
    rig_until_held(rig, held, 1);
    dispatch_forget(&first.call);
    first.done = 1;
    park(rig, &second, wait_x);
    rig_release(rig, held);
    rig_until_idle(rig);
    rig_event(rig, "x");
    ask_wait(rig, &second);
    assert_event(&second, "x", 1);
    ask_done(&first);
    ask_done(&second);
}

static void test_arm_fails(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    rig_fault(rig, DMI_DEV_ARM_POLL, EIO, 1);
    assert_true(ask(rig, &asked, "device_wait", wait_x));
    assert_error(asked.reply, 14, "kernel_error");
    assert_string_equal(rig_string(asked.reply, "error/data/ioctl"), "DM_DEV_ARM_POLL");
    ask_done(&asked);

    park(rig, &asked, wait_x); /* the next one finds all in order */
    rig_fault(rig, DMI_DEV_ARM_POLL, EIO, 1);
    rig_event(rig, "x");
    ask_wait(rig, &asked);
    assert_error(asked.reply, 14, "kernel_error");
    assert_string_equal(rig_string(asked.reply, "error/data/ioctl"), "DM_DEV_ARM_POLL");
    ask_done(&asked);
}

static void test_list_fails(void **state)
{
    struct rig *rig = *state;
    struct asked asked[2];

    park(rig, &asked[0], wait_x);
    park(rig, &asked[1], wait_y);
    rig_fault(rig, DMI_LIST_DEVICES, EIO, 1);
    rig_event(rig, "x");
    for (int i = 0; i < 2; i++) {
        ask_wait(rig, &asked[i]);
        assert_error(asked[i].reply, 14, "kernel_error");
        assert_string_equal(rig_string(asked[i].reply, "error/data/ioctl"), "DM_LIST_DEVICES");
        ask_done(&asked[i]);
    }
    park(rig, &asked[0], "{\"name\":\"x\",\"event_nr\":1}");
    rig_event(rig, "x");
    ask_wait(rig, &asked[0]);
    assert_event(&asked[0], "x", 2);
    ask_done(&asked[0]);
}

static void test_status_fails(void **state)
{
    struct rig *rig = *state;
    struct asked asked;

    rig_fault(rig, DMI_DEV_STATUS, EIO, 1);
    assert_true(ask(rig, &asked, "device_wait", wait_x));
    assert_error(asked.reply, 14, "kernel_error");
    ask_done(&asked);
}

/* Waits cost memory: there are only so many. */
static void test_limit(void **state)
{
    struct rig *rig = *state;
    struct asked asked[4];

    rig->dispatcher.host.limits.waits = 3;
    for (int i = 0; i < 3; i++) {
        park(rig, &asked[i], wait_x);
    }
    assert_true(ask(rig, &asked[3], "device_wait", wait_x));
    assert_error(asked[3].reply, 11, "overloaded");
    assert_int_equal(json_integer_value(rig_at(asked[3].reply, "error/data/limit")), 3);
    ask_done(&asked[3]);
    rig_event(rig, "x");
    for (int i = 0; i < 3; i++) {
        ask_wait(rig, &asked[i]);
        ask_done(&asked[i]);
    }
    park(rig, &asked[0], "{\"name\":\"x\",\"event_nr\":1}");
    waits_end_all(rig->dispatcher.waits);
    ask_wait(rig, &asked[0]);
    ask_done(&asked[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_event),
        TEST(test_others_wait_on),
        TEST(test_spurious),
        TEST(test_many_events),
        TEST(test_timeout),
        TEST(test_remove),
        TEST(test_made_anew),
        TEST(test_rename),
        TEST(test_end_all),
        TEST(test_remove_any),
        TEST(test_list_is_older),
        TEST(test_gone_between_two_lists),
        TEST(test_empty_while_listing),
        TEST(test_arm_fails),
        TEST(test_list_fails),
        TEST(test_status_fails),
        TEST(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
