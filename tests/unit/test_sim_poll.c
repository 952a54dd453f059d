/* SPDX-License-Identifier: Apache-2.0 */
/* Events: what wakes a file that was armed, what counts, and the wait for one device. */
#include "test_sim_rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Was there an event since the last time? Arms again. */
static bool woke(struct rig *rig)
{
    bool readable = is_readable(rig->transport);
    assert_int_equal(dmi_arm_poll(&rig->dm), 0);
    assert_false(is_readable(rig->transport));
    return readable;
}

static void these_calls_wake_and_those_do_not(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    assert_false(is_readable(rig->transport)); /* a new file starts at now */
    rig_create(rig, "a");
    assert_true(woke(rig));
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_false(woke(rig));
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_true(woke(rig)); /* the swap */
    assert_int_equal(rig_suspend(rig, "a"), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_false(woke(rig));
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_int_equal(dmi_table_clear(&rig->dm, &id, &info), 0);
    assert_false(woke(rig));
    assert_int_equal(dmi_device_create(&rig->dm, "a", NULL, 0, 0, &info), -EBUSY);
    assert_false(woke(rig));
    assert_int_equal(dmi_device_rename(&rig->dm, "a", "b", 0, &info), 0);
    assert_true(woke(rig));
    const struct dmi_id renamed = by_name("b");
    assert_int_equal(dmi_sim_event(rig->sim, &renamed), 0);
    assert_true(woke(rig));
    assert_int_equal(rig_status(rig, "b", 0).event_nr, 2);
    assert_int_equal(rig_remove(rig, "b"), 0);
    assert_true(woke(rig));
    assert_int_equal(dmi_remove_all(&rig->dm, 0), 0);
    assert_true(woke(rig));
}

static void a_deferred_removal_wakes_only_with_a_live_table(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    for (int live = 0; live < 2; live++) {
        rig_create(rig, "a");
        assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
        if (live)
            assert_int_equal(rig_resume(rig, "a"), 0);
        assert_int_equal(dmi_sim_hold(rig->sim, &id), 0);
        assert_int_equal(dmi_device_remove(&rig->dm, &id, DMI_DEFERRED_REMOVE, 0, &info), 0);
        assert_true(woke(rig));
        assert_int_equal(dmi_sim_release(rig->sim, &id), 0);
        assert_int_equal(woke(rig), live);
        assert_int_equal(dmi_device_status(&rig->dm, &id, 0, &info), -ENXIO);
    }
}

static void readable_until_armed_again(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    assert_true(is_readable(rig->transport));
    assert_true(is_readable(rig->transport));
    rig_create(rig, "b");
    assert_int_equal(dmi_arm_poll(&rig->dm), 0);
    assert_false(is_readable(rig->transport));
}

static void each_open_file_is_armed_by_itself(void **state)
{
    struct rig *rig = *state;
    struct dmi_transport *other;

    rig_create(rig, "a");
    assert_int_equal(dmi_transport_reopen(rig->transport, &other), 0);
    assert_string_equal(other->backend, "simulated");
    assert_true(is_readable(rig->transport));
    assert_false(is_readable(other));
    rig_create(rig, "b");
    assert_true(is_readable(other));
    assert_int_equal(dmi_arm_poll(&rig->dm), 0);
    assert_false(is_readable(rig->transport));
    assert_true(is_readable(other));
    (void)dmi_transport_free(other);
}

struct waiter {
    struct rig *rig;
    int rc;
    uint32_t event_nr;
};

static void *wait_for_event(void *argument)
{
    struct waiter *waiter = argument;
    struct raw raw = raw_new(512);
    raw_name(&raw, "a");
    waiter->rc = raw_call(waiter->rig, DMI_DEV_WAIT, &raw);
    waiter->event_nr = raw.head->event_nr;
    raw_done(&raw);
    return NULL;
}

static void a_wait_ends_with_an_event(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct waiter waiter = {.rig = rig};
    pthread_t thread;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(pthread_create(&thread, NULL, wait_for_event, &waiter), 0);
    rig_sleepers(rig, 1);
    assert_int_equal(dmi_sim_event(rig->sim, &id), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.rc, 0);
    assert_int_equal(waiter.event_nr, 1);
}

static void a_remove_is_an_event_for_who_waits(void **state)
{
    struct rig *rig = *state;
    struct waiter waiter = {.rig = rig};
    pthread_t thread;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(pthread_create(&thread, NULL, wait_for_event, &waiter), 0);
    rig_sleepers(rig, 1);
    assert_int_equal(rig_remove(rig, "a"), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.rc, 0);
    assert_int_equal(waiter.event_nr, 1);
}

static void a_wait_for_another_number_ends_at_once(void **state)
{
    struct rig *rig = *state;
    struct raw raw = raw_new(512);

    rig_live(rig, "a", "linear", 8, "/dev/sim0 0");
    raw_name(&raw, "a");
    raw.head->event_nr = 7;
    raw.head->flags = DM_STATUS_TABLE_FLAG;
    assert_int_equal(raw_call(rig, DMI_DEV_WAIT, &raw), 0);
    assert_int_equal(raw.head->event_nr, 0);
    assert_string_equal((char *)raw.head + 352, "8:0 0");
    raw_done(&raw);
}

/* A number of its own for each disk; there is none before the first table. */
static void a_device_made_anew_has_another_disk(void **state)
{
    struct rig *rig = *state;
    uint64_t first = 0;
    uint64_t second = 0;

    rig_create(rig, "a");
    struct dmi_device device = rig_status(rig, "a", 0).device;
    assert_int_equal(dmi_device_diskseq(&rig->dm, device, &first), -ENOENT);
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_int_equal(dmi_device_diskseq(&rig->dm, device, &first), 0);
    assert_int_equal(rig_load(rig, "a", "zero", 16, ""), 0);
    assert_int_equal(dmi_device_diskseq(&rig->dm, device, &second), 0);
    assert_true(first > 0 && first == second);
    assert_int_equal(rig_remove(rig, "a"), 0);
    assert_int_equal(dmi_device_diskseq(&rig->dm, device, &second), -ENOENT);
    rig_create(rig, "a");
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_int_equal(dmi_device_diskseq(&rig->dm, device, &second), 0);
    assert_true(second > first);
    device.major++;
    assert_int_equal(dmi_device_diskseq(&rig->dm, device, &second), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(these_calls_wake_and_those_do_not),
        RIG_TEST(a_deferred_removal_wakes_only_with_a_live_table),
        RIG_TEST(readable_until_armed_again),
        RIG_TEST(each_open_file_is_armed_by_itself),
        RIG_TEST(a_wait_ends_with_an_event),
        RIG_TEST(a_remove_is_an_event_for_who_waits),
        RIG_TEST(a_wait_for_another_number_ends_at_once),
        RIG_TEST(a_device_made_anew_has_another_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
