/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zero: reads as zeros.
 */
#include <errno.h>

#include "table.h"

static int zero_ctr(struct sim_target *target, unsigned int argc, char **argv)
{
    (void)argv;
    if (argc == 0)
        return 0;
    target->error = "No arguments required";
    return -EINVAL;
}

const struct sim_target_type sim_target_zero = {
    .name = "zero",
    .version = {1, 1, 0},
    .ctr = zero_ctr,
};
