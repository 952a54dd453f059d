/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - what the daemon says to its operator: one line each, on stderr.
 *
 * Any thread. Never of what requests contain: table lines and messages hold keys.
 */
#ifndef DMRPC_LOG_H
#define DMRPC_LOG_H

__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);

#endif
