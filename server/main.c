/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmrpcd: reads the command line, then serves.
 */
#include <stdlib.h>

#include "json_memory.h"
#include "options.h"
#include "server.h"

enum { EXIT_USAGE = 2 };

int main(int argc, char **argv)
{
    struct options options;
    int status = EXIT_SUCCESS;

    json_memory_init();
    switch (options_read(argc, argv, &options)) {
    case OPTIONS_RUN:
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
    options_done(&options);
    return status;
}
