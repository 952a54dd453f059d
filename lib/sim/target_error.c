/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error: fails all I/O. Takes any arguments, shows none, and may stand in for the
 * table of a device whose type may not change otherwise.
 */
#include "table.h"

static int error_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    (void)target, (void)argc, (void)argv;
    return 0;
}

const struct sim_target_type sim_target_error = {
    .name = "error",
    .version = {1, 5, 0},
    .features = SIM_WILDCARD,
    .ctr = error_ctr,
};
