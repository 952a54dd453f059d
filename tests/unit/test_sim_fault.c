/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on demand, and the clock. */
#include "test_sim_rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static uint64_t add(struct rig *rig, struct dmi_sim_fault fault)
{
    uint64_t id;
    assert_int_equal(dmi_sim_fault_add(rig->sim, &fault, &id), 0);
    return id;
}

static int status(struct rig *rig)
{
    const struct dmi_id id = by_name("a");
    struct dmi_info info;
    return dmi_device_status(&rig->dm, &id, 0, &info);
}

static void the_next_calls_fail(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    uint64_t id = add(rig, (struct dmi_sim_fault){.nr = DMI_DEV_STATUS, .calls = 2, .error = EIO});
    assert_int_equal(status(rig), -EIO);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(status(rig), -EIO);
    assert_int_equal(status(rig), 0);
    assert_int_equal(dmi_sim_fault_remove(rig->sim, id), -ENOENT);
}

static void a_fault_may_be_about_one_device(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    rig_create(rig, "b");
    uint64_t id = add(rig, (struct dmi_sim_fault){.nr = DMI_NONE, .device = "b", .error = ENOMEM});
    assert_int_equal(status(rig), 0);
    assert_int_equal(rig_resume(rig, "b"), -ENOMEM);
    assert_int_equal(rig_load(rig, "b", "zero", 8, ""), -ENOMEM);
    assert_int_equal(dmi_sim_fault_remove(rig->sim, id), 0);
    assert_int_equal(rig_load(rig, "b", "zero", 8, ""), 0);
    (void)add(rig, (struct dmi_sim_fault){
                       .nr = DMI_DEV_CREATE, .device = "c", .calls = 1, .error = ENOSPC});
    struct dmi_info info;
    assert_int_equal(dmi_device_create(&rig->dm, "c", NULL, 0, 0, &info), -ENOSPC);
    assert_int_equal(dmi_device_create(&rig->dm, "c", NULL, 0, 0, &info), 0);
}

static void bad_faults_are_refused(void **state)
{
    struct rig *rig = *state;
    struct dmi_sim_fault fault = {.nr = DMI_VERSION, .error = 1};
    uint64_t id;

    assert_int_equal(dmi_sim_fault_add(rig->sim, &fault, &id), -EINVAL);
    fault.nr = DMI_IOCTL_COUNT;
    assert_int_equal(dmi_sim_fault_add(rig->sim, &fault, &id), -EINVAL);
    fault.nr = DMI_DEV_STATUS;
    fault.error = -1;
    assert_int_equal(dmi_sim_fault_add(rig->sim, &fault, &id), -EINVAL);
    fault.error = 4096;
    assert_int_equal(dmi_sim_fault_add(rig->sim, &fault, &id), -EINVAL);
    assert_int_equal(dmi_sim_fault_remove(rig->sim, 1), -ENOENT);
}

static void faults_are_listed(void **state)
{
    struct rig *rig = *state;
    struct dmi_sim_fault_state *faults;
    size_t count;

    assert_int_equal(dmi_sim_faults(rig->sim, &faults, &count), 0);
    assert_int_equal(count, 0);
    (void)add(rig, (struct dmi_sim_fault){.nr = DMI_DEV_STATUS, .calls = 3, .error = EIO});
    rig_create(rig, "a");
    assert_int_equal(status(rig), -EIO);
    assert_int_equal(dmi_sim_faults(rig->sim, &faults, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(faults[0].fault.calls, 2);
    free(faults);
    dmi_sim_fault_clear(rig->sim);
    assert_int_equal(status(rig), 0);
}

/* --- calls that wait --- */

struct caller {
    struct rig rig; /* with a handle of its own */
    pthread_t thread;
    int rc;
    atomic_bool ended;
};

static void *call_status(void *argument)
{
    struct caller *caller = argument;
    caller->rc = status(&caller->rig);
    atomic_store(&caller->ended, true);
    return NULL;
}

static struct caller *start(struct rig *rig)
{
    struct caller *caller = calloc(1, sizeof(*caller));
    assert_non_null(caller);
    caller->rig = *rig;
    assert_int_equal(pthread_create(&caller->thread, NULL, call_status, caller), 0);
    for (;;) {
        struct dmi_sim_fault_state *faults;
        size_t count;
        assert_int_equal(dmi_sim_faults(rig->sim, &faults, &count), 0);
        uint32_t waiting = count ? faults[0].waiting : 1;
        free(faults);
        if (waiting)
            return caller;
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

static int finish(struct caller *caller)
{
    assert_int_equal(pthread_join(caller->thread, NULL), 0);
    int rc = caller->rc;
    free(caller);
    return rc;
}

static void a_held_call_goes_on_when_its_fault_is_removed(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    uint64_t id = add(rig, (struct dmi_sim_fault){.nr = DMI_DEV_STATUS, .calls = 1, .held = true});
    struct caller *caller = start(rig);
    assert_int_equal(status(rig), 0); /* used up: others pass */
    assert_int_equal(dmi_sim_fault_remove(rig->sim, id), 0);
    assert_int_equal(finish(caller), 0);
}

static void time_may_be_stopped(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    dmi_sim_clock_advance(rig->sim, 0);
    (void)add(rig, (struct dmi_sim_fault){
                       .nr = DMI_DEV_STATUS, .calls = 1, .block_ms = 3600000, .error = EIO});
    struct caller *caller = start(rig);
    dmi_sim_clock_advance(rig->sim, 3599999);
    assert_int_equal(status(rig), 0);
    dmi_sim_clock_advance(rig->sim, 1);
    assert_int_equal(finish(caller), -EIO);
}

static void a_real_wait_takes_its_time(void **state)
{
    struct rig *rig = *state;
    struct timespec before, after;

    rig_create(rig, "a");
    (void)add(rig, (struct dmi_sim_fault){.nr = DMI_DEV_STATUS, .calls = 1, .block_ms = 30});
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &before), 0);
    assert_int_equal(status(rig), 0);
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &after), 0);
    int64_t ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(ms >= 29);
}

static void ignore(int number)
{
    (void)number;
}

static void signals_end_a_wait_that_says_so(void **state)
{
    struct rig *rig = *state;
    const struct sigaction action = {.sa_handler = ignore};

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    rig_create(rig, "a");
    (void)add(rig, (struct dmi_sim_fault){
                       .nr = DMI_DEV_STATUS, .calls = 1, .held = true, .signals = true});
    struct caller *caller = start(rig);
    rig_interrupt(caller->thread, &caller->ended);
    assert_int_equal(finish(caller), -EINTR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(the_next_calls_fail),
        RIG_TEST(a_fault_may_be_about_one_device),
        RIG_TEST(bad_faults_are_refused),
        RIG_TEST(faults_are_listed),
        RIG_TEST(a_held_call_goes_on_when_its_fault_is_removed),
        RIG_TEST(time_may_be_stopped),
        RIG_TEST(a_real_wait_takes_its_time),
        RIG_TEST(signals_end_a_wait_that_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
