/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words and numbers, read as the kernel reads them: its split of table lines,
 * and the two families of number parsers that constructors use. They differ from
 * libc's in what they skip, what they refuse and in overflow, and a caller can
 * see each of these differences in an errno or a table line.
 */
#include "args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool sim_is_space(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r') || (unsigned char)byte == 0xa0;
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Ends the word at *cursor, taking backslashes out of it, and moves past it. */
static char *take_word(char **cursor)
{
    char *word = *cursor, *in = *cursor, *out = *cursor;

    while (*in && !sim_is_space(*in)) {
        if (*in == '\\' && in[1])
            in++;
        *out++ = *in++;
    }
    *cursor = *in ? in + 1 : in;
    *out = '\0';
    return word;
}

int sim_args_split(char *text, unsigned int *ret_argc, char ***ret_argv)
{
    unsigned int count = 0, room = 8;
    char **argv = malloc(room * sizeof(*argv));

    for (char *cursor = text; argv;) {
        while (sim_is_space(*cursor))
            cursor++;
        if (!*cursor)
            break;
        if (count == room) {
            room *= 2;
            char **larger = reallocarray(argv, room, sizeof(*argv));
            if (!larger)
                free(argv);
            argv = larger;
        }
        if (argv)
            argv[count++] = take_word(&cursor);
    }
    if (!argv)
        return -ENOMEM;
    *ret_argc = count;
    *ret_argv = argv;
    return 0;
}

bool sim_scan_prefix(const char **cursor, uint64_t *ret_value)
{
    const char *text = *cursor;
    while (sim_is_space(*text))
        text++;
    if (!is_digit(*text))
        return false;

    uint64_t value = 0;
    for (; is_digit(*text); text++)
        value = value * 10 + (uint64_t)(*text - '0');
    *ret_value = value;
    *cursor = text;
    return true;
}

bool sim_scan_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value;
    if (!sim_scan_prefix(&text, &value) || *text)
        return false;
    *ret_value = value;
    return true;
}

bool sim_scan_u32(const char *text, uint32_t *ret_value)
{
    uint64_t value;
    if (!sim_scan_u64(text, &value))
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

bool sim_scan_device(const char *text, uint32_t *ret_major, uint32_t *ret_minor)
{
    uint64_t major, minor;
    if (!sim_scan_prefix(&text, &major) || *text++ != ':' || !sim_scan_prefix(&text, &minor) ||
        *text)
        return false;
    *ret_major = (uint32_t)major;
    *ret_minor = (uint32_t)minor;
    return true;
}

bool sim_parse_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (*text == '+')
        text++;
    if (!is_digit(*text))
        return false;
    for (; is_digit(*text); text++)
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    if (*text == '\n')
        text++;
    if (*text)
        return false;
    *ret_value = value;
    return true;
}

bool sim_parse_u32(const char *text, uint32_t *ret_value)
{
    uint64_t value;
    if (!sim_parse_u64(text, &value) || value > UINT32_MAX)
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

char *sim_args_shift(struct sim_args *args)
{
    if (!args->count)
        return NULL;
    args->count--;
    return *args->words++;
}

int sim_args_read(struct sim_args *args, const struct sim_arg *arg, uint32_t *ret_value,
                  const char **ret_error)
{
    uint32_t value;
    const char *word = sim_args_shift(args);
    if (!word || !sim_scan_u32(word, &value) || value < arg->min || value > arg->max) {
        *ret_error = arg->error;
        return -EINVAL;
    }
    *ret_value = value;
    return 0;
}

int sim_args_read_group(struct sim_args *args, const struct sim_arg *arg, uint32_t *ret_value,
                        const char **ret_error)
{
    uint32_t value;
    int rc = sim_args_read(args, arg, &value, ret_error);
    if (rc < 0)
        return rc;
    if (value > args->count) {
        *ret_error = arg->error;
        return -EINVAL;
    }
    *ret_value = value;
    return 0;
}
