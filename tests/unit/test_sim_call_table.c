/* SPDX-License-Identifier: Apache-2.0 */
/* Loading, clearing, status and dependencies of tables. */
#include "test_sim_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int load_two(struct rig *rig, const struct dmi_target *targets)
{
    const struct dmi_id id = by_name("a");
    struct dmi_info info;
    return dmi_table_load(&rig->dm, &id, targets, 2, 0, &info);
}

static void rules_of_tables(void **state)
{
    static const struct {
        struct dmi_target targets[2];
        int rc;
        const char *reason;
    } cases[] = {
        {{{0, 8, "zero", ""}, {8, 8, "zero", ""}}, 0, NULL},
        {{{0, 8, "zero", ""}, {9, 8, "zero", ""}}, -EINVAL, "zero: Gap in table (-EINVAL)"},
        {{{0, 8, "zero", ""}, {7, 8, "zero", ""}}, -EINVAL, "zero: Gap in table (-EINVAL)"},
        {{{1, 8, "zero", ""}, {9, 8, "zero", ""}}, -EINVAL, "zero: Gap in table (-EINVAL)"},
        {{{0, 8, "zero", ""}, {8, 0, "zero", ""}}, -EINVAL, "254:0: zero-length target"},
        {{{0, 8, "zero", ""}, {8, UINT64_MAX, "zero", ""}}, -EINVAL, "254:0: too large device"},
        {{{0, 8, "zero", ""}, {8, INT64_MAX, "zero", ""}}, -EINVAL, "254:0: too large device"},
        {{{0, 8, "zero", ""}, {8, 8, "nope", ""}}, -EINVAL, "nope: unknown target type"},
        {{{0, 8, "thin-pool", "/dev/sim0 /dev/sim1 128 0"}, {8, 8, "zero", ""}},
         -EINVAL,
         "target type thin-pool must appear alone in table"},
        {{{0, 8, "zero", ""}, {8, 8, "thin-pool", "/dev/sim0 /dev/sim1 128 0"}},
         -EINVAL,
         "singleton target type must appear alone in table"},
    };
    struct rig *rig = *state;

    rig_create(rig, "a");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(load_two(rig, cases[i].targets), cases[i].rc);
        if (cases[i].reason)
            assert_logged(rig, cases[i].reason);
    }
}

static void the_number_of_targets_has_limits(void **state)
{
    struct raw raw = raw_new(512);

    rig_create(*state, "a");
    raw_name(&raw, "a");
    assert_int_equal(raw_call(*state, DMI_TABLE_LOAD, &raw), -EINVAL);
    assert_logged(*state, "populate_table: no targets specified");
    raw.head->target_count = (1 << 20) + 1;
    assert_int_equal(raw_call(*state, DMI_TABLE_LOAD, &raw), -EOVERFLOW);
    raw_done(&raw);
}

static void lines_must_lie_inside_the_request(void **state)
{
    struct raw raw = raw_new(400);
    struct dm_target_spec *spec = (struct dm_target_spec *)(void *)((char *)raw.head + 312);

    rig_create(*state, "a");
    raw_name(&raw, "a");
    spec->length = 8;
    memcpy(spec->target_type, "zero", 5);
    raw.head->target_count = 2;
    static const uint32_t next[] = {0, 39, 87, 88, UINT32_MAX};
    for (size_t i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
        spec->next = next[i];
        assert_int_equal(raw_call(*state, DMI_TABLE_LOAD, &raw), -EINVAL);
    }
    raw.head->target_count = 1;
    static const uint32_t start[] = {0, 39, 400, 361, UINT32_MAX};
    for (size_t i = 0; i < sizeof(start) / sizeof(start[0]); i++) {
        raw.head->data_start = start[i];
        assert_int_equal(raw_call(*state, DMI_TABLE_LOAD, &raw), -EINVAL);
    }
    raw.head->data_start = 312;
    memset((char *)raw.head + 352, 'x', 48); /* the parameters do not end */
    assert_int_equal(raw_call(*state, DMI_TABLE_LOAD, &raw), -EINVAL);
    memset(spec->target_type, 'x', sizeof(spec->target_type));
    memset((char *)raw.head + 352, 0, 48);
    assert_int_equal(raw_call(*state, DMI_TABLE_LOAD, &raw), -EINVAL);
    raw_done(&raw);
}

static void areas_must_fit_at_the_first_load_and_at_resume(void **state)
{
    struct rig *rig = *state;

    rig_create(rig, "a");
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/sim0 131070"), -EINVAL);
    assert_logged(rig, "254:0: sim0 too small for target: start=131070, len=8, dev_size=131072");
    assert_logged(rig, "core: Cannot calculate initial queue limits");
    assert_int_equal(rig_load(rig, "a", "zero", 8, ""), 0);
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/sim0 131070"), 0);
    assert_int_equal(rig_resume(rig, "a"), -EINVAL);
}

static void blocks_must_line_up(void **state)
{
    struct rig *rig = *state;
    const struct dmi_sim_disk disk = {
        .path = "/dev/big", .device = {8, 9}, .sectors = 800, .block_size = 4096};

    assert_int_equal(dmi_sim_disk_add(rig->sim, &disk, NULL), 0);
    rig_create(rig, "a");
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/big 4"), -EINVAL);
    assert_logged(rig, "start=4 not aligned to h/w logical block size 4096 of big");
    assert_int_equal(rig_load(rig, "a", "linear", 7, "/dev/big 8"), -EINVAL);
    assert_logged(rig, "len=7 not aligned to h/w logical block size 4096 of big");
    const struct dmi_target targets[] = {{0, 4, "zero", ""}, {4, 8, "linear", "/dev/big 0"}};
    assert_int_equal(load_two(rig, targets), -EINVAL);
    assert_logged(rig, "table line 1 (start sect 4 len 8) not aligned");
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/big 8"), 0);
}

static void two_slots(void **state)
{
    struct rig *rig = *state;
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    rig_create(rig, "a");
    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/sim0 0"), 0);
    info = rig_status(rig, "a", 0);
    assert_int_equal(info.flags, DMI_INACTIVE_PRESENT);
    assert_int_equal(info.target_count, 0);
    assert_int_equal(rig_status(rig, "a", DMI_QUERY_INACTIVE_TABLE).target_count, 1);
    assert_int_equal(rig_resume(rig, "a"), 0);
    info = rig_status(rig, "a", 0);
    assert_int_equal(info.flags, DMI_ACTIVE_PRESENT);
    assert_int_equal(info.target_count, 1);

    assert_int_equal(rig_load(rig, "a", "linear", 8, "/dev/sim1 5"), 0);
    assert_line(rig, "a", DMI_STATUS_TABLE, "8:0 0");
    assert_line(rig, "a", DMI_STATUS_TABLE | DMI_QUERY_INACTIVE_TABLE, "8:1 5");
    assert_int_equal(dmi_table_clear(&rig->dm, &id, &info), 0);
    assert_int_equal(info.flags, DMI_ACTIVE_PRESENT);
    assert_int_equal(dmi_table_clear(&rig->dm, &id, &info), 0);
}

static void read_only_is_the_live_tables_or_the_inactive_ones(void **state)
{
    struct rig *rig = *state;
    const struct dmi_target target = {.length = 8, .type = "zero", .params = ""};
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    rig_live(rig, "a", "zero", 8, "");
    assert_int_equal(dmi_table_load(&rig->dm, &id, &target, 1, DMI_READONLY, &info), 0);
    assert_false(info.flags & DMI_READONLY);
    assert_true(rig_status(rig, "a", DMI_QUERY_INACTIVE_TABLE).flags & DMI_READONLY);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_true(rig_status(rig, "a", 0).flags & DMI_READONLY);
    assert_false(rig_status(rig, "a", DMI_QUERY_INACTIVE_TABLE).flags & DMI_READONLY);
}

static void dependencies_come_latest_first(void **state)
{
    struct rig *rig = *state;
    const struct dmi_target targets[] = {{0, 16, "striped", "2 8 8:0 0 8:1 0"},
                                         {16, 8, "linear", "8:0 99"}};
    const struct dmi_id id = by_name("a");
    struct dmi_deps deps;

    rig_create(rig, "a");
    assert_int_equal(load_two(rig, targets), 0);
    assert_int_equal(dmi_table_deps(&rig->dm, &id, DMI_QUERY_INACTIVE_TABLE, &deps), 0);
    assert_int_equal(deps.count, 2);
    assert_int_equal(deps.devices[0].minor, 1);
    assert_int_equal(deps.devices[1].minor, 0);
    dmi_deps_done(&deps);
    assert_int_equal(dmi_table_deps(&rig->dm, &id, 0, &deps), 0);
    assert_int_equal(deps.count, 0);
    dmi_deps_done(&deps);
}

static void a_status_that_does_not_fit_keeps_its_whole_lines(void **state)
{
    struct rig *rig = *state;
    const struct dmi_target targets[] = {{0, 8, "linear", "8:0 0"}, {8, 8, "linear", "8:0 8"}};

    rig_create(rig, "a");
    assert_int_equal(load_two(rig, targets), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    /* A line takes 40 bytes and "8:0 0" with its NUL, rounded up to 48. */
    static const struct {
        size_t room;
        uint32_t data_size;
        bool full;
    } cases[] = {{96, 312 + 94, false}, {95, 312 + 94, true}, {94, 312 + 46, true},
                 {48, 312 + 46, true},  {46, 305, true},      {0, 305, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct raw raw = raw_new(312 + cases[i].room);
        raw_name(&raw, "a");
        raw.head->flags = DM_STATUS_TABLE_FLAG;
        assert_int_equal(raw_call(rig, DMI_TABLE_STATUS, &raw), 0);
        assert_int_equal(!!(raw.head->flags & DM_BUFFER_FULL_FLAG), cases[i].full);
        assert_int_equal(raw.head->data_size, cases[i].data_size);
        assert_int_equal(raw.head->target_count, 2);
        raw_done(&raw);
    }
}

static void next_counts_from_the_first_line(void **state)
{
    struct rig *rig = *state;
    const struct dmi_target targets[] = {{0, 8, "linear", "8:0 0"}, {8, 8, "linear", "8:0 8"}};
    struct raw raw = raw_new(512);
    char *out = (char *)raw.head + 312;

    rig_create(rig, "a");
    assert_int_equal(load_two(rig, targets), 0);
    raw_name(&raw, "a");
    raw.head->flags = DM_STATUS_TABLE_FLAG | DM_QUERY_INACTIVE_TABLE_FLAG;
    assert_int_equal(raw_call(rig, DMI_TABLE_STATUS, &raw), 0);
    assert_int_equal(((struct dm_target_spec *)(void *)out)->next, 48);
    assert_int_equal(((struct dm_target_spec *)(void *)(out + 48))->next, 96);
    assert_string_equal(out + 48 + 40, "8:0 8");
    raw_done(&raw);
}

static void the_type_of_an_immutable_table_stays(void **state)
{
    struct rig *rig = *state;

    rig_live(rig, "a", "thin-pool", 1280, "/dev/sim0 /dev/sim1 128 0");
    assert_int_equal(rig_load(rig, "a", "zero", 1280, ""), -EINVAL);
    assert_logged(rig, "can't replace immutable target type thin-pool");
    assert_int_equal(rig_load(rig, "a", "error", 1280, ""), 0);
    assert_int_equal(rig_resume(rig, "a"), 0);
    assert_int_equal(rig_load(rig, "a", "zero", 1280, ""), 0);
}

static void a_pool_is_not_for_read_only_tables(void **state)
{
    struct rig *rig = *state;
    const struct dmi_target target = {
        .length = 1280, .type = "thin-pool", .params = "/dev/sim0 /dev/sim1 128 0"};
    const struct dmi_id id = by_name("a");
    struct dmi_info info;

    rig_create(rig, "a");
    assert_int_equal(dmi_table_load(&rig->dm, &id, &target, 1, DMI_READONLY, &info), -EINVAL);
    assert_logged(rig, "target type may not be included in a read-only table");
}

static void an_ima_measurement_is_a_third_kind_of_line(void **state)
{
    struct rig *rig = *state;
    struct raw raw = raw_new(1024);

    rig_live(rig, "a", "linear", 8, "/dev/sim0 3");
    raw_name(&raw, "a");
    raw.head->flags = DM_IMA_MEASUREMENT_FLAG;
    assert_int_equal(raw_call(rig, DMI_TABLE_STATUS, &raw), 0);
    assert_string_equal((char *)raw.head + 352,
                        "target_name=linear,target_version=1.4.0,device_name=8:0,start=3;");
    raw_done(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(rules_of_tables),
        RIG_TEST(the_number_of_targets_has_limits),
        RIG_TEST(lines_must_lie_inside_the_request),
        RIG_TEST(areas_must_fit_at_the_first_load_and_at_resume),
        RIG_TEST(blocks_must_line_up),
        RIG_TEST(two_slots),
        RIG_TEST(read_only_is_the_live_tables_or_the_inactive_ones),
        RIG_TEST(dependencies_come_latest_first),
        RIG_TEST(a_status_that_does_not_fit_keeps_its_whole_lines),
        RIG_TEST(next_counts_from_the_first_line),
        RIG_TEST(the_type_of_an_immutable_table_stays),
        RIG_TEST(a_pool_is_not_for_read_only_tables),
        RIG_TEST(an_ima_measurement_is_a_third_kind_of_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
