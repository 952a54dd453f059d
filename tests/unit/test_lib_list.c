/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of list.c: old and new kernels' lists, filters, growth, target versions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

enum {
    HAS_UUID = DM_NAME_LIST_FLAG_HAS_UUID,
    NO_UUID = DM_NAME_LIST_FLAG_DOESNT_HAVE_UUID,
    FIRST = 16384,
    SECOND = 65536,
    THIRD = 262144,
};

static const struct dmi_device_list no_list;

static void test_list(void **state)
{
    struct script_bytes out = {0};
    struct dmi_device_list list;

    (void)state;
    script_add_device(&out, 0xfe00, "a", 1, NO_UUID, NULL);
    script_add_device(&out, 0x10fe00, "seven77", 2, HAS_UUID, "LVM-x");
    script_add_device(&out, 0xfe02, "eight888", 3, HAS_UUID, "");
    SCRIPT(script, {.nr = DMI_LIST_DEVICES,
                    .flags = DM_UUID_FLAG,
                    .size = FIRST,
                    .act = SCRIPT_ANSWER,
                    .out = &out});
    assert_int_equal(dmi_list_devices(&script.dm, NULL, NULL, &list), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.entries[0].name, "a");
    assert_string_equal(list.entries[0].uuid, "");
    assert_int_equal(list.entries[0].event_nr, 1);
    assert_int_equal(list.entries[0].device.major, 254);
    assert_int_equal(list.entries[0].device.minor, 0);
    assert_string_equal(list.entries[1].name, "seven77");
    assert_string_equal(list.entries[1].uuid, "LVM-x");
    assert_int_equal(list.entries[1].device.minor, 256);
    assert_string_equal(list.entries[2].name, "eight888");
    assert_string_equal(list.entries[2].uuid, "");
    assert_int_equal(list.entries[2].event_nr, 3);
    /* What is wiped is what was written. */
    assert_int_equal(list.buffer.size, sizeof(struct dm_ioctl) + out.size);
    dmi_device_list_done(&list);
    assert_memory_equal(&list, &no_list, sizeof(list));
    dmi_device_list_done(&list);
    script_bytes_done(&out);
    script_end(&script);
}

/* No devices: data_size is 312, so the end marker is not copied, and the buffer was zeros. */
static void test_empty(void **state)
{
    static const struct dm_ioctl at_start = {.data_size = 312};
    struct script_bytes marker = {0};
    struct dmi_device_list list;

    (void)state;
    script_bytes_add(&marker, &(uint64_t){0}, 8);
    SCRIPT(script,
           {.nr = DMI_LIST_DEVICES,
            .flags = DM_UUID_FLAG,
            .size = FIRST,
            .act = SCRIPT_ANSWER,
            .reply = at_start},
           {.nr = DMI_LIST_DEVICES, .flags = DM_UUID_FLAG, .size = FIRST, .act = SCRIPT_ECHO},
           {.nr = DMI_LIST_DEVICES,
            .flags = DM_UUID_FLAG,
            .size = FIRST,
            .act = SCRIPT_ANSWER,
            .out = &marker});
    for (int i = 0; i < 3; i++) {
        list.count = 5;
        assert_int_equal(dmi_list_devices(&script.dm, "", "", &list), 0);
        assert_int_equal(list.count, 0);
        assert_null(list.entries);
        dmi_device_list_done(&list);
    }
    script_bytes_done(&marker);
    script_end(&script);
}

/* Before 4.37 only names; before 4.45 no flags, where the word is as we sent it. */
static void test_old_kernels(void **state)
{
    struct script_bytes oldest = {0}, old = {0};
    struct dmi_device_list list;

    (void)state;
    script_add_device_old(&oldest, 0xfe00, "abc");
    script_add_device_old(&oldest, 0xfe01, "abcd");
    script_add_device(&old, 0xfe00, "abc", 7, 0, NULL);
    script_add_device(&old, 0xfe01, "abcd", 8, 0, NULL);
    SCRIPT(script,
           {.nr = DMI_LIST_DEVICES,
            .flags = DM_UUID_FLAG,
            .size = FIRST,
            .act = SCRIPT_ANSWER,
            .out = &oldest},
           {.nr = DMI_LIST_DEVICES,
            .flags = DM_UUID_FLAG,
            .size = FIRST,
            .act = SCRIPT_ANSWER,
            .out = &old});
    for (uint32_t minor = 36; minor <= 37; minor++) {
        script.kernel_minor = minor;
        assert_int_equal(dmi_list_devices(&script.dm, NULL, NULL, &list), 0);
        assert_int_equal(list.count, 2);
        assert_string_equal(list.entries[1].name, "abcd");
        assert_null(list.entries[1].uuid);
        assert_int_equal(list.entries[0].event_nr, minor == 36 ? 0 : 7);
        assert_int_equal(list.entries[1].event_nr, minor == 36 ? 0 : 8);
        dmi_device_list_done(&list);
    }
    script_bytes_done(&oldest);
    script_bytes_done(&old);
    script_end(&script);
}

/* A kernel that ignores the prefixes answers all; the library picks. */
static void test_prefixes(void **state)
{
    struct script_bytes out = {0};
    struct script_step step = {
        .nr = DMI_LIST_DEVICES, .flags = DM_UUID_FLAG, .size = FIRST, .act = SCRIPT_ANSWER};
    struct dmi_device_list list;

    (void)state;
    script_add_device(&out, 0xfe00, "vg-a", 1, HAS_UUID, "LVM-a");
    script_add_device(&out, 0xfe01, "crypt", 2, HAS_UUID, "CRYPT-b");
    script_add_device(&out, 0xfe02, "vg-b", 3, NO_UUID, NULL);
    script_add_device(&out, 0xfe03, "vg", 4, HAS_UUID, "LVM-c");
    step.out = &out;
    SCRIPT(script, step, step, step, step);
    script_steps[0].name = "vg-";
    script_steps[1].uuid = "LVM-";
    script_steps[2].name = "vg-";
    script_steps[2].uuid = "LVM-";
    script_steps[3].name = "none";

    assert_int_equal(dmi_list_devices(&script.dm, "vg-", NULL, &list), 0);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.entries[0].name, "vg-a");
    assert_string_equal(list.entries[1].name, "vg-b");
    dmi_device_list_done(&list);
    assert_int_equal(dmi_list_devices(&script.dm, NULL, "LVM-", &list), 0);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.entries[1].name, "vg");
    dmi_device_list_done(&list);
    assert_int_equal(dmi_list_devices(&script.dm, "vg-", "LVM-", &list), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.entries[0].name, "vg-a");
    dmi_device_list_done(&list);
    assert_int_equal(dmi_list_devices(&script.dm, "none", "", &list), 0);
    assert_int_equal(list.count, 0);
    dmi_device_list_done(&list);
    script_bytes_done(&out);
    script_end(&script);
}

/* A filter by something that the kernel does not tell must not be an empty list. */
static void test_uuid_prefix_of_old_kernel(void **state)
{
    struct script_bytes out = {0};
    struct dmi_device_list list = {.count = 5};

    (void)state;
    script_add_device(&out, 0xfe00, "abc", 7, 0, NULL);
    SCRIPT(script,
           {.nr = DMI_LIST_DEVICES,
            .flags = DM_UUID_FLAG,
            .uuid = "LVM-",
            .size = FIRST,
            .act = SCRIPT_ANSWER,
            .out = &out},
           {.nr = DMI_LIST_DEVICES,
            .flags = DM_UUID_FLAG,
            .name = "x",
            .uuid = "LVM-",
            .size = FIRST,
            .act = SCRIPT_ANSWER,
            .out = &out});
    script.kernel_minor = 44;
    assert_int_equal(dmi_list_devices(&script.dm, NULL, "LVM-", &list), -EPROTONOSUPPORT);
    assert_int_equal(script.dm.needed_minor, 45);
    assert_int_equal(list.count, 5);
    assert_int_equal(dmi_list_devices(&script.dm, "x", "LVM-", &list), 0);
    assert_int_equal(list.count, 0);
    dmi_device_list_done(&list);
    script_bytes_done(&out);
    script_end(&script);
}

static void test_refusals(void **state)
{
    char name[129] = {0}, uuid[130] = {0};
    struct dmi_device_list list;
    struct dmi_version version;
    struct script script;

    (void)state;
    memset(name, 'n', 128);
    memset(uuid, 'u', 129);
    script_init_silent(&script);
    assert_int_equal(dmi_list_devices(&script.dm, name, NULL, &list), -ENAMETOOLONG);
    assert_int_equal(dmi_list_devices(&script.dm, NULL, uuid, &list), -ENAMETOOLONG);
    assert_int_equal(dmi_target_version(&script.dm, "", &version), -EINVAL);
    assert_int_equal(dmi_target_version(&script.dm, NULL, &version), -EINVAL);
    assert_int_equal(dmi_target_version(&script.dm, "sixteen-letters-", &version), -ENAMETOOLONG);
    assert_int_equal(script.dm.last, DMI_NONE);
}

static void test_malformed(void **state)
{
    struct script_bytes good = {0}, out = {0};
    struct dmi_device_list list = {.count = 5};

    (void)state;
    /* The second record is the broken one: what was read before it must go. */
    script_add_device(&good, 0xfe00, "abc", 7, NO_UUID, NULL);
    script_add_device(&good, 0xfe01, "abc", 7, HAS_UUID, "u");
    script_bytes_add(&out, good.data, good.size);
    memset(out.data + good.last + 12, 'x', good.size - good.last - 12);
    SCRIPT(script, {.nr = DMI_LIST_DEVICES,
                    .flags = DM_UUID_FLAG,
                    .size = FIRST,
                    .act = SCRIPT_ANSWER,
                    .out = &out});
    assert_int_equal(dmi_list_devices(&script.dm, NULL, NULL, &list), -EBADMSG);
    assert_int_equal(list.count, 5);
    script_bytes_done(&good);
    script_bytes_done(&out);
    script_end(&script);
}

/* Each retry carries the prefix again, which the kernel had overwritten. */
static void test_growth(void **state)
{
    enum { DEVICES = 5000 };
    struct script_bytes out = {0};
    struct dmi_device_list list;
    char name[32], uuid[32];

    (void)state;
    for (int i = 0; i < DEVICES; i++) {
        (void)snprintf(name, sizeof(name), "dev-%d", i);
        (void)snprintf(uuid, sizeof(uuid), "UUID-%d", i);
        script_add_device(&out, 0xfe00, name, (uint32_t)i, HAS_UUID, uuid);
    }
    struct script_step full = {.nr = DMI_LIST_DEVICES,
                               .flags = DM_UUID_FLAG,
                               .name = "dev-",
                               .size = FIRST,
                               .act = SCRIPT_FULL};
    SCRIPT(script, full, full, full);
    script_steps[1].size = SECOND;
    script_steps[2].size = THIRD;
    script_steps[2].act = SCRIPT_ANSWER;
    script_steps[2].out = &out;
    assert_int_equal(dmi_list_devices(&script.dm, "dev-", NULL, &list), 0);
    assert_int_equal(list.count, DEVICES);
    for (int i = 0; i < DEVICES; i++) {
        (void)snprintf(name, sizeof(name), "dev-%d", i);
        assert_string_equal(list.entries[i].name, name);
        assert_int_equal(list.entries[i].event_nr, i);
    }
    dmi_device_list_done(&list);
    script_bytes_done(&out);
    script_end(&script);
}

/* --- target types --- */

/* The list ends where `next` is 0; the kernel reports more bytes than it fills. */
static void test_versions(void **state)
{
    static const unsigned char slack[40] = {1};
    struct script_bytes out = {0};
    struct dmi_target_versions versions;

    (void)state;
    script_add_version(&out, "zero", 1, 2, 3);
    script_add_version(&out, "linear", 1, 4, 0);
    script_add_version(&out, "a-rather-long-name", 0, 0, 1);
    script_bytes_add(&out, slack, sizeof(slack));
    SCRIPT(script, {.nr = DMI_LIST_VERSIONS, .size = FIRST, .act = SCRIPT_ANSWER, .out = &out},
           {.nr = DMI_LIST_VERSIONS, .size = FIRST, .act = SCRIPT_ECHO});
    assert_int_equal(dmi_list_versions(&script.dm, &versions), 0);
    assert_int_equal(versions.count, 3);
    assert_string_equal(versions.entries[0].name, "zero");
    assert_int_equal(versions.entries[0].version.major, 1);
    assert_int_equal(versions.entries[0].version.minor, 2);
    assert_int_equal(versions.entries[0].version.patch, 3);
    assert_string_equal(versions.entries[1].name, "linear");
    assert_string_equal(versions.entries[2].name, "a-rather-long-name");
    dmi_target_versions_done(&versions);
    assert_null(versions.entries);
    assert_int_equal(dmi_list_versions(&script.dm, &versions), 0);
    assert_int_equal(versions.count, 0);
    dmi_target_versions_done(&versions);
    script_bytes_done(&out);
    script_end(&script);
}

static void test_versions_malformed(void **state)
{
    static const unsigned char text[40] = "\x08\0\0\0" /* next: inside of the first */
                                          "\0\0\0\0\0\0\0\0\0\0\0\0linear";
    struct script_bytes out = {0};
    struct dmi_target_versions versions = {.count = 5};

    (void)state;
    script_bytes_add(&out, text, sizeof(text));
    SCRIPT(script, {.nr = DMI_LIST_VERSIONS, .size = FIRST, .act = SCRIPT_ANSWER, .out = &out});
    assert_int_equal(dmi_list_versions(&script.dm, &versions), -EBADMSG);
    assert_int_equal(versions.count, 5);
    script_bytes_done(&out);
    script_end(&script);
}

static void test_target_version(void **state)
{
    enum { SMALL = 448 };
    struct script_bytes out = {0};
    struct dmi_version version = {0};
    struct script_step step = {
        .nr = DMI_GET_TARGET_VERSION, .minor = 41, .name = "thin-pool", .size = SMALL};

    (void)state;
    script_add_version(&out, "thin-pool", 1, 22, 5);
    SCRIPT(script, step, step, step, step);
    script_steps[0].act = SCRIPT_ANSWER;
    script_steps[0].out = &out;
    script_steps[1].act = SCRIPT_FAIL;
    script_steps[1].rc = -EINVAL;
    script_steps[2].act = SCRIPT_ECHO; /* an empty list: no kernel does that */
    script_steps[3].act = SCRIPT_FULL;
    assert_int_equal(dmi_target_version(&script.dm, "thin-pool", &version), 0);
    assert_int_equal(version.major, 1);
    assert_int_equal(version.minor, 22);
    assert_int_equal(version.patch, 5);
    assert_int_equal(dmi_target_version(&script.dm, "thin-pool", &version), -EINVAL);
    assert_int_equal(dmi_target_version(&script.dm, "thin-pool", &version), -EBADMSG);
    assert_int_equal(dmi_target_version(&script.dm, "thin-pool", &version), -EBADMSG);
    assert_int_equal(version.minor, 22);
    script_bytes_done(&out);
    script_end(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_old_kernels),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_uuid_prefix_of_old_kernel),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_versions_malformed),
        cmocka_unit_test(test_target_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
