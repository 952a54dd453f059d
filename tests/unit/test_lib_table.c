/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of table.c: the specs of a load, status and table lines, dependencies. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

enum { FIRST = 16384, SECOND = 65536, FIRST_DEPS = 4096 };

static const struct dm_ioctl described = {
    .target_count = 3, .flags = DM_ACTIVE_PRESENT_FLAG, .dev = 0xfe00, .name = "n"};

/* --- load --- */

static void test_load(void **state)
{
    static const struct dmi_target targets[] = {
        {0, 8, "zero", ""},
        {8, 16, "linear", "7:0 2048"},                  /* 40 + 9: padding needed */
        {24, UINT64_MAX, "fifteen-letters", "seven7!"}, /* 40 + 8: none */
    };
    struct dmi_id id = script_by_name("n");
    struct script_bytes in = {0};
    struct dmi_info info;

    (void)state;
    script_add_request_target(&in, 0, 8, "zero", "");
    script_add_request_target(&in, 8, 16, "linear", "7:0 2048");
    script_add_request_target(&in, 24, UINT64_MAX, "fifteen-letters", "seven7!");
    assert_int_equal(in.size, 48 + 56 + 48);
    struct script_step step = {.nr = DMI_TABLE_LOAD,
                               .name = "n",
                               .flags = DM_READONLY_FLAG,
                               .target_count = 3,
                               .in = in.data,
                               .in_size = in.size,
                               .act = SCRIPT_ANSWER,
                               .reply = described};
    SCRIPT(script, step, step, step);
    script_steps[1].flags = DM_SECURE_DATA_FLAG;
    script_steps[2].flags = DM_SECURE_DATA_FLAG;
    script_steps[2].act = SCRIPT_WIPE_FAIL;
    script_steps[2].rc = -EINVAL;
    assert_int_equal(dmi_table_load(&script.dm, &id, targets, 3, DMI_READONLY, &info), 0);
    assert_string_equal(info.name, "n");
    assert_int_equal(info.flags, DMI_ACTIVE_PRESENT);
    assert_int_equal(dmi_table_load(&script.dm, &id, targets, 3, DMI_SECURE_DATA, &info), 0);
    /* A version of zeros is no version: the kernel wiped it with the rest. */
    assert_int_equal(dmi_table_load(&script.dm, &id, targets, 3, DMI_SECURE_DATA, &info), -EINVAL);
    assert_int_equal(script.dm.kernel_version[1], SCRIPT_KERNEL_MINOR);
    script_bytes_done(&in);
    script_end(&script);
}

/* No targets: refused by the kernel, not here. */
static void test_load_nothing(void **state)
{
    struct dmi_id id = script_by_name("n");
    struct dmi_info info;
    SCRIPT(script, {.nr = DMI_TABLE_LOAD, .name = "n", .act = SCRIPT_FAIL, .rc = -EINVAL});

    (void)state;
    assert_int_equal(dmi_table_load(&script.dm, &id, NULL, 0, 0, &info), -EINVAL);
    assert_int_equal(script.dm.last, DMI_TABLE_LOAD);
    script_end(&script);
}

static void test_load_many(void **state)
{
    enum { TARGETS = 20000 };
    struct dmi_target *targets = calloc(TARGETS, sizeof(*targets));
    struct dmi_id id = script_by_name("n");
    struct script_bytes in = {0};
    struct dmi_info info;

    (void)state;
    assert_non_null(targets);
    for (uint64_t i = 0; i < TARGETS; i++) {
        targets[i] = (struct dmi_target){i * 8, 8, "linear", "7:0 0"};
        script_add_request_target(&in, i * 8, 8, "linear", "7:0 0");
    }
    SCRIPT(script, {.nr = DMI_TABLE_LOAD,
                    .name = "n",
                    .target_count = TARGETS,
                    .in = in.data,
                    .in_size = in.size});
    assert_int_equal(dmi_table_load(&script.dm, &id, targets, TARGETS, 0, &info), 0);
    free(targets);
    script_bytes_done(&in);
    script_end(&script);
}

/* One string, many times over, makes 1 GiB without needing it. */
static void test_load_too_big(void **state)
{
    enum { LENGTH = 1 << 20, TARGETS = 1024 };
    char *params = malloc(LENGTH + 1);
    struct dmi_target *targets = calloc(TARGETS, sizeof(*targets));
    struct dmi_id id = script_by_name("n");
    struct dmi_info info;
    struct script script;

    (void)state;
    assert_non_null(params);
    assert_non_null(targets);
    memset(params, 'p', LENGTH);
    params[LENGTH] = '\0';
    for (int i = 0; i < TARGETS; i++) {
        targets[i] = (struct dmi_target){0, 8, "linear", params};
    }
    script_init_silent(&script);
    assert_int_equal(dmi_table_load(&script.dm, &id, targets, TARGETS, 0, &info), -E2BIG);
    assert_int_equal(script.dm.last, DMI_NONE);
    free(targets);
    free(params);
}

static void test_load_refusals(void **state)
{
    struct dmi_target target = {0, 8, "sixteen-letters-", ""};
    struct dmi_id id = script_by_name("n"), no_id = script_by_name("");
    struct dmi_info info;
    struct script script;

    (void)state;
    script_init_silent(&script);
    assert_int_equal(dmi_table_load(&script.dm, &id, &target, 1, 0, &info), -ENAMETOOLONG);
    target.type = "linear";
    assert_int_equal(dmi_table_load(&script.dm, &no_id, &target, 1, 0, &info), -EINVAL);
    assert_int_equal(dmi_table_load(&script.dm, &id, &target, 1, DMI_NOFLUSH, &info), -EINVAL);
    assert_int_equal(script.dm.last, DMI_NONE);
}

static void test_clear(void **state)
{
    struct dmi_id id = script_by_uuid("u");
    struct dmi_info info;
    SCRIPT(script, {.nr = DMI_TABLE_CLEAR, .uuid = "u", .act = SCRIPT_ANSWER, .reply = described},
           {.nr = DMI_TABLE_CLEAR, .uuid = "u", .act = SCRIPT_FAIL, .rc = -ENXIO});

    (void)state;
    assert_int_equal(dmi_table_clear(&script.dm, &id, &info), 0);
    assert_string_equal(info.name, "n");
    assert_int_equal(dmi_table_clear(&script.dm, &id, &info), -ENXIO);
    id = script_by_uuid("");
    assert_int_equal(dmi_table_clear(&script.dm, &id, &info), -EINVAL);
    script_end(&script);
}

/* --- status --- */

static void test_status(void **state)
{
    struct dmi_id id = script_by_device(254, 0);
    struct script_bytes out = {0};
    struct dmi_table table, none = {0};

    (void)state;
    script_add_target(&out, 0, 8, "zero", "");
    script_add_target(&out, 8, 16, "linear", "7:0 2048");
    script_add_target(&out, UINT64_MAX, 1, "sixteen-letters-", "x");
    SCRIPT(script, {.nr = DMI_TABLE_STATUS,
                    .device = 0xfe00,
                    .flags = DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG | DM_QUERY_INACTIVE_TABLE_FLAG |
                             DM_SECURE_DATA_FLAG,
                    .size = FIRST,
                    .act = SCRIPT_ANSWER,
                    .reply = described,
                    .out = &out});
    assert_int_equal(dmi_table_status(&script.dm, &id,
                                      DMI_STATUS_TABLE | DMI_NOFLUSH | DMI_QUERY_INACTIVE_TABLE |
                                          DMI_SECURE_DATA,
                                      &table),
                     0);
    assert_string_equal(table.info.name, "n");
    assert_int_equal(table.count, 3);
    assert_int_equal(table.targets[0].start, 0);
    assert_int_equal(table.targets[0].length, 8);
    assert_string_equal(table.targets[0].type, "zero");
    assert_string_equal(table.targets[0].params, "");
    assert_string_equal(table.targets[1].type, "linear");
    assert_string_equal(table.targets[1].params, "7:0 2048");
    assert_true(table.targets[2].start == UINT64_MAX);
    assert_string_equal(table.targets[2].type, "sixteen-letters"); /* cut */
    assert_string_equal(table.targets[2].params, "x");
    dmi_table_done(&table);
    assert_memory_equal(&table, &none, sizeof(table));
    dmi_table_done(&table);
    script_bytes_done(&out);
    script_end(&script);
}

static void test_status_without_table(void **state)
{
    static const struct dm_ioctl bare = {.dev = 0xfe00, .name = "n"};
    struct dmi_id id = script_by_name("n");
    struct dmi_table table;
    struct script_step step = {
        .nr = DMI_TABLE_STATUS, .name = "n", .size = FIRST, .act = SCRIPT_ANSWER, .reply = bare};
    SCRIPT(script, step, step);

    (void)state;
    /* Three targets, of a table that went before its lines were written. */
    script_steps[1].reply = described;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dmi_table_status(&script.dm, &id, 0, &table), 0);
        assert_int_equal(table.count, 0);
        assert_null(table.targets);
        assert_string_equal(table.info.name, "n");
        dmi_table_done(&table);
    }
    assert_int_equal(dmi_table_status(&script.dm, &id, DMI_READONLY, &table), -EINVAL);
    script_end(&script);
}

static void test_status_growth(void **state)
{
    struct dmi_id id = script_by_uuid("u");
    struct script_bytes out = {0};
    struct dm_ioctl reply = described;
    struct dmi_table table;
    char *params = calloc(1, 40001);

    (void)state;
    assert_non_null(params);
    memset(params, 'p', 40000);
    reply.target_count = 1;
    script_add_target(&out, 0, 8, "striped", params);
    struct script_step step = {.nr = DMI_TABLE_STATUS,
                               .uuid = "u",
                               .flags = DM_NOFLUSH_FLAG,
                               .size = FIRST,
                               .act = SCRIPT_FULL};
    SCRIPT(script, step, step);
    script_steps[1].size = SECOND;
    script_steps[1].act = SCRIPT_ANSWER;
    script_steps[1].reply = reply;
    script_steps[1].out = &out;
    assert_int_equal(dmi_table_status(&script.dm, &id, DMI_NOFLUSH, &table), 0);
    assert_int_equal(table.count, 1);
    assert_string_equal(table.targets[0].params, params);
    dmi_table_done(&table);
    free(params);
    script_bytes_done(&out);
    script_end(&script);
}

static void test_status_malformed(void **state)
{
    struct dmi_id id = script_by_name("n");
    struct script_bytes out = {0};
    struct dm_ioctl reply = described;
    struct dmi_table table = {.count = 5};
    struct script_step step = {
        .nr = DMI_TABLE_STATUS, .name = "n", .size = FIRST, .act = SCRIPT_ANSWER};

    (void)state;
    script_add_target(&out, 0, 8, "zero", "");
    script_add_target(&out, 8, 8, "zero", "");
    step.out = &out;
    SCRIPT(script, step, step);
    script_steps[0].reply = reply; /* three, and there are two */
    reply.target_count = UINT32_MAX;
    script_steps[1].reply = reply;
    assert_int_equal(dmi_table_status(&script.dm, &id, 0, &table), -EBADMSG);
    assert_int_equal(dmi_table_status(&script.dm, &id, 0, &table), -EBADMSG);
    assert_int_equal(table.count, 5);
    script_bytes_done(&out);
    script_end(&script);
}

/* --- dependencies --- */

static struct script_bytes deps_of(uint32_t count, const uint64_t *devices, size_t given)
{
    struct script_bytes out = {0};
    const uint32_t head[] = {count, 0};

    script_bytes_add(&out, head, sizeof(head));
    script_bytes_add(&out, devices, given * sizeof(*devices));
    return out;
}

static void test_deps(void **state)
{
    static const uint64_t devices[] = {0x0700, 0x12310345};
    struct dmi_id id = script_by_name("n");
    struct script_bytes out = deps_of(2, devices, 2), none = deps_of(0, NULL, 0);
    struct script_step step = {.nr = DMI_TABLE_DEPS,
                               .name = "n",
                               .size = FIRST_DEPS,
                               .act = SCRIPT_ANSWER,
                               .reply = described};
    struct dmi_deps deps;

    (void)state;
    SCRIPT(script, step, step, step);
    script_steps[0].flags = DM_QUERY_INACTIVE_TABLE_FLAG;
    script_steps[0].out = &out;
    script_steps[1].out = &none;
    assert_int_equal(dmi_table_deps(&script.dm, &id, DMI_QUERY_INACTIVE_TABLE, &deps), 0);
    assert_string_equal(deps.info.name, "n");
    assert_int_equal(deps.count, 2);
    assert_int_equal(deps.devices[0].major, 7);
    assert_int_equal(deps.devices[0].minor, 0);
    assert_int_equal(deps.devices[1].major, 259);
    assert_int_equal(deps.devices[1].minor, 0x12345);
    dmi_deps_done(&deps);
    assert_null(deps.devices);
    for (int i = 1; i < 3; i++) {
        deps.count = 5;
        assert_int_equal(dmi_table_deps(&script.dm, &id, 0, &deps), 0);
        assert_int_equal(deps.count, 0);
        assert_null(deps.devices);
        dmi_deps_done(&deps);
    }
    assert_int_equal(dmi_table_deps(&script.dm, &id, DMI_NOFLUSH, &deps), -EINVAL);
    script_bytes_done(&out);
    script_bytes_done(&none);
    script_end(&script);
}

static void test_deps_malformed(void **state)
{
    static const uint64_t devices[] = {0x0700, UINT64_C(1) << 32};
    struct dmi_id id = script_by_name("n");
    struct script_bytes outs[] = {
        deps_of(3, devices, 2),          /* more than there are */
        deps_of(UINT32_MAX, devices, 2), /* by far */
        deps_of(2, devices, 2),          /* the second is no device */
        deps_of(0, NULL, 0),             /* cut within the head */
    };
    struct script_step step = {.nr = DMI_TABLE_DEPS,
                               .name = "n",
                               .size = FIRST_DEPS,
                               .act = SCRIPT_ANSWER,
                               .reply = described};
    struct dmi_deps deps = {.count = 5};

    (void)state;
    outs[3].size = 7;
    SCRIPT(script, step, step, step, step);
    for (size_t i = 0; i < 4; i++) {
        script_steps[i].out = &outs[i];
        assert_int_equal(dmi_table_deps(&script.dm, &id, 0, &deps), -EBADMSG);
        script_bytes_done(&outs[i]);
    }
    assert_int_equal(deps.count, 5);
    script_end(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),          cmocka_unit_test(test_load_nothing),
        cmocka_unit_test(test_load_many),     cmocka_unit_test(test_load_too_big),
        cmocka_unit_test(test_load_refusals), cmocka_unit_test(test_clear),
        cmocka_unit_test(test_status),        cmocka_unit_test(test_status_without_table),
        cmocka_unit_test(test_status_growth), cmocka_unit_test(test_status_malformed),
        cmocka_unit_test(test_deps),          cmocka_unit_test(test_deps_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
