/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.h - from the structs of the schema to JSON text, with no tree between.
 */
#ifndef DMRPC_ENCODE_H
#define DMRPC_ENCODE_H

#include "field.h"
#include "out.h"

/* Prints `object`, a struct of `type`. Failures stick in `out`. */
void encode_object(const struct type *type, const void *object, struct out *out);

#endif
