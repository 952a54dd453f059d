/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults on demand. A fault is a small counter: calls that match use it up, may
 * sleep in it, and may be told to fail. It knows a call by its ioctl and the name
 * of its device, nothing more.
 */
#include "fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "device.h"
#include "wait.h"

enum { ERRNO_MAX = 4095 };

struct sim_fault {
    struct sim_fault *next;
    struct dmi_sim_fault_state state;
    bool spent; /* used up or removed: it meets nobody any more, */
    bool over;  /* and it was removed: who waits in it goes on */
};

/* Frees what nobody can meet and nobody waits in. */
static void faults_sweep(struct dmi_sim *sim)
{
    struct sim_fault **link = &sim->faults;
    while (*link) {
        struct sim_fault *fault = *link;
        if (!fault->spent || fault->state.waiting) {
            link = &fault->next;
            continue;
        }
        *link = fault->next;
        free(fault);
    }
}

static bool fault_matches(const struct sim_fault *fault, const struct sim_call *call,
                          unsigned int nr)
{
    const struct dmi_sim_fault *wanted = &fault->state.fault;

    if (fault->spent || (wanted->nr != DMI_NONE && (unsigned int)wanted->nr != nr))
        return false;
    if (!*wanted->device)
        return true;
    if (nr == DM_DEV_CREATE_CMD)
        return strcmp(wanted->device, call->param->name) == 0;
    const struct sim_device *device = sim_call_peek(call->sim, call->param);
    return device && strcmp(wanted->device, device->name) == 0;
}

static int fault_wait(struct sim_call *call, struct sim_fault *fault)
{
    const struct dmi_sim_fault *what = &fault->state.fault;
    uint64_t until = what->held ? SIM_WAIT_FOREVER : sim_now_ms(call->sim) + what->block_ms;
    int rc = 0;

    fault->state.waiting++;
    while (rc == 0 && !fault->over && (what->held || sim_now_ms(call->sim) < until))
        rc = sim_wait(call->sim, until, what->signals);
    fault->state.waiting--;
    return rc;
}

int sim_fault_meet(struct sim_call *call, unsigned int nr)
{
    struct sim_fault *fault = call->sim->faults;
    while (fault && !fault_matches(fault, call, nr))
        fault = fault->next;
    if (!fault)
        return 0;

    if (fault->state.fault.calls && --fault->state.fault.calls == 0)
        fault->spent = true;
    int error = fault->state.fault.error;
    int rc = fault_wait(call, fault);
    faults_sweep(call->sim);
    return rc < 0 ? rc : -error;
}

void sim_faults_done(struct dmi_sim *sim)
{
    for (struct sim_fault *fault = sim->faults; fault; fault = fault->next)
        fault->spent = true;
    faults_sweep(sim);
}

/* --- sim.h --- */

int dmi_sim_fault_add(struct dmi_sim *sim, const struct dmi_sim_fault *fault, uint64_t *ret_id)
{
    bool any = fault->nr == DMI_NONE;
    if ((!any && (fault->nr <= DMI_VERSION || fault->nr >= DMI_IOCTL_COUNT)) || fault->error < 0 ||
        fault->error > ERRNO_MAX || !memchr(fault->device, '\0', sizeof(fault->device)))
        return -EINVAL;

    struct sim_fault *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return -ENOMEM;
    entry->state.fault = *fault;

    sim_lock(sim);
    struct sim_fault **link = &sim->faults;
    while (*link)
        link = &(*link)->next;
    *link = entry;
    entry->state.id = ++sim->last_fault;
    uint64_t id = entry->state.id;
    sim_unlock(sim);

    *ret_id = id;
    return 0;
}

static void fault_end(struct sim_fault *fault)
{
    fault->spent = fault->over = true;
}

int dmi_sim_fault_remove(struct dmi_sim *sim, uint64_t id)
{
    sim_lock(sim);
    struct sim_fault *fault = sim->faults;
    while (fault && (fault->state.id != id || fault->over))
        fault = fault->next;
    if (fault)
        fault_end(fault);
    int rc = fault ? 0 : -ENOENT;
    faults_sweep(sim);
    sim_wake(sim);
    sim_unlock(sim);
    return rc;
}

void dmi_sim_fault_clear(struct dmi_sim *sim)
{
    sim_lock(sim);
    for (struct sim_fault *fault = sim->faults; fault; fault = fault->next)
        fault_end(fault);
    faults_sweep(sim);
    sim_wake(sim);
    sim_unlock(sim);
}

int dmi_sim_faults(struct dmi_sim *sim, struct dmi_sim_fault_state **ret_faults, size_t *ret_count)
{
    size_t count = 0;

    sim_lock(sim);
    for (const struct sim_fault *fault = sim->faults; fault; fault = fault->next)
        count++;
    struct dmi_sim_fault_state *states = count ? calloc(count, sizeof(*states)) : NULL;
    int rc = count && !states ? -ENOMEM : 0;
    size_t at = 0;
    for (const struct sim_fault *fault = sim->faults; states && fault; fault = fault->next)
        states[at++] = fault->state;
    sim_unlock(sim);

    if (rc == 0) {
        *ret_faults = states;
        *ret_count = count;
    }
    return rc;
}
