/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of device.c: the bytes of each request, each refusal, and what is made of the replies. */
#include <errno.h>
#include <string.h>

#include "script.h"

#define UNKNOWN_STATE (1U << 27)

/* A kernel's description of a device, with every echo that a request can cause. */
static const struct dm_ioctl described = {
    .target_count = 2,
    .open_count = 1,
    .flags = DM_SUSPEND_FLAG | DM_READONLY_FLAG | DM_ACTIVE_PRESENT_FLAG |
             DM_INACTIVE_PRESENT_FLAG | DM_INTERNAL_SUSPEND_FLAG | DM_UEVENT_GENERATED_FLAG |
             DM_DEFERRED_REMOVE | UNKNOWN_STATE | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG |
             DM_QUERY_INACTIVE_TABLE_FLAG | DM_PERSISTENT_DEV_FLAG | DM_UUID_FLAG |
             DM_STATUS_TABLE_FLAG | DM_SKIP_BDGET_FLAG | DM_IMA_MEASUREMENT_FLAG,
    .event_nr = 77,
    .dev = 0x10fe00,
    .name = "vg-lv",
    .uuid = "LVM-x",
};

static void check_described(const struct dmi_info *info)
{
    assert_int_equal(info->version.major, 4);
    assert_int_equal(info->version.minor, SCRIPT_KERNEL_MINOR);
    assert_int_equal(info->version.patch, 0);
    assert_string_equal(info->name, "vg-lv");
    assert_string_equal(info->uuid, "LVM-x");
    assert_int_equal(info->device.major, 254);
    assert_int_equal(info->device.minor, 256);
    assert_int_equal(info->open_count, 1);
    assert_int_equal(info->target_count, 2);
    assert_int_equal(info->event_nr, 77);
    assert_int_equal(info->flags, DMI_SUSPEND | DMI_READONLY | DMI_ACTIVE_PRESENT |
                                      DMI_INACTIVE_PRESENT | DMI_INTERNAL_SUSPEND |
                                      DMI_UEVENT_GENERATED | DMI_DEFERRED_REMOVE | UNKNOWN_STATE);
}

static void test_create(void **state)
{
    struct dmi_info info;
    SCRIPT(script,
           {.nr = DMI_DEV_CREATE,
            .name = "vg-lv",
            .uuid = "LVM-x",
            .flags = DM_PERSISTENT_DEV_FLAG,
            .device = 0x10000000, /* minor 0x10000 */
            .act = SCRIPT_ANSWER,
            .reply = described},
           {.nr = DMI_DEV_CREATE, .name = "vg-lv", .act = SCRIPT_ANSWER, .reply = described},
           {.nr = DMI_DEV_CREATE, .name = "n", .act = SCRIPT_FAIL, .rc = -EBUSY});

    (void)state;
    assert_int_equal(
        dmi_device_create(&script.dm, "vg-lv", "LVM-x", DMI_PERSISTENT_DEV, 0x10000, &info), 0);
    check_described(&info);
    /* Without the flag the minor is not sent. */
    memset(&info, 0, sizeof(info));
    assert_int_equal(dmi_device_create(&script.dm, "vg-lv", NULL, 0, 9, &info), 0);
    check_described(&info);
    assert_int_equal(dmi_device_create(&script.dm, "n", NULL, 0, 0, &info), -EBUSY);
    assert_int_equal(script.dm.last, DMI_DEV_CREATE);
    check_described(&info);
    script_end(&script);
}

static void test_create_refusals(void **state)
{
    char name[129] = {0}, uuid[130] = {0};
    struct dmi_info info;
    struct script script;

    (void)state;
    memset(name, 'n', 128);
    memset(uuid, 'u', 129);
    script_init_silent(&script);
    assert_int_equal(dmi_device_create(&script.dm, "", NULL, 0, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_create(&script.dm, "a/b", NULL, 0, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_create(&script.dm, "control", NULL, 0, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_create(&script.dm, ".", NULL, 0, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_create(&script.dm, "..", NULL, 0, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_create(&script.dm, "n", "", 0, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_create(&script.dm, name, NULL, 0, 0, &info), -ENAMETOOLONG);
    assert_int_equal(dmi_device_create(&script.dm, "n", uuid, 0, 0, &info), -ENAMETOOLONG);
    assert_int_equal(dmi_device_create(&script.dm, "n", NULL, DMI_SUSPEND, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_create(&script.dm, "n", NULL, DMI_PERSISTENT_DEV, 1 << 20, &info),
                     -EINVAL);
    assert_int_equal(script.dm.last, DMI_NONE);
}

static void test_longest_strings(void **state)
{
    char name[128] = {0}, uuid[129] = {0};
    struct dm_ioctl reply = {.dev = 0xfe00};
    struct dmi_info info;

    (void)state;
    memset(name, 'n', 127);
    memset(uuid, 'u', 128);
    memcpy(reply.name, name, sizeof(reply.name));
    memcpy(reply.uuid, uuid, sizeof(reply.uuid));
    SCRIPT(script,
           {.nr = DMI_DEV_CREATE, .name = name, .uuid = uuid, .act = SCRIPT_ANSWER, .reply = reply},
           {.nr = DMI_DEV_RENAME,
            .minor = 19,
            .flags = DM_UUID_FLAG,
            .name = name,
            .in = uuid,
            .in_size = sizeof(uuid)});
    assert_int_equal(dmi_device_create(&script.dm, name, uuid, 0, 0, &info), 0);
    assert_string_equal(info.name, name);
    assert_string_equal(info.uuid, uuid);
    assert_int_equal(dmi_device_set_uuid(&script.dm, name, uuid, 0, &info), 0);
    script_end(&script);
}

/* As the kernel does: found by any identity, name and uuid filled in, all else as it came. */
static void test_remove(void **state)
{
    struct dmi_id id = script_by_device(254, 256);
    struct dm_ioctl removed = {.name = "vg-lv", .uuid = "LVM-x", .dev = 0x10fe00, .event_nr = 55};
    struct dm_ioctl deferred = removed;
    struct dmi_info info;

    (void)state;
    removed.flags = DM_UEVENT_GENERATED_FLAG | DM_INACTIVE_PRESENT_FLAG | UNKNOWN_STATE;
    deferred.flags = DM_DEFERRED_REMOVE;
    SCRIPT(script,
           {.nr = DMI_DEV_REMOVE,
            .device = 0x10fe00,
            .event_nr = 0x00400000,
            .act = SCRIPT_ANSWER,
            .reply = removed},
           {.nr = DMI_DEV_REMOVE,
            .minor = 27,
            .flags = DM_DEFERRED_REMOVE,
            .device = 0x10fe00,
            .act = SCRIPT_ANSWER,
            .reply = deferred},
           {.nr = DMI_DEV_REMOVE, .device = 0x10fe00, .act = SCRIPT_FAIL, .rc = -EBUSY});
    assert_int_equal(dmi_device_remove(&script.dm, &id, 0, DMI_UDEV_PRIMARY_SOURCE, &info), 0);
    assert_string_equal(info.name, "vg-lv");
    assert_string_equal(info.uuid, "LVM-x");
    assert_int_equal(info.device.major, 0);
    assert_int_equal(info.device.minor, 0);
    assert_int_equal(info.event_nr, 0);
    assert_int_equal(info.flags, DMI_UEVENT_GENERATED | UNKNOWN_STATE);
    assert_int_equal(dmi_device_remove(&script.dm, &id, DMI_DEFERRED_REMOVE, 0, &info), 0);
    assert_int_equal(info.flags, DMI_DEFERRED_REMOVE);
    assert_int_equal(info.device.major, 0);
    memset(&info, 1, sizeof(info));
    assert_int_equal(dmi_device_remove(&script.dm, &id, 0, 0, &info), -EBUSY);
    assert_int_equal(info.flags, 0x01010101);
    assert_int_equal(dmi_device_remove(&script.dm, &id, DMI_NOFLUSH, 0, &info), -EINVAL);
    script_end(&script);
}

static void test_rename(void **state)
{
    struct dmi_info info;
    SCRIPT(script,
           {.nr = DMI_DEV_RENAME,
            .name = "vg-lv",
            .event_nr = 3,
            .in = "new",
            .in_size = 4,
            .act = SCRIPT_ANSWER,
            .reply = described},
           {.nr = DMI_DEV_RENAME,
            .minor = 19,
            .name = "vg-lv",
            .flags = DM_UUID_FLAG,
            .event_nr = 4,
            .in = "a/b",
            .in_size = 4,
            .act = SCRIPT_ANSWER,
            .reply = described});

    (void)state;
    assert_int_equal(dmi_device_rename(&script.dm, "vg-lv", "new", 3, &info), 0);
    check_described(&info);
    memset(&info, 0, sizeof(info));
    assert_int_equal(dmi_device_set_uuid(&script.dm, "vg-lv", "a/b", 4, &info), 0);
    check_described(&info);
    script_end(&script);
}

static void test_rename_refusals(void **state)
{
    char name[129] = {0}, uuid[130] = {0};
    struct dmi_info info;
    struct script script;

    (void)state;
    memset(name, 'n', 128);
    memset(uuid, 'u', 129);
    script_init_silent(&script);
    assert_int_equal(dmi_device_rename(&script.dm, "", "new", 0, &info), -EINVAL);
    assert_int_equal(dmi_device_rename(&script.dm, "n", "", 0, &info), -EINVAL);
    assert_int_equal(dmi_device_rename(&script.dm, "n", "a/b", 0, &info), -EINVAL);
    assert_int_equal(dmi_device_rename(&script.dm, "n", "control", 0, &info), -EINVAL);
    assert_int_equal(dmi_device_rename(&script.dm, "n", name, 0, &info), -ENAMETOOLONG);
    assert_int_equal(dmi_device_rename(&script.dm, name, "n", 0, &info), -ENAMETOOLONG);
    assert_int_equal(dmi_device_set_uuid(&script.dm, "n", "", 0, &info), -EINVAL);
    assert_int_equal(dmi_device_set_uuid(&script.dm, "n", uuid, 0, &info), -ENAMETOOLONG);
    assert_int_equal(dmi_device_set_uuid(&script.dm, NULL, "u", 0, &info), -EINVAL);
    assert_int_equal(script.dm.last, DMI_NONE);
}

static void test_suspend_resume(void **state)
{
    struct dmi_id id = script_by_uuid("LVM-x");
    struct dmi_info info;
    SCRIPT(script,
           {.nr = DMI_DEV_SUSPEND,
            .uuid = "LVM-x",
            .flags = DM_SUSPEND_FLAG | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG,
            .act = SCRIPT_ANSWER,
            .reply = described},
           {.nr = DMI_DEV_SUSPEND,
            .uuid = "LVM-x",
            .flags = DM_SKIP_LOCKFS_FLAG,
            .event_nr = 8,
            .act = SCRIPT_ANSWER,
            .reply = described},
           {.nr = DMI_DEV_SUSPEND,
            .uuid = "LVM-x",
            .flags = DM_SUSPEND_FLAG,
            .act = SCRIPT_FAIL,
            .rc = -EINTR});

    (void)state;
    assert_int_equal(dmi_device_suspend(&script.dm, &id, DMI_NOFLUSH | DMI_SKIP_LOCKFS, &info), 0);
    check_described(&info);
    assert_int_equal(dmi_device_resume(&script.dm, &id, DMI_SKIP_LOCKFS, 8, &info), 0);
    /* An interrupted suspend is never repeated here. */
    assert_int_equal(dmi_device_suspend(&script.dm, &id, 0, &info), -EINTR);
    assert_int_equal(dmi_device_resume(&script.dm, &id, DMI_SUSPEND, 0, &info), -EINVAL);
    assert_int_equal(dmi_device_suspend(&script.dm, &id, DMI_READONLY, &info), -EINVAL);
    script_end(&script);
}

static void test_status(void **state)
{
    struct dmi_id id = script_by_name("vg-lv");
    struct dmi_info info;
    SCRIPT(script,
           {.nr = DMI_DEV_STATUS,
            .name = "vg-lv",
            .flags = DM_QUERY_INACTIVE_TABLE_FLAG,
            .act = SCRIPT_ANSWER,
            .reply = described},
           {.nr = DMI_DEV_STATUS, .name = "vg-lv", .act = SCRIPT_FAIL, .rc = -ENXIO});

    (void)state;
    assert_int_equal(dmi_device_status(&script.dm, &id, DMI_QUERY_INACTIVE_TABLE, &info), 0);
    check_described(&info);
    assert_int_equal(dmi_device_status(&script.dm, &id, 0, &info), -ENXIO);
    assert_int_equal(dmi_device_status(&script.dm, &id, DMI_STATUS_TABLE, &info), -EINVAL);
    id = script_by_name("");
    assert_int_equal(dmi_device_status(&script.dm, &id, 0, &info), -EINVAL);
    script_end(&script);
}

/* The kernel copies nothing out but its version, and leaves the request as it was. */
static void test_set_geometry(void **state)
{
    static const char small[] = "1024 16 63 2048";
    static const char large[] = "18446744073709551615 18446744073709551615 18446744073709551615 "
                                "18446744073709551615";
    struct dmi_geometry geometry = {1024, 16, 63, 2048};
    struct dmi_geometry largest = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    struct dmi_id id = script_by_device(254, 1);
    struct dmi_info info;
    SCRIPT(script,
           {.nr = DMI_DEV_SET_GEOMETRY,
            .minor = 6,
            .device = 0xfe01,
            .in = small,
            .in_size = sizeof(small),
            .act = SCRIPT_SILENT},
           {.nr = DMI_DEV_SET_GEOMETRY,
            .minor = 6,
            .device = 0xfe01,
            .in = large,
            .in_size = sizeof(large),
            .act = SCRIPT_FAIL,
            .rc = -EINVAL});

    (void)state;
    assert_int_equal(dmi_device_set_geometry(&script.dm, &id, &geometry, &info), 0);
    assert_int_equal(info.version.minor, SCRIPT_KERNEL_MINOR);
    assert_int_equal(info.device.major, 254);
    assert_int_equal(info.device.minor, 1);
    assert_int_equal(info.flags, 0);
    assert_string_equal(info.name, "");
    assert_int_equal(dmi_device_set_geometry(&script.dm, &id, &largest, &info), -EINVAL);
    assert_int_equal(script.dm.last, DMI_DEV_SET_GEOMETRY);
    script_end(&script);
}

static void test_diskseq(void **state)
{
    struct script script;
    uint64_t diskseq = 99;

    (void)state;
    script_init_silent(&script);
    assert_int_equal(dmi_device_diskseq(&script.dm, (struct dmi_device){1, 2}, &diskseq), 0);
    assert_true(diskseq == (UINT64_C(1) << 32 | 2));
    assert_int_equal(script.dm.last, DMI_NONE);
    assert_int_equal(dmi_device_diskseq(&script.dm, (struct dmi_device){1, 0}, &diskseq), -ENOENT);
    assert_true(diskseq == (UINT64_C(1) << 32 | 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),          cmocka_unit_test(test_create_refusals),
        cmocka_unit_test(test_longest_strings), cmocka_unit_test(test_remove),
        cmocka_unit_test(test_rename),          cmocka_unit_test(test_rename_refusals),
        cmocka_unit_test(test_suspend_resume),  cmocka_unit_test(test_status),
        cmocka_unit_test(test_set_geometry),    cmocka_unit_test(test_diskseq),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
