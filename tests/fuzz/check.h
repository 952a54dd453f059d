/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - what must hold: where it does not, the program ends and says where. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(holds)                                                                               \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            (void)fprintf(stderr, "%s:%d: this does not hold: %s\n", __FILE__, __LINE__, #holds);  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
