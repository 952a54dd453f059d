/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret.h - where table lines and messages hold keys, and what stands in their place.
 *
 * What leaves the daemon by another way than table_status with `show_keys` (a status line, an
 * error, a record, a line of the log) goes through here first. What holds a key:
 *   - crypt, and default-key and inlinecrypt, which took over its first two words: the second
 *     word. Not "-", which is no key, nor what begins with ':', the name of a key in a keyring.
 *     Behind it any word of 16 or more hexadecimal digits, as blanks in the first may have put
 *     it there;
 *   - integrity: internal_hash:ALGORITHM:KEY, journal_crypt: and journal_mac: likewise;
 *   - the message `key set KEY` of crypt, in upper or lower case.
 * verity's root_hash_sig_key_desc names a key in a keyring; its hashes and its salt are public.
 *
 * Words are those of words.h.
 */
#ifndef DMRPC_SECRET_H
#define DMRPC_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Stands for a key. It is no hexadecimal number and no name in a keyring, so that the kernel
 * refuses a line that has it. Zeros, as dmsetup shows them, would be taken for a key when the line
 * is loaded again, and all that is then written is lost.
 */
#define SECRET_MARKER "<hidden>"

/* A word of a request that nobody has asked for is repeated up to this length: a key is longer. */
enum { SECRET_QUOTABLE = 31 };

/* Can a target's lines hold a key? Then the kernel is asked to wipe its copies of them. */
bool secret_in_type(const char *type);

/* The same of a message. */
bool secret_in_message(const char *message);

/*
 * Prints the params of a target's line, or a message, with its keys replaced, into the `room`
 * bytes at `to`, which may be none; cut to fit, and with a NUL behind. Returns how long it is
 * uncut. *ret_hidden: it differs from what came. Status lines pass as they are.
 */
size_t secret_hide_line(const char *type, const char *params, char *to, size_t room,
                        bool *ret_hidden);
size_t secret_hide_message(const char *message, char *to, size_t room, bool *ret_hidden);

/* Does the marker stand in a key's place? Then what was read without keys is sent back. */
bool secret_is_hidden_line(const char *type, const char *params);
bool secret_is_hidden_message(const char *message);

/*
 * Does a line that the kernel shows have zeros for its key? That of a crypt target can be wiped
 * while it is suspended, and then is shown so.
 */
bool secret_is_wiped(const char *type, const char *params);

/*
 * Replaces each word of `text`, a string in `size` bytes, that shows a key of the line, or of the
 * message: all of it, or 16 or more characters from anywhere in it, in upper or lower case.
 * For texts of others, such as the kernel's. Where it grows past `size` it is cut.
 */
void secret_hide_in(char *text, size_t size, const char *type, const char *params);
void secret_hide_message_in(char *text, size_t size, const char *message);

#endif
