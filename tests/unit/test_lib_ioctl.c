/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of ioctl.c: names, lowest versions, the encoding of device numbers. */
#include "ioctl.h"

#include "script.h"

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(dmi_ioctl_name(DMI_VERSION), "DM_VERSION");
    assert_string_equal(dmi_ioctl_name(DMI_DEV_CREATE), "DM_DEV_CREATE");
    assert_string_equal(dmi_ioctl_name(DMI_GET_TARGET_VERSION), "DM_GET_TARGET_VERSION");
    assert_null(dmi_ioctl_name(DMI_NONE));
    assert_null(dmi_ioctl_name(DMI_IOCTL_COUNT));
    for (int nr = 0; nr < DMI_IOCTL_COUNT; nr++) {
        const char *name = dmi_ioctl_name((enum dmi_ioctl)nr);

        assert_non_null(name);
        assert_memory_equal(name, "DM_", 3);
    }
}

static void test_lowest_minors(void **state)
{
    (void)state;
    for (int nr = 0; nr < DMI_DEV_SET_GEOMETRY; nr++) {
        assert_int_equal(ioctl_lowest_minor((enum dmi_ioctl)nr), 0);
    }
    assert_int_equal(ioctl_lowest_minor(DMI_DEV_SET_GEOMETRY), 6);
    assert_int_equal(ioctl_lowest_minor(DMI_DEV_ARM_POLL), 37);
    assert_int_equal(ioctl_lowest_minor(DMI_GET_TARGET_VERSION), 41);
}

static void test_device_numbers(void **state)
{
    static const struct {
        struct dmi_device device;
        uint64_t encoded;
    } cases[] = {
        {{0, 0}, 0},
        {{254, 3}, 0xfe03},
        {{254, 255}, 0xfeff},
        {{254, 256}, 0x10fe00},
        {{259, 0x12345}, 0x12310345},
        {{0xfff, 0xfffff}, 0xffffffff},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dmi_device device = ioctl_decode_device(cases[i].encoded);

        assert_int_equal(ioctl_encode_device(cases[i].device), cases[i].encoded);
        assert_int_equal(device.major, cases[i].device.major);
        assert_int_equal(device.minor, cases[i].device.minor);
    }
}

static void test_init(void **state)
{
    struct dmi_transport transport = {0};
    struct dmi dm;

    (void)state;
    dmi_init(&dm, &transport);
    assert_ptr_equal(dm.transport, &transport);
    assert_int_equal(dm.max_reply, 1 << 30);
    assert_int_equal(dm.last, DMI_NONE);
    assert_int_equal(dm.kernel_version[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lowest_minors),
        cmocka_unit_test(test_device_numbers),
        cmocka_unit_test(test_init),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
