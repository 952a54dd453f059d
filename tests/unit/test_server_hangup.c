/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of hangup.c. */
#include "server_rig.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hangup.h"

struct pair {
    struct hangup *hangup;
    int ours, theirs;
    int gone;
};

static void on_gone(void *who)
{
    struct pair *pair = who;

    pair->gone++;
    hangup_remove(pair->hangup, pair->ours);
}

struct place {
    struct ev_loop *loop;
    ev_timer tick;
    struct hangup hangup;
};

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

static void place_init(struct place *place, enum hangup_kind kind)
{
    place->loop = ev_loop_new(EVFLAG_AUTO);
    ev_timer_init(&place->tick, on_tick, 0.001, 0.001);
    ev_timer_start(place->loop, &place->tick);
    assert_int_equal(hangup_init(&place->hangup, place->loop, kind, on_gone), 0);
}

static void place_done(struct place *place)
{
    hangup_done(&place->hangup);
    ev_timer_stop(place->loop, &place->tick);
    ev_loop_destroy(place->loop);
}

static void turns(struct place *place, int count)
{
    for (int i = 0; i < count; i++) {
        (void)ev_run(place->loop, EVRUN_ONCE);
    }
}

static void pair_init(struct pair *pair, struct place *place)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    *pair = (struct pair){.hangup = &place->hangup, .ours = fds[0], .theirs = fds[1]};
}

static void test_full_close_only(void **state)
{
    struct place place;
    struct pair pair;

    (void)state;
    place_init(&place, HANGUP_FULL);
    pair_init(&pair, &place);
    assert_int_equal(send(pair.theirs, "x", 1, 0), 1); /* readable is not gone */
    assert_int_equal(shutdown(pair.theirs, SHUT_WR), 0);
    assert_int_equal(hangup_add(&place.hangup, pair.ours, &pair), 0);
    turns(&place, 5);
    assert_int_equal(pair.gone, 0);
    (void)close(pair.theirs);
    turns(&place, 5);
    assert_int_equal(pair.gone, 1);
    (void)close(pair.ours);
    place_done(&place);
}

static void test_half_close(void **state)
{
    struct place place;
    struct pair pair;

    (void)state;
    place_init(&place, HANGUP_HALF);
    pair_init(&pair, &place);
    assert_int_equal(hangup_add(&place.hangup, pair.ours, &pair), 0);
    assert_int_equal(send(pair.theirs, "x", 1, 0), 1);
    turns(&place, 5);
    assert_int_equal(pair.gone, 0);
    assert_int_equal(shutdown(pair.theirs, SHUT_WR), 0);
    turns(&place, 5);
    assert_int_equal(pair.gone, 1);
    (void)close(pair.theirs);
    (void)close(pair.ours);
    place_done(&place);
}

/* One who has gone before is told of, too. */
static void test_gone_before(void **state)
{
    struct place place;
    struct pair pair;

    (void)state;
    place_init(&place, HANGUP_FULL);
    pair_init(&pair, &place);
    (void)close(pair.theirs);
    assert_int_equal(hangup_add(&place.hangup, pair.ours, &pair), 0);
    turns(&place, 5);
    assert_int_equal(pair.gone, 1);
    (void)close(pair.ours);
    place_done(&place);
}

static void test_many_and_removed(void **state)
{
    struct place place;
    struct pair pairs[20];

    (void)state;
    place_init(&place, HANGUP_FULL);
    for (int i = 0; i < 20; i++) {
        pair_init(&pairs[i], &place);
        assert_int_equal(hangup_add(&place.hangup, pairs[i].ours, &pairs[i]), 0);
    }
    assert_int_equal(hangup_add(&place.hangup, pairs[0].ours, &pairs[0]), -EEXIST);
    hangup_remove(&place.hangup, pairs[3].ours);
    for (int i = 0; i < 20; i++) {
        (void)close(pairs[i].theirs);
    }
    turns(&place, 50);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pairs[i].gone, i != 3);
        (void)close(pairs[i].ours);
    }
    assert_int_equal(hangup_add(&place.hangup, -1, NULL), -EBADF);
    place_done(&place);
}

/* It keeps no loop running. */
static void test_loop_ends(void **state)
{
    struct place place;

    (void)state;
    place_init(&place, HANGUP_FULL);
    ev_timer_stop(place.loop, &place.tick);
    assert_false(ev_run(place.loop, 0));
    place_done(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_close_only), cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_gone_before),     cmocka_unit_test(test_many_and_removed),
        cmocka_unit_test(test_loop_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
