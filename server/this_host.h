/* SPDX-License-Identifier: Apache-2.0 */
/*
 * this_host.h - the block devices of the machine that dmrpcd runs on.
 */
#ifndef DMRPC_THIS_HOST_H
#define DMRPC_THIS_HOST_H

#include "block.h"

/* Nodes by stat(2), and names by sysfs. */
extern const struct block_host this_host;

#endif
