/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - what the load programs share: sockets, the clock, numbers.
 *
 * None of it handles an error: a load program that cannot go on says why and exits.
 */
#ifndef DMRPC_LOAD_CLIENT_H
#define DMRPC_LOAD_CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);

void *alloc(size_t size); /* zeroed */

/* A connected socket, blocking or not; -1 where the server's line of new connections is full. */
int client_try_connect(const char *path, int flags);
int client_connect(const char *path, int flags);

/* All of it, on a blocking socket. */
void client_send(int fd, const char *bytes, size_t length);

/* One line, without its newline, on a blocking socket with nothing else under way. */
void client_read_line(int fd, char *line, size_t size);

/* The same call again and again, on a blocking socket: each must have a result. */
void client_repeat(int fd, const char *request, size_t count);

/* `count` devices called PREFIX-0, PREFIX-1, ... */
void client_make_devices(const char *path, const char *prefix, size_t count);

double now(void); /* in seconds */

/* Sorts. `share` is from 0 to 1. */
double percentile(double *values, size_t count, double share);

/* Of a process: its resident memory in KiB, its open files. */
long memory_of(pid_t pid);
long files_of(pid_t pid);

/* What the server says that requests and replies hold. */
long held_bytes(const char *path);

/* A stream of numbers that is the same for the same seed. */
uint64_t random_next(uint64_t *state);

/* As many descriptors as the system lets this process have. */
void raise_files(void);

/* argv[at] as a number, or `preset` where it is not there. */
long number_of(int argc, char **argv, int at, long preset);

#endif
