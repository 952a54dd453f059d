/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds a row of the method table, which is sorted by name.
 */
#include "method.h"

#include <string.h>

const struct method *method_find(const char *name)
{
    size_t low = 0;
    size_t high = method_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, method_table[middle].name);
        if (order == 0) {
            return &method_table[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}
