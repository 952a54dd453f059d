/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one simulated kernel; for ThreadSanitizer, and for whatever may be left over. */
#include "test_sim_rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { THREADS = 4, ROUNDS = 100 };

struct worker {
    struct rig rig;
    unsigned int number;
};

/* Each has a device of its own, on top of one that all share, and meddles with all. */
static void *work(void *argument)
{
    struct worker *worker = argument;
    struct rig *rig = &worker->rig;
    char name[16];

    (void)snprintf(name, sizeof(name), "w%u", worker->number);
    const struct dmi_id id = by_name(name), shared = by_name("shared");
    for (unsigned int i = 0; i < ROUNDS; i++) {
        struct dmi_device_list list;
        struct dmi_table table;
        struct dmi_info info;
        (void)dmi_device_create(&rig->dm, name, NULL, 0, 0, &info);
        (void)rig_load(rig, name, "linear", 8, "/dev/mapper/shared 0");
        (void)rig_resume(rig, name);
        if (dmi_list_devices(&rig->dm, NULL, NULL, &list) == 0)
            dmi_device_list_done(&list);
        if (dmi_table_status(&rig->dm, &shared, DMI_STATUS_TABLE, &table) == 0)
            dmi_table_done(&table);
        (void)dmi_sim_event(rig->sim, &id);
        (void)dmi_arm_poll(&rig->dm);
        (void)is_readable(rig->transport);
        (void)rig_suspend(rig, "shared");
        (void)dmi_sim_stall(rig->sim, &shared, i % 8 ? DMI_SIM_FLOWS : DMI_SIM_DRAIN);
        (void)dmi_sim_stall(rig->sim, &shared, DMI_SIM_FLOWS);
        (void)rig_resume(rig, "shared");
        (void)rig_load(rig, "shared", "zero", 64, "");
        (void)rig_message(rig, "shared", "@stats_create - 8");
        (void)rig_message(rig, "shared", "@stats_delete 0");
        (void)dmi_device_remove(&rig->dm, &id, i % 2 ? DMI_DEFERRED_REMOVE : 0, 0, &info);
    }
    return NULL;
}

static void threads_may_do_anything_at_once(void **state)
{
    struct rig *rig = *state;
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    struct dmi_device_list list;

    rig_live(rig, "shared", "zero", 64, "");
    for (unsigned int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.rig = *rig, .number = i};
        assert_int_equal(dmi_sim_open(rig->sim, &workers[i].rig.transport), 0);
        dmi_init(&workers[i].rig.dm, workers[i].rig.transport);
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        (void)dmi_transport_free(workers[i].rig.transport);
    }
    assert_int_equal(dmi_list_devices(&rig->dm, NULL, NULL, &list), 0);
    assert_int_equal(list.count, 1);
    dmi_device_list_done(&list);
    assert_int_equal(rig_status(rig, "shared", 0).open_count, 0);
}

/* --- waits that others end --- */

static void *drain(void *argument)
{
    struct rig rig = *(struct rig *)argument;
    dmi_init(&rig.dm, rig.transport);
    for (unsigned int i = 0; i < ROUNDS; i++) {
        (void)rig_suspend(&rig, "shared");
        (void)rig_resume(&rig, "shared");
    }
    return NULL;
}

static void *toggle(void *argument)
{
    const struct rig *rig = argument;
    const struct dmi_id id = by_name("shared");
    for (unsigned int i = 0; i < ROUNDS; i++) {
        (void)dmi_sim_stall(rig->sim, &id, DMI_SIM_DRAIN);
        (void)sched_yield();
        (void)dmi_sim_stall(rig->sim, &id, DMI_SIM_FLOWS);
    }
    return NULL;
}

static void drains_begin_and_end(void **state)
{
    struct rig *rig = *state;
    pthread_t threads[3];

    rig_live(rig, "shared", "zero", 64, "");
    assert_int_equal(pthread_create(&threads[0], NULL, drain, rig), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, drain, rig), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, toggle, rig), 0);
    for (unsigned int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(threads_may_do_anything_at_once),
        RIG_TEST(drains_begin_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
