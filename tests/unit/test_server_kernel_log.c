/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of kernel_log.c: whose each line is, and what comes of a flood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel_log.h"
#include "server_memory.h"

static const struct dmi_device dm3 = {254, 3};

/* --- a kernel's log in memory --- */

enum { ROOM = 80000, FLOOD = ROOM - 100 };

static struct {
    const char *lines[ROOM]; /* NULL: some are gone */
    size_t end, at;
    size_t reads, skips, closes;
    bool cannot_skip;
} kernel;

static void say(const char *line)
{
    assert_true(kernel.end < ROOM);
    kernel.lines[kernel.end++] = line;
}

static int next_line(void *data, char *ret_line, size_t size)
{
    assert_ptr_equal(data, &kernel);
    kernel.reads++;
    if (kernel.at == kernel.end) {
        return 0;
    }
    const char *line = kernel.lines[kernel.at++];
    if (!line) {
        return -EPIPE;
    }
    (void)snprintf(ret_line, size, "%s", line);
    return 1;
}

static int skip_it(void *data)
{
    assert_ptr_equal(data, &kernel);
    if (kernel.cannot_skip) {
        return -ESPIPE;
    }
    kernel.skips++;
    kernel.at = kernel.end;
    return 0;
}

static void close_it(void *data)
{
    assert_ptr_equal(data, &kernel);
    kernel.closes++;
}

static const struct kernel_log_source source = {
    .next = next_line, .skip = skip_it, .close = close_it, .data = &kernel};

static struct kernel_log *log_;
static struct arena arena;
static struct kernel_log_lines lines;

static int setup(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    return kernel_log_new(&source, &log_);
}

static int teardown(void **state)
{
    (void)state;
    log_ = kernel_log_free(log_);
    arena_done(&arena);
    return kernel.closes != 1;
}

static void collect(const struct kernel_log_mark *mark, const struct dmi_device *device)
{
    kernel_log_collect(log_, mark, device, &arena, &lines);
}

/* What the kernel says while one call runs alone: is it the call's? */
static bool is_told(const char *line, const struct dmi_device *device, bool alone)
{
    struct kernel_log_mark mark;
    struct kernel_log_mark other = {0};

    kernel_log_begin(log_, &mark);
    if (!alone) {
        kernel_log_begin(log_, &other);
    }
    say(line);
    collect(&mark, device);
    kernel_log_end(log_, &mark);
    kernel_log_end(log_, &other);
    assert_false(lines.lost);
    assert_true(lines.count == 0 || strcmp(lines.lines[0], line) == 0);
    return lines.count == 1;
}

/* --- whose a line is --- */

static void test_lines_with_a_number(void **state)
{
    static const struct {
        const char *line;
        bool ours;
    } rows[] = {
        {"device-mapper: table: 254:3: linear: Device lookup failed (-ENXIO)", true},
        {"device-mapper: table: 254:30: linear: Device lookup failed (-ENXIO)", false},
        {"device-mapper: table: 254:2: linear: Device lookup failed (-ENXIO)", false},
        {"device-mapper: thin: 254:3: switching pool to read-only mode", true},
        /* the first device is the one that a line is about */
        {"device-mapper: table: 254:3: adding target device dm-1 caused an inconsistency", true},
        {"device-mapper: table: 254:1: adding target device dm-3 caused an inconsistency", false},
        {"Buffer I/O error on dev dm-3, logical block 0, async page read", true},
        {"Buffer I/O error on dev dm-33, logical block 0, async page read", false},
        {"EXT4-fs (dm-3): mounted filesystem", true},
        {"EXT4-fs (xdm-3): mounted filesystem", false},
        {"md: dm-3a is none", false},
        {"trusted_key: device-mapper: crypt: 254:3: key", true},
        /* of no device of device-mapper */
        {"sd 254:3:0:0: [sda] Attached", false},
        {"usb 254:3", false},
        {"loop0: detected capacity change from 0 to 8192", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int alone = 0; alone < 2; alone++) {
            if (is_told(rows[i].line, &dm3, alone) != rows[i].ours) {
                fail_msg("%s", rows[i].line);
            }
        }
    }
}

static void test_lines_without_a_number(void **state)
{
    static const char *const words[] = {
        "device-mapper: ioctl: error adding target to table",
        "trusted_key: device-mapper: crypt: unrecognised message received.",
        "device-mapper: verity: 7:0: metadata block 1 is corrupted", /* a disk below */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        assert_true(is_told(words[i], &dm3, true));
        assert_false(is_told(words[i], &dm3, false));
    }
    assert_true(is_told(words[0], NULL, true));
    assert_false(is_told(words[0], NULL, false));
}

/* A call that makes a device knows no number: those with one are others'. */
static void test_no_number_is_known(void **state)
{
    (void)state;
    assert_false(is_told("device-mapper: table: 254:3: linear: bad", NULL, true));
    assert_false(is_told("EXT4-fs (dm-3): mounted filesystem", NULL, true));
}

/* --- when --- */

static void test_what_was_said_before_and_after(void **state)
{
    struct kernel_log_mark mark;

    (void)state;
    say("device-mapper: table: 254:3: before");
    kernel_log_begin(log_, &mark);
    assert_int_equal(kernel.reads, 0); /* nobody wants it: it is skipped */
    assert_int_equal(kernel.skips, 1);
    collect(&mark, &dm3);
    assert_int_equal(lines.count, 0);
    say("device-mapper: table: 254:3: one");
    say("device-mapper: table: 254:3: two");
    collect(&mark, &dm3);
    kernel_log_end(log_, &mark);
    kernel_log_end(log_, &mark);
    assert_int_equal(lines.count, 2);
    assert_string_equal(lines.lines[0], "device-mapper: table: 254:3: one");
    assert_string_equal(lines.lines[1], "device-mapper: table: 254:3: two");
    collect(&mark, &dm3); /* it has ended */
    assert_int_equal(lines.count, 0);
    kernel_log_begin(log_, &mark);
    collect(&mark, &dm3);
    kernel_log_end(log_, &mark);
    assert_int_equal(lines.count, 0);
}

/* Who was there at any time of the call overlaps with it, also who has ended long ago. */
static void test_overlap(void **state)
{
    static const char words[] = "device-mapper: ioctl: error adding target to table";
    struct kernel_log_mark first, second, third;

    (void)state;
    kernel_log_begin(log_, &first);
    say(words);
    kernel_log_begin(log_, &second); /* reads what the first may want */
    kernel_log_end(log_, &second);
    collect(&first, &dm3);
    assert_int_equal(lines.count, 0);
    kernel_log_begin(log_, &third);
    kernel_log_end(log_, &first);
    say(words);
    collect(&third, &dm3);
    assert_int_equal(lines.count, 0);
    kernel_log_end(log_, &third);
    assert_true(is_told(words, &dm3, true));
}

/* What one collects stays there for the others. */
static void test_each_gets_its_own(void **state)
{
    const struct dmi_device dm4 = {254, 4};
    struct kernel_log_mark first, second;

    (void)state;
    kernel_log_begin(log_, &first);
    say("device-mapper: table: 254:3: of the first");
    kernel_log_begin(log_, &second);
    say("device-mapper: table: 254:4: of the second");
    say("device-mapper: table: 254:3: of the first, again");
    collect(&second, &dm4);
    assert_int_equal(lines.count, 1);
    assert_string_equal(lines.lines[0], "device-mapper: table: 254:4: of the second");
    collect(&first, &dm3);
    assert_int_equal(lines.count, 2);
    assert_string_equal(lines.lines[1], "device-mapper: table: 254:3: of the first, again");
    kernel_log_end(log_, &first);
    kernel_log_end(log_, &second);
}

/* --- too much --- */

static void test_the_last_lines_are_kept(void **state)
{
    static char text[40][64];
    struct kernel_log_mark mark;

    (void)state;
    kernel_log_begin(log_, &mark);
    for (int i = 0; i < 40; i++) {
        (void)snprintf(text[i], sizeof(text[i]), "device-mapper: thin: 254:3: %d", i);
        say(text[i]);
    }
    collect(&mark, &dm3);
    assert_int_equal(lines.count, KERNEL_LOG_LINES);
    assert_true(lines.lost);
    for (size_t i = 0; i < lines.count; i++) {
        assert_string_equal(lines.lines[i], text[40 - KERNEL_LOG_LINES + i]);
    }
    kernel_log_end(log_, &mark);
}

static void test_exactly_as_many_as_fit(void **state)
{
    struct kernel_log_mark mark;

    (void)state;
    kernel_log_begin(log_, &mark);
    for (int i = 0; i < KERNEL_LOG_LINES; i++) {
        say("device-mapper: thin: 254:3: x");
    }
    collect(&mark, &dm3);
    assert_int_equal(lines.count, KERNEL_LOG_LINES);
    assert_false(lines.lost);
    kernel_log_end(log_, &mark);
}

static void test_a_long_line_is_cut(void **state)
{
    static char text[600] = "device-mapper: table: 254:3: ";
    struct kernel_log_mark mark;

    (void)state;
    memset(text + strlen(text), 'x', 500);
    kernel_log_begin(log_, &mark);
    say(text);
    collect(&mark, &dm3);
    assert_int_equal(lines.count, 1);
    assert_int_equal(strlen(lines.lines[0]), KERNEL_LOG_LINE - 1);
    kernel_log_end(log_, &mark);
}

/* Lines of others push none out. */
static void test_a_flood_of_others(void **state)
{
    struct kernel_log_mark mark;

    (void)state;
    kernel_log_begin(log_, &mark);
    say("device-mapper: table: 254:3: ours");
    for (int i = 0; i < 5000; i++) {
        say("eth0: link is up");
    }
    collect(&mark, &dm3);
    assert_int_equal(lines.count, 1);
    assert_false(lines.lost);
    kernel_log_end(log_, &mark);
}

/* One that is faster than it is read: the reader gives up, and says that lines may be missing. */
static void test_an_endless_flood(void **state)
{
    struct kernel_log_mark mark;

    (void)state;
    kernel_log_begin(log_, &mark);
    for (int i = 0; i < FLOOD; i++) {
        say("eth0: link is up");
    }
    collect(&mark, &dm3);
    assert_true(lines.lost);
    assert_true(kernel.reads < FLOOD);
    assert_int_equal(kernel.at, kernel.end);
    kernel_log_end(log_, &mark);
    kernel_log_begin(log_, &mark);
    collect(&mark, &dm3);
    assert_false(lines.lost); /* it was before */
    kernel_log_end(log_, &mark);
}

/* Of device-mapper's own, more than are kept. */
static void test_a_flood_of_our_kind(void **state)
{
    struct kernel_log_mark mark;

    (void)state;
    kernel_log_begin(log_, &mark);
    say("device-mapper: table: 254:3: ours");
    for (int i = 0; i < 3000; i++) {
        say("device-mapper: thin: 254:9: others'");
    }
    collect(&mark, &dm3);
    assert_int_equal(lines.count, 0);
    assert_true(lines.lost);
    kernel_log_end(log_, &mark);
}

static void test_the_kernel_has_overwritten_some(void **state)
{
    struct kernel_log_mark mark;

    (void)state;
    kernel_log_begin(log_, &mark);
    say(NULL);
    say("device-mapper: table: 254:3: ours");
    collect(&mark, &dm3);
    assert_int_equal(lines.count, 1);
    assert_true(lines.lost);
    kernel_log_end(log_, &mark);
}

static void test_where_nothing_can_be_skipped(void **state)
{
    (void)state;
    kernel.cannot_skip = true;
    say("device-mapper: table: 254:3: before");
    assert_true(is_told("device-mapper: table: 254:3: ours", &dm3, true));
}

static void test_no_memory(void **state)
{
    struct kernel_log_mark mark;
    struct kernel_log *none = NULL;

    (void)state;
    kernel_log_begin(log_, &mark);
    say("device-mapper: table: 254:3: ours");
    for (long i = 0; i < 2; i++) {
        memory_fail_at(i);
        collect(&mark, &dm3);
        memory_fail_at(-1);
        arena_done(&arena);
        assert_true(lines.lost || i > 0);
        assert_true(lines.count == 0 || i > 0);
    }
    collect(&mark, &dm3);
    assert_int_equal(lines.count, 1);
    kernel_log_end(log_, &mark);
    memory_fail_at(0);
    assert_int_equal(kernel_log_new(&source, &none), -ENOMEM);
    memory_fail_at(-1);
    assert_null(none);
    assert_int_equal(kernel.closes, 1);
    kernel.closes = 0;
}

static void test_no_log(void **state)
{
    struct kernel_log_mark mark = {0};

    (void)state;
    kernel_log_begin(NULL, &mark);
    assert_false(mark.open);
    kernel_log_collect(NULL, &mark, &dm3, &arena, &lines);
    assert_int_equal(lines.count, 0);
    assert_false(lines.lost);
    kernel_log_end(NULL, &mark);
    assert_null(kernel_log_free(NULL));
}

/* --- /dev/kmsg's form, from a file to which one record at a time is added --- */

static const char *record_told(struct kernel_log *log, int file, const char *record)
{
    struct kernel_log_mark mark;

    kernel_log_begin(log, &mark);
    assert_int_equal(write(file, record, strlen(record)), strlen(record));
    kernel_log_collect(log, &mark, &dm3, &arena, &lines);
    kernel_log_end(log, &mark);
    return lines.count > 0 ? lines.lines[0] : NULL;
}

static void test_records(void **state)
{
    static const char words[] = "device-mapper: table: 254:3: linear: bad; really";
    char path[] = "/tmp/dmrpc-kmsg-XXXXXX";
    int file = mkstemp(path);
    struct kernel_log *log = NULL;

    (void)state;
    assert_true(file >= 0);
    assert_int_equal(kernel_log_open(path, &log), 0);
    assert_string_equal(
        record_told(log, file, "3,1,2,-;device-mapper: table: 254:3: linear: bad; really\n"),
        words);
    assert_string_equal(
        record_told(log, file,
                    "4,2,2,-,caller=T7;device-mapper: table: 254:3: linear: bad; really\n"
                    " SUBSYSTEM=block\n DEVICE=b254:3\n"),
        words);
    /* A process's, which may write what it likes. */
    assert_null(
        record_told(log, file, "12,3,2,-;device-mapper: table: 254:3: linear: bad; really\n"));
    assert_null(record_told(log, file, "no record"));
    assert_null(record_told(log, file, "3 device-mapper: table: 254:3: x"));
    assert_null(record_told(log, file, ";device-mapper: table: 254:3: x"));
    assert_null(record_told(log, file, "3,4,5,-;"));
    log = kernel_log_free(log);
    (void)close(file);
    (void)unlink(path);
}

static void test_no_such_file(void **state)
{
    struct kernel_log *log = NULL;

    (void)state;
    assert_int_equal(kernel_log_open("/nosuch/kmsg", &log), -ENOENT);
    assert_null(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines_with_a_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines_without_a_number, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_number_is_known, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_was_said_before_and_after, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_gets_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_last_lines_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exactly_as_many_as_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_long_line_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_flood_of_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_endless_flood, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_flood_of_our_kind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_kernel_has_overwritten_some, setup, teardown),
        cmocka_unit_test_setup_teardown(test_where_nothing_can_be_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records, setup, teardown),
        cmocka_unit_test(test_no_such_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
