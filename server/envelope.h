/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envelope.h - from one JSON text to the JSON-RPC requests in it.
 *
 * jansson parses; this adds what a JSON tree cannot keep: the raw bytes of each
 * id (numbers past 64 bits and 1.50 come back as they were sent), and numbers and
 * keys that are valid JSON but that jansson refuses. Those are masked for the
 * parse by others of the same length that no method accepts.
 */
#ifndef DMRPC_ENVELOPE_H
#define DMRPC_ENVELOPE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A stretch of the text; start == end: none. */
struct span {
    size_t start, end;
};

/* One request object (or what stands in its place), before it is judged. */
struct member {
    struct span whole;
    struct span id;
    bool ids;     /* more than one id: none of them counts */
    bool foreign; /* a number or key outside of params and id that cannot be represented */
    bool twice;   /* it, or an object in it, has a key twice */
};

struct envelope {
    json_t *root; /* owned */
    bool batch;
    struct member *members; /* owned; one where it is not a batch */
    size_t count;
};

enum envelope_result {
    ENVELOPE_OK,
    ENVELOPE_NOT_JSON,
    ENVELOPE_NO_MEMORY,
};

/* Parses `text`, which must outlive the envelope's spans. Outputs only with ENVELOPE_OK. */
enum envelope_result envelope_parse(const char *text, size_t length, struct envelope *ret_envelope);

/* Takes a zeroed one too. */
void envelope_done(struct envelope *envelope);

/* What a member asks for, once judged by JSON-RPC 2.0, section 4. */
struct request_parts {
    struct span id;     /* to echo; none: null */
    bool notification;  /* never answered */
    const char *method; /* borrowed from the tree, as is */
    json_t *params;     /* an object or an array; NULL: none */
};

/*
 * Judges member `i`. NULL where it is a valid request, else why not (a phrase for
 * people); ret_parts->id is set in either case.
 */
const char *envelope_member(const struct envelope *envelope, const char *text, size_t i,
                            struct request_parts *ret_parts);

#endif
