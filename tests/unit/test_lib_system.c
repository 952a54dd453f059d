/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of system.c. */
#include <errno.h>
#include <string.h>

#include "script.h"

static void test_version(void **state)
{
    struct dmi_version version = {9, 9, 9};
    SCRIPT(script, {.nr = DMI_VERSION, .act = SCRIPT_SILENT},
           {.nr = DMI_VERSION, .act = SCRIPT_REFUSE, .rc = -EACCES});

    (void)state;
    assert_int_equal(dmi_version(&script.dm, &version), 0);
    assert_int_equal(version.major, 4);
    assert_int_equal(version.minor, SCRIPT_KERNEL_MINOR);
    assert_int_equal(version.patch, 0);
    version.minor = 1;
    assert_int_equal(dmi_version(&script.dm, &version), -EACCES);
    assert_int_equal(version.minor, 1);
    script_end(&script);
}

static void test_remove_all(void **state)
{
    SCRIPT(script, {.nr = DMI_REMOVE_ALL, .act = SCRIPT_SILENT},
           {.nr = DMI_REMOVE_ALL, .minor = 27, .flags = DM_DEFERRED_REMOVE, .act = SCRIPT_SILENT});

    (void)state;
    assert_int_equal(dmi_remove_all(&script.dm, 0), 0);
    assert_int_equal(dmi_remove_all(&script.dm, DMI_DEFERRED_REMOVE), 0);
    assert_int_equal(dmi_remove_all(&script.dm, DMI_NOFLUSH), -EINVAL);
    assert_int_equal(script.dm.last, DMI_NONE);
    script_end(&script);
}

static void test_events(void **state)
{
    SCRIPT(script, {.nr = DMI_DEV_ARM_POLL, .minor = 37, .act = SCRIPT_ECHO},
           {.nr = DMI_DEV_ARM_POLL, .minor = 37, .act = SCRIPT_FAIL, .rc = -EINVAL});

    (void)state;
    assert_int_equal(dmi_arm_poll(&script.dm), 0);
    assert_int_equal(dmi_poll_fd(&script.dm), SCRIPT_POLL_FD);
    assert_int_equal(script.dm.last, DMI_NONE);
    script.kernel_minor = 36;
    assert_int_equal(dmi_arm_poll(&script.dm), -EPROTONOSUPPORT);
    script_end(&script);
}

static int no_majors(struct dmi_transport *transport, uint32_t **ret_majors, size_t *ret_count)
{
    (void)transport;
    (void)ret_majors;
    (void)ret_count;
    return -EIO;
}

static void test_majors(void **state)
{
    struct dmi_majors majors = {.count = 5}, none = {0};
    struct script script;

    (void)state;
    script_init_silent(&script);
    assert_int_equal(dmi_dev_majors(&script.dm, &majors), 0);
    assert_int_equal(majors.count, 1);
    assert_int_equal(majors.majors[0], 254);
    dmi_majors_done(&majors);
    assert_memory_equal(&majors, &none, sizeof(majors));
    dmi_majors_done(&majors);
    majors.count = 5;
    script.transport.dev_majors = no_majors;
    assert_int_equal(dmi_dev_majors(&script.dm, &majors), -EIO);
    assert_int_equal(majors.count, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_remove_all),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_majors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
