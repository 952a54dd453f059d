/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - the daemon: all parts put together, from start to clean exit.
 */
#ifndef DMRPC_SERVER_H
#define DMRPC_SERVER_H

#include "options.h"

/* Serves until SIGTERM or SIGINT. The exit status: 0, or 1 where it could not start. */
int server_run(const struct options *options);

#endif
