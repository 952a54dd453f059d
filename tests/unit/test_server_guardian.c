/* SPDX-License-Identifier: Apache-2.0 */
/* The guardian at work: in a thread on the simulated kernel, and as a process. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guardian.h"
#include "server_rig.h"
#include "transport.h"

#define MS 1000000U
static const uint64_t GRACE = 300UL * MS;

struct scene {
    struct rig rig;
    struct lease_table *table;
    struct guard *guard;
    struct guardian guardian; /* our end of the pipe */
    int pipe;
    int death[2]; /* as the signal: readable when the daemon was killed */
    pthread_t thread;
    atomic_bool ended;
};

static void *run(void *argument)
{
    struct scene *scene = argument;

    assert_int_equal(guard_run(scene->guard), 0);
    scene->ended = true;
    return NULL;
}

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    int fds[2];

    assert_non_null(scene);
    rig_init(&scene->rig);
    assert_int_equal(lease_table_new(&scene->table), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    scene->pipe = fds[0];
    scene->guardian.pipe = fds[1];
    assert_int_equal(pipe2(scene->death, O_CLOEXEC | O_NONBLOCK), 0);
    scene->guard = guard_new(scene->table, scene->rig.dispatcher.host.transport, scene->pipe,
                             scene->death[0], GRACE);
    assert_non_null(scene->guard);
    assert_int_equal(pthread_create(&scene->thread, NULL, run, scene), 0);
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;

    guardian_stop(&scene->guardian);
    assert_int_equal(pthread_join(scene->thread, NULL), 0);
    scene->guard = guard_free(scene->guard);
    (void)close(scene->pipe);
    (void)close(scene->death[0]);
    (void)close(scene->death[1]);
    scene->table = lease_table_free(scene->table);
    rig_done(&scene->rig);
    free(scene);
    return 0;
}

/* A suspended device with a lease that ends in `ms`, so many layers above the lowest. */
static struct lease *give_above(struct scene *scene, const char *name, uint64_t ms, uint32_t depth)
{
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = name};
    struct lease *lease = lease_claim(scene->table);
    struct dmi dm;
    struct dmi_info info;

    rig_device(&scene->rig, name, NULL);
    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_suspend(&dm, &id, 0, &info), 0);
    assert_non_null(lease);
    lease->device = info.device;
    lease->diskseq = 0;
    lease->depth = depth;
    lease->uuid[0] = '\0';
    lease->confirmed = true;
    lease->deadline = lease_clock() + ms * MS;
    lease_publish(lease);
    guardian_wake(&scene->guardian);
    return lease;
}

static struct lease *give(struct scene *scene, const char *name, uint64_t ms)
{
    return give_above(scene, name, ms, 0);
}

static bool is_suspended(struct scene *scene, const struct lease *lease)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = lease->device};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_status(&dm, &id, 0, &info), 0);
    return info.flags & DMI_SUSPEND;
}

static bool has_ended(void *what)
{
    const struct lease *lease = what;
    return lease->state == LEASE_ENDED;
}

static bool run_ended(void *what)
{
    const struct scene *scene = what;
    return scene->ended;
}

/* Threads of it may still be in the kernel, at a change of that device. They get a second. */
static void test_the_threads_of_a_killed_daemon_get_their_time(void **state)
{
    struct scene *scene = *state;
    struct lease *lease = give(scene, "d", 3600000);

    uint64_t killed = lease_clock();
    assert_int_equal(write(scene->death[1], "", 1), 1);
    rig_sleep(&scene->rig, 300);
    assert_int_equal(lease->state, LEASE_HELD);
    assert_true(is_suspended(scene, lease));
    rig_until(&scene->rig, has_ended, lease);
    assert_true(lease_clock() - killed >= 1000UL * MS);
    assert_int_equal(lease->reason, LEASE_ORPHANED);
    assert_false(is_suspended(scene, lease));
}

static void test_when_they_have_ended_nobody_waits(void **state)
{
    struct scene *scene = *state;
    struct lease *lease = give(scene, "d", 3600000);

    uint64_t killed = lease_clock();
    assert_int_equal(write(scene->death[1], "", 1), 1);
    rig_sleep(&scene->rig, 50);
    guardian_stop(&scene->guardian);
    rig_until(&scene->rig, has_ended, lease);
    assert_true(lease_clock() - killed < 900UL * MS);
    assert_int_equal(lease->reason, LEASE_ORPHANED);
}

static void test_a_living_daemon_gets_its_time(void **state)
{
    struct scene *scene = *state;
    struct lease *lease = give(scene, "d", 50);

    rig_sleep(&scene->rig, 200);
    assert_int_equal(lease->state, LEASE_HELD);
    rig_until(&scene->rig, has_ended, lease);
    assert_true(lease_clock() >= lease->deadline + GRACE);
    assert_false(is_suspended(scene, lease));
    assert_int_equal(lease->outcome, LEASE_ROLLED_BACK);
    assert_int_equal(lease->reason, LEASE_TIME_UP);
}

static void test_a_daemon_that_is_at_it_gets_more(void **state)
{
    struct scene *scene = *state;
    struct lease *lease = give(scene, "d", 1);

    assert_true(lease_move(lease, LEASE_HELD, LEASE_ENDING));
    for (int i = 0; i < 10; i++) {
        lease->assured = lease_clock();
        rig_sleep(&scene->rig, 50);
    }
    assert_int_equal(lease->state, LEASE_ENDING);
    rig_until(&scene->rig, has_ended, lease);
    assert_false(is_suspended(scene, lease));
}

static void test_when_the_daemon_is_dead_all_end_at_once(void **state)
{
    struct scene *scene = *state;
    struct lease *first = give(scene, "a", 3600000);
    struct lease *second = give_above(scene, "b", 3600000, 3);

    second->deadline = LEASE_NEVER;
    rig_sleep(&scene->rig, 50);
    guardian_stop(&scene->guardian);
    rig_until(&scene->rig, run_ended, scene);
    assert_false(is_suspended(scene, first) || is_suspended(scene, second));
    assert_int_equal(first->reason, LEASE_ORPHANED);
}

static void test_without_leases_it_ends_with_the_daemon(void **state)
{
    struct scene *scene = *state;

    rig_sleep(&scene->rig, 20);
    assert_false(scene->ended);
    guardian_stop(&scene->guardian);
    rig_until(&scene->rig, run_ended, scene);
}

static void test_new_terms_are_noticed(void **state)
{
    struct scene *scene = *state;
    struct lease *lease = give(scene, "d", 3600000);

    rig_sleep(&scene->rig, 50);
    lease->deadline = lease_clock();
    guardian_wake(&scene->guardian);
    rig_until(&scene->rig, has_ended, lease);
}

static void test_what_fails_is_tried_again(void **state)
{
    struct scene *scene = *state;
    struct lease *lease = give(scene, "d", 3600000);

    rig_fault(&scene->rig, DMI_DEV_SUSPEND, EIO, 1);
    guardian_stop(&scene->guardian);
    rig_until(&scene->rig, run_ended, scene);
    assert_false(is_suspended(scene, lease));
}

static void resume(struct scene *scene, const struct lease *lease)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = lease->device};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_resume(&dm, &id, 0, 0, &info), 0);
}

static void load(struct scene *scene, const struct lease *lease)
{
    const struct dmi_id id = {.kind = DMI_BY_DEVICE, .device = lease->device};
    const struct dmi_target target = {.length = 8, .type = "zero", .params = ""};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_table_load(&dm, &id, &target, 1, 0, &info), 0);
}

static bool has_a_long_pause(void *what)
{
    const struct lease *lease = what;
    return lease->retry > lease_clock() + 1500UL * MS;
}

/* After failures it pauses for longer and longer; the daemon knows when a try is worth it. */
static void test_where_somebody_else_resumes_it_does_not_wait(void **state)
{
    struct scene *scene = *state;
    struct lease *lease = give(scene, "d", 3600000);

    load(scene, lease);
    rig_fault(&scene->rig, DMI_TABLE_CLEAR, EIO, 0);
    lease->deadline = 1;
    guardian_wake(&scene->guardian);
    rig_until(&scene->rig, has_a_long_pause, lease);
    uint64_t retry = lease->retry;
    resume(scene, lease);
    lease->retry = 0; /* as keeper_resumed does */
    guardian_wake(&scene->guardian);
    rig_until(&scene->rig, has_ended, lease);
    assert_true(lease_clock() < retry);
    assert_int_equal(lease->outcome, LEASE_RESUMED);
}

static void test_one_that_is_stuck_holds_up_no_other(void **state)
{
    struct scene *scene = *state;
    struct lease *stuck = give(scene, "stuck", 3600000);
    /* It comes after the other's layer, but does not wait for ever. */
    struct lease *above = give_above(scene, "above", 3600000, 1);
    uint64_t fault = rig_hold(&scene->rig, DMI_DEV_SUSPEND, "stuck");

    guardian_stop(&scene->guardian);
    rig_until(&scene->rig, has_ended, above);
    assert_int_equal(stuck->state, LEASE_TAKEN);
    rig_release(&scene->rig, fault);
    rig_until(&scene->rig, run_ended, scene);
    assert_false(is_suspended(scene, stuck));
}

static void test_the_lower_layer_comes_first(void **state)
{
    struct scene *scene = *state;
    struct lease *above = give_above(scene, "above", 3600000, 1);
    struct lease *below = give(scene, "below", 3600000);
    uint64_t fault = rig_hold(&scene->rig, DMI_DEV_SUSPEND, "below");

    guardian_stop(&scene->guardian);
    rig_until_held(&scene->rig, fault, 1);
    rig_sleep(&scene->rig, 100);
    assert_true(is_suspended(scene, above));
    rig_release(&scene->rig, fault);
    rig_until(&scene->rig, run_ended, scene);
    assert_false(is_suspended(scene, above) || is_suspended(scene, below));
}

static void test_many(void **state)
{
    struct scene *scene = *state;
    struct lease *leases[200];
    char name[16];

    for (int i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof(name), "m%d", i);
        leases[i] = give(scene, name, 3600000);
    }
    guardian_stop(&scene->guardian);
    rig_until(&scene->rig, run_ended, scene);
    for (int i = 0; i < 200; i++) {
        assert_false(is_suspended(scene, leases[i]));
    }
}

/* --- the process --- */

/* Its copy of the simulated kernel is its own; what it does with leases shows in the table. */
static void test_the_process_lives_as_long_as_it_is_needed(void **state)
{
    struct dmi_sim *sim;
    struct dmi_transport *transport;
    struct lease_table *table;
    struct guardian guardian;
    const char *missing;
    int status;

    (void)state;
    assert_int_equal(dmi_sim_new(&sim), 0);
    assert_int_equal(dmi_sim_open(sim, &transport), 0);
    assert_int_equal(lease_table_new(&table), 0);
    assert_int_equal(guardian_start(&guardian, table, -1, transport, &missing), 0);
    assert_int_equal(waitpid(guardian.pid, &status, WNOHANG), 0);
    assert_int_equal(getsid(guardian.pid), guardian.pid);
    assert_int_equal(kill(guardian.pid, SIGTERM), 0); /* meant for all, not for it */

    struct lease *lease = lease_claim(table);
    assert_non_null(lease);
    lease->device = (struct dmi_device){254, 77};
    lease_publish(lease);
    guardian_wake(&guardian);
    guardian_stop(&guardian);
    assert_int_equal(waitpid(guardian.pid, &status, 0), guardian.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(lease->state, LEASE_ENDED);
    assert_int_equal(lease->outcome, LEASE_REMOVED);
    (void)lease_table_free(table);
    (void)dmi_transport_free(transport);
    (void)dmi_sim_free(sim);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_process_lives_as_long_as_it_is_needed),
        TEST(test_a_living_daemon_gets_its_time),
        TEST(test_the_threads_of_a_killed_daemon_get_their_time),
        TEST(test_when_they_have_ended_nobody_waits),
        TEST(test_a_daemon_that_is_at_it_gets_more),
        TEST(test_when_the_daemon_is_dead_all_end_at_once),
        TEST(test_without_leases_it_ends_with_the_daemon),
        TEST(test_new_terms_are_noticed),
        TEST(test_what_fails_is_tried_again),
        TEST(test_where_somebody_else_resumes_it_does_not_wait),
        TEST(test_one_that_is_stuck_holds_up_no_other),
        TEST(test_the_lower_layer_comes_first),
        TEST(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
