/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of ioctl_request.c: what is refused before anything is sent, and the header's bytes. */
#include "ioctl_request.h"

#include <errno.h>
#include <string.h>

#include "script.h"

static char long_string[200];

/* `length` bytes of 'n'. */
static const char *string_of(size_t length)
{
    memset(long_string, 0, sizeof(long_string));
    memset(long_string, 'n', length);
    return long_string;
}

static struct ioctl_request request_new(void)
{
    struct dmi dm = {.last = DMI_VERSION};
    struct ioctl_request request;

    ioctl_request_init(&request, &dm, DMI_DEV_STATUS);
    assert_int_equal(dm.last, DMI_NONE);
    assert_int_equal(request.error, 0);
    return request;
}

static int error_of_name(const char *name)
{
    struct ioctl_request request = request_new();

    ioctl_request_name(&request, name);
    return request.error;
}

static int error_of_new_name(const char *name)
{
    struct ioctl_request request = request_new();

    ioctl_request_new_name(&request, name);
    return request.error;
}

static int error_of_id(struct dmi_id id)
{
    struct ioctl_request request = request_new();

    ioctl_request_id(&request, &id);
    return request.error;
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(error_of_name(NULL), -EINVAL);
    assert_int_equal(error_of_name(""), -EINVAL);
    assert_int_equal(error_of_name("a/b"), 0); /* to name one: the kernel says that there is none */
    assert_int_equal(error_of_name(string_of(127)), 0);
    assert_int_equal(error_of_name(string_of(128)), -ENAMETOOLONG);
}

static void test_new_names(void **state)
{
    (void)state;
    assert_int_equal(error_of_new_name("lv-home"), 0);
    assert_int_equal(error_of_new_name("new\nline"), 0);
    assert_int_equal(error_of_new_name("..."), 0);
    assert_int_equal(error_of_new_name("controls"), 0);
    assert_int_equal(error_of_new_name(string_of(127)), 0);
    assert_int_equal(error_of_new_name(string_of(128)), -ENAMETOOLONG);
    assert_int_equal(error_of_new_name(NULL), -EINVAL);
    assert_int_equal(error_of_new_name(""), -EINVAL);
    assert_int_equal(error_of_new_name("a/b"), -EINVAL);
    assert_int_equal(error_of_new_name("/"), -EINVAL);
    assert_int_equal(error_of_new_name("control"), -EINVAL);
    assert_int_equal(error_of_new_name("."), -EINVAL);
    assert_int_equal(error_of_new_name(".."), -EINVAL);
}

static void test_ids(void **state)
{
    struct dmi_id bad_kind = {.kind = (enum dmi_id_kind)3, .name = "n"};

    (void)state;
    assert_int_equal(error_of_id(script_by_name("n")), 0);
    assert_int_equal(error_of_id(script_by_name("")), -EINVAL);
    assert_int_equal(error_of_id(script_by_uuid("u")), 0);
    assert_int_equal(error_of_id(script_by_uuid("")), -EINVAL);
    assert_int_equal(error_of_id(script_by_uuid(NULL)), -EINVAL);
    assert_int_equal(error_of_id(script_by_uuid(string_of(128))), 0);
    assert_int_equal(error_of_id(script_by_uuid(string_of(129))), -ENAMETOOLONG);
    assert_int_equal(error_of_id(script_by_device(0xfff, 0xfffff)), 0);
    assert_int_equal(error_of_id(script_by_device(0x1000, 0)), -EINVAL);
    assert_int_equal(error_of_id(script_by_device(0, 0x100000)), -EINVAL);
    assert_int_equal(error_of_id(bad_kind), -EINVAL);
}

static void test_types(void **state)
{
    struct ioctl_request request = request_new();

    (void)state;
    ioctl_request_type(&request, string_of(15));
    assert_int_equal(request.error, 0);
    ioctl_request_type(&request, string_of(16));
    assert_int_equal(request.error, -ENAMETOOLONG);
    request = request_new();
    ioctl_request_type(&request, "");
    assert_int_equal(request.error, -EINVAL);
}

static void test_flags(void **state)
{
    struct ioctl_request request = request_new();

    (void)state;
    ioctl_request_flags(&request, DMI_NOFLUSH, DMI_NOFLUSH | DMI_SKIP_LOCKFS);
    assert_int_equal(request.error, 0);
    assert_int_equal(request.flags, DMI_NOFLUSH);
    assert_int_equal(request.lowest_minor, 0);
    ioctl_request_flags(&request, DMI_DEFERRED_REMOVE, DMI_DEFERRED_REMOVE);
    assert_int_equal(request.error, 0);
    assert_int_equal(request.lowest_minor, 27);
    ioctl_request_flags(&request, 1U << 20, DMI_KNOWN_FLAGS);
    assert_int_equal(request.error, -EINVAL);
}

static void test_first_error_stays(void **state)
{
    struct ioctl_request request = request_new();

    (void)state;
    ioctl_request_refuse(&request, 0);
    assert_int_equal(request.error, 0);
    ioctl_request_refuse(&request, -E2BIG);
    ioctl_request_name(&request, "");
    assert_int_equal(request.error, -E2BIG);
}

static void test_write(void **state)
{
    struct {
        struct dm_ioctl header;
        char payload[8];
    } buffer = {.payload = "payload"};
    struct ioctl_request request = {
        .nr = DMI_DEV_REMOVE,
        .lowest_minor = 27,
        .flags = DMI_DEFERRED_REMOVE,
        .event_nr = 5,
        .target_count = 6,
        .device = 7,
        .name = "name",
        .uuid = "uuid",
    };
    struct dm_ioctl expected = {
        .version = {4, 27, 0},
        .data_size = sizeof(buffer),
        .data_start = 312,
        .target_count = 6,
        .flags = DM_DEFERRED_REMOVE,
        .event_nr = 5,
        .dev = 7,
        .name = "name",
        .uuid = "uuid",
    };

    (void)state;
    ioctl_request_write(&request, &buffer.header, sizeof(buffer));
    assert_memory_equal(&buffer.header, &expected, sizeof(expected));
    assert_string_equal(buffer.payload, "payload");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_new_names),
        cmocka_unit_test(test_ids),   cmocka_unit_test(test_types),
        cmocka_unit_test(test_flags), cmocka_unit_test(test_first_error_stays),
        cmocka_unit_test(test_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
