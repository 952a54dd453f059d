/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minors.h - minor numbers and the mapped devices that have them.
 */
#ifndef SIM_MINORS_H
#define SIM_MINORS_H

#include <stdint.h>

struct sim_device;

enum { SIM_MINOR_COUNT = 1 << 20 };

struct sim_minors {
    struct sim_device **devices; /* by minor; NULL where it is free or its device is going */
    uint32_t size;
    uint64_t *taken; /* a bit for each minor, then one for each full word of it, then again */
};

int sim_minors_init(struct sim_minors *minors);
void sim_minors_done(struct sim_minors *minors);

struct sim_device *sim_minors_find(const struct sim_minors *minors, uint32_t minor);

/* -EBUSY, -ENOSPC, -ENOMEM. `minor` must be below SIM_MINOR_COUNT. */
int sim_minors_take(struct sim_minors *minors, uint32_t minor);
int sim_minors_take_lowest(struct sim_minors *minors, uint32_t *ret_minor);

/* Who is found by a minor that is taken; NULL for nobody. */
void sim_minors_set(struct sim_minors *minors, uint32_t minor, struct sim_device *device);
void sim_minors_free(struct sim_minors *minors, uint32_t minor);

#endif
