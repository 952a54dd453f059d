/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of peer.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer.h"

static void connect_pair(struct peer *ret_peer)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(peer_read(fds[0], ret_peer), 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void test_peer(void **state)
{
    struct peer peer = {0};
    gid_t groups[65536];
    int count = getgroups(65536, groups);

    (void)state;
    connect_pair(&peer);
    assert_int_equal(peer.pid, getpid());
    assert_int_equal(peer.uid, geteuid());
    assert_int_equal(peer.gid, getegid());
    struct rules_who who = peer_who(&peer);
    assert_int_equal(who.uid, geteuid());
    assert_int_equal(who.gid, getegid());
    assert_int_equal(who.groups_count, count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(who.groups[i], groups[i]);
    }
    peer_unref(&peer);
    assert_null(peer.credentials);
}

/* As many groups as there can be; none; and each is still there when the connection is not. */
static void test_groups(void **state)
{
    static const size_t counts[] = {0, 1, 32, 1000, 65536};
    gid_t before[65536];
    int count = getgroups(65536, before);
    gid_t *groups = calloc(65536, sizeof(*groups));

    (void)state;
    assert_true(count >= 0);
    assert_non_null(groups);
    if (geteuid() != 0) {
        free(groups);
        skip();
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct peer peer;
        for (size_t j = 0; j < counts[i]; j++) {
            groups[j] = (gid_t)(70000 + j);
        }
        assert_int_equal(setgroups(counts[i], groups), 0);
        connect_pair(&peer);
        struct peer kept = peer_ref(&peer);
        peer_unref(&peer);
        struct rules_who who = peer_who(&kept);
        assert_int_equal(who.groups_count, counts[i]);
        assert_memory_equal(who.groups, groups, counts[i] * sizeof(*groups));
        peer_unref(&kept);
    }
    assert_int_equal(setgroups((size_t)count, before), 0);
    free(groups);
}

static void test_no_peer(void **state)
{
    struct peer peer = {.pid = 7, .uid = 8, .gid = 9};
    int fds[2];

    (void)state;
    assert_int_equal(peer_read(-1, &peer), -EBADF);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(peer_read(fds[0], &peer), -ENOTSOCK);
    assert_int_equal(peer.pid, 7);
    assert_int_equal(peer.uid, 8);
    assert_int_equal(peer.gid, 9);
    assert_null(peer.credentials);
    assert_int_equal(peer_who(&peer).groups_count, 0);
    peer_unref(&peer);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_no_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
