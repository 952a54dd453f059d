/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simulated.h - what a real host has beside its device-mapper, of a simulated kernel: block
 * devices, and the kernel's log.
 */
#ifndef DMRPC_SIMULATED_H
#define DMRPC_SIMULATED_H

#include "block.h"
#include "kernel_log.h"

struct dmi_sim;

/* Its disks by their paths, and mapped devices as udev would name them. `sim` is borrowed. */
struct block_host simulated_host(struct dmi_sim *sim);

/* `sim` is borrowed for as long as the log lives. 0 or -ENOMEM. */
int simulated_log_open(struct dmi_sim *sim, struct kernel_log **ret_log);

#endif
