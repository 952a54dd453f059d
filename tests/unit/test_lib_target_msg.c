/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of target_msg.c: sent once, whatever comes back. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "script.h"

enum { ROOM = 100, SIZE = 312 + ROOM + 2 };

static const struct dm_ioctl silent = {.dev = 0xfe00, .name = "n"};
static const struct dm_ioctl talking = {.dev = 0xfe00, .name = "n", .flags = DM_DATA_OUT_FLAG};

static struct script_bytes message_of(uint64_t sector, const char *message)
{
    struct script_bytes in = {0};

    script_bytes_add(&in, &sector, sizeof(sector));
    script_bytes_add(&in, message, strlen(message) + 1);
    return in;
}

static struct script_bytes text_of(const char *text)
{
    struct script_bytes out = {0};

    script_bytes_add(&out, text, strlen(text) + 1);
    return out;
}

static struct script_step step_of(const struct script_bytes *in)
{
    return (struct script_step){
        .nr = DMI_TARGET_MSG,
        .name = "n",
        .in = in->data,
        .in_size = in->size,
        .size = SIZE,
        .act = SCRIPT_ANSWER,
        .reply = silent,
    };
}

static void test_silent(void **state)
{
    struct script_bytes in = message_of(UINT64_MAX, "create_thin 1");
    struct script_step step = step_of(&in);
    struct dmi_id id = script_by_name("n");
    struct dmi_message message;

    (void)state;
    SCRIPT(script, step, step);
    script_steps[1].flags = DM_SECURE_DATA_FLAG;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dmi_target_msg(&script.dm, &id, UINT64_MAX, "create_thin 1",
                                        i ? DMI_SECURE_DATA : 0, ROOM, &message),
                         0);
        assert_null(message.output);
        assert_null(message.buffer.data);
        assert_string_equal(message.info.name, "n");
        dmi_message_done(&message);
    }
    script_bytes_done(&in);
    script_end(&script);
}

static void test_output(void **state)
{
    struct script_bytes in = message_of(0, "@stats_list"),
                        out = text_of("0: 0+8 8 - -\n1: 8+8 8 - -\n"), empty = text_of("");
    struct script_step step = step_of(&in);
    struct dmi_id id = script_by_name("n");
    struct dmi_message message;

    (void)state;
    step.reply = talking;
    SCRIPT(script, step, step);
    script_steps[0].out = &out;
    script_steps[1].out = &empty;
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "@stats_list", 0, ROOM, &message), 0);
    assert_string_equal(message.output, "0: 0+8 8 - -\n1: 8+8 8 - -\n");
    assert_int_equal(message.info.flags, DMI_DATA_OUT);
    /* The wipe covers the answer, and not the room. */
    assert_int_equal(message.buffer.size, 312 + out.size);
    dmi_message_done(&message);
    assert_null(message.buffer.data);
    dmi_message_done(&message);
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "@stats_list", 0, ROOM, &message), 0);
    assert_string_equal(message.output, "");
    assert_int_equal(message.buffer.size, 312 + in.size); /* the message is longer */
    dmi_message_done(&message);
    script_bytes_done(&in);
    script_bytes_done(&out);
    script_bytes_done(&empty);
    script_end(&script);
}

/* The buffer holds the larger of both; 1 MiB unless asked otherwise. */
static void test_sizes(void **state)
{
    struct script_bytes in = message_of(0, "a message of some length"), small = message_of(0, "m");
    struct script_step step = step_of(&in);
    struct dmi_id id = script_by_name("n");
    struct dmi_message message;

    (void)state;
    SCRIPT(script, step, step);
    script_steps[0].size = 0;
    script_steps[1].size = 312 + 1048576 + 2;
    script_steps[1].in = small.data;
    script_steps[1].in_size = small.size;
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "a message of some length", 0, 1, &message),
                     0);
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "m", 0, 0, &message), 0);
    script_bytes_done(&in);
    script_bytes_done(&small);
    script_end(&script);
}

static void test_sent_once(void **state)
{
    struct script_bytes in = message_of(0, "m");
    struct script_step step = step_of(&in);
    struct dmi_id id = script_by_name("n");
    struct dmi_message message = {.output = "untouched"};

    (void)state;
    SCRIPT(script, step, step, step);
    script_steps[0].act = SCRIPT_FULL;
    script_steps[1].act = SCRIPT_FAIL;
    script_steps[1].rc = 2; /* no live table, on some kernels */
    script_steps[2].act = SCRIPT_FAIL;
    script_steps[2].rc = -EINTR;
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "m", 0, ROOM, &message), -EMSGSIZE);
    assert_int_equal(script.next, 1);
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "m", 0, ROOM, &message), -EINVAL);
    assert_int_equal(script.dm.last, DMI_TARGET_MSG);
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "m", 0, ROOM, &message), -EINTR);
    assert_string_equal(message.output, "untouched");
    script_bytes_done(&in);
    script_end(&script);
}

static void test_malformed(void **state)
{
    struct script_bytes in = message_of(0, "m"), out = text_of("no end");
    struct script_step step = step_of(&in);
    struct dmi_id id = script_by_name("n");
    struct dmi_message message = {.output = "untouched"};

    (void)state;
    out.size--;
    step.reply = talking;
    SCRIPT(script, step, step, step);
    script_steps[0].out = &out;
    /* [1]: says that there is output, and there is none. */
    script_steps[2].out = &out;
    script_steps[2].reply.data_start = 8; /* the header itself */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "m", 0, ROOM, &message), -EBADMSG);
    }
    assert_string_equal(message.output, "untouched");
    script_bytes_done(&in);
    script_bytes_done(&out);
    script_end(&script);
}

static void test_refusals(void **state)
{
    struct dmi_id id = script_by_name("n"), no_id = script_by_uuid("");
    struct dmi_message message;
    struct script script;

    (void)state;
    script_init_silent(&script);
    assert_int_equal(dmi_target_msg(&script.dm, &no_id, 0, "m", 0, 0, &message), -EINVAL);
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, "m", DMI_NOFLUSH, 0, &message), -EINVAL);
    assert_int_equal(script.dm.last, DMI_NONE);
}

/* 1 GiB of letters out of 1 MiB of memory, mapped over and over. */
static char *long_text(size_t length)
{
    enum { CHUNK = 1 << 20 };
    int fd = memfd_create("letters", MFD_CLOEXEC);
    char *text = mmap(NULL, length + CHUNK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *chunk;

    assert_true(fd >= 0);
    assert_ptr_not_equal(text, MAP_FAILED);
    assert_int_equal(ftruncate(fd, CHUNK), 0);
    chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(chunk, MAP_FAILED);
    memset(chunk, 'm', CHUNK);
    assert_int_equal(munmap(chunk, CHUNK), 0);
    for (size_t offset = 0; offset < length; offset += CHUNK) {
        assert_ptr_equal(mmap(text + offset, CHUNK, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0),
                         text + offset);
    }
    assert_int_equal(close(fd), 0);
    return text;
}

static void test_too_long(void **state)
{
    size_t length = (size_t)1 << 30;
    char *text = long_text(length);
    struct dmi_id id = script_by_name("n");
    struct dmi_message message;
    struct script script;

    (void)state;
    script_init_silent(&script);
    assert_int_equal(dmi_target_msg(&script.dm, &id, 0, text, 0, 0, &message), -E2BIG);
    assert_int_equal(script.dm.last, DMI_NONE);
    assert_int_equal(munmap(text, length + (1 << 20)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent),    cmocka_unit_test(test_output),
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_sent_once),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
