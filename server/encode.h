/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.h - from the structs of the schema to JSON text, with no tree between.
 */
#ifndef DMRPC_ENCODE_H
#define DMRPC_ENCODE_H

#include <stdbool.h>

#include "field.h"
#include "out.h"

/* Has the member no value, by field.h? */
bool encode_is_empty(const struct field *field, const void *object);

/* Prints `object`, a struct of `type`. Failures stick in `out`. */
void encode_object(const struct type *type, const void *object, struct out *out);

#endif
