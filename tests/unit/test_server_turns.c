/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of turns.c: who waits in the line, and who goes before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "container_of.h"
#include "turns.h"

struct rig {
    struct ev_loop *loop;
    struct turns turns;
    char said[256]; /* who had a turn, in order */
};

struct who {
    struct turn turn;
    struct rig *rig;
    char name;
    int again;         /* how often it goes to the end once more */
    double takes;      /* seconds */
    struct who *drops; /* leaves the line when this one's turn comes */
};

static void say(struct rig *rig, char name)
{
    size_t length = strlen(rig->said);

    assert_true(length + 1 < sizeof(rig->said));
    rig->said[length] = name;
}

static void on_turn(struct turn *turn)
{
    struct who *who = container_of(turn, struct who, turn);
    double end = ev_time() + who->takes;

    assert_false(turn->waits);
    say(who->rig, who->name);
    while (who->takes > 0 && ev_time() < end) {
    }
    if (who->drops) {
        turns_remove(&who->rig->turns, &who->drops->turn);
    }
    if (who->again-- > 0) {
        turns_add(&who->rig->turns, turn);
    }
}

static int setup(void **state)
{
    static struct rig rig;

    memset(&rig, 0, sizeof(rig));
    rig.loop = ev_loop_new(EVFLAG_AUTO);
    assert_non_null(rig.loop);
    turns_init(&rig.turns, rig.loop);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    assert_null(rig->turns.first);
    assert_null(rig->turns.last);
    ev_loop_destroy(rig->loop);
    return 0;
}

static struct who who(struct rig *rig, char name)
{
    return (struct who){.turn.run = on_turn, .rig = rig, .name = name};
}

/* Each has its turn, and who has more to do goes behind the others. */
static void test_order(void **state)
{
    struct rig *rig = *state;
    struct who a = who(rig, 'a');
    struct who b = who(rig, 'b');
    struct who c = who(rig, 'c');

    a.again = 2;
    c.again = 1;
    turns_add(&rig->turns, &a.turn);
    turns_add(&rig->turns, &b.turn);
    turns_add(&rig->turns, &a.turn); /* waits already */
    turns_add(&rig->turns, &c.turn);
    assert_true(a.turn.waits && b.turn.waits && c.turn.waits);
    (void)ev_run(rig->loop, 0); /* ends when nobody waits */
    assert_string_equal(rig->said, "abcaca");
}

static void test_remove(void **state)
{
    struct rig *rig = *state;
    struct who all[4] = {who(rig, 'a'), who(rig, 'b'), who(rig, 'c'), who(rig, 'd')};

    for (int i = 0; i < 4; i++) {
        turns_add(&rig->turns, &all[i].turn);
    }
    turns_remove(&rig->turns, &all[0].turn);
    turns_remove(&rig->turns, &all[0].turn); /* not in it */
    turns_remove(&rig->turns, &all[3].turn);
    all[1].drops = &all[2];
    (void)ev_run(rig->loop, 0);
    assert_string_equal(rig->said, "b");
    for (int i = 0; i < 4; i++) {
        assert_false(all[i].turn.waits);
    }
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    say(watcher->data, '!');
}

/* One turn of the loop serves those who take longer than a slice one at a time, after all others.
 */
static void test_slice(void **state)
{
    struct rig *rig = *state;
    struct who slow[3] = {who(rig, 'a'), who(rig, 'b'), who(rig, 'c')};
    ev_timer timer;

    ev_timer_init(&timer, on_timer, 0., 0.0000001);
    timer.data = rig;
    for (int i = 0; i < 3; i++) {
        slow[i].takes = 0.002;
        turns_add(&rig->turns, &slow[i].turn);
    }
    ev_timer_start(rig->loop, &timer);
    for (int i = 0; i < 3; i++) {
        (void)ev_run(rig->loop, EVRUN_ONCE);
    }
    ev_timer_stop(rig->loop, &timer);
    assert_string_equal(rig->said, "!a!b!c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slice, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
