/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers between whose ioctls another program changes what a device is called. */
#include <errno.h>
#include <string.h>

#include "keeper.h"
#include "server_ask.h"

/* By no call: as another program sees it. */
static uint32_t flags_of(struct rig *rig, const char *name)
{
    const struct dmi_id id = {.kind = DMI_BY_NAME, .name = name};
    struct dmi dm;
    struct dmi_info info;

    dmi_init(&dm, rig->dispatcher.host.transport);
    assert_int_equal(dmi_device_status(&dm, &id, 0, &info), 0);
    return info.flags;
}

static const char SWAP[] =
    "{\"name\":\"d\",\"targets\":[{\"start\":0,\"length\":8,\"type\":\"error\",\"params\":\"\"}]}";

static void init_two(struct rig *rig)
{
    rig_init(rig);
    rig_device(rig, "d", NULL);
    rig_device(rig, "other", NULL);
}

/* "d" is another device when the table is loaded than it was when its old lines were read. */
static void swap_another(struct rig *rig, struct asked *asked)
{
    uint64_t fault = rig_hold(rig, DMI_TABLE_LOAD, "d");

    assert_false(ask(rig, asked, "table_swap", SWAP));
    rig_until_held(rig, fault, 1);
    rig_rename(rig, "d", "e");
    rig_rename(rig, "other", "d");
    rig_release(rig, fault);
    ask_wait(rig, asked);
    assert_error(asked->reply, 1, "device_not_found");
}

static void test_a_swap_leaves_another_device_alone(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    init_two(&rig);
    swap_another(&rig, &asked);
    assert_string_equal(rig_string(asked.reply, "error/data/state"),
                        "its inactive table was cleared; no live table has changed");
    assert_int_equal(flags_of(&rig, "d"), DMI_ACTIVE_PRESENT);
    assert_int_equal(flags_of(&rig, "e"), DMI_ACTIVE_PRESENT);
    ask_done(&asked);
    rig_done(&rig);
}

static void test_or_says_what_it_could_not_take_back(void **state)
{
    struct rig rig;
    struct asked asked;

    (void)state;
    init_two(&rig);
    rig_fault(&rig, DMI_TABLE_CLEAR, EIO, 1);
    swap_another(&rig, &asked);
    assert_non_null(strstr(rig_string(asked.reply, "error/data/state"), "STILL LOADED"));
    assert_int_equal(flags_of(&rig, "d"), DMI_ACTIVE_PRESENT | DMI_INACTIVE_PRESENT);
    ask_done(&asked);
    rig_done(&rig);
}

static bool has_no_lease(void *what)
{
    return keeper_count(what) == 0;
}

/* "d" is removed, but that is another device than the one whose number was found. */
static void test_a_remove_of_another_device_ends_no_lease(void **state)
{
    static const char lease[] =
        "{\"name\":\"d\",\"flags\":[\"DM_SUSPEND\"],\"resume_after_ms\":60000}";
    struct lease_table *table;
    struct rig rig;
    struct asked asked;

    (void)state;
    rig_init(&rig);
    assert_int_equal(lease_table_new(&table), 0);
    assert_int_equal(keeper_new(&rig.dispatcher, table, NULL, &rig.dispatcher.host.keeper), 0);
    rig_device(&rig, "d", NULL);
    rig_device(&rig, "other", NULL);
    (void)ask_now(&rig, &asked, "device_suspend", lease);
    ask_done(&asked);
    uint64_t fault = rig_hold(&rig, DMI_DEV_REMOVE, "d");
    assert_false(ask(&rig, &asked, "device_remove", "{\"name\":\"d\"}"));
    rig_until_held(&rig, fault, 1);
    rig_rename(&rig, "d", "e");
    rig_rename(&rig, "other", "d");
    rig_release(&rig, fault);
    ask_wait(&rig, &asked);
    assert_non_null(rig_at(asked.reply, "result"));
    ask_done(&asked);
    assert_true(flags_of(&rig, "e") & DMI_SUSPEND);
    assert_int_equal(keeper_count(rig.dispatcher.host.keeper), 1);
    (void)ask_now(&rig, &asked, "device_remove", "{\"name\":\"e\"}");
    ask_done(&asked);
    rig_until(&rig, has_no_lease, rig.dispatcher.host.keeper);
    rig.dispatcher.host.keeper = keeper_free(rig.dispatcher.host.keeper);
    table = lease_table_free(table);
    rig_done(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_swap_leaves_another_device_alone),
        cmocka_unit_test(test_or_says_what_it_could_not_take_back),
        cmocka_unit_test(test_a_remove_of_another_device_ends_no_lease),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
