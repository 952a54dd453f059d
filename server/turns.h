/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns.h - one line for all who have more to do than a moment takes.
 *
 * Who asks for little is served as soon as it is heard. Who has more to do waits in
 * this line, and in each turn of the loop, after the others, as many from its front
 * are served as a short while allows: a hundred who want much hold up one who wants
 * little no longer than one of them does. Loop thread only.
 */
#ifndef DMRPC_TURNS_H
#define DMRPC_TURNS_H

#include <ev.h>
#include <stdbool.h>

/* Embedded in who waits; zeroed but for `run` it waits for nothing. */
struct turn {
    struct turn *next, *previous;
    bool waits;
    void (*run)(struct turn *turn); /* its turn has come: does some, and may wait again */
};

struct turns {
    struct ev_loop *loop;
    ev_timer timer;
    struct turn *first, *last;
};

void turns_init(struct turns *turns, struct ev_loop *loop);

/* Goes to the end of the line; nothing where it waits already. */
void turns_add(struct turns *turns, struct turn *turn);

/* Leaves the line, if it is in it. */
void turns_remove(struct turns *turns, struct turn *turn);

#endif
