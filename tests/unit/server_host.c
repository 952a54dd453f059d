/* SPDX-License-Identifier: Apache-2.0 */
#include "server_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char host_root[64];

int host_setup(void **state)
{
    (void)state;
    (void)strcpy(host_root, "/tmp/dmrpc-host-XXXXXX");
    return mkdtemp(host_root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

int host_teardown(void **state)
{
    (void)state;
    return nftw(host_root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void host_put(const char *path, const char *text)
{
    char whole[512];

    int length = snprintf(whole, sizeof(whole), "%s%s", host_root, path);
    assert_in_range(length, 1, sizeof(whole) - 1);
    for (char *c = strchr(whole + strlen(host_root) + 1, '/'); c; c = strchr(c + 1, '/')) {
        *c = '\0';
        (void)mkdir(whole, 0700);
        *c = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}
