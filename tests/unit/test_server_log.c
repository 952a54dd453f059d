/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of log.c: stderr is a pipe of the test's. To be clean under ThreadSanitizer as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

enum { PIPE_BYTES = 4096, HELD_LINES = 128, MANY = 1000 };

struct tube {
    int reading;
    int before; /* the test's own stderr */
    char said[1 << 18];
    size_t length;
};

static void tube_open(struct tube *tube)
{
    int ends[2];

    tube->length = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES) >= 0);
    tube->before = dup(STDERR_FILENO);
    assert_true(tube->before >= 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    (void)close(ends[1]);
    tube->reading = ends[0];
}

/* The test's own end of it, too: who reads sees the end. */
static void tube_cut(struct tube *tube)
{
    if (tube->before >= 0) {
        assert_int_equal(dup2(tube->before, STDERR_FILENO), STDERR_FILENO);
        (void)close(tube->before);
        tube->before = -1;
    }
}

static void tube_close(struct tube *tube)
{
    tube_cut(tube);
    if (tube->reading >= 0) {
        (void)close(tube->reading);
    }
}

/* Reads until it has been said, as a string. */
static void until_said(struct tube *tube, const char *what)
{
    struct pollfd readable = {.fd = tube->reading, .events = POLLIN};

    tube->said[tube->length] = '\0';
    while (!strstr(tube->said, what)) {
        assert_int_equal(poll(&readable, 1, 10000), 1);
        ssize_t n =
            read(tube->reading, tube->said + tube->length, sizeof(tube->said) - tube->length - 1);
        assert_true(n > 0);
        tube->length += (size_t)n;
        tube->said[tube->length] = '\0';
    }
}

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void say(int first, int count)
{
    for (int i = first; i < first + count; i++) {
        log_line("line %d.", i);
    }
}

/* As many bytes as the pipe holds. */
static void stuff(void)
{
    char page[PIPE_BYTES];

    memset(page, 'x', sizeof(page));
    assert_int_equal(write(STDERR_FILENO, page, sizeof(page)), sizeof(page));
}

/* The lines come in their order, the first `skipped` bytes aside. Returns how many there are. */
static int check_order(const struct tube *tube, size_t skipped)
{
    const char *at = tube->said + skipped;
    const char start[] = "dmrpcd: line ";
    int expected = 0;

    while (strncmp(at, start, sizeof(start) - 1) == 0) {
        assert_int_equal(strtol(at + sizeof(start) - 1, NULL, 10), expected++);
        at = strchr(at, '\n') + 1;
    }
    return expected;
}

static void test_before_the_thread(void **state)
{
    static struct tube tube;

    (void)state;
    tube_open(&tube);
    log_line("one %s", "word");
    until_said(&tube, "\n");
    tube_close(&tube);
    assert_string_equal(tube.said, "dmrpcd: one word\n");
}

static void test_long_lines_are_cut(void **state)
{
    static struct tube tube;
    char text[3000];

    (void)state;
    memset(text, 'y', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    tube_open(&tube);
    log_line("%s", text);
    until_said(&tube, "\n");
    tube_close(&tube);
    assert_int_equal(tube.length, 1023);
}

/* Whatever is in it, it is one line, which does nothing to a terminal. */
static void test_a_line_is_one_line(void **state)
{
    static struct tube tube;

    (void)state;
    tube_open(&tube);
    log_line("'%s' is here.", "a\ndmrpcd: b\r\t\x1b[2J\x7f\xc2\x9b \\ \xc3\xa4 \xff");
    until_said(&tube, "here.\n");
    tube_close(&tube);
    assert_string_equal(tube.said, "dmrpcd: 'a\\x0admrpcd: b\\x0d\\x09\\x1b[2J\\x7f\\xc2\\x9b \\ "
                                   "\xc3\xa4 \\xff' is here.\n");
}

/* Cut between what is shown, not in it. */
static void test_long_lines_of_other_bytes_are_cut(void **state)
{
    static struct tube tube;
    char text[3000];

    (void)state;
    memset(text, '\n', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    tube_open(&tube);
    log_line("%s", text);
    until_said(&tube, "\n");
    tube_close(&tube);
    assert_in_range(tube.length, 1020, 1023);
    assert_string_equal(tube.said + tube.length - 5, "\\x0a\n");
}

static void test_in_order_to_the_end(void **state)
{
    static struct tube tube;

    (void)state;
    tube_open(&tube);
    assert_int_equal(log_start(NULL), 0);
    say(0, 50);
    log_stop();
    log_line("after it.");
    until_said(&tube, "after it.\n");
    tube_close(&tube);
    assert_int_equal(check_order(&tube, 0), 50);
    assert_int_equal(log_dropped(), 0);
}

/* Nobody waits, what is too much is counted, and a reader that comes back is told. */
static void test_full(void **state)
{
    static struct tube tube;
    char said[64];

    (void)state;
    tube_open(&tube);
    stuff();
    assert_int_equal(log_start(NULL), 0);
    uint64_t began = now_ms();
    say(0, MANY);
    assert_true(now_ms() - began < 2000);
    uint64_t dropped = log_dropped();
    assert_int_equal(dropped, MANY - HELD_LINES);
    (void)snprintf(said, sizeof(said), "dmrpcd: %d lines of this log were dropped.\n",
                   MANY - HELD_LINES);
    until_said(&tube, said);
    assert_int_equal(check_order(&tube, PIPE_BYTES), HELD_LINES);
    log_line("flows.");
    until_said(&tube, "dropped.\ndmrpcd: flows.\n");
    assert_int_equal(log_dropped(), dropped);
    log_stop();
    tube_close(&tube);
}

/* The end does not wait for long, and a line after it does not at all. */
static void test_stop_while_stuck(void **state)
{
    static struct tube tube;

    (void)state;
    tube_open(&tube);
    stuff();
    assert_int_equal(log_start(NULL), 0);
    say(0, 5);
    uint64_t began = now_ms();
    log_stop();
    uint64_t took = now_ms() - began;
    assert_in_range(took, 900, 5000);
    log_line("after it.");
    assert_true(now_ms() - began - took < 900);
    /* So that the thread, which is nobody's by now, does not outlive the test. */
    until_said(&tube, "after it.\n");
    log_stop();
    tube_close(&tube);
}

/* Somebody made the terminal that we share non-blocking. */
static void test_non_blocking(void **state)
{
    static struct tube tube;

    (void)state;
    tube_open(&tube);
    stuff();
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(log_start(NULL), 0);
    say(0, 10);
    until_said(&tube, "line 9.\n");
    log_stop();
    tube_close(&tube);
    assert_int_equal(check_order(&tube, PIPE_BYTES), 10);
    assert_int_equal(log_dropped(), 0);
}

static void test_nobody_reads_ever(void **state)
{
    static struct tube tube;

    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    tube_open(&tube);
    (void)close(tube.reading);
    tube.reading = -1;
    assert_int_equal(log_start(NULL), 0);
    say(0, 10);
    log_stop();
    tube_close(&tube);
    assert_true(log_dropped() >= 10);
}

static void *say_much(void *argument)
{
    (void)argument;
    say(0, 20);
    return NULL;
}

static void test_many_threads(void **state)
{
    static struct tube tube;
    pthread_t threads[4];
    int lines = 0;

    (void)state;
    tube_open(&tube);
    assert_int_equal(log_start(NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, say_much, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    log_line("the last.");
    until_said(&tube, "the last.\n");
    log_stop();
    tube_close(&tube);
    for (const char *at = tube.said; (at = strstr(at, "dmrpcd: line ")); at++) {
        lines++;
    }
    assert_int_equal(lines, 80);
}

/* --- records --- */

enum { HELD_RECORDS = 512 };

/* What a writer of the test's is given; it may be told to fail. */
struct sink {
    atomic_bool fails;
    uint64_t lost;
};

static bool write_record(void *data, const void *record)
{
    const struct sink *sink = data;
    char line[64];
    int number;

    memcpy(&number, record, sizeof(number));
    int n = snprintf(line, sizeof(line), "dmrpcd: line %d.\n", number);
    return !sink->fails && log_write(line, (size_t)n);
}

static bool write_lost(void *data, uint64_t count)
{
    struct sink *sink = data;

    bool told = !sink->fails;
    sink->lost += told ? count : 0;
    return told;
}

static void start_records(struct sink *sink)
{
    const struct log_writer writer = {.write = write_record, .lost = write_lost, .data = sink};

    assert_int_equal(log_start(&writer), 0);
}

static void record(int first, int count)
{
    for (int i = first; i < first + count; i++) {
        log_record(&i, sizeof(i));
    }
}

static void test_records_and_lines_are_in_one_order(void **state)
{
    static struct tube tube;
    struct sink sink = {0};

    (void)state;
    tube_open(&tube);
    start_records(&sink);
    for (int i = 0; i < 40; i += 2) {
        say(i, 1);
        record(i + 1, 1);
    }
    log_stop();
    record(99, 1); /* nobody is there to take it */
    log_line("after it.");
    until_said(&tube, "after it.\n");
    tube_close(&tube);
    assert_int_equal(check_order(&tube, 0), 40);
    assert_int_equal(log_records_dropped(), 0);
}

/* Each kind has room of its own, and is counted by itself. */
static void test_full_of_both(void **state)
{
    static struct tube tube;
    struct sink sink = {0};
    char said[64];

    (void)state;
    tube_open(&tube);
    stuff();
    start_records(&sink);
    record(0, MANY);
    for (int i = 0; i < MANY; i++) {
        log_hint(&i, sizeof(i)); /* these are in nobody's way */
    }
    assert_int_equal(log_dropped(), 0);
    say(HELD_RECORDS, MANY);
    uint64_t lines = log_dropped();
    uint64_t records = log_records_dropped();
    assert_int_equal(lines, MANY - HELD_LINES);
    assert_int_equal(records, MANY - HELD_RECORDS);
    (void)snprintf(said, sizeof(said), "%d records of the audit were dropped.\n",
                   MANY - HELD_RECORDS);
    until_said(&tube, said);
    (void)snprintf(said, sizeof(said), "dmrpcd: %d lines of this log were dropped.\n",
                   MANY - HELD_LINES);
    assert_non_null(strstr(tube.said, said));
    assert_int_equal(check_order(&tube, PIPE_BYTES), HELD_RECORDS + HELD_LINES);
    record(1000, 1);
    until_said(&tube, "line 1000.\n");
    log_stop();
    assert_int_equal(sink.lost, MANY - HELD_RECORDS);
    assert_int_equal(log_records_dropped(), records);
    assert_int_equal(log_dropped(), lines);
    tube_close(&tube);
}

/* A writer that could not is asked again, with a number that is right. */
static void test_a_writer_that_fails_for_a_while(void **state)
{
    static struct tube tube;
    struct sink sink = {.fails = true};

    (void)state;
    tube_open(&tube);
    start_records(&sink);
    record(0, 5);
    for (int i = 0; i < 5000 && log_records_dropped() < 5; i++) {
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(log_records_dropped(), 5);
    sink.fails = false;
    record(0, 2); /* the news may come between them, or behind */
    log_stop();
    tube_close(&tube);
    assert_int_equal(sink.lost, 5);
    assert_int_equal(log_records_dropped(), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_and_lines_are_in_one_order),
        cmocka_unit_test(test_full_of_both),
        cmocka_unit_test(test_a_writer_that_fails_for_a_while),
        cmocka_unit_test(test_before_the_thread),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_a_line_is_one_line),
        cmocka_unit_test(test_long_lines_of_other_bytes_are_cut),
        cmocka_unit_test(test_in_order_to_the_end),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_stop_while_stuck),
        cmocka_unit_test(test_non_blocking),
        cmocka_unit_test(test_nobody_reads_ever),
        cmocka_unit_test(test_many_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
