/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of devices and target types: layout, order, filters, buffers that are too small. */
#include "test_sim_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char *payload(struct raw *raw)
{
    return (char *)raw->head + 312;
}

static void an_empty_list_does_not_even_copy_its_end(void **state)
{
    struct raw raw = raw_new(512);
    memset(payload(&raw), 'Z', 200);
    assert_int_equal(raw_call(*state, DMI_LIST_DEVICES, &raw), 0);
    assert_int_equal(raw.head->data_size, 312);
    assert_int_equal(*payload(&raw), 'Z');
    raw_done(&raw);
}

static void entries_are_laid_out_as_in_the_kernel(void **state)
{
    struct rig *rig = *state;
    struct raw raw = raw_new(512);
    struct dmi_info info;

    assert_int_equal(dmi_device_create(&rig->dm, "bb", "uuid", 0, 0, &info), 0);
    rig_create(rig, "a");
    raw.head->flags = DM_UUID_FLAG;
    assert_int_equal(raw_call(rig, DMI_LIST_DEVICES, &raw), 0);

    struct dm_name_list *first = (struct dm_name_list *)(void *)payload(&raw);
    assert_string_equal(payload(&raw) + 12, "a");
    assert_int_equal(first->dev, 254 << 8 | 1);
    assert_int_equal(first->next, 24);
    assert_int_equal(*(uint32_t *)(void *)(payload(&raw) + 20), DM_NAME_LIST_FLAG_DOESNT_HAVE_UUID);
    assert_string_equal(payload(&raw) + 24 + 12, "bb");
    assert_int_equal(*(uint32_t *)(void *)(payload(&raw) + 24 + 8), 0);
    assert_int_equal(*(uint32_t *)(void *)(payload(&raw) + 24 + 20), DM_NAME_LIST_FLAG_HAS_UUID);
    assert_string_equal(payload(&raw) + 48, "uuid");
    assert_int_equal(raw.head->data_size, 312 + 48 + 8);
    raw_done(&raw);
}

static void without_the_flag_there_is_no_uuid(void **state)
{
    struct rig *rig = *state;
    struct raw raw = raw_new(512);
    struct dmi_info info;

    assert_int_equal(dmi_device_create(&rig->dm, "b", "uuid", 0, 0, &info), 0);
    assert_int_equal(raw_call(rig, DMI_LIST_DEVICES, &raw), 0);
    assert_int_equal(raw.head->data_size, 312 + 24);
    assert_int_equal(*(uint32_t *)(void *)(payload(&raw) + 20), 0);
    raw_done(&raw);
}

static void order_is_that_of_bytes(void **state)
{
    static const char *const names[] = {"b", "\xff", "B", "aa", "a", "ab", "\x01"};
    static const char *const sorted[] = {"\x01", "B", "a", "aa", "ab", "b", "\xff"};
    struct rig *rig = *state;
    struct dmi_device_list list;

    for (size_t i = 0; i < 7; i++)
        rig_create(rig, names[i]);
    assert_int_equal(dmi_list_devices(&rig->dm, NULL, NULL, &list), 0);
    assert_int_equal(list.count, 7);
    for (size_t i = 0; i < 7; i++)
        assert_string_equal(list.entries[i].name, sorted[i]);
    dmi_device_list_done(&list);
}

static void prefixes_filter(void **state)
{
    struct rig *rig = *state;
    struct dmi_device_list list;
    struct dmi_info info;

    assert_int_equal(dmi_device_create(&rig->dm, "vg-a", "LVM-1", 0, 0, &info), 0);
    assert_int_equal(dmi_device_create(&rig->dm, "vg-b", "CRYPT-1", 0, 0, &info), 0);
    rig_create(rig, "other");
    assert_int_equal(dmi_list_devices(&rig->dm, "vg-", NULL, &list), 0);
    assert_int_equal(list.count, 2);
    dmi_device_list_done(&list);
    assert_int_equal(dmi_list_devices(&rig->dm, NULL, "LVM", &list), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.entries[0].name, "vg-a");
    dmi_device_list_done(&list);
}

static void a_list_that_does_not_fit_is_not_begun(void **state)
{
    struct rig *rig = *state;
    struct raw raw = raw_new(312 + 47);

    rig_create(rig, "a");
    rig_create(rig, "b");
    memset(payload(&raw), 'Z', 47);
    assert_int_equal(raw_call(rig, DMI_LIST_DEVICES, &raw), 0);
    assert_int_equal(raw.head->flags, DM_BUFFER_FULL_FLAG);
    assert_int_equal(raw.head->data_size, 305);
    assert_int_equal(*payload(&raw), 'Z');
    raw_done(&raw);
}

static void types_come_with_their_modules(void **state)
{
    struct rig *rig = *state;
    struct dmi_target_versions versions;
    struct dmi_version version;

    assert_int_equal(dmi_list_versions(&rig->dm, &versions), 0);
    assert_int_equal(versions.count, 3);
    assert_string_equal(versions.entries[0].name, "striped");
    assert_string_equal(versions.entries[2].name, "error");
    dmi_target_versions_done(&versions);

    assert_int_equal(dmi_target_version(&rig->dm, "snapshot-merge", &version), 0);
    assert_int_equal(version.minor, 5);
    assert_int_equal(dmi_list_versions(&rig->dm, &versions), 0);
    assert_int_equal(versions.count, 6);
    assert_string_equal(versions.entries[0].name, "snapshot-merge");
    assert_string_equal(versions.entries[1].name, "snapshot-origin");
    assert_string_equal(versions.entries[2].name, "snapshot");
    dmi_target_versions_done(&versions);
    assert_int_equal(dmi_target_version(&rig->dm, "nonsense", &version), -EINVAL);
}

static void a_name_that_only_loads_a_module_is_no_type(void **state)
{
    struct rig *rig = *state;
    struct dmi_target_versions versions;
    struct dmi_version version;

    assert_int_equal(dmi_target_version(&rig->dm, "raid1", &version), -EINVAL);
    assert_int_equal(dmi_list_versions(&rig->dm, &versions), 0);
    assert_string_equal(versions.entries[0].name, "raid");
    dmi_target_versions_done(&versions);
    /* The module of thin is called thin-pool, and nothing else loads it. */
    assert_int_equal(dmi_target_version(&rig->dm, "thin", &version), -EINVAL);
    assert_int_equal(dmi_target_version(&rig->dm, "thin-pool", &version), 0);
    assert_int_equal(dmi_target_version(&rig->dm, "thin", &version), 0);
}

static void remove_all_leaves_the_open_ones(void **state)
{
    struct rig *rig = *state;
    struct dmi_device_list list;
    const struct dmi_id held = by_name("held");

    rig_live(rig, "held", "zero", 8, "");
    rig_live(rig, "below", "zero", 8, "");
    rig_live(rig, "above", "linear", 8, "/dev/mapper/below 0");
    assert_int_equal(dmi_sim_hold(rig->sim, &held), 0);
    assert_int_equal(dmi_remove_all(&rig->dm, 0), 0);
    assert_logged(rig, "remove_all left 1 open device(s)");
    assert_int_equal(dmi_list_devices(&rig->dm, NULL, NULL, &list), 0);
    assert_int_equal(list.count, 1);
    dmi_device_list_done(&list);

    assert_int_equal(dmi_remove_all(&rig->dm, DMI_DEFERRED_REMOVE), 0);
    assert_int_equal(dmi_sim_release(rig->sim, &held), 0);
    assert_int_equal(dmi_sim_release(rig->sim, &held), -ENXIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(an_empty_list_does_not_even_copy_its_end),
        RIG_TEST(entries_are_laid_out_as_in_the_kernel),
        RIG_TEST(without_the_flag_there_is_no_uuid),
        RIG_TEST(order_is_that_of_bytes),
        RIG_TEST(prefixes_filter),
        RIG_TEST(a_list_that_does_not_fit_is_not_begun),
        RIG_TEST(types_come_with_their_modules),
        RIG_TEST(a_name_that_only_loads_a_module_is_no_type),
        RIG_TEST(remove_all_leaves_the_open_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
