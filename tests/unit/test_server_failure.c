/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of failure.c: which errno of which ioctl becomes which error. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"

struct row {
    enum dmi_ioctl ioctl;
    int errnum;
    bool exists;
    enum error_id id;
};

static const struct row rows[] = {
    /* the library's own, whatever the ioctl */
    {DMI_TABLE_STATUS, EPROTONOSUPPORT, false, ERROR_KERNEL_TOO_OLD},
    {DMI_NONE, EPROTONOSUPPORT, false, ERROR_KERNEL_TOO_OLD},
    {DMI_TABLE_LOAD, EPROTONOSUPPORT, true, ERROR_KERNEL_TOO_OLD},
    {DMI_LIST_DEVICES, EMSGSIZE, false, ERROR_REPLY_TOO_LARGE},
    {DMI_TARGET_MSG, EMSGSIZE, true, ERROR_REPLY_TOO_LARGE},
    {DMI_DEV_STATUS, EBADMSG, true, ERROR_INTERNAL_ERROR},
    {DMI_DEV_SUSPEND, EBADMSG, true, ERROR_INTERNAL_ERROR},
    /* create */
    {DMI_DEV_CREATE, EBUSY, false, ERROR_DEVICE_EXISTS},
    {DMI_DEV_CREATE, ENXIO, false, ERROR_KERNEL_ERROR},
    {DMI_DEV_CREATE, ENOMEM, false, ERROR_KERNEL_ERROR},
    /* no such device */
    {DMI_DEV_STATUS, ENXIO, false, ERROR_DEVICE_NOT_FOUND},
    {DMI_DEV_REMOVE, ENXIO, true, ERROR_DEVICE_NOT_FOUND},
    {DMI_DEV_RENAME, ENXIO, true, ERROR_DEVICE_NOT_FOUND},
    {DMI_TABLE_LOAD, ENXIO, false, ERROR_DEVICE_NOT_FOUND},
    {DMI_TABLE_STATUS, ENXIO, false, ERROR_DEVICE_NOT_FOUND},
    /* but of a device that is there, the load speaks of a line's */
    {DMI_TABLE_LOAD, ENXIO, true, ERROR_TABLE_REJECTED},
    /* rename, remove */
    {DMI_DEV_RENAME, EBUSY, true, ERROR_DEVICE_EXISTS},
    {DMI_DEV_RENAME, EINVAL, true, ERROR_KERNEL_ERROR},
    {DMI_DEV_REMOVE, EBUSY, true, ERROR_DEVICE_BUSY},
    /* load */
    {DMI_TABLE_LOAD, ENOMEM, true, ERROR_KERNEL_ERROR},
    {DMI_TABLE_LOAD, EBUSY, true, ERROR_TABLE_REJECTED},
    {DMI_TABLE_LOAD, EINVAL, true, ERROR_TABLE_REJECTED},
    {DMI_TABLE_LOAD, EACCES, true, ERROR_TABLE_REJECTED},
    {DMI_TABLE_LOAD, EROFS, true, ERROR_TABLE_REJECTED},
    {DMI_TABLE_LOAD, ENODEV, true, ERROR_TABLE_REJECTED},
    {DMI_TABLE_LOAD, ENOTBLK, true, ERROR_TABLE_REJECTED},
    /* suspend, resume */
    {DMI_DEV_SUSPEND, EINVAL, true, ERROR_TABLE_REJECTED},
    {DMI_DEV_SUSPEND, EINTR, true, ERROR_KERNEL_ERROR},
    {DMI_DEV_SUSPEND, EIO, true, ERROR_KERNEL_ERROR},
    {DMI_DEV_SUSPEND, ENOMEM, true, ERROR_KERNEL_ERROR},
    {DMI_DEV_SUSPEND, ENXIO, false, ERROR_DEVICE_NOT_FOUND},
    /* messages, versions, geometry */
    {DMI_TARGET_MSG, EINVAL, true, ERROR_KERNEL_ERROR},
    {DMI_TARGET_MSG, EIO, true, ERROR_KERNEL_ERROR},
    {DMI_GET_TARGET_VERSION, EINVAL, false, ERROR_KERNEL_ERROR},
    {DMI_DEV_SET_GEOMETRY, EINVAL, true, ERROR_KERNEL_ERROR},
    /* may not, is not there */
    {DMI_VERSION, EACCES, false, ERROR_PERMISSION_DENIED},
    {DMI_LIST_DEVICES, EPERM, false, ERROR_PERMISSION_DENIED},
    {DMI_VERSION, ENODEV, false, ERROR_KERNEL_UNAVAILABLE},
    {DMI_VERSION, ENOENT, false, ERROR_KERNEL_UNAVAILABLE},
    /* what no row has */
    {DMI_LIST_DEVICES, EIO, false, ERROR_KERNEL_ERROR},
    {DMI_DEV_STATUS, EINVAL, true, ERROR_KERNEL_ERROR},
    {DMI_NONE, EINVAL, false, ERROR_KERNEL_ERROR},
};

static void test_causes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct dmi dm = {.last = rows[i].ioctl};
        const char *ioctl = dmi_ioctl_name(rows[i].ioctl);
        struct failure failure;
        failure_set_kernel(&failure, -rows[i].errnum, &dm, "device 'x'", rows[i].exists);
        assert_int_equal(failure.id, rows[i].id);
        assert_string_equal(failure.data.error, error_table[rows[i].id].name);
        assert_true(failure.data.has_errnum);
        assert_int_equal(failure.data.errnum, rows[i].errnum);
        assert_string_equal(failure.data.errno_name, strerrorname_np(rows[i].errnum));
        assert_non_null(strstr(failure.message, strerrorname_np(rows[i].errnum)));
        assert_non_null(strstr(failure.message, "on device 'x'"));
        if (ioctl) {
            assert_string_equal(failure.data.ioctl, ioctl);
            assert_memory_equal(failure.message, ioctl, strlen(ioctl));
        } else {
            assert_null(failure.data.ioctl);
            assert_memory_equal(failure.message, "The call ", 9);
        }
    }
}

static void test_words(void **state)
{
    const struct dmi dm = {.last = DMI_DEV_REMOVE};
    struct failure failure;

    (void)state;
    failure_set_kernel(&failure, -EBUSY, &dm, "device 'x'", true);
    assert_string_equal(failure.message,
                        "DM_DEV_REMOVE on device 'x' failed: the device is open or another device "
                        "uses it (EBUSY: Device or resource busy).");
    assert_non_null(strstr(failure.data.hint, "DM_DEFERRED_REMOVE"));
    failure_set_kernel(&failure, -EIO, &dm, "", true);
    assert_string_equal(failure.message, "DM_DEV_REMOVE failed: the kernel refused it (EIO: "
                                         "Input/output error).");
    assert_null(failure.data.hint);
    failure_set_kernel(&failure, -EIO, &dm, NULL, true);
    assert_non_null(strstr(failure.message, "DM_DEV_REMOVE failed"));
}

static void test_too_old(void **state)
{
    struct dmi dm = {.last = DMI_DEV_RENAME, .kernel_version = {4, 18, 0}, .needed_minor = 19};
    struct failure failure;

    (void)state;
    failure_set_kernel(&failure, -EPROTONOSUPPORT, &dm, NULL, true);
    assert_string_equal(failure.data.hint,
                        "the kernel's interface is 4.18 and the call needs 4.19: a "
                        "newer kernel is needed");
    dm.needed_minor = 0; /* not told */
    failure_set_kernel(&failure, -EPROTONOSUPPORT, &dm, NULL, true);
    assert_non_null(strstr(failure.data.hint, "version"));
}

/* A number that has no name. */
static void test_unknown_errno(void **state)
{
    const struct dmi dm = {.last = DMI_DEV_STATUS};
    struct failure failure;

    (void)state;
    failure_set_kernel(&failure, -4000, &dm, NULL, false);
    assert_int_equal(failure.id, ERROR_KERNEL_ERROR);
    assert_int_equal(failure.data.errnum, 4000);
    assert_null(strstr(failure.message, "(null)"));
}

static void test_no_memory(void **state)
{
    const struct dmi ours = {.last = DMI_NONE};
    struct failure failure;

    (void)state;
    failure_set_kernel(&failure, -ENOMEM, &ours, "device 'x'", false);
    assert_int_equal(failure.id, ERROR_OVERLOADED);
    assert_false(failure.data.has_errnum);
}

static void test_set(void **state)
{
    struct failure failure;

    (void)state;
    memset(&failure, 0xff, sizeof(failure));
    failure_set(&failure, ERROR_TIMED_OUT, "%d of %s", 5, "them");
    assert_int_equal(failure.id, ERROR_TIMED_OUT);
    assert_string_equal(failure.message, "5 of them");
    assert_string_equal(failure.data.error, "timed_out");
    assert_null(failure.data.hint);
    assert_false(failure.data.has_limit);
    failure_set(&failure, ERROR_TIMED_OUT, "%2000d", 5); /* cut */
    assert_int_equal(strlen(failure.message), sizeof(failure.message) - 1);
}

static void test_copy(void **state)
{
    char to[5] = "????";

    (void)state;
    failure_copy(to, sizeof(to), "ab");
    assert_string_equal(to, "ab");
    failure_copy(to, sizeof(to), "abcd");
    assert_string_equal(to, "abcd");
    failure_copy(to, sizeof(to), "abcdef");
    assert_string_equal(to, "abcd");
    failure_copy(to, sizeof(to), "");
    assert_string_equal(to, "");
}

static void test_put(void **state)
{
    struct failure failure;
    struct out out;

    (void)state;
    failure_set(&failure, ERROR_DEVICE_BUSY, "\"quoted\"");
    failure.data.has_errnum = true;
    failure.data.errnum = 16;
    failure.data.hint = "a hint";
    out_init(&out, SIZE_MAX, NULL);
    failure_put(&failure, &out);
    char *text = rig_text(&out, NULL);
    json_t *json = rig_json(text);
    assert_json_equal(json, "{\"code\":3,\"message\":\"\\\"quoted\\\"\",\"data\":"
                            "{\"error\":\"device_busy\",\"errno\":16,\"hint\":\"a hint\"}}");
    json_decref(json);
    free(text);
    out_done(&out);
}

/* The schema's numbers are fixed for good: outside of JSON-RPC's own range, and each once. */
static void test_table(void **state)
{
    (void)state;
    for (enum error_id a = ERROR_NONE + 1; a < ERROR_COUNT; a++) {
        assert_non_null(error_table[a].name);
        int code = error_table[a].code;
        assert_true(a <= ERROR_INTERNAL_ERROR ? code <= -32600 && code >= -32700 : code > 0);
        for (enum error_id b = ERROR_NONE; b < a; b++) {
            assert_int_not_equal(code, error_table[b].code);
            assert_string_not_equal(error_table[a].name, error_table[b].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_causes),    cmocka_unit_test(test_words),
        cmocka_unit_test(test_too_old),   cmocka_unit_test(test_unknown_errno),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_set),
        cmocka_unit_test(test_copy),      cmocka_unit_test(test_put),
        cmocka_unit_test(test_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
