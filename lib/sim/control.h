/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the control node: open files and ioctls on them.
 */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

struct dm_ioctl;
struct dmi_sim;

/* An open file (struct dm_file). */
struct sim_file {
    struct dmi_sim *sim;
    struct sim_file *next;
    uint32_t event_nr; /* of the world when it was armed */
    int fd;            /* an eventfd: readable once the world's number is past that */
    bool readable;
};

/* ctl_ioctl(). Takes the lock. What ioctl(2) returns, with -errno in place of -1. */
int sim_control_ioctl(struct sim_file *file, unsigned int nr, struct dm_ioctl *user);

/* Remembers the world's event number: `file` is not readable until there is another. */
void sim_control_arm(struct sim_file *file);

#endif
