/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h - a target: one file with this function, which libFuzzer calls, or replay.c. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0; an input that shows a fault does not come back. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
