/* SPDX-License-Identifier: Apache-2.0 */
/* Suspend and resume: in which state each failure leaves a device, and what waits for what. */
#include "test_sim_rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void suspending_is_not_counted(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(rig_suspend(rig, "a"), 0);
    assert_int_equal(rig_suspend(rig, "a"), 0);
    assert_true(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_false(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
    assert_int_equal(rig_resume(rig, "a"), 0);
}

static void without_a_table_there_is_no_way_back(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(rig_suspend(rig, "a"), 0);
    assert_int_equal(rig_resume(rig, "a"), -EINVAL);
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
}

static void a_swap_tells_of_a_uevent_only_if_it_resumed(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(dmi_device_resume(&rig->dm, &id, 0, 0, &info), 0);
    assert_false(info.flags & DMI_UEVENT_GENERATED);
    assert_int_equal(rig_load(rig, "a", "zero", 16, ""), 0);
    assert_int_equal(dmi_device_resume(&rig->dm, &id, 0, 0, &info), 0);
    assert_true(info.flags & DMI_UEVENT_GENERATED);
    assert_int_equal(info.event_nr, 0); /* a swap wakes, but does not count */
}

static void a_swap_that_fails_leaves_the_old_table_suspended(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "linear", 8, "/dev/sim0 0");
    assert_int_equal(rig_load(rig, "a", "linear", 16, "/dev/sim1 0"), 0);
    assert_int_equal(dmi_sim_disk_resize(rig->sim, (struct dmi_device){8, 1}, 8), 0);
    assert_int_equal(rig_resume(rig, "a"), -EINVAL);
    assert_int_equal(rig_status(rig, "a", 0).flags, DMI_ACTIVE_PRESENT | DMI_SUSPEND);
    assert_line(rig, "a", DMI_STATUS_TABLE, "8:0 0");
    assert_int_equal(rig_resume(rig, "a"), 0);
}

static void a_preresume_that_fails_leaves_the_new_table_suspended(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "thin-pool", 1280, "/dev/sim0 /dev/sim1 128 0");
    assert_int_equal(rig_load(rig, "a", "thin-pool", 640, "/dev/sim0 /dev/sim1 128 7"), 0);
    assert_int_equal(rig_resume(rig, "a"), -EINVAL);
    assert_logged(rig, "254:0: pool target (5 blocks) too small: expected 10");
    assert_logged(rig, "table: 254:0: thin-pool: preresume failed, error = -22");
    assert_true(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
    assert_line(rig, "a", DMI_STATUS_TABLE, "8:0 8:1 128 7 0 ");
    assert_int_equal(rig_resume(rig, "a"), -EINVAL);
    assert_int_equal(rig_load(rig, "a", "thin-pool", 1280, "/dev/sim0 /dev/sim1 128 0"), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
}

/* --- with a thread that waits --- */

struct waiter {
    struct rig rig; /* with a handle of its own */
    pthread_t thread;
    int (*call)(struct rig *rig, const char *name);
    int rc;
    atomic_bool ended;
};

static void *wait_in_kernel(void *argument)
{
    struct waiter *waiter = argument;
    waiter->rc = waiter->call(&waiter->rig, "a");
    atomic_store(&waiter->ended, true);
    return NULL;
}

static void start(struct waiter *waiter, struct rig *rig, int (*call)(struct rig *, const char *))
{
    *waiter = (struct waiter){.rig = *rig, .call = call};
    assert_int_equal(pthread_create(&waiter->thread, NULL, wait_in_kernel, waiter), 0);
}

static int finish(struct waiter *waiter)
{
    assert_int_equal(pthread_join(waiter->thread, NULL), 0);
    return waiter->rc;
}

static void nap(void)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    (void)nanosleep(&pause, NULL);
}

static void stall(struct rig *rig, enum dmi_sim_stall what)
{
    const struct dmi_id id = by_name("a");
    assert_int_equal(dmi_sim_stall(rig->sim, &id, what), 0);
}

static void ignore(int number)
{
    (void)number;
}

static void a_plain_resume_beside_a_drain_does_nothing(void **state)
{
    struct rig *rig = *state;
    struct waiter waiter;

    rig_live(rig, "a", "zero", 8, "");
    stall(rig, DMI_SIM_DRAIN);
    start(&waiter, rig, rig_suspend);
    rig_sleepers(rig, 1);
    assert_false(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
    assert_int_equal(rig_resume(rig, "a"), 0);
    stall(rig, DMI_SIM_FLOWS);
    assert_int_equal(finish(&waiter), 0);
    assert_true(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
}

static void a_swap_beside_a_drain_waits_and_fails(void **state)
{
    struct rig *rig = *state;
    struct waiter drain, swap;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(rig_load(rig, "a", "zero", 16, ""), 0);
    stall(rig, DMI_SIM_DRAIN);
    start(&drain, rig, rig_suspend);
    rig_sleepers(rig, 1);
    start(&swap, rig, rig_resume);
    rig_sleepers(rig, 2);
    stall(rig, DMI_SIM_FLOWS);
    assert_int_equal(finish(&drain), 0);
    assert_int_equal(finish(&swap), -EINVAL);
    assert_int_equal(rig_status(rig, "a", 0).flags,
                     DMI_SUSPEND | DMI_ACTIVE_PRESENT | DMI_INACTIVE_PRESENT);
}

static void a_signal_undoes_a_drain(void **state)
{
    struct rig *rig = *state;
    struct waiter waiter;
    const struct sigaction action = {.sa_handler = ignore}; /* no SA_RESTART */

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(rig_load(rig, "a", "zero", 16, ""), 0);
    stall(rig, DMI_SIM_DRAIN);
    start(&waiter, rig, rig_resume);
    rig_sleepers(rig, 1);
    rig_interrupt(waiter.thread, &waiter.ended);
    assert_int_equal(finish(&waiter), -EINTR);
    /* Running, and the table back in its slot. */
    assert_int_equal(rig_status(rig, "a", 0).flags, DMI_ACTIVE_PRESENT | DMI_INACTIVE_PRESENT);
    stall(rig, DMI_SIM_FLOWS);
    assert_int_equal(rig_resume(rig, "a"), 0);
}

static void a_freeze_goes_on_and_succeeds_later(void **state)
{
    struct rig *rig = *state;
    struct waiter waiter;
    const struct sigaction action = {.sa_handler = ignore};
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    rig_live(rig, "a", "zero", 8, "");
    stall(rig, DMI_SIM_FREEZE);
    assert_int_equal(dmi_device_suspend(&rig->dm, &id, DMI_NOFLUSH, &info), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    start(&waiter, rig, rig_suspend);
    rig_sleepers(rig, 1);
    assert_int_equal(pthread_kill(waiter.thread, SIGUSR1), 0);
    nap();
    assert_false(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
    stall(rig, DMI_SIM_FLOWS);
    assert_int_equal(finish(&waiter), 0);
    assert_true(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
}

static void a_remove_waits_for_a_suspend(void **state)
{
    struct rig *rig = *state;
    struct waiter drain, remove;
    struct dmi_info info;

    rig_live(rig, "a", "zero", 8, "");
    stall(rig, DMI_SIM_DRAIN);
    start(&drain, rig, rig_suspend);
    rig_sleepers(rig, 1);
    const struct dmi_id by_number = {.kind = DMI_BY_DEVICE, .device = {DMI_SIM_MAJOR, 0}};
    start(&remove, rig, rig_remove);
    rig_sleepers(rig, 2);
    /* It is gone by every name, but its number is not free yet. */
    assert_int_equal(dmi_device_status(&rig->dm, &by_number, 0, &info), -ENXIO);
    assert_int_equal(dmi_device_create(&rig->dm, "a", NULL, 0, 0, &info), 0);
    assert_int_equal(info.device.minor, 1);
    const struct sigaction action = {.sa_handler = ignore};
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    rig_interrupt(drain.thread, &drain.ended);
    assert_int_equal(finish(&drain), -EINTR);
    assert_int_equal(finish(&remove), 0);
    assert_int_equal(dmi_device_create(&rig->dm, "b", NULL, 0, 0, &info), 0);
    assert_int_equal(info.device.minor, 0);
}

static void a_thin_device_waits_for_its_pool(void **state)
{
    struct rig *rig = *state;
    struct waiter waiter;

    rig_live(rig, "pool", "thin-pool", 1280, "/dev/sim0 /dev/sim1 128 0");
    assert_int_equal(rig_message(rig, "pool", "create_thin 0"), 0);
    rig_live(rig, "a", "thin", 64, "254:0 0");
    assert_int_equal(rig_suspend(rig, "pool"), 0);
    start(&waiter, rig, rig_suspend);
    rig_sleepers(rig, 1);
    assert_false(rig_status(rig, "a", 0).flags & DMI_SUSPEND);
    assert_int_equal(rig_resume(rig, "pool"), 0);
    assert_int_equal(finish(&waiter), 0);
    assert_int_equal(rig_status(rig, "a", 0).flags, DMI_SUSPEND | DMI_ACTIVE_PRESENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(suspending_is_not_counted),
        RIG_TEST(without_a_table_there_is_no_way_back),
        RIG_TEST(a_swap_tells_of_a_uevent_only_if_it_resumed),
        RIG_TEST(a_swap_that_fails_leaves_the_old_table_suspended),
        RIG_TEST(a_preresume_that_fails_leaves_the_new_table_suspended),
        RIG_TEST(a_plain_resume_beside_a_drain_does_nothing),
        RIG_TEST(a_swap_beside_a_drain_waits_and_fails),
        RIG_TEST(a_signal_undoes_a_drain),
        RIG_TEST(a_freeze_goes_on_and_succeeds_later),
        RIG_TEST(a_remove_waits_for_a_suspend),
        RIG_TEST(a_thin_device_waits_for_its_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
