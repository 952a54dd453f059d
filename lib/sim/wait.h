/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.h - sleeping inside the simulated kernel.
 */
#ifndef SIM_WAIT_H
#define SIM_WAIT_H

#include <stdbool.h>
#include <stdint.h>

struct dmi_sim;

#define SIM_WAIT_FOREVER UINT64_MAX

/* One that waits, of those in sim->waiters. */
struct sim_waiter {
    struct sim_waiter *next;
    int fd; /* an eventfd: it is to look again */
};

/*
 * Lets go of the lock until something changed (sim_wake), the clock reached
 * `until_ms`, or, if `signals`, a signal was caught: -EINTR. Wakes up for nothing,
 * too: call it in a loop around the condition.
 */
int sim_wait(struct dmi_sim *sim, uint64_t until_ms, bool signals);

/* Wakes all that wait; whoever changes what a wait may be about calls it. */
void sim_wake(struct dmi_sim *sim);

#endif
