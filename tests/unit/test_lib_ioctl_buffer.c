/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of ioctl_buffer.c: what return values and versions mean, growth, and that
 * no buffer is freed with anything in it. calloc and free are replaced to see that.
 */
#include "ioctl_buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

enum { FIRST = 16384, SECOND = 65536, THIRD = 262144 };

/* --- memory, watched --- */

static struct {
    const void *last; /* allocated last by calloc */
    size_t last_size;
    size_t dirty; /* bytes not zero in what was freed */
    size_t frees; /* of calloc's last one */
    bool failing;
} watch;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);

void *__wrap_calloc(size_t count, size_t size)
{
    void *memory = watch.failing ? NULL : __real_calloc(count, size);

    watch.last = memory;
    watch.last_size = count * size;
    return memory;
}

void __wrap_free(void *memory)
{
    const unsigned char *bytes = memory;

    if (memory && memory == watch.last) {
        for (size_t i = 0; i < watch.last_size; i++) {
            watch.dirty += bytes[i] != 0;
        }
        watch.frees++;
        watch.last = NULL;
    }
    __real_free(memory);
}

static int reset_watch(void **state)
{
    (void)state;
    memset(&watch, 0, sizeof(watch));
    return 0;
}

/* --- one submission --- */

static struct ioctl_request status_request(void)
{
    return (struct ioctl_request){.nr = DMI_DEV_STATUS, .name = "n"};
}

static int submit(struct script *script, struct ioctl_request request)
{
    struct dm_ioctl buffer = {0};

    request.nr = script->steps[script->next].nr;
    return ioctl_submit(&script->dm, &request, &buffer, sizeof(buffer));
}

static void test_results(void **state)
{
    static const struct {
        enum script_act act;
        int rc, expected;
    } cases[] = {
        {SCRIPT_ECHO, 0, 0},
        {SCRIPT_FULL, 0, IOCTL_BUFFER_FULL},
        {SCRIPT_FAIL, 1, -EINVAL},
        {SCRIPT_FAIL, 2, -EINVAL},
        {SCRIPT_FAIL, -EINVAL, -EINVAL},
        {SCRIPT_FAIL, -ENXIO, -ENXIO},
        {SCRIPT_FAIL, -EBUSY, -EBUSY},
        {SCRIPT_FAIL, -EINTR, -EINTR},
        {SCRIPT_FAIL, -ENOTTY, -EPROTONOSUPPORT},
        {SCRIPT_REFUSE, -EACCES, -EACCES},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        SCRIPT(script, {.nr = DMI_DEV_STATUS, .name = "n", .act = cases[i].act, .rc = cases[i].rc});
        assert_int_equal(submit(&script, status_request()), cases[i].expected);
        script_end(&script);
    }
}

static void test_refused_unsent(void **state)
{
    struct ioctl_request request = status_request();
    struct dm_ioctl buffer = {0}, zeros = {0};
    struct script script;

    (void)state;
    script_init_silent(&script);
    request.error = -E2BIG;
    assert_int_equal(ioctl_submit(&script.dm, &request, &buffer, sizeof(buffer)), -E2BIG);
    assert_memory_equal(&buffer, &zeros, sizeof(buffer));
    assert_int_equal(script.dm.last, DMI_NONE);
}

/* EINVAL means "too old" only if the kernel's minor is lower than ours. */
static void test_versions(void **state)
{
    static const struct {
        uint32_t sent, kernels;
        int rc, expected;
    } cases[] = {
        {27, 26, -EINVAL, -EPROTONOSUPPORT},
        {27, 27, -EINVAL, -EINVAL},
        {27, 28, -EINVAL, -EINVAL},
        {27, 26, -ENXIO, -ENXIO},
        {0, 0, -EINVAL, -EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ioctl_request request = status_request();
        SCRIPT(script, {.nr = DMI_DEV_STATUS,
                        .name = "n",
                        .minor = cases[i].sent,
                        .act = SCRIPT_FAIL,
                        .rc = cases[i].rc});

        script.kernel_minor = cases[i].kernels;
        request.lowest_minor = cases[i].sent;
        assert_int_equal(submit(&script, request), cases[i].expected);
        assert_int_equal(script.dm.needed_minor, cases[i].sent);
    }
}

static void test_foreign_major(void **state)
{
    struct dm_ioctl reply = {.version = {5, 0, 0}};
    SCRIPT(script,
           {.nr = DMI_DEV_STATUS, .name = "n", .act = SCRIPT_ANSWER, .reply = reply, .rc = -EINVAL},
           {.nr = DMI_DEV_STATUS, .name = "n", .act = SCRIPT_ANSWER, .reply = reply});

    (void)state;
    assert_int_equal(submit(&script, status_request()), -EPROTONOSUPPORT);
    assert_int_equal(script.dm.kernel_version[0], 5);
    assert_int_equal(submit(&script, status_request()), -EBADMSG);
    script_end(&script);
}

/* Known from failures too, but not from a call that the kernel did not look at. */
static void test_kernel_version(void **state)
{
    struct script_step step = {.nr = DMI_DEV_STATUS, .name = "n"};

    (void)state;
    SCRIPT(script, step, step, step, step);
    script_steps[0].act = SCRIPT_REFUSE;
    script_steps[0].rc = -EACCES;
    script_steps[1].act = SCRIPT_FAIL;
    script_steps[1].rc = -ENXIO;
    script_steps[2].act = SCRIPT_WIPE_FAIL;
    script_steps[2].rc = -EINVAL;
    assert_int_equal(submit(&script, status_request()), -EACCES);
    assert_int_equal(script.dm.kernel_version[0], 0);
    assert_int_equal(submit(&script, status_request()), -ENXIO);
    assert_int_equal(script.dm.kernel_version[0], 4);
    assert_int_equal(script.dm.kernel_version[1], SCRIPT_KERNEL_MINOR);
    assert_int_equal(submit(&script, status_request()), -EINVAL);
    assert_int_equal(script.dm.kernel_version[1], SCRIPT_KERNEL_MINOR);
    /* The very version that we sent is one, after a success. */
    script.kernel_minor = 0;
    assert_int_equal(submit(&script, status_request()), 0);
    assert_int_equal(script.dm.kernel_version[1], 0);
    script_end(&script);
}

static void test_full_header(void **state)
{
    struct ioctl_request request = status_request();
    struct dm_ioctl buffer = {0};
    struct dmi_info info = {.event_nr = 5};
    SCRIPT(script, {.nr = DMI_DEV_STATUS, .name = "n", .act = SCRIPT_FULL});

    (void)state;
    assert_int_equal(ioctl_submit_info(&script.dm, &request, &buffer, sizeof(buffer), &info),
                     -EBADMSG);
    assert_int_equal(info.event_nr, 5);
    script_end(&script);
}

/* --- growth --- */

static void check_growth(size_t max_reply, const size_t *sizes, size_t count)
{
    struct ioctl_request request = {.nr = DMI_TABLE_STATUS,
                                    .lowest_minor = 3,
                                    .flags = DMI_NOFLUSH,
                                    .event_nr = 1,
                                    .target_count = 2,
                                    .device = 3,
                                    .name = "n",
                                    .uuid = "u"};
    struct script_step steps[16];
    struct dmi_buffer buffer = {.size = 5};
    struct script script;

    assert_true(count <= 16);
    for (size_t i = 0; i < count; i++) {
        steps[i] = (struct script_step){.nr = DMI_TABLE_STATUS,
                                        .minor = 3,
                                        .flags = DM_NOFLUSH_FLAG,
                                        .event_nr = 1,
                                        .target_count = 2,
                                        .device = 3,
                                        .name = "n",
                                        .uuid = "u",
                                        .size = sizes[i],
                                        .act = SCRIPT_FULL};
    }
    script_init(&script, steps, count);
    script.dm.max_reply = max_reply;
    assert_int_equal(ioctl_buffer_submit(&script.dm, &request, FIRST, &buffer), -EMSGSIZE);
    assert_int_equal(buffer.size, 5);
    script_end(&script);
}

static void test_growth_limits(void **state)
{
    static const size_t plain[] = {FIRST, SECOND, THIRD};
    static const size_t odd[] = {FIRST, SECOND, SECOND + 1};
    static const size_t small[] = {1000};
    static const size_t tiny[] = {312};

    (void)state;
    check_growth(THIRD, plain, 3);
    check_growth(SECOND + 1, odd, 3);
    check_growth(FIRST, plain, 1);
    check_growth(1000, small, 1);
    check_growth(10, tiny, 1);
    check_growth(0, tiny, 1);
}

static void test_growth_without_memory(void **state)
{
    struct ioctl_request request = status_request();
    struct dmi_buffer buffer = {.size = 5};
    struct script script;

    (void)state;
    script_init_silent(&script);
    watch.failing = true;
    assert_int_equal(ioctl_buffer_submit(&script.dm, &request, FIRST, &buffer), -ENOMEM);
    assert_int_equal(buffer.size, 5);
    assert_int_equal(script.dm.last, DMI_NONE);
}

/* --- wiping --- */

static const char secret[] = "0 8 crypt aes-xts-plain64 8e1f0a7755";

static void check_wiped(void)
{
    assert_int_equal(watch.frees, 1);
    assert_int_equal(watch.dirty, 0);
}

static void check_load_wiped(enum script_act act, int rc, uint32_t flags)
{
    struct dmi_target target = {0, 8, "crypt", secret};
    struct dmi_id id = script_by_name("n");
    struct script_bytes in = {0};
    struct dmi_info info;

    reset_watch(NULL);
    script_add_request_target(&in, 0, 8, "crypt", secret);
    SCRIPT(script, {.nr = DMI_TABLE_LOAD,
                    .name = "n",
                    .flags = flags,
                    .target_count = 1,
                    .in = in.data,
                    .in_size = in.size,
                    .act = act,
                    .rc = rc});
    assert_int_equal(dmi_table_load(&script.dm, &id, &target, 1, flags, &info), rc);
    check_wiped();
    script_bytes_done(&in);
    script_end(&script);
}

static void test_load_wiped(void **state)
{
    (void)state;
    check_load_wiped(SCRIPT_ECHO, 0, 0);
    check_load_wiped(SCRIPT_ECHO, 0, DMI_SECURE_DATA);
    check_load_wiped(SCRIPT_FAIL, -EINVAL, 0);
    check_load_wiped(SCRIPT_REFUSE, -EACCES, DMI_SECURE_DATA);
}

static void check_message_wiped(struct script_step step, int expected)
{
    static const char key[] = "key set 8e1f0a7755";
    struct dmi_id id = script_by_name("n");
    struct script_bytes in = {0};
    struct dmi_message message;

    reset_watch(NULL);
    script_bytes_add(&in, &(uint64_t){0}, 8);
    script_bytes_add(&in, key, sizeof(key));
    step.nr = DMI_TARGET_MSG;
    step.name = "n";
    step.in = in.data;
    step.in_size = in.size;
    step.size = 312 + 500 + 2;
    SCRIPT(script, step);
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, key, 0, 500, &message), expected);
    if (expected == 0) {
        dmi_message_done(&message);
    }
    check_wiped();
    script_bytes_done(&in);
    script_end(&script);
}

static void test_message_wiped(void **state)
{
    struct dm_ioctl output = {.flags = DM_DATA_OUT_FLAG};
    struct dm_ioctl lying = {.flags = DM_DATA_OUT_FLAG, .data_size = UINT32_MAX};
    struct script_bytes out = {0};

    (void)state;
    for (int i = 0; i < 10; i++) {
        script_bytes_add(&out, secret, strlen(secret));
    }
    script_bytes_add(&out, secret, sizeof(secret));
    check_message_wiped((struct script_step){.act = SCRIPT_ECHO}, 0);
    check_message_wiped((struct script_step){.act = SCRIPT_FULL}, -EMSGSIZE);
    check_message_wiped((struct script_step){.act = SCRIPT_FAIL, .rc = -EINVAL}, -EINVAL);
    check_message_wiped((struct script_step){.act = SCRIPT_WIPE_FAIL, .rc = -EIO}, -EIO);
    check_message_wiped((struct script_step){.act = SCRIPT_ANSWER, .reply = output, .out = &out},
                        0);
    check_message_wiped((struct script_step){.act = SCRIPT_ANSWER, .reply = lying, .out = &out},
                        -EBADMSG);
    script_bytes_done(&out);
}

static void test_reply_wiped(void **state)
{
    struct ioctl_request request = {.nr = DMI_TABLE_STATUS, .name = "n"};
    struct script_bytes out = {0};
    struct dmi_buffer buffer;

    (void)state;
    script_add_target(&out, 0, 8, "crypt", secret);
    SCRIPT(script,
           {.nr = DMI_TABLE_STATUS, .name = "n", .size = FIRST, .act = SCRIPT_ANSWER, .out = &out});
    assert_int_equal(ioctl_buffer_submit(&script.dm, &request, FIRST, &buffer), 0);
    assert_int_equal(buffer.size, 312 + out.size);
    ioctl_buffer_done(&buffer);
    check_wiped();
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
    ioctl_buffer_done(&buffer);
    script_bytes_done(&out);
    script_end(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_results, reset_watch),
        cmocka_unit_test_setup(test_refused_unsent, reset_watch),
        cmocka_unit_test_setup(test_versions, reset_watch),
        cmocka_unit_test_setup(test_foreign_major, reset_watch),
        cmocka_unit_test_setup(test_kernel_version, reset_watch),
        cmocka_unit_test_setup(test_full_header, reset_watch),
        cmocka_unit_test_setup(test_growth_limits, reset_watch),
        cmocka_unit_test_setup(test_growth_without_memory, reset_watch),
        cmocka_unit_test_setup(test_load_wiped, reset_watch),
        cmocka_unit_test_setup(test_message_wiped, reset_watch),
        cmocka_unit_test_setup(test_reply_wiped, reset_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
