/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of access.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access.h"

static void test_peer(void **state)
{
    struct peer peer = {0};
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(access_peer(fds[0], &peer), 0);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, geteuid());
    assert_int_equal(peer.gid, getegid());
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_no_peer(void **state)
{
    struct peer peer = {.pid = 7, .uid = 8, .gid = 9};
    int fds[2];

    (void)state;
    assert_int_equal(access_peer(-1, &peer), -EBADF);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(access_peer(fds[0], &peer), -ENOTSOCK);
    assert_int_equal(peer.pid, 7);
    assert_int_equal(peer.uid, 8);
    assert_int_equal(peer.gid, 9);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_rules(void **state)
{
    const struct peer root = {.uid = 0, .gid = 5};
    const struct peer own = {.uid = geteuid(), .gid = 5};
    const struct peer other = {.uid = geteuid() + 4711, .gid = 0};

    (void)state;
    for (enum method_effect effect = EFFECT_READ; effect <= EFFECT_ADMIN; effect++) {
        assert_true(access_allows(&root, effect));
        assert_true(access_allows(&own, effect));
        assert_int_equal(access_allows(&other, effect), effect == EFFECT_READ);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_no_peer),
        cmocka_unit_test(test_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
