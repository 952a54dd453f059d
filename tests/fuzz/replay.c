/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the files of the folders that are named, each as one input: what was found once
 * must not come back. Stands in where a build has no libFuzzer.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void run_file(int folder, const char *name)
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0) {
        fail(name);
    }
    size_t size = (size_t)st.st_size;
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes || read(fd, bytes, size) != st.st_size) {
        fail(name);
    }
    (void)close(fd);
    (void)fprintf(stderr, "%s\n", name); /* the last one named is the one at fault */
    (void)LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
}

static size_t run_folder(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    size_t count = 0;

    if (!folder) {
        fail(path);
    }
    while ((entry = readdir(folder))) {
        if (entry->d_name[0] != '.') {
            run_file(dirfd(folder), entry->d_name);
            count++;
        }
    }
    (void)closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    size_t count = 0;

    for (int i = 1; i < argc; i++) {
        count += run_folder(argv[i]);
    }
    (void)fprintf(stderr, "%zu inputs\n", count);
    return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
