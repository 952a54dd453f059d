/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_host.h - a folder with the files that a host shows in /sys and /proc.
 */
#ifndef TESTS_SERVER_HOST_H
#define TESTS_SERVER_HOST_H

/* Where it is, while a test runs. */
extern char host_root[64];

/* For cmocka: an empty one, and its end. */
int host_setup(void **state);
int host_teardown(void **state);

/* Writes a file, "/proc/swaps", and makes the folders above it. */
void host_put(const char *path, const char *text);

#endif
