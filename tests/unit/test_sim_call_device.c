/* SPDX-License-Identifier: Apache-2.0 */
/* Create, remove, rename, uuids, status, geometry. */
#include "test_sim_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void a_new_device_is_not_suspended(void **state)
{
    struct rig *rig = *state;
    struct dmi_info info;

    assert_int_equal(dmi_device_create(&rig->dm, "a", "u", 0, 0, &info), 0);
    assert_int_equal(info.flags, 0);
    assert_int_equal(info.device.major, DMI_SIM_MAJOR);
    assert_int_equal(info.device.minor, 0);
    assert_string_equal(info.uuid, "u");
}

static void names_and_uuids_are_taken_once(void **state)
{
    struct rig *rig = *state;
    struct dmi_info info;

    assert_int_equal(dmi_device_create(&rig->dm, "a", "u", 0, 0, &info), 0);
    assert_int_equal(dmi_device_create(&rig->dm, "a", NULL, 0, 0, &info), -EBUSY);
    assert_int_equal(dmi_device_create(&rig->dm, "b", "u", 0, 0, &info), -EBUSY);
    assert_int_equal(dmi_device_create(&rig->dm, "b", NULL, 0, 0, &info), 0);
    assert_int_equal(info.device.minor, 1); /* what failed gave its number back */
}

static void minors_are_the_lowest_free_or_as_asked(void **state)
{
    struct rig *rig = *state;
    struct dmi_info info;

    rig_create(rig, "a");
    rig_create(rig, "b");
    rig_create(rig, "c");
    assert_int_equal(rig_remove(rig, "b"), 0);
    assert_int_equal(dmi_device_create(&rig->dm, "d", NULL, 0, 0, &info), 0);
    assert_int_equal(info.device.minor, 1);
    assert_int_equal(dmi_device_create(&rig->dm, "e", NULL, DMI_PERSISTENT_DEV, 1048575, &info), 0);
    assert_int_equal(info.device.minor, 1048575);
    assert_int_equal(dmi_device_create(&rig->dm, "f", NULL, DMI_PERSISTENT_DEV, 1, &info), -ENXIO);
}

static void the_kernel_takes_odd_names_but_no_slash(void **state)
{
    static const char *const names[] = {"control", ".", "..", "a\nb", "\xff\xfe", " "};
    struct raw raw = raw_new(512);

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        memset(raw.head->name, 0, sizeof(raw.head->name));
        raw_name(&raw, names[i]);
        raw.head->data_size = 512;
        raw.head->dev = 0;
        assert_int_equal(raw_call(*state, DMI_DEV_CREATE, &raw), 0);
    }
    raw.head->data_size = 512;
    raw_name(&raw, "a/b");
    assert_int_equal(raw_call(*state, DMI_DEV_CREATE, &raw), -EINVAL);
    raw.head->name[0] = '\0';
    assert_int_equal(raw_call(*state, DMI_DEV_CREATE, &raw), -EINVAL);
    assert_logged(*state, "name not supplied when creating device");
    raw_done(&raw);
}

static void names_that_are_too_long_are_cut(void **state)
{
    struct raw raw = raw_new(512);

    memset(raw.head->name, 'n', sizeof(raw.head->name));
    memset(raw.head->uuid, 'u', sizeof(raw.head->uuid));
    assert_int_equal(raw_call(*state, DMI_DEV_CREATE, &raw), 0);
    assert_int_equal(strlen(raw.head->name), 127);
    assert_int_equal(strlen(raw.head->uuid), 128);
    raw_done(&raw);
}

static void rename_moves_the_event_number_and_shows_the_old_name(void **state)
{
    struct rig *rig = *state;
    struct dmi_info info;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(dmi_device_rename(&rig->dm, "a", "b", 0, &info), 0);
    assert_string_equal(info.name, "a");
    assert_int_equal(info.event_nr, 1);
    assert_true(info.flags & DMI_UEVENT_GENERATED);
    assert_int_equal(rig_status(rig, "b", 0).event_nr, 1);
    assert_int_equal(dmi_device_rename(&rig->dm, "a", "c", 0, &info), -ENXIO);
    rig_create(rig, "c");
    assert_int_equal(dmi_device_rename(&rig->dm, "b", "c", 0, &info), -EBUSY);
    assert_int_equal(dmi_device_rename(&rig->dm, "nobody", "c", 0, &info), -EBUSY);
    assert_int_equal(dmi_device_rename(&rig->dm, "c", "d", 0, &info), 0);
    assert_int_equal(info.event_nr, 0); /* no table, no event, no block device, no uevent */
    assert_false(info.flags & DMI_UEVENT_GENERATED);
}

static void a_bad_new_name_is_refused(void **state)
{
    struct raw raw = raw_new(700);
    char *new = (char *)raw.head + 312;

    rig_create(*state, "a");
    raw_name(&raw, "a");
    assert_int_equal(raw_call(*state, DMI_DEV_RENAME, &raw), -EINVAL); /* empty */
    memset(new, 'x', 128);
    assert_int_equal(raw_call(*state, DMI_DEV_RENAME, &raw), -EINVAL); /* long */
    raw.head->flags = DM_UUID_FLAG;
    assert_int_equal(raw_call(*state, DMI_DEV_RENAME, &raw), 0); /* but not for a uuid */
    raw.head->flags = 0;
    raw.head->data_size = 700;
    raw.head->uuid[0] = '\0';
    raw.head->dev = 0;
    raw_text(&raw, 0, "a/b");
    assert_int_equal(raw_call(*state, DMI_DEV_RENAME, &raw), -EINVAL);
    raw_text(&raw, 0, "b");
    raw.head->data_start = 304;
    assert_int_equal(raw_call(*state, DMI_DEV_RENAME, &raw), -EINVAL);
    raw.head->data_start = 700;
    assert_int_equal(raw_call(*state, DMI_DEV_RENAME, &raw), -EINVAL);
    memset(new, 'x', 388);
    raw.head->data_start = 690;
    assert_int_equal(raw_call(*state, DMI_DEV_RENAME, &raw), -EINVAL); /* does not end */
    raw_done(&raw);
}

static void a_uuid_is_set_once(void **state)
{
    struct rig *rig = *state;
    struct dmi_info info;

    rig_create(rig, "a");
    rig_create(rig, "b");
    assert_int_equal(dmi_device_set_uuid(&rig->dm, "a", "u", 0, &info), 0);
    assert_int_equal(dmi_device_set_uuid(&rig->dm, "a", "v", 0, &info), -EINVAL);
    assert_int_equal(dmi_device_set_uuid(&rig->dm, "b", "u", 0, &info), -EBUSY);
    const struct dmi_id id = {.kind = DMI_BY_UUID, .uuid = "u"};
    assert_int_equal(dmi_device_status(&rig->dm, &id, 0, &info), 0);
    assert_string_equal(info.name, "a");
}

static void an_open_device_goes_at_its_last_close(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(dmi_sim_hold(rig->sim, &id), 0);
    assert_int_equal(dmi_device_remove(&rig->dm, &id, 0, 0, &info), -EBUSY);
    assert_int_equal(dmi_device_remove(&rig->dm, &id, DMI_DEFERRED_REMOVE, 0, &info), 0);
    assert_true(info.flags & DMI_DEFERRED_REMOVE);
    assert_true(rig_status(rig, "a", 0).flags & DMI_DEFERRED_REMOVE);
    assert_int_equal(rig_message(rig, "a", "@cancel_deferred_remove"), 0);
    assert_false(rig_status(rig, "a", 0).flags & DMI_DEFERRED_REMOVE);
    assert_int_equal(rig_message(rig, "a", "@cancel_deferred_remove x"), -EINVAL);
    assert_int_equal(dmi_device_remove(&rig->dm, &id, DMI_DEFERRED_REMOVE, 0, &info), 0);
    assert_int_equal(dmi_sim_release(rig->sim, &id), 0);
    assert_int_equal(dmi_device_status(&rig->dm, &id, 0, &info), -ENXIO);
}

static void what_nobody_has_open_goes_at_once(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(dmi_device_remove(&rig->dm, &id, DMI_DEFERRED_REMOVE, 0, &info), 0);
    assert_false(info.flags & DMI_DEFERRED_REMOVE);
    assert_int_equal(dmi_device_remove(&rig->dm, &id, 0, 0, &info), -ENXIO);
}

static void only_a_loaded_device_can_be_held(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");

    assert_int_equal(dmi_sim_hold(rig->sim, &id), -ENXIO);
    rig_create(rig, "a");
    assert_int_equal(dmi_sim_hold(rig->sim, &id), -ENODATA);
    assert_int_equal(dmi_sim_event(rig->sim, &id), -ENODATA);
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_int_equal(dmi_sim_hold(rig->sim, &id), 0);
    assert_int_equal(rig_status(rig, "a", 0).open_count, 1);
    assert_int_equal(dmi_sim_release(rig->sim, &id), 0);
    assert_int_equal(dmi_sim_release(rig->sim, &id), -ENODATA);
}

static void geometry_has_limits(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"10 20 30 0", 0},        {"10 20 30 6000", 0},   {"10 20 30 6001", -EINVAL},
        {"65536 1 1 0", -EINVAL}, {"1 256 1 0", -EINVAL}, {"1 1 256 0", -EINVAL},
        {"1 2 3", -EINVAL},       {"1 2 3 4 5", -EINVAL}, {"a 2 3 4", -EINVAL},
        {"  1  2  3  4", 0},
    };
    struct raw raw = raw_new(512);

    raw_text(&raw, 0, cases[0].text);
    assert_int_equal(raw_call(*state, DMI_DEV_SET_GEOMETRY, &raw), -ENXIO);
    rig_create(*state, "a");
    raw_name(&raw, "a");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        raw_text(&raw, 0, cases[i].text);
        assert_int_equal(raw_call(*state, DMI_DEV_SET_GEOMETRY, &raw), cases[i].rc);
    }
    raw.head->data_start = 10;
    assert_int_equal(raw_call(*state, DMI_DEV_SET_GEOMETRY, &raw), -EINVAL);
    raw_done(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(a_new_device_is_not_suspended),
        RIG_TEST(names_and_uuids_are_taken_once),
        RIG_TEST(minors_are_the_lowest_free_or_as_asked),
        RIG_TEST(the_kernel_takes_odd_names_but_no_slash),
        RIG_TEST(names_that_are_too_long_are_cut),
        RIG_TEST(rename_moves_the_event_number_and_shows_the_old_name),
        RIG_TEST(a_bad_new_name_is_refused),
        RIG_TEST(a_uuid_is_set_once),
        RIG_TEST(an_open_device_goes_at_its_last_close),
        RIG_TEST(what_nobody_has_open_goes_at_once),
        RIG_TEST(only_a_loaded_device_can_be_held),
        RIG_TEST(geometry_has_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
