/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line of those who have more to do. It knows time, and nothing of what is done.
 */
#include "turns.h"

#include <stddef.h>

/* One call takes a few microseconds; this is what a short one may have to wait. */
static const ev_tstamp SLICE = 0.0001; /* seconds */

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct turns *turns = watcher->data;
    const ev_tstamp end = ev_time() + SLICE;

    (void)events;
    do {
        struct turn *turn = turns->first;
        turns_remove(turns, turn);
        turn->run(turn);
    } while (turns->first && ev_time() < end);
    if (turns->first) {
        ev_timer_start(loop, &turns->timer);
    }
}

void turns_init(struct turns *turns, struct ev_loop *loop)
{
    *turns = (struct turns){.loop = loop};
    ev_timer_init(&turns->timer, on_timer, 0., 0.);
    ev_set_priority(&turns->timer, EV_MINPRI);
    turns->timer.data = turns;
}

void turns_add(struct turns *turns, struct turn *turn)
{
    if (turn->waits) {
        return;
    }
    turn->waits = true;
    turn->next = NULL;
    turn->previous = turns->last;
    if (turns->last) {
        turns->last->next = turn;
    } else {
        turns->first = turn;
    }
    turns->last = turn;
    ev_timer_start(turns->loop, &turns->timer);
}

void turns_remove(struct turns *turns, struct turn *turn)
{
    if (!turn->waits) {
        return;
    }
    turn->waits = false;
    if (turn->previous) {
        turn->previous->next = turn->next;
    } else {
        turns->first = turn->next;
    }
    if (turn->next) {
        turn->next->previous = turn->previous;
    } else {
        turns->last = turn->previous;
    }
    if (!turns->first) {
        ev_timer_stop(turns->loop, &turns->timer);
    }
}
