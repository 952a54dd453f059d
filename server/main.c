/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmrpcd: reads the command line, then serves.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "json_memory.h"
#include "log.h"
#include "options.h"
#include "server.h"

enum { EXIT_USAGE = 2 };

/*
 * The first call of a function that is bound lazily leaves the registers on the stack, with
 * parts of what was copied last: of a key. This program is linked with -z now, which does not hold
 * for the libraries it uses (jansson); the loader's own switch does.
 */
static void bind_now(char **argv)
{
    static const char SWITCH[] = "LD_BIND_NOW";
    const char *set = getenv(SWITCH);
    char path[PATH_MAX] = "";

    if (set && *set) {
        return;
    }
    /* Without a base the loader itself was started, with this program as its argument. */
    if (getauxval(AT_BASE) != 0 && setenv(SWITCH, "1", 1) == 0 &&
        readlink("/proc/self/exe", path, sizeof(path) - 1) > 0) {
        (void)execv(path, argv);
    }
    log_line(
        "Cannot start anew with LD_BIND_NOW=1, so parts of keys may stay in memory. Set it in the "
        "environment.");
}

/* What is opened later would get the numbers of those that are closed, and be written to as stderr.
 */
static void open_standard(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        (void)close(fd);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    int status = EXIT_SUCCESS;

    open_standard();

    json_memory_init();
    switch (options_read(argc, argv, &options)) {
    case OPTIONS_RUN:
        bind_now(argv);
        status = server_run(&options);
        break;
    case OPTIONS_EXIT:
        break;
    case OPTIONS_USAGE:
        status = EXIT_USAGE;
        break;
    case OPTIONS_FILE:
        status = EXIT_FAILURE;
        break;
    }
    log_stop();
    options_done(&options);
    return status;
}
