/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds keys in table lines and messages by the forms that target types have for them.
 * It knows texts; not calls, replies or the kernel.
 */
#include "secret.h"

#include <ctype.h>
#include <string.h>

#include "words.h"

enum { PART = 16 }; /* so much of a key tells something of it */

/* Finds the keys of one text, one after another. */
struct finder {
    bool (*is_key)(struct finder *finder, struct word *word); /* may leave a part of the word */
    const char *rest;
    size_t number; /* of the word, from 0 */
    bool sets;     /* of a message: so far it is one that sets a key */
};

/* --- words --- */

static bool is_equal(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Does the word begin with these bytes? Then they are taken from it. */
static bool take(struct word *word, const char *bytes, size_t length)
{
    struct word rest = *word;

    for (size_t i = 0; i < length; i++) {
        if (rest.length == 0 || !is_equal(words_take(&rest), bytes[i])) {
            return false;
        }
    }
    *word = rest;
    return true;
}

static bool is_word(struct word word, const char *string)
{
    return take(&word, string, strlen(string)) && word.length == 0;
}

/* --- which words are keys --- */

/* "-" is none, and what begins with a colon names one in a keyring. */
static bool is_material(struct word word)
{
    return !is_word(word, "-") && !take(&word, ":", 1);
}

/* Nothing but hexadecimal digits, and so many that it tells something. */
static bool is_digits(struct word word)
{
    size_t count = 0;

    while (word.length > 0 && isxdigit((unsigned char)words_take(&word))) {
        count++;
    }
    return word.length == 0 && count >= PART;
}

/*
 * The second word; or one further back, where the first has blanks in it: the kernel takes them
 * with backslashes, which it does not show.
 */
static bool is_second(struct finder *finder, struct word *word)
{
    return (finder->number == 1 && is_material(*word)) || (finder->number > 1 && is_digits(*word));
}

/* NAME:ALGORITHM:KEY */
static bool is_after_algorithm(struct finder *finder, struct word *word)
{
    static const char *const names[] = {"internal_hash:", "journal_crypt:", "journal_mac:"};
    bool found = false;

    (void)finder;
    for (size_t i = 0; !found && i < sizeof(names) / sizeof(names[0]); i++) {
        found = take(word, names[i], strlen(names[i]));
    }
    while (found && word->length > 0 && words_take(word) != ':') {
    }
    return found && word->length > 0;
}

/* All words behind `key set`: the kernel refuses more than one, which may be one cut in two. */
static bool is_set(struct finder *finder, struct word *word)
{
    static const char *const head[] = {"key", "set"};

    if (finder->number < 2) {
        finder->sets =
            (finder->number == 0 || finder->sets) && is_word(*word, head[finder->number]);
        return false;
    }
    if (finder->number == 2) {
        finder->sets = finder->sets && is_material(*word);
    }
    return finder->sets;
}

static const struct form {
    const char *type;
    bool (*is_key)(struct finder *finder, struct word *word);
} forms[] = {
    {"crypt", is_second},
    {"integrity", is_after_algorithm},
    {"default-key", is_second},
    {"inlinecrypt", is_second},
};

static const struct form *form_of(const char *type)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (strcmp(forms[i].type, type) == 0) {
            return &forms[i];
        }
    }
    return NULL;
}

static struct finder in_line(const char *type, const char *params)
{
    const struct form *form = form_of(type);

    return (struct finder){.is_key = form ? form->is_key : NULL, .rest = params};
}

static struct finder in_message(const char *message)
{
    return (struct finder){.is_key = is_set, .rest = message};
}

static bool next_key(struct finder *finder, struct word *ret_key)
{
    struct word word;

    while (finder->is_key && words_next(&finder->rest, &word)) {
        bool found = finder->is_key(finder, &word);
        finder->number++;
        if (found) {
            *ret_key = word;
            return true;
        }
    }
    return false;
}

bool secret_in_type(const char *type)
{
    return form_of(type) != NULL;
}

bool secret_in_message(const char *message)
{
    struct word word;

    return words_next(&message, &word) && is_word(word, "key");
}

/* --- with the marker in their place --- */

struct copy {
    char *to;
    size_t room;
    size_t length; /* uncut */
};

static void put(struct copy *copy, const char *bytes, size_t length)
{
    if (copy->length < copy->room) {
        size_t left = copy->room - copy->length;
        memcpy(copy->to + copy->length, bytes, length < left ? length : left);
    }
    copy->length += length;
}

static size_t hide(struct finder finder, char *to, size_t room, bool *ret_hidden)
{
    struct copy copy = {.to = to, .room = room};
    const char *from = finder.rest;
    bool hidden = false;
    struct word key;

    while (next_key(&finder, &key)) {
        put(&copy, from, (size_t)(key.at - from));
        put(&copy, SECRET_MARKER, strlen(SECRET_MARKER));
        from = key.at + key.length;
        hidden = true;
    }
    put(&copy, from, strlen(from));
    if (room > 0) {
        to[copy.length < room ? copy.length : room - 1] = '\0';
    }
    *ret_hidden = hidden;
    return copy.length;
}

size_t secret_hide_line(const char *type, const char *params, char *to, size_t room,
                        bool *ret_hidden)
{
    return hide(in_line(type, params), to, room, ret_hidden);
}

size_t secret_hide_message(const char *message, char *to, size_t room, bool *ret_hidden)
{
    return hide(in_message(message), to, room, ret_hidden);
}

static bool is_hidden(struct finder finder)
{
    struct word key;

    while (next_key(&finder, &key)) {
        if (is_word(key, SECRET_MARKER)) {
            return true;
        }
    }
    return false;
}

bool secret_is_hidden_line(const char *type, const char *params)
{
    return is_hidden(in_line(type, params));
}

bool secret_is_hidden_message(const char *message)
{
    return is_hidden(in_message(message));
}

bool secret_is_wiped(const char *type, const char *params)
{
    struct finder finder = in_line(type, params);
    struct word key;
    bool wiped = false;

    if (strcmp(type, "crypt") == 0 && next_key(&finder, &key)) {
        do {
            wiped = words_take(&key) == '0';
        } while (wiped && key.length > 0);
    }
    return wiped;
}

/* --- in the words of others --- */

/* Do these bytes stand anywhere in the key? */
static bool is_part(struct word key, const char *bytes, size_t length)
{
    for (; key.length > 0; (void)words_take(&key)) {
        struct word rest = key;
        if (take(&rest, bytes, length)) {
            return true;
        }
    }
    return false;
}

/* A short key, in a word of a text with other characters than a key's around it. */
static bool is_within(struct word key, const char *word, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        size_t end = i;
        while (end < length && isalnum((unsigned char)word[end])) {
            end++;
        }
        struct word rest = key;
        if (end > i && take(&rest, word + i, end - i) && rest.length == 0) {
            return true;
        }
        i = end;
    }
    return false;
}

static bool shows(const char *word, size_t length, struct finder finder)
{
    struct word key;

    while (next_key(&finder, &key)) {
        if (is_within(key, word, length)) {
            return true;
        }
        for (size_t i = 0; i + PART <= length; i++) {
            if (is_part(key, word + i, PART)) {
                return true;
            }
        }
    }
    return false;
}

/* Puts the marker where `length` bytes are; returns how long it is there. */
static size_t replace(char *at, size_t room, size_t length)
{
    const size_t marker = strlen(SECRET_MARKER);
    size_t shown = marker < room - 1 ? marker : room - 1;
    size_t rest = strlen(at + length);

    rest = rest < room - 1 - shown ? rest : room - 1 - shown;
    memmove(at + shown, at + length, rest);
    memcpy(at, SECRET_MARKER, shown);
    at[shown + rest] = '\0';
    return shown;
}

static void hide_in(char *text, size_t size, struct finder finder)
{
    size_t at = 0;

    while (text[at]) {
        size_t length = strcspn(text + at, " \t\r\n");
        if (length > 0 && shows(text + at, length, finder)) {
            length = replace(text + at, size - at, length);
        }
        at += length;
        at += strspn(text + at, " \t\r\n");
    }
}

void secret_hide_in(char *text, size_t size, const char *type, const char *params)
{
    hide_in(text, size, in_line(type, params));
}

void secret_hide_message_in(char *text, size_t size, const char *message)
{
    hide_in(text, size, in_message(message));
}
