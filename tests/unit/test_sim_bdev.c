/* SPDX-License-Identifier: Apache-2.0 */
/* Disks, the words that name devices in table lines, and who has what open. */
#include "test_sim_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int add(struct rig *rig, const char *path, uint32_t major, uint32_t minor, uint32_t block)
{
    struct dmi_sim_disk disk = {.device = {major, minor}, .sectors = 8, .block_size = block};
    (void)snprintf(disk.path, sizeof(disk.path), "%s", path);
    return dmi_sim_disk_add(rig->sim, &disk, NULL);
}

static void bad_disks_are_refused(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(add(rig, "", 9, 0, 0), -EINVAL);
    assert_int_equal(add(rig, "relative", 9, 0, 0), -EINVAL);
    assert_int_equal(add(rig, "/dev/x", 254, 0, 0), -EINVAL);
    assert_int_equal(add(rig, "/dev/x", 4096, 0, 0), -EINVAL);
    assert_int_equal(add(rig, "/dev/x", 9, 1 << 20, 0), -EINVAL);
    assert_int_equal(add(rig, "/dev/x", 9, 0, 513), -EINVAL);
    assert_int_equal(add(rig, "/dev/x", 9, 0, 8192), -EINVAL);
    assert_int_equal(add(rig, "/dev/sim0", 9, 0, 0), -EEXIST);
    assert_int_equal(add(rig, "/dev/x", 8, 0, 0), -EEXIST);
}

static void numbers_are_given_out(void **state)
{
    struct rig *rig = *state;
    struct dmi_sim_disk disk = {.path = "/dev/n0"};
    struct dmi_device first, second;

    assert_int_equal(dmi_sim_disk_add(rig->sim, &disk, &first), 0);
    disk.path[6] = '1';
    assert_int_equal(dmi_sim_disk_add(rig->sim, &disk, &second), 0);
    assert_int_equal(first.major, second.major);
    assert_int_equal(second.minor, first.minor + 1);
}

static void disks_are_listed_with_their_users(void **state)
{
    struct rig *rig = *state;
    struct dmi_sim_disk *disks;
    size_t count;

    rig_live(rig, "a", "linear", 8, "/dev/sim1 0");
    rig_live(rig, "b", "linear", 8, "/dev/sim1 8");
    assert_int_equal(dmi_sim_disks(rig->sim, &disks, &count), 0);
    assert_int_equal(count, 3);
    assert_string_equal(disks[1].path, "/dev/sim1");
    assert_int_equal(disks[1].users, 2);
    assert_int_equal(disks[1].block_size, 512);
    free(disks);
    assert_int_equal(dmi_sim_disk_remove(rig->sim, (struct dmi_device){8, 1}), -EBUSY);
    assert_int_equal(rig_remove(rig, "a"), 0);
    assert_int_equal(rig_remove(rig, "b"), 0);
    assert_int_equal(dmi_sim_disk_remove(rig->sim, (struct dmi_device){8, 1}), 0);
    assert_int_equal(dmi_sim_disk_remove(rig->sim, (struct dmi_device){8, 1}), -ENXIO);
}

static void devices_have_many_names(void **state)
{
    static const struct {
        const char *params;
        int rc;
        const char *line;
    } cases[] = {
        {"/dev/sim0 1", 0, "8:0 1"},
        {"8:2 1", 0, "8:2 1"},
        {"8:2:9 1", 0, "8:2 1"},
        {"802 1", 0, "8:2 1"},
        {"/dev/mapper/under 1", 0, "254:1 1"},
        {"/dev/dm-1 1", 0, "254:1 1"},
        {"254:1 1", 0, "254:1 1"},
        {"/dev/none 1", -ENODEV, NULL},
        {"none 1", -ENODEV, NULL},
        {"0 1", -ENODEV, NULL},
        {"9:9 1", -ENXIO, NULL},
        {"254:9 1", -ENXIO, NULL},
        {"4096:1 1", -EOVERFLOW, NULL},
        {"1:1048576 1", -EOVERFLOW, NULL},
        {"/dev/mapper/empty 1", -ENODEV, NULL},
        {"254:2 1", -ENXIO, NULL},
    };
    struct rig *rig = *state;

    rig_create(rig, "a");
    rig_live(rig, "under", "zero", 64, "");
    rig_create(rig, "empty");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(rig_load(rig, "a", "linear", 8, cases[i].params), cases[i].rc);
        if (cases[i].line)
            assert_line(rig, "a", DMI_STATUS_TABLE | DMI_QUERY_INACTIVE_TABLE, cases[i].line);
    }
}

static void claimed_disks_are_busy(void **state)
{
    struct rig *rig = *state;
    const struct dmi_device disk = {8, 0};

    rig_create(rig, "a");
    assert_int_equal(dmi_sim_disk_claim(rig->sim, disk, true), 0);
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/sim0 0"), -EBUSY);
    assert_logged(rig, "table: 254:0: linear: Device lookup failed (-EBUSY)");
    assert_int_equal(dmi_sim_disk_claim(rig->sim, disk, false), 0);
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/sim0 0"), 0);
    assert_int_equal(dmi_sim_disk_claim(rig->sim, disk, true), -EBUSY);
}

static void a_device_opens_another_once_for_all_its_tables(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "below", "zero", 64, "");
    rig_live(rig, "above", "linear", 8, "/dev/mapper/below 0");
    assert_int_equal(rig_status(rig, "below", 0).open_count, 1);
    assert_int_equal(rig_load(rig, "above", "linear", 16, "/dev/mapper/below 0"), 0);
    assert_int_equal(rig_status(rig, "below", 0).open_count, 1);
    rig_live(rig, "other", "linear", 8, "/dev/mapper/below 0");
    assert_int_equal(rig_status(rig, "below", 0).open_count, 2);
    assert_int_equal(rig_remove(rig, "below"), -EBUSY);
    assert_int_equal(rig_remove(rig, "other"), 0);
    assert_int_equal(rig_resume(rig, "above"), 0);
    assert_int_equal(rig_status(rig, "below", 0).open_count, 1);
    assert_int_equal(rig_remove(rig, "above"), 0);
    assert_int_equal(rig_status(rig, "below", 0).open_count, 0);
}

static void a_read_only_table_opens_it_once_more(void **state)
{
    struct rig *rig = *state;
    const struct dmi_target target = {
        .length = 8, .type = "linear", .params = "/dev/mapper/below 0"};
    const struct dmi_id id = by_name("above");
    struct dmi_info info;

    rig_live(rig, "below", "zero", 64, "");
    rig_live(rig, "above", "linear", 8, "/dev/mapper/below 0");
    assert_int_equal(dmi_table_load(&rig->dm, &id, &target, 1, DMI_READONLY, &info), 0);
    assert_int_equal(rig_status(rig, "below", 0).open_count, 2);
    assert_int_equal(rig_resume(rig, "above"), 0);
    assert_int_equal(rig_status(rig, "below", 0).open_count, 1);
    assert_true(rig_status(rig, "above", 0).flags & DMI_READONLY);
}

static void a_device_may_map_itself(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "zero", 64, "");
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/mapper/a 0"), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(rig_remove(rig, "a"), -EBUSY);
    assert_int_equal(rig_load(rig, "a", "error", 8, ""), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(rig_remove(rig, "a"), 0);
}

static void devices_may_map_each_other(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "zero", 64, "");
    rig_live(rig, "b", "linear", 8, "/dev/mapper/a 0");
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/mapper/b 0"), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(dmi_remove_all(&rig->dm, 0), 0);
    assert_logged(rig, "remove_all left 2 open device(s)");
    /* And the end of the world copes with it. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(bad_disks_are_refused),
        RIG_TEST(numbers_are_given_out),
        RIG_TEST(disks_are_listed_with_their_users),
        RIG_TEST(devices_have_many_names),
        RIG_TEST(claimed_disks_are_busy),
        RIG_TEST(a_device_opens_another_once_for_all_its_tables),
        RIG_TEST(a_read_only_table_opens_it_once_more),
        RIG_TEST(a_device_may_map_itself),
        RIG_TEST(devices_may_map_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
