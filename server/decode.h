/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.h - from JSON to the structs of the schema, strictly.
 *
 * Unknown keys, missing keys, wrong types, values out of range, strings with a
 * NUL and flags that the method does not take are refused, each with the place
 * and the reason. Values are never quoted, nor are long names of members: they may be keys.
 */
#ifndef DMRPC_DECODE_H
#define DMRPC_DECODE_H

#include <jansson.h>

#include "arena.h"
#include "field.h"

struct decode_fault {
    char path[512]; /* a JSON pointer (RFC 6901) into the decoded value; "" is the whole */
    char reason[768];
};

/*
 * Fills `ret_object`, a zeroed struct of `type`, from `json` (NULL, or an empty
 * array: an object without members). Strings stay borrowed from `json`, arrays lie
 * in `arena`. 0; -EINVAL with *ret_fault; -ENOMEM.
 */
int decode_object(const struct type *type, json_t *json, struct arena *arena, void *ret_object,
                  struct decode_fault *ret_fault);

#endif
