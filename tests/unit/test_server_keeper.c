/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a lease, and what ends it; by calls, over the simulated kernel. */
#include <stdlib.h>

#include "keeper.h"
#include "server_ask.h"

struct scene {
    struct rig rig;
    struct lease_table *table;
};

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    assert_non_null(scene);
    rig_init(&scene->rig);
    assert_int_equal(lease_table_new(&scene->table), 0);
    assert_int_equal(
        keeper_new(&scene->rig.dispatcher, scene->table, NULL, &scene->rig.dispatcher.host.keeper),
        0);
    rig_device(&scene->rig, "d", "U-1");
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    struct host *host = &scene->rig.dispatcher.host;

    rig_until_idle(&scene->rig);
    host->keeper = keeper_free(host->keeper);
    scene->table = lease_table_free(scene->table);
    rig_done(&scene->rig);
    free(scene);
    return 0;
}

static struct keeper *keeper_of(struct scene *scene)
{
    return scene->rig.dispatcher.host.keeper;
}

static struct dmi_info info_of(struct scene *scene)
{
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = "d"};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_status(&dm, &id, 0, &info), 0);
    return info;
}

static void suspend(struct scene *scene)
{
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = "d"};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_suspend(&dm, &id, 0, &info), 0);
}

/* As a suspend does before it goes to the kernel. */
static enum keeper_answer begin(struct scene *scene, struct peer peer, struct keeper_terms terms,
                                struct keeper_view *ret_view)
{
    const struct dmi_info info = info_of(scene);
    struct dmi dm;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    const struct keeper_request request = {.dm = &dm, .info = &info, .peer = &peer, .terms = terms};
    return keeper_begin(keeper_of(scene), &request, ret_view);
}

static struct keeper_terms after(uint64_t ms)
{
    return (struct keeper_terms){.given = true, .after_ms = ms};
}

/* As it does after that. */
static enum keeper_answer confirm(struct scene *scene, const struct keeper_view *view)
{
    const struct dmi_info info = info_of(scene);
    struct dmi dm;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    return keeper_confirm(keeper_of(scene), &dm, view, &info);
}

/* A suspended device whose lease user 7 holds. */
static struct keeper_view give(struct scene *scene, struct keeper_terms terms)
{
    struct keeper_view view;

    assert_int_equal(begin(scene, (struct peer){.uid = 7, .connection = 3}, terms, &view),
                     KEEPER_NEW);
    suspend(scene);
    assert_int_equal(confirm(scene, &view), KEEPER_HELD);
    return view;
}

static bool is_over(void *what)
{
    struct scene *scene = what;
    return keeper_count(keeper_of(scene)) == 0;
}

static void resume(struct scene *scene)
{
    struct asked asked;

    (void)ask_now(&scene->rig, &asked, "device_resume", "{\"name\":\"d\"}");
    ask_done(&asked);
}

static bool runs(struct scene *scene)
{
    return !(info_of(scene).flags & DMI_SUSPEND);
}

static void test_without_terms_nothing_is_kept(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view;

    assert_int_equal(begin(scene, (struct peer){0}, (struct keeper_terms){.after_ms = 0}, &view),
                     KEEPER_NONE);
    suspend(scene);
    assert_int_equal(begin(scene, (struct peer){0}, after(5), &view), KEEPER_FOREIGN);
    assert_int_equal(keeper_count(keeper_of(scene)), 0);
}

static void test_another_user_is_no_holder(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view;

    (void)give(scene, after(60000));
    assert_int_equal(begin(scene, (struct peer){.uid = 8}, after(5), &view), KEEPER_OTHERS);
    assert_int_equal(view.uid, 7);
    assert_int_equal(begin(scene, (struct peer){.uid = 7}, after(50), &view), KEEPER_HELD);
    rig_until(&scene->rig, is_over, scene);
    assert_true(runs(scene));
}

static void test_where_it_ends_with_a_connection_only_that_holds_it(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view;

    (void)give(scene, (struct keeper_terms){.given = true, .on_disconnect = true});
    assert_int_equal(begin(scene, (struct peer){.uid = 7, .connection = 4}, after(5), &view),
                     KEEPER_OTHERS);
    keeper_disconnected(keeper_of(scene), 4);
    rig_sleep(&scene->rig, 30);
    assert_false(runs(scene));
    keeper_disconnected(keeper_of(scene), 3);
    rig_until(&scene->rig, is_over, scene);
    assert_true(runs(scene));
}

static bool nobody_is(void *data, uint64_t connection)
{
    (void)data;
    (void)connection;
    return false;
}

static void test_a_connection_that_went_before(void **state)
{
    struct scene *scene = *state;

    keeper_ask_connected(keeper_of(scene), nobody_is, NULL);
    (void)give(scene, (struct keeper_terms){.given = true, .on_disconnect = true});
    rig_until(&scene->rig, is_over, scene);
    assert_true(runs(scene));
}

static void test_a_full_table(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view;

    for (int i = 0; i < LEASE_SLOTS; i++) {
        assert_non_null(lease_claim(scene->table));
    }
    assert_int_equal(begin(scene, (struct peer){0}, after(5), &view), KEEPER_FULL);
    for (int i = 0; i < LEASE_SLOTS; i++) {
        lease_free(scene->table, &scene->table->slots[i]);
    }
}

static void test_a_suspend_that_failed_is_forgotten(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view;

    assert_int_equal(begin(scene, (struct peer){0}, after(60000), &view), KEEPER_NEW);
    keeper_drop(keeper_of(scene), &view);
    assert_int_equal(keeper_count(keeper_of(scene)), 0);
    assert_int_equal(confirm(scene, &view), KEEPER_NONE);
}

static void test_what_the_guardian_has_taken_is_the_guardians(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view = give(scene, after(60000));
    struct lease *lease = lease_find(scene->table, view.device);

    assert_non_null(lease);
    assert_true(lease_move(lease, LEASE_HELD, LEASE_TAKEN));
    assert_int_equal(begin(scene, (struct peer){.uid = 7}, after(5), &view), KEEPER_OTHERS);
    assert_true(view.ending);
    assert_int_equal(confirm(scene, &view), KEEPER_OTHERS);
    assert_int_equal(begin(scene, (struct peer){.uid = 7}, (struct keeper_terms){0}, &view),
                     KEEPER_OTHERS);
    lease->retry = LEASE_NEVER;
    keeper_resumed(keeper_of(scene), view.device);
    assert_int_equal(lease->state, LEASE_TAKEN);
    assert_int_equal(lease->retry, 0);
    /* It tells that it is done, and the slot is free again. */
    lease->outcome = LEASE_ROLLED_BACK;
    assert_true(lease_move(lease, LEASE_TAKEN, LEASE_ENDED));
    rig_until(&scene->rig, is_over, scene);
}

/* Else it would be resumed under whoever suspends it anew, by the guardian's next try. */
static void test_until_the_guardian_has_seen_that_it_runs_nobody_suspends_it(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view = give(scene, after(60000));
    struct lease *lease = lease_find(scene->table, view.device);

    assert_true(lease_move(lease, LEASE_HELD, LEASE_TAKEN));
    resume(scene);
    lease->retry = LEASE_NEVER;
    assert_int_equal(begin(scene, (struct peer){.uid = 7}, (struct keeper_terms){0}, &view),
                     KEEPER_OTHERS);
    assert_int_equal(begin(scene, (struct peer){.uid = 7}, after(5), &view), KEEPER_OTHERS);
    assert_int_equal(lease->retry, 0);
    assert_int_equal(keeper_count(keeper_of(scene)), 1);
    lease->outcome = LEASE_RESUMED;
    assert_true(lease_move(lease, LEASE_TAKEN, LEASE_ENDED));
    rig_until(&scene->rig, is_over, scene);
}

static void test_what_a_dead_guardian_had_taken_is_ours(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view = give(scene, after(60000));
    struct lease *lease = lease_find(scene->table, view.device);

    lease->deadline = 1;
    lease->retry = LEASE_NEVER;
    assert_true(lease_move(lease, LEASE_HELD, LEASE_TAKEN));
    keeper_guardian_gone(keeper_of(scene));
    rig_until(&scene->rig, is_over, scene);
    assert_true(runs(scene));
}

static void test_a_roll_back_is_called_off_by_new_terms_alone(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view = give(scene, after(60000));
    struct lease *lease = lease_find(scene->table, view.device);

    assert_true(lease_move(lease, LEASE_HELD, LEASE_ENDING));
    assert_int_equal(begin(scene, (struct peer){.uid = 7}, (struct keeper_terms){0}, &view),
                     KEEPER_OTHERS);
    assert_int_equal(lease->state, LEASE_ENDING);
    assert_int_equal(begin(scene, (struct peer){.uid = 7}, after(1), &view), KEEPER_HELD);
    rig_until(&scene->rig, is_over, scene);
    assert_true(runs(scene));
}

static void test_a_lease_that_was_listed_is_ended_only_if_it_is_still_that_one(void **state)
{
    struct scene *scene = *state;
    struct keeper_view old = give(scene, after(60000));
    struct keeper_view view;

    keeper_resumed(keeper_of(scene), old.device);
    rig_until(&scene->rig, is_over, scene);
    suspend(scene);
    resume(scene);
    view = give(scene, after(60000));
    keeper_over(keeper_of(scene), &old, LEASE_RESUMED);
    assert_int_equal(keeper_list(keeper_of(scene), &view, 1), 1);
    keeper_over(keeper_of(scene), &view, LEASE_RESUMED);
    rig_until(&scene->rig, is_over, scene);
}

/* Slots count their uses each by itself, so the same count may be of two leases. */
static void test_of_two_leases_the_one_that_was_listed_is_ended(void **state)
{
    struct scene *scene = *state;
    struct keeper_view old = give(scene, after(60000));
    struct lease *first = lease_find(scene->table, old.device);

    /* The first slot is another device's now, and the second has the first one's device. */
    first->device = (struct dmi_device){254, 99};
    resume(scene);
    struct keeper_view view = give(scene, after(60000));
    assert_int_not_equal(view.slot, old.slot);
    assert_int_equal(view.generation, old.generation);
    keeper_over(keeper_of(scene), &old, LEASE_REMOVED);
    assert_int_equal(keeper_list(keeper_of(scene), &view, 1), 1);
    assert_true(dmi_device_equal(view.device, info_of(scene).device));
}

static void test_a_roll_back_is_not_hidden_by_who_lists_its_lease(void **state)
{
    struct scene *scene = *state;
    struct keeper_view view = give(scene, after(60000));
    struct lease *lease = lease_find(scene->table, view.device);

    assert_true(lease_move(lease, LEASE_HELD, LEASE_ENDING));
    keeper_over(keeper_of(scene), &view, LEASE_RESUMED);
    assert_int_equal(lease->state, LEASE_ENDING);
    assert_true(lease_move(lease, LEASE_ENDING, LEASE_HELD));
    keeper_resumed(keeper_of(scene), view.device);
    rig_until(&scene->rig, is_over, scene);
}

/* --- another device than was judged --- */

static const char LEASED[] =
    "{\"name\":\"d\",\"flags\":[\"DM_SUSPEND\"],\"resume_after_ms\":60000}";

/* Another program gives the name away between our look at the device and its suspend. */
static void suspend_another(struct scene *scene, void (*meanwhile)(struct scene *scene))
{
    uint64_t fault = rig_hold(&scene->rig, DMI_TABLE_DEPS, "d");
    struct asked asked;

    assert_false(ask(&scene->rig, &asked, "device_suspend", LEASED));
    rig_until_held(&scene->rig, fault, 1);
    meanwhile(scene);
    rig_release(&scene->rig, fault);
    ask_wait(&scene->rig, &asked);
    assert_error(asked.reply, 1, "device_not_found");
    assert_non_null(strstr(rig_string(asked.reply, "error/data/state"), "the device runs"));
    ask_done(&asked);
    assert_true(runs(scene));
    assert_int_equal(keeper_count(keeper_of(scene)), 0);
}

static void rename_and_make(struct scene *scene)
{
    rig_rename(&scene->rig, "d", "e");
    rig_device(&scene->rig, "d", "U-2");
}

static void make_anew(struct scene *scene)
{
    rig_remove(&scene->rig, "d");
    rig_device(&scene->rig, "d", "U-1");
}

static void test_a_suspend_of_another_device_is_undone(void **state)
{
    suspend_another(*state, rename_and_make);
}

static void test_a_suspend_of_one_that_was_made_anew_is_undone(void **state)
{
    suspend_another(*state, make_anew);
}

static void end_its_lease(struct scene *scene)
{
    keeper_resumed(keeper_of(scene), info_of(scene).device);
    rig_until(&scene->rig, is_over, scene);
}

/* Whoever holds a suspend without its lease would hold it for good. */
static void test_a_suspend_whose_lease_has_ended_is_undone(void **state)
{
    struct scene *scene = *state;
    uint64_t fault = rig_hold(&scene->rig, DMI_DEV_SUSPEND, "d");
    struct asked asked;

    assert_false(ask(&scene->rig, &asked, "device_suspend", LEASED));
    rig_until_held(&scene->rig, fault, 1);
    end_its_lease(scene);
    rig_release(&scene->rig, fault);
    ask_wait(&scene->rig, &asked);
    assert_error(asked.reply, 9, "timed_out");
    ask_done(&asked);
    assert_true(runs(scene));
}

static void stall(struct scene *scene, const char *params)
{
    struct asked asked;

    (void)ask_now(&scene->rig, &asked, "simulate_stall", params);
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
}

static const struct dmi_id OTHER = {.kind = DMI_BY_NAME, .name = "e"};

static uint32_t flags_of_other(struct scene *scene)
{
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_device_status(&dm, &OTHER, 0, &info), 0);
    return info.flags;
}

static void load_other(struct scene *scene)
{
    const struct dmi_target target = {.length = 16, .type = "error", .params = ""};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, scene->rig.dispatcher.host.transport);
    assert_int_equal(dmi_table_load(&dm, &OTHER, &target, 1, 0, &info), 0);
}

static void on_given_up(struct call *call)
{
    assert_true(call->life.given_up);
    *(bool *)call->owner = true;
}

static bool is_true(void *what)
{
    return *(bool *)what;
}

/* A suspend that nobody waits for any more; it frees itself. */
static void give_up_suspend(struct scene *scene, const char *params)
{
    const struct dispatch_request request = {.peer = &(struct peer){0}, .method = "device_suspend"};
    json_t *parsed = rig_json(params);
    struct call *call = call_new(parsed, "7", 1, &scene->rig.budget);
    bool given_up = false;

    json_decref(parsed);
    assert_non_null(call);
    call->done = on_given_up;
    call->owner = &given_up;
    assert_false(dispatch_begin(&scene->rig.dispatcher, call, &request));
    rig_until(&scene->rig, is_true, &given_up);
}

/* It may last for hours: by then another device may have its name, and it another table. */
static void test_what_was_given_up_is_undone_whatever_its_name_is(void **state)
{
    struct scene *scene = *state;

    stall(scene, "{\"name\":\"d\",\"freeze\":true}");
    give_up_suspend(scene, "{\"name\":\"d\",\"flags\":[\"DM_SUSPEND\"],\"timeout_ms\":50}");
    rig_rename(&scene->rig, "d", "e");
    rig_device(&scene->rig, "d", "U-2");
    suspend(scene);
    load_other(scene);
    stall(scene, "{\"name\":\"e\"}");
    rig_until_idle(&scene->rig);
    assert_int_equal(flags_of_other(scene), DMI_ACTIVE_PRESENT);
    assert_false(runs(scene));
}

/* Two who change one device at once are what the kernel does not bear. */
static void test_what_was_given_up_is_not_undone_beside_the_guardian(void **state)
{
    struct scene *scene = *state;

    stall(scene, "{\"name\":\"d\",\"freeze\":true}");
    give_up_suspend(scene, "{\"name\":\"d\",\"flags\":[\"DM_SUSPEND\"],\"timeout_ms\":50,"
                           "\"resume_after_ms\":60000}");
    struct lease *lease = lease_find(scene->table, info_of(scene).device);
    assert_non_null(lease);
    assert_true(lease_move(lease, LEASE_HELD, LEASE_TAKEN));
    stall(scene, "{\"name\":\"d\"}");
    rig_until_idle(&scene->rig);
    assert_false(runs(scene));
    assert_int_equal(lease->state, LEASE_TAKEN);
    resume(scene);
    lease->outcome = LEASE_RESUMED;
    assert_true(lease_move(lease, LEASE_TAKEN, LEASE_ENDED));
    rig_until(&scene->rig, is_over, scene);
}

static void test_at_the_end_all_end(void **state)
{
    struct scene *scene = *state;

    (void)give(scene, after(60000));
    keeper_close(keeper_of(scene));
    rig_until(&scene->rig, is_over, scene);
    assert_true(runs(scene));
}

static void test_leases_of_an_earlier_start_go_on(void **state)
{
    struct scene *scene = *state;
    struct host *host = &scene->rig.dispatcher.host;

    (void)give(scene, (struct keeper_terms){.given = true, .on_disconnect = true});
    host->keeper = keeper_free(host->keeper);
    assert_int_equal(lease_adopt(scene->table, lease_clock()), 0);
    assert_int_equal(keeper_new(&scene->rig.dispatcher, scene->table, NULL, &host->keeper), 0);
    rig_until(&scene->rig, is_over, scene);
    assert_true(runs(scene));
}

static void test_without_a_keeper(void **state)
{
    const struct dmi_info info = {0};
    const struct peer peer = {0};
    struct keeper_request request = {.info = &info, .peer = &peer};
    struct keeper_view view;

    (void)state;
    assert_int_equal(keeper_begin(NULL, &request, &view), KEEPER_NONE);
    request.terms = after(5);
    assert_int_equal(keeper_begin(NULL, &request, &view), KEEPER_FULL);
    keeper_resumed(NULL, info.device);
    keeper_removed(NULL, info.device);
    keeper_disconnected(NULL, 1);
    keeper_loads(NULL, info.device);
    keeper_guardian_gone(NULL);
    keeper_close(NULL);
    assert_int_equal(keeper_count(NULL), 0);
    assert_null(keeper_free(NULL));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_terms_nothing_is_kept),
        TEST(test_another_user_is_no_holder),
        TEST(test_where_it_ends_with_a_connection_only_that_holds_it),
        TEST(test_a_connection_that_went_before),
        TEST(test_a_full_table),
        TEST(test_a_suspend_that_failed_is_forgotten),
        TEST(test_what_the_guardian_has_taken_is_the_guardians),
        TEST(test_until_the_guardian_has_seen_that_it_runs_nobody_suspends_it),
        TEST(test_what_a_dead_guardian_had_taken_is_ours),
        TEST(test_a_roll_back_is_called_off_by_new_terms_alone),
        TEST(test_a_lease_that_was_listed_is_ended_only_if_it_is_still_that_one),
        TEST(test_of_two_leases_the_one_that_was_listed_is_ended),
        TEST(test_a_roll_back_is_not_hidden_by_who_lists_its_lease),
        TEST(test_a_suspend_of_another_device_is_undone),
        TEST(test_a_suspend_of_one_that_was_made_anew_is_undone),
        TEST(test_a_suspend_whose_lease_has_ended_is_undone),
        TEST(test_what_was_given_up_is_undone_whatever_its_name_is),
        TEST(test_what_was_given_up_is_not_undone_beside_the_guardian),
        TEST(test_at_the_end_all_end),
        TEST(test_leases_of_an_earlier_start_go_on),
        cmocka_unit_test(test_without_a_keeper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
