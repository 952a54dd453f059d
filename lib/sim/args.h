/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h - words and numbers, read as the kernel reads them.
 */
#ifndef SIM_ARGS_H
#define SIM_ARGS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * dm_split_args(): splits `text` in place at white space; a backslash takes the
 * next byte as it is. *ret_argv is malloc'ed (never NULL on success) and points
 * into `text`. 0 or -ENOMEM.
 */
int sim_args_split(char *text, unsigned int *ret_argc, char ***ret_argv);

/* isspace() of the kernel: Latin-1's no-break space counts, even inside UTF-8. */
bool sim_is_space(char byte);

/*
 * sscanf("%u%c") == 1 and sscanf("%llu%c") == 1: leading white space is skipped,
 * a number that is too large wraps, nothing may follow it.
 */
bool sim_scan_u32(const char *text, uint32_t *ret_value);
bool sim_scan_u64(const char *text, uint64_t *ret_value);

/* sscanf("%u:%u%c") == 2 */
bool sim_scan_device(const char *text, uint32_t *ret_major, uint32_t *ret_minor);

/* The number at the start of *cursor, which moves past it; false: there is none. */
bool sim_scan_prefix(const char **cursor, uint64_t *ret_value);

/* kstrtouint(), kstrtoull() in base 10: a `+` and one trailing newline pass; no overflow. */
bool sim_parse_u32(const char *text, uint32_t *ret_value);
bool sim_parse_u64(const char *text, uint64_t *ret_value);

/* dm_arg_set: the words that are still to be read. */
struct sim_args {
    unsigned int count;
    char **words;
};

/* dm_shift_arg(): the next word, or NULL. */
char *sim_args_shift(struct sim_args *args);

/* The limits of a number among the words, and what is said where it is outside of them. */
struct sim_arg {
    uint32_t min, max;
    const char *error;
};

/* dm_read_arg(): -EINVAL and *ret_error = arg->error if the next word is not such a number. */
int sim_args_read(struct sim_args *args, const struct sim_arg *arg, uint32_t *ret_value,
                  const char **ret_error);

/* dm_read_arg_group(): also no larger than the number of words that follow. */
int sim_args_read_group(struct sim_args *args, const struct sim_arg *arg, uint32_t *ret_value,
                        const char **ret_error);

#endif
