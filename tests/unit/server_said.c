/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Catches output by exchanging the descriptors, so that write(2) is caught too.
 */
#include "server_said.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    int fd, out, err;
    char text[16384];
} said;

void said_start(void)
{
    (void)fflush(stdout);
    (void)fflush(stderr);
    said.fd = memfd_create("said", MFD_CLOEXEC);
    said.out = dup(STDOUT_FILENO);
    said.err = dup(STDERR_FILENO);
    if (said.fd < 0 || said.out < 0 || said.err < 0 || dup2(said.fd, STDOUT_FILENO) < 0 ||
        dup2(said.fd, STDERR_FILENO) < 0) {
        abort();
    }
}

const char *said_end(void)
{
    (void)fflush(stdout);
    (void)fflush(stderr);
    (void)dup2(said.out, STDOUT_FILENO);
    (void)dup2(said.err, STDERR_FILENO);
    ssize_t n = pread(said.fd, said.text, sizeof(said.text) - 1, 0);
    said.text[n > 0 ? n : 0] = '\0';
    (void)close(said.fd);
    (void)close(said.out);
    (void)close(said.err);
    return said.text;
}
