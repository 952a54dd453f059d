/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call that allocates, with each of its allocations failing in turn: it says
 * -ENOMEM, leaves its result alone, and keeps nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

/* --- memory that fails --- */

static struct {
    bool on;
    size_t fail_at; /* which allocation; counted from 0 */
    size_t count;
    long live;
} memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __real_free(void *old);
void __wrap_free(void *old);

static bool memory_fails(void)
{
    return memory.on && memory.count++ == memory.fail_at;
}

static void *memory_count(void *new)
{
    memory.live += memory.on && new;
    return new;
}

void *__wrap_malloc(size_t size)
{
    return memory_fails() ? NULL : memory_count(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : memory_count(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (old) {
        return memory_fails() ? NULL : __real_realloc(old, size);
    }
    return memory_fails() ? NULL : memory_count(__real_realloc(old, size));
}

void __wrap_free(void *old)
{
    memory.live -= memory.on && old;
    __real_free(old);
}

/* --- a kernel that always has an answer --- */

static struct script_bytes answers[DMI_IOCTL_COUNT];

static int answering_ioctl(struct dmi_transport *transport, enum dmi_ioctl nr,
                           struct dm_ioctl *buffer)
{
    size_t size = sizeof(*buffer) + answers[nr].size;

    (void)transport;
    buffer->version[1] = 47;
    /* Each answer needs a second, larger buffer. */
    if (buffer->data_size < 65536 && nr != DMI_TARGET_MSG && nr != DMI_TABLE_LOAD) {
        buffer->flags |= DM_BUFFER_FULL_FLAG;
        return 0;
    }
    memcpy(buffer + 1, answers[nr].data, answers[nr].size);
    buffer->data_size = (uint32_t)size;
    buffer->target_count = 1;
    buffer->flags = DM_DATA_OUT_FLAG;
    return 0;
}

static int answering_majors(struct dmi_transport *transport, uint32_t **ret_majors,
                            size_t *ret_count)
{
    (void)transport;
    *ret_majors = calloc(1, sizeof(**ret_majors));
    *ret_count = 1;
    return *ret_majors ? 0 : -ENOMEM;
}

static int make_answers(void **state)
{
    static const uint64_t deps[] = {1, 0x0700};

    (void)state;
    script_add_device(&answers[DMI_LIST_DEVICES], 1, "n", 1, 0, NULL);
    script_add_version(&answers[DMI_LIST_VERSIONS], "zero", 1, 2, 3);
    script_add_target(&answers[DMI_TABLE_STATUS], 0, 8, "zero", "");
    script_bytes_add(&answers[DMI_TABLE_DEPS], deps, sizeof(deps));
    script_bytes_add(&answers[DMI_TARGET_MSG], "output", sizeof("output"));
    script_bytes_add(&answers[DMI_TABLE_LOAD], "", 0);
    return 0;
}

static int drop_answers(void **state)
{
    (void)state;
    for (int nr = 0; nr < DMI_IOCTL_COUNT; nr++) {
        script_bytes_done(&answers[nr]);
    }
    return 0;
}

/* --- the calls --- */

static int call_list_devices(struct dmi *dm)
{
    struct dmi_device_list list = {.count = 5};
    int rc = dmi_list_devices(dm, NULL, NULL, &list);

    assert_int_equal(list.count, rc == 0 ? 1 : 5);
    if (rc == 0) {
        dmi_device_list_done(&list);
    }
    return rc;
}

static int call_list_versions(struct dmi *dm)
{
    struct dmi_target_versions versions = {.count = 5};
    int rc = dmi_list_versions(dm, &versions);

    assert_int_equal(versions.count, rc == 0 ? 1 : 5);
    if (rc == 0) {
        dmi_target_versions_done(&versions);
    }
    return rc;
}

static int call_table_status(struct dmi *dm)
{
    struct dmi_id id = script_by_name("n");
    struct dmi_table table = {.count = 5};
    int rc = dmi_table_status(dm, &id, 0, &table);

    assert_int_equal(table.count, rc == 0 ? 1 : 5);
    if (rc == 0) {
        dmi_table_done(&table);
    }
    return rc;
}

static int call_table_deps(struct dmi *dm)
{
    struct dmi_id id = script_by_name("n");
    struct dmi_deps deps = {.count = 5};
    int rc = dmi_table_deps(dm, &id, 0, &deps);

    assert_int_equal(deps.count, rc == 0 ? 1 : 5);
    if (rc == 0) {
        dmi_deps_done(&deps);
    }
    return rc;
}

static int call_table_load(struct dmi *dm)
{
    struct dmi_id id = script_by_name("n");
    struct dmi_target target = {0, 8, "zero", ""};
    struct dmi_info info;

    return dmi_table_load(dm, &id, &target, 1, 0, &info);
}

static int call_target_msg(struct dmi *dm)
{
    struct dmi_id id = script_by_name("n");
    struct dmi_message message;
    int rc = dmi_target_msg(dm, &id, 0, "m", 0, 0, &message);

    if (rc == 0) {
        dmi_message_done(&message);
    }
    return rc;
}

static int call_dev_majors(struct dmi *dm)
{
    struct dmi_majors majors;
    int rc = dmi_dev_majors(dm, &majors);

    if (rc == 0) {
        dmi_majors_done(&majors);
    }
    return rc;
}

static void test_all(void **state)
{
    static const struct {
        int (*call)(struct dmi *dm);
        size_t allocations;
    } calls[] = {
        {call_list_devices, 3}, {call_list_versions, 3}, {call_table_status, 3},
        {call_table_deps, 4},   {call_table_load, 1},    {call_target_msg, 1},
        {call_dev_majors, 1},
    };
    struct dmi_transport transport = {.ioctl = answering_ioctl, .dev_majors = answering_majors};
    struct dmi dm;

    (void)state;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (size_t fail_at = 0; fail_at <= calls[i].allocations; fail_at++) {
            int rc;

            dmi_init(&dm, &transport);
            memset(&memory, 0, sizeof(memory));
            memory.fail_at = fail_at;
            memory.on = true;
            rc = calls[i].call(&dm);
            memory.on = false;
            assert_int_equal(rc, fail_at < calls[i].allocations ? -ENOMEM : 0);
            assert_int_equal(memory.live, 0);
        }
    }
}

/* Commands that are all header live on the stack: a call must not need memory to resume. */
static void test_none(void **state)
{
    struct dmi_transport transport = {.ioctl = answering_ioctl};
    struct dmi_id id = script_by_name("n");
    struct dmi_version version;
    struct dmi_info info;
    struct dmi dm;

    (void)state;
    dmi_init(&dm, &transport);
    memset(&memory, 0, sizeof(memory));
    memory.fail_at = SIZE_MAX;
    memory.on = true;
    (void)dmi_version(&dm, &version);
    (void)dmi_remove_all(&dm, 0);
    (void)dmi_arm_poll(&dm);
    (void)dmi_target_version(&dm, "zero", &version);
    (void)dmi_device_create(&dm, "n", "u", 0, 0, &info);
    (void)dmi_device_remove(&dm, &id, 0, 0, &info);
    (void)dmi_device_rename(&dm, "n", "m", 0, &info);
    (void)dmi_device_suspend(&dm, &id, 0, &info);
    (void)dmi_device_resume(&dm, &id, 0, 0, &info);
    (void)dmi_device_status(&dm, &id, 0, &info);
    (void)dmi_table_clear(&dm, &id, &info);
    memory.on = false;
    assert_int_equal(memory.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_none),
    };

    return cmocka_run_group_tests(tests, make_answers, drop_answers);
}
