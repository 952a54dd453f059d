/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's log. It knows nothing but how to write one whole line.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void log_line(const char *format, ...)
{
    char line[1024] = "dmrpcd: ";
    size_t start = strlen(line);
    va_list args;

    va_start(args, format);
    int n = vsnprintf(line + start, sizeof(line) - start - 1, format, args);
    va_end(args);
    if (n < 0) {
        return;
    }
    size_t length =
        start + ((size_t)n < sizeof(line) - start - 1 ? (size_t)n : sizeof(line) - start - 2);
    line[length++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, length); /* a log that fails stops nothing */
    (void)written;
}
