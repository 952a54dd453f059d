/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An allocator for jansson that knows each block's size, which jansson does not
 * tell when it frees, and so can wipe it. It also knows the blocks of a parse that is
 * under way: jansson 2.14 does not look whether a token's buffer could grow (it goes on
 * with a byte less, and may fail an assertion), so a failure must not come back to it.
 * The parse is left by longjmp, and its blocks are freed here.
 */
#include "json_memory.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Stands before each block. */
struct header {
    alignas(max_align_t) size_t size;
    struct header *next, *previous; /* among the blocks of a parse, while that is under way */
};

/* Of the thread's parse: jansson hands nothing of the caller's to an allocator. */
static _Thread_local struct parse {
    bool active;
    struct header *blocks;
    jmp_buf no_memory;
} parse;

static void parse_add(struct header *header)
{
    header->previous = NULL;
    header->next = parse.blocks;
    if (header->next) {
        header->next->previous = header;
    }
    parse.blocks = header;
}

static void parse_remove(struct header *header)
{
    if (header->previous) {
        header->previous->next = header->next;
    } else {
        parse.blocks = header->next;
    }
    if (header->next) {
        header->next->previous = header->previous;
    }
}

static void *allocate(size_t size)
{
    struct header *header =
        size > SIZE_MAX - sizeof(*header) ? NULL : malloc(sizeof(*header) + size);

    if (!header && parse.active) {
        longjmp(parse.no_memory, 1);
    }
    if (!header) {
        return NULL;
    }
    header->size = size;
    if (parse.active) {
        parse_add(header);
    }
    return header + 1;
}

static void release(void *block)
{
    if (block) {
        struct header *header = (struct header *)block - 1;
        if (parse.active) {
            parse_remove(header);
        }
        explicit_bzero(block, header->size);
        free(header);
    }
}

void json_memory_init(void)
{
    json_set_alloc_funcs(allocate, release);
    json_object_seed(0);
}

static void release_all(void)
{
    parse.active = false;
    while (parse.blocks) {
        struct header *header = parse.blocks;
        parse.blocks = header->next;
        release(header + 1);
    }
}

bool json_memory_load(const char *text, size_t length, size_t flags, json_error_t *error,
                      json_t **ret_json)
{
    parse.blocks = NULL;
    if (setjmp(parse.no_memory)) {
        release_all();
        return false;
    }
    parse.active = true;
    json_t *json = json_loadb(text, length, flags, error);
    parse.active = false;
    if (!json && json_error_code(error) == json_error_out_of_memory) {
        return false;
    }
    *ret_json = json;
    return true;
}
