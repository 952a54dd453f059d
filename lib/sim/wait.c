/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeping inside the simulated kernel. A waiter polls an eventfd of its own,
 * because poll(2) comes back from a signal whatever its handler's flags are,
 * and a condition variable does not. Waits are rare and short lists, so every
 * change wakes all of them and they look for themselves.
 */
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "state.h"

static int wait_milliseconds(struct dmi_sim *sim, uint64_t until_ms, int fd)
{
    if (fd < 0)
        return 1; /* out of descriptors: look again soon */
    if (until_ms == SIM_WAIT_FOREVER || sim->clock_stopped)
        return -1;
    uint64_t now = sim_now_ms(sim);
    uint64_t left = until_ms > now ? until_ms - now : 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}

static void wait_forget(struct dmi_sim *sim, const struct sim_waiter *waiter)
{
    struct sim_waiter **link = &sim->waiters;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
}

int sim_wait(struct dmi_sim *sim, uint64_t until_ms, bool signals)
{
    struct sim_waiter waiter = {.next = sim->waiters, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct pollfd poll_fd = {.fd = waiter.fd, .events = POLLIN};
    int timeout = wait_milliseconds(sim, until_ms, waiter.fd);

    /* cppcheck-suppress autoVariables ; it leaves the list before this returns */
    // cppcheck-suppress autoVariables ; it is taken out again below
    sim->waiters = &waiter;
    (void)pthread_mutex_unlock(&sim->lock);
    int rc = poll(&poll_fd, 1, timeout);
    int error = rc < 0 ? errno : 0;
    (void)pthread_mutex_lock(&sim->lock);
    wait_forget(sim, &waiter);

    if (waiter.fd >= 0)
        (void)close(waiter.fd);
    return error == EINTR && signals ? -EINTR : 0;
}

void sim_wake(struct dmi_sim *sim)
{
    for (struct sim_waiter *waiter = sim->waiters; waiter; waiter = waiter->next)
        if (waiter->fd >= 0)
            (void)eventfd_write(waiter->fd, 1);
}
