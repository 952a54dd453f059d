/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 100,000 devices: each call costs what it costs with 1,000, but for the list,
 * which costs what is in it. The bounds are wide: they catch what grows.
 */
#include "test_sim_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

enum { FEW = 1000, MANY = 100000, CALLS = 1000 };

/* Of this thread alone: the machine may be busy. */
static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void create(struct rig *rig, unsigned int from, unsigned int to)
{
    char name[32], uuid[32];
    struct dmi_info info;
    for (unsigned int i = from; i < to; i++) {
        (void)snprintf(name, sizeof(name), "device-%u", i);
        (void)snprintf(uuid, sizeof(uuid), "UUID-%u", i);
        assert_int_equal(dmi_device_create(&rig->dm, name, uuid, 0, 0, &info), 0);
    }
}

/* CPU seconds that `CALLS` rounds of status, load, resume and clear take, spread over `count`
 * devices.
 */
static double round_trips(struct rig *rig, unsigned int count)
{
    double before = now();
    for (unsigned int i = 0; i < CALLS; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "device-%u", i * (count / CALLS));
        (void)rig_status(rig, name, 0);
        assert_int_equal(rig_load(rig, name, "linear", 8, "/dev/sim0 0"), 0);
        assert_int_equal(rig_resume(rig, name), 0);
    }
    return now() - before;
}

static void calls_do_not_slow_down(void **state)
{
    struct rig *rig = *state;
    struct dmi_device_list list;

    create(rig, 0, FEW);
    double few = round_trips(rig, FEW);
    double before = now();
    create(rig, FEW, MANY);
    double created = now() - before;
    double many = round_trips(rig, MANY);
    before = now();
    assert_int_equal(dmi_list_devices(&rig->dm, NULL, NULL, &list), 0);
    double listed = now() - before;
    assert_int_equal(list.count, MANY);
    dmi_device_list_done(&list);
    before = now();
    assert_int_equal(dmi_remove_all(&rig->dm, 0), 0);
    double removed = now() - before;

    print_message("create %.2f us, status+load+resume %.2f us (%.2f with few), list %.0f ms, "
                  "remove_all %.0f ms\n",
                  created / (MANY - FEW) * 1e6, many / CALLS * 1e6, few / CALLS * 1e6, listed * 1e3,
                  removed * 1e3);
    assert_true(many < few * 20 + 0.05);
    assert_true(created < 20);
    assert_true(listed < 5);
    assert_true(removed < 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {RIG_TEST(calls_do_not_slow_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
