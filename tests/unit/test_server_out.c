/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of out.c. */
#include "server_rig.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "out.h"
#include "server_memory.h"

#define assert_holds(out, text) assert_holds_(out, text, strlen(text))

/* Takes all that `out` holds. */
static void assert_holds_(struct out *out, const char *text, size_t expected)
{
    size_t length = 0;
    char *found = rig_text(out, &length);

    assert_int_equal(length, expected);
    assert_memory_equal(found, text, length);
    free(found);
}

static char *pattern(size_t length)
{
    char *bytes = malloc(length);
    uint32_t seed = 1;

    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = (char)(seed >> 24);
    }
    return bytes;
}

static void test_puts(void **state)
{
    struct out out;

    (void)state;
    out_init(&out, SIZE_MAX, NULL);
    out_puts(&out, "");
    assert_int_equal(out.length, 0);
    out_puts(&out, "ab");
    out_char(&out, '\0');
    out_put(&out, "cde", 2);
    assert_int_equal(out.error, 0);
    assert_holds_(&out, "ab\0cd", 5);
    out_done(&out);
    out_done(&out);
}

static void test_numbers(void **state)
{
    static const uint64_t unsigneds[] = {0, 9, 10, 4294967296, UINT64_MAX, 1000000000000000000};
    static const int64_t signeds[] = {0, 7, -1, INT64_MAX, INT64_MIN, -10};
    struct out out;
    char text[32];

    (void)state;
    out_init(&out, SIZE_MAX, NULL);
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(text, sizeof(text), "%" PRIu64, unsigneds[i]);
        out_u64(&out, unsigneds[i]);
        assert_holds(&out, text);
        (void)snprintf(text, sizeof(text), "%" PRId64, signeds[i]);
        out_i64(&out, signeds[i]);
        assert_holds(&out, text);
    }
    out_done(&out);
}

static void test_many_blocks(void **state)
{
    const size_t length = 300000;
    char *bytes = pattern(length);
    struct budget budget = {.limit = SIZE_MAX / 2};
    struct out out;

    (void)state;
    out_init(&out, SIZE_MAX, &budget);
    for (size_t at = 0, step = 1; at < length; at += step, step = step % 5000 + 7) {
        out_put(&out, bytes + at, at + step < length ? step : length - at);
    }
    assert_int_equal(out.length, length);
    assert_true(budget.used >= length);
    assert_holds_(&out, bytes, length);
    assert_int_equal(budget.used, 0);
    out_done(&out);
    free(bytes);
}

static void test_limit(void **state)
{
    struct out out;

    (void)state;
    out_init(&out, 10, NULL);
    out_puts(&out, "0123456789");
    assert_int_equal(out.error, 0);
    out_puts(&out, "");
    assert_int_equal(out.error, 0);
    out_char(&out, 'x');
    assert_int_equal(out.error, -EMSGSIZE);
    assert_int_equal(out.length, 10);
    out_done(&out);

    out_init(&out, 10, NULL);
    out_puts(&out, "0123456");
    out_puts(&out, "0123"); /* none of it */
    assert_int_equal(out.error, -EMSGSIZE);
    out_char(&out, 'x'); /* would fit, but the error sticks */
    assert_holds(&out, "0123456");
    out_done(&out);
}

/* A limit that is set below what is held already lets nothing more in. */
static void test_limit_lowered(void **state)
{
    struct out out;

    (void)state;
    out_init(&out, SIZE_MAX, NULL);
    out_puts(&out, "0123456789");
    out.limit = 5;
    out_char(&out, 'x');
    assert_int_equal(out.error, -EMSGSIZE);
    assert_int_equal(out.length, 10);
    out_done(&out);
}

static void test_budget(void **state)
{
    struct budget budget = {.limit = 5000};
    struct out out;
    char bytes[4000] = {0};

    (void)state;
    out_init(&out, SIZE_MAX, &budget);
    out_put(&out, bytes, sizeof(bytes));
    assert_int_equal(out.error, 0);
    size_t one = budget.used;
    assert_true(one >= 4000 && one <= 5000);
    out_put(&out, bytes, sizeof(bytes)); /* the next block is too much */
    assert_int_equal(out.error, -ENOBUFS);
    assert_int_equal(budget.used, one);
    out_rewind(&out, (struct out_mark){0});
    assert_int_equal(out.error, 0);
    assert_int_equal(budget.used, 0);
    out_done(&out);
}

static void test_no_memory(void **state)
{
    struct budget budget = {.limit = SIZE_MAX};
    struct out out;

    (void)state;
    out_init(&out, SIZE_MAX, &budget);
    memory_fail_at(0);
    out_puts(&out, "x");
    memory_fail_at(-1);
    assert_int_equal(out.error, -ENOMEM);
    assert_int_equal(budget.used, 0);
    assert_int_equal(out.length, 0);
    out_done(&out);
}

/* Marks at every length, and as much behind them as makes blocks come and go. */
static void test_rewind(void **state)
{
    static const size_t before[] = {0, 1, 4095, 4096 - 32, 4096 - 31, 5000, 70000, 140000};
    static const size_t after[] = {0, 1, 100, 4096, 65536, 200000};
    char *bytes = pattern(400000);
    struct budget budget = {.limit = SIZE_MAX / 2};

    (void)state;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        for (size_t j = 0; j < sizeof(after) / sizeof(after[0]); j++) {
            struct out out;
            out_init(&out, SIZE_MAX, &budget);
            out_put(&out, bytes, before[i]);
            size_t used = budget.used;
            struct out_mark mark = out_mark(&out);
            out_put(&out, bytes + 7, after[j]);
            out.error = -EMSGSIZE;
            out_rewind(&out, mark);
            assert_int_equal(out.error, 0);
            assert_int_equal(out.length, before[i]);
            assert_int_equal(budget.used, used);
            out_put(&out, bytes + before[i], 1000);
            assert_holds_(&out, bytes, before[i] + 1000);
            out_done(&out);
        }
    }
    assert_int_equal(budget.used, 0);
    free(bytes);
}

static void move(struct budget *budget, const char *bytes, size_t first, size_t second)
{
    struct out to;
    struct out from;

    out_init(&to, SIZE_MAX, budget);
    out_init(&from, SIZE_MAX, budget);
    out_put(&to, bytes, first);
    out_put(&from, bytes + first, second);
    out_move(&to, &from);
    assert_int_equal(from.length, 0);
    assert_null(from.first);
    assert_null(from.last);
    assert_int_equal(to.length, first + second);
    out_put(&to, bytes + first + second, 10); /* the end is where it should be */
    out_put(&from, "x", 1);                   /* and the other can be used again */
    assert_int_equal(from.length, 1);
    out_done(&from);
    assert_holds_(&to, bytes, first + second + 10);
    out_done(&to);
}

static void test_move(void **state)
{
    static const size_t sizes[] = {0, 1, 50, 4000, 4064, 4096, 10000, 200000};
    char *bytes = pattern(500000);
    struct budget budget = {.limit = SIZE_MAX / 2};

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        for (size_t j = 0; j < 8; j++) {
            move(&budget, bytes, sizes[i], sizes[j]);
        }
    }
    assert_int_equal(budget.used, 0);
    free(bytes);
}

/* A thousand short replies share blocks. */
static void test_move_many(void **state)
{
    struct budget budget = {.limit = SIZE_MAX / 2};
    struct out to;

    (void)state;
    out_init(&to, SIZE_MAX, &budget);
    for (int i = 0; i < 1000; i++) {
        struct out from;
        out_init(&from, SIZE_MAX, &budget);
        out_puts(&from, "a reply of some forty bytes, as many are");
        out_move(&to, &from);
        out_done(&from);
    }
    assert_int_equal(to.length, 40000);
    assert_true(budget.used < 120000);
    out_done(&to);
    assert_int_equal(budget.used, 0);
}

static size_t drain(int fd, char *to, size_t most)
{
    size_t total = 0;

    while (total < most) {
        ssize_t n = recv(fd, to + total, most - total, MSG_DONTWAIT);
        if (n <= 0) {
            break;
        }
        total += (size_t)n;
    }
    return total;
}

/* The socket takes a little at a time; the reader takes odd amounts. */
static void test_send_short(void **state)
{
    const size_t length = 700000;
    char *bytes = pattern(length);
    char *got = malloc(length);
    struct budget budget = {.limit = SIZE_MAX / 2};
    int fds[2], small = 4096, full = 0;
    size_t read = 0;
    struct out out;

    (void)state;
    assert_non_null(got);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    out_init(&out, SIZE_MAX, &budget);
    out_put(&out, bytes, length);
    while (read < length) {
        size_t before = out.length;
        ssize_t n = out_send(&out, fds[0]);
        assert_true(n >= 0);
        assert_int_equal(out.length, before - (size_t)n);
        full += out.length > 0;
        size_t odd = (read * 7919) % 6000 + 1;
        read += drain(fds[1], got + read, odd < length - read ? odd : length - read);
    }
    assert_true(full > 10);
    assert_memory_equal(got, bytes, length);
    assert_int_equal(out.length, 0);
    assert_int_equal(budget.used, 0);
    assert_int_equal(out_send(&out, fds[0]), 0);
    out_puts(&out, "again");
    assert_int_equal(out_send(&out, fds[0]), 5);
    out_done(&out);
    (void)close(fds[0]);
    (void)close(fds[1]);
    free(got);
    free(bytes);
}

/* What is half sent can still be appended to and moved to. */
static void test_send_then_move(void **state)
{
    const size_t length = 300000;
    char *bytes = pattern(length + 20);
    int fds[2], small = 4096;
    struct out out;
    struct out more;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    out_init(&out, SIZE_MAX, NULL);
    out_init(&more, SIZE_MAX, NULL);
    out_put(&out, bytes, length);
    ssize_t n = out_send(&out, fds[0]);
    assert_true(n > 0 && (size_t)n < length);
    out_put(&more, bytes + length, 20);
    out_move(&out, &more);
    assert_holds_(&out, bytes + n, length + 20 - (size_t)n);
    out_done(&out);
    (void)close(fds[0]);
    (void)close(fds[1]);
    free(bytes);
}

static void test_send_fails(void **state)
{
    struct out out;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    (void)close(fds[1]);
    out_init(&out, SIZE_MAX, NULL);
    out_puts(&out, "to nobody"); /* without a SIGPIPE, or the test ends here */
    assert_int_equal(out_send(&out, fds[0]), -EPIPE);
    assert_int_equal(out.length, 9);
    (void)close(fds[0]);
    assert_int_equal(out_send(&out, fds[0]), -EBADF);
    out_done(&out);
}

static const char secret[] = "the-secret-in-the-reply";

static void fill(struct out *out, size_t bytes)
{
    while (bytes > 0) {
        size_t n = bytes < strlen(secret) ? bytes : strlen(secret);
        out_put(out, secret, n);
        bytes -= n;
    }
}

static void test_wiped(void **state)
{
    struct out out;
    struct out other;

    (void)state;
    memory_watch(secret);
    out_init(&out, SIZE_MAX, NULL);
    fill(&out, 150000);
    out_done(&out);
    assert_int_equal(memory_seen(), 0);

    fill(&out, 150000);
    free(rig_text(&out, NULL)); /* once: the test's own copy */
    assert_int_equal(memory_seen(), 1);

    memory_watch(secret);
    struct out_mark mark = out_mark(&out);
    fill(&out, 150000);
    out_rewind(&out, mark);
    out_puts(&out, "plain");
    mark = out_mark(&out);
    fill(&out, 2000); /* within the block that stays */
    out_rewind(&out, mark);
    out_done(&out);
    assert_int_equal(memory_seen(), 0);

    out_init(&other, SIZE_MAX, NULL);
    fill(&out, 500);
    fill(&other, 500); /* moved by copying */
    out_move(&out, &other);
    assert_int_equal(memory_seen(), 0);
    out_done(&out);
    assert_int_equal(memory_seen(), 0);
    memory_watch(NULL);
}

static void test_read(void **state)
{
    char text[8] = "";
    struct out out;

    (void)state;
    out_init(&out, SIZE_MAX, NULL);
    assert_int_equal(out_read(&out, text, sizeof(text)), 0);
    for (int i = 0; i < 5000; i++) {
        out_puts(&out, "ab");
    }
    for (int i = 0; i < 2500; i++) {
        assert_int_equal(out_read(&out, text, 3), 3);
        assert_memory_equal(text, i % 2 ? "bab" : "aba", 3);
    }
    assert_int_equal(out.length, 2500);
    char *rest = malloc(10000);
    assert_non_null(rest);
    assert_int_equal(out_read(&out, rest, 10000), 2500);
    assert_null(out.first);
    free(rest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),           cmocka_unit_test(test_puts),
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_many_blocks),
        cmocka_unit_test(test_limit),          cmocka_unit_test(test_limit_lowered),
        cmocka_unit_test(test_budget),         cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_rewind),         cmocka_unit_test(test_move),
        cmocka_unit_test(test_move_many),      cmocka_unit_test(test_send_short),
        cmocka_unit_test(test_send_then_move), cmocka_unit_test(test_send_fails),
        cmocka_unit_test(test_wiped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
