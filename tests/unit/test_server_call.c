/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of call.c: what a handler may do with its call. */
#include "server_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "server_memory.h"

static struct call make_call(void)
{
    return (struct call){.method = method_find("device_create"), .dm = {.last = DMI_DEV_CREATE}};
}

/* --- what goes with the call --- */

static char released[8];

static void release(void *thing)
{
    size_t length = strlen(released);

    assert_true(length < sizeof(released) - 1);
    released[length] = *(const char *)thing;
}

static void test_own(void **state)
{
    struct call call = make_call();
    char things[] = "abc";

    (void)state;
    memset(released, 0, sizeof(released));
    assert_int_equal(call_own(&call, &things[0], release), 0);
    assert_int_equal(call_own(&call, &things[1], release), 0);
    assert_int_equal(call_own(&call, &things[2], release), 0);
    assert_string_equal(released, "");
    call_done(&call);
    assert_string_equal(released, "cba"); /* the last first */
    call_done(&call);
    assert_string_equal(released, "cba"); /* once */
}

static void test_own_no_memory(void **state)
{
    struct call call = make_call();
    char thing = 'x';

    (void)state;
    memset(released, 0, sizeof(released));
    memory_fail_at(0);
    assert_int_equal(call_own(&call, &thing, release), -ENOMEM);
    memory_fail_at(-1);
    assert_string_equal(released, "x"); /* at once, and only then */
    call_done(&call);
    assert_string_equal(released, "x");
}

static void test_alloc(void **state)
{
    static const char zeros[100];
    struct call call = make_call();

    (void)state;
    char *memory = call_alloc(&call, 10, 10);
    assert_non_null(memory);
    assert_memory_equal(memory, zeros, 100);
    assert_null(call_alloc(&call, SIZE_MAX, 10));
    memory_fail_at(0);
    assert_null(call_alloc(&call, 1, 100000));
    memory_fail_at(-1);
    call_done(&call);
    assert_null(call.arena.blocks);
}

/* --- failing --- */

static void test_fail(void **state)
{
    struct call call = make_call();

    (void)state;
    assert_int_equal(call_fail(&call, ERROR_TIMED_OUT, "after %d ms", 5), CALL_FAILED);
    assert_int_equal(call.failure.id, ERROR_TIMED_OUT);
    assert_string_equal(call.failure.message, "after 5 ms");
    /* The words of one failure may go into the next. */
    assert_int_equal(call_fail(&call, ERROR_CANCELLED, "%s: over", call.failure.message),
                     CALL_FAILED);
    assert_string_equal(call.failure.message, "after 5 ms: over");
    call_done(&call);
}

static void test_fail_param(void **state)
{
    struct call call = make_call();
    char path[] = "/targets/3/type";
    char reason[] = "too long";

    (void)state;
    assert_int_equal(call_fail_param(&call, path, reason), CALL_FAILED);
    memset(path, 'x', sizeof(path) - 1);
    memset(reason, 'x', sizeof(reason) - 1);
    assert_int_equal(call.failure.id, ERROR_INVALID_PARAMS);
    assert_string_equal(call.failure.message,
                        "Params of device_create: /targets/3/type: too long.");
    assert_string_equal(call.failure.data.path, "/targets/3/type");
    assert_string_equal(call.failure.data.reason, "too long");
    (void)call_fail_param(&call, "", "must be an object");
    assert_string_equal(call.failure.message, "Params of device_create: must be an object.");
    call_done(&call);
}

static void test_fail_kernel(void **state)
{
    struct call call = make_call();

    (void)state;
    call_about_name(&call, "x");
    assert_int_equal(call_fail_kernel(&call, -EBUSY), CALL_FAILED);
    assert_int_equal(call.failure.id, ERROR_DEVICE_EXISTS);
    assert_non_null(strstr(call.failure.message, "DM_DEV_CREATE on device 'x' failed"));
    call.dm.last = DMI_TABLE_LOAD;
    (void)call_fail_kernel(&call, -ENXIO);
    assert_int_equal(call.failure.id, ERROR_DEVICE_NOT_FOUND);
    call.exists = true;
    (void)call_fail_kernel(&call, -ENXIO);
    assert_int_equal(call.failure.id, ERROR_TABLE_REJECTED);
    call_done(&call);
}

/* --- devices --- */

static void test_about(void **state)
{
    struct call call = make_call();
    char longest[DMI_NAME_MAX + 1] = {0};

    (void)state;
    call_about(&call, &(struct dmi_id){.kind = DMI_BY_NAME, .name = "a b"});
    assert_string_equal(call.subject, "device 'a b'");
    assert_string_equal(call.name, "a b");
    assert_false(call.has_device);

    memset(longest, 'n', DMI_NAME_MAX);
    call_about_name(&call, longest);
    assert_string_equal(call.name, longest);

    call = make_call();
    call_about(&call, &(struct dmi_id){.kind = DMI_BY_UUID, .uuid = "U-1"});
    assert_string_equal(call.subject, "the device with uuid 'U-1'");
    assert_string_equal(call.name, "");

    call_about(&call, &(struct dmi_id){.kind = DMI_BY_DEVICE, .device = {254, 7}});
    assert_string_equal(call.subject, "device 254:7");
    assert_true(call.has_device);
    assert_int_equal(call.device.major, 254);
    assert_int_equal(call.device.minor, 7);
}

static void test_device(void **state)
{
    (void)state;
    const struct call call = {.asked = {.kind = DMI_BY_NAME, .name = "n"},
                              .by = {.kind = DMI_BY_UUID, .uuid = "u"}};
    struct dmi_id id = call_device(&call);

    assert_int_equal(id.kind, DMI_BY_UUID);
    assert_string_equal(id.uuid, "u");
}

static void test_info(void **state)
{
    struct dmi_info info = {
        .version = {4, 47, 0},
        .name = "n\xff",
        .uuid = "u",
        .device = {254, 4294967295},
        .open_count = -1,
        .target_count = 2,
        .event_nr = 3,
        .flags = DMI_SUSPEND | 1U << 31 | 1U << 7,
    };
    struct call call = make_call();
    struct device_info result;

    (void)state;
    assert_int_equal(call_info(&call, &info, &result), 0);
    info.name[0] = 'x'; /* it has its own */
    assert_string_equal(result.name, "n\xff");
    assert_true(result.has_name_exact);
    assert_false(result.name_exact);
    assert_string_equal(result.uuid, "u");
    assert_int_equal(result.device.major, 254);
    assert_int_equal(result.device.minor, 4294967295);
    assert_string_equal(result.path, "/dev/dm-4294967295");
    assert_int_equal(result.version.minor, 47);
    assert_int_equal(result.open_count, -1);
    assert_int_equal(result.target_count, 2);
    assert_int_equal(result.event_nr, 3);
    assert_int_equal(result.flags, DMI_SUSPEND);
    assert_int_equal(result.unknown_flags, 1U << 31 | 1U << 7);

    info = (struct dmi_info){.name = "plain"};
    assert_int_equal(call_info(&call, &info, &result), 0);
    assert_false(result.has_name_exact);
    assert_null(result.uuid);
    assert_null(call.arena.blocks); /* what was done can be told where there is no memory */
    call_done(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),        cmocka_unit_test(test_own_no_memory),
        cmocka_unit_test(test_alloc),      cmocka_unit_test(test_fail),
        cmocka_unit_test(test_fail_param), cmocka_unit_test(test_fail_kernel),
        cmocka_unit_test(test_about),      cmocka_unit_test(test_device),
        cmocka_unit_test(test_info),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
