/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of config.c: good files, and what is said of bad ones. */
#include "server_rig.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "json_memory.h"

static char path[64];

static int setup(void **state)
{
    (void)state;
    (void)strcpy(path, "/tmp/dmrpc-config-XXXXXX");
    int fd = mkstemp(path);
    (void)close(fd);
    return fd < 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_bytes(const char *bytes, size_t length)
{
    FILE *stream = fopen(path, "w");

    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, length, stream), length);
    assert_int_equal(fclose(stream), 0);
}

/* A file of these words; a ' stands for a ". */
static void write_file(const char *text)
{
    static char words[8192];
    size_t length = strlen(text);

    assert_true(length < sizeof(words));
    for (size_t i = 0; i < length; i++) {
        words[i] = text[i] == '\'' ? '"' : text[i];
    }
    write_bytes(words, length);
}

static int read_text(const char *text, struct config_file *ret_file)
{
    write_file(text);
    return config_read(path, ret_file);
}

/* --- good files --- */

static void test_empty(void **state)
{
    struct config_file file;

    (void)state;
    assert_int_equal(read_text("{}", &file), 0);
    assert_null(file.rules);
    assert_null(file.config.socket);
    for (size_t i = 0; i < type_limits.count; i++) {
        assert_int_equal(config_limit(&file.config.limits, &type_limits.fields[i]),
                         type_limits.fields[i].preset);
    }
    assert_string_equal(file.fault, "");
    config_done(&file);
    assert_int_equal(read_text("{'rules': []}", &file), 0);
    assert_non_null(file.rules);
    assert_int_equal(rules_count(file.rules), 0);
    assert_true(rules_configured(file.rules));
    config_done(&file);
    config_done(&file);
}

static void test_settings(void **state)
{
    struct config_file file;

    (void)state;
    assert_int_equal(read_text("{'$schema': 'x', 'socket': '/s', 'group': 'daemon',\n"
                               " 'limits': {'depth': 7, 'total_bytes': 1099511627776}}",
                               &file),
                     0);
    assert_string_equal(file.config.socket, "/s");
    assert_string_equal(file.config.group, "daemon");
    assert_int_equal(file.config.limits.depth, 7);
    assert_int_equal(file.config.limits.total_bytes, 1099511627776);
    assert_int_equal(file.config.limits.batch, 1000);
    config_done(&file);
}

static void test_rules(void **state)
{
    const struct passwd *root = getpwuid(0);
    const struct group *group = getgrnam("daemon");
    struct config_file file;
    char text[2048];

    (void)state;
    assert_non_null(root);
    assert_non_null(group);
    (void)snprintf(
        text, sizeof(text),
        "{'rules': [{'name': 'first', 'who': [{'user': '%s'}, {'group': '%s'}, {'uid': 4294967294},"
        " {'gid': 0}, {'any': true}], 'what': ['read', 'table_load', 'admin', 'rpc.discover'],"
        " 'devices': [{'name': 'a-*'}, {'uuid': 'U-*'}], 'under': ['/dev/x', '8:*'],"
        " 'show_keys': true}, {'name': 'second', 'who': [{'gid': 7}], 'what': ['write']}]}",
        root->pw_name, group->gr_name);
    assert_int_equal(read_text(text, &file), 0);
    assert_int_equal(rules_count(file.rules), 2);
    const struct rule *rule = rules_at(file.rules, 0);
    assert_string_equal(rule->name, "first");
    assert_int_equal(rule->who_count, 5);
    const struct rule_who who[] = {{RULE_UID, 0},
                                   {RULE_GID, group->gr_gid},
                                   {RULE_UID, 4294967294U},
                                   {RULE_GID, 0},
                                   {RULE_ANY, 0}};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(rule->who[i].kind, who[i].kind);
        assert_int_equal(rule->who[i].id, who[i].id);
    }
    assert_int_equal(rule->effects, 1U << EFFECT_READ | 1U << EFFECT_ADMIN);
    assert_int_equal(rule->methods_count, 2);
    assert_string_equal(rule->methods[0], "table_load");
    assert_string_equal(rule->methods[1], "rpc.discover");
    assert_int_equal(rule->devices_count, 2);
    assert_int_equal(rule->devices[0].by, RULE_BY_NAME);
    assert_string_equal(rule->devices[0].glob, "a-*");
    assert_int_equal(rule->devices[1].by, RULE_BY_UUID);
    assert_string_equal(rule->devices[1].glob, "U-*");
    assert_int_equal(rule->under_count, 2);
    assert_string_equal(rule->under[1], "8:*");
    assert_true(rule->show_keys);
    rule = rules_at(file.rules, 1);
    assert_int_equal(rule->effects, 1U << EFFECT_WRITE);
    assert_int_equal(rule->devices_count + rule->under_count + rule->methods_count, 0);
    assert_int_equal(rule->who[0].kind, RULE_GID);
    assert_int_equal(rule->who[0].id, 7);
    assert_false(rule->show_keys);
    config_done(&file);
}

/* Each method and each effect can be named. */
static void test_names_of_calls(void **state)
{
    static char text[4096];
    size_t length =
        (size_t)sprintf(text, "{'rules': [{'name': 'a', 'who': [{'uid': 1}], 'what': [");
    struct config_file file;

    (void)state;
    for (size_t i = 0; i < method_count; i++) {
        length += (size_t)sprintf(text + length, "'%s', ", method_table[i].name);
    }
    (void)strcpy(text + length, "'write']}]}");
    assert_int_equal(read_text(text, &file), 0);
    assert_int_equal(rules_at(file.rules, 0)->methods_count, method_count);
    config_done(&file);
}

/* --- bad files --- */

#define RULE(members)                                                                              \
    "{'rules': [\n{'name': 'a', 'who': [{'uid': 1}], 'what': ['read']" members "}]}"
#define WHO(who)                                                                                   \
    "{'rules': [\n{'name': 'a', 'what': ['read'], 'who': [\n{'any': true},\n" who "]}]}"
#define WHAT(what)                                                                                 \
    "{'rules': [\n{'name': 'a', 'who': [{'uid': 1}], 'what': [\n'read',\n" what "]}]}"

struct bad {
    const char *text;
    const char *place; /* what follows the path */
    const char *reason;
};

static const struct bad bad_files[] = {
    /* no JSON */
    {"", "line 1: ", "not valid JSON"},
    {"{", "line 1: ", "not valid JSON"},
    {"{\n'socket'\n", "line 3: ", "not valid JSON"},
    {"{}\nx", "line 2: ", "not valid JSON"},
    {"{'socket': '\xff'}", "line 1: ", "not valid JSON"},
    {"{'socket': '/a',\n\n'socket': '/b'}", "line 3: ", "twice"},
    {RULE(",\n'name': 'b'"), "line 3: ", "twice"},
    {"'x'", "line 1: ", "not valid JSON"},
    {"[\n]", "line 1: at \"\": ", "must be an object"},
    {"{'rules': [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", "not used: ", "nests deeper than 16"},
    /* the form */
    {"{'nix': 1}", "line 1: at \"/nix\": ", "unknown; these are known: "},
    {"{\n'socket':\n5}", "line 3: at \"/socket\": ", "must be a string"},
    {"{'socket': ''}", "line 1: at \"/socket\": ", "must not be empty"},
    {"{'socket': 'a\\u0000b'}", "line 1: at \"/socket\": ", "holds a NUL"},
    {"{'group': null}", "line 1: at \"/group\": ", "must be a string"},
    {"{'limits': {\n'depth': 3}}", "line 2: at \"/limits/depth\": ", "out of range: 4 to 1024"},
    {"{'limits': {'depth': 5.0}}", "line 1: at \"/limits/depth\": ", "must be an integer"},
    {"{'limits': {'depth': '5'}}", "line 1: at \"/limits/depth\": ", "must be an integer"},
    {"{'limits':\n{\n'nix': 3}}", "line 3: at \"/limits/nix\": ", "unknown"},
    {"{'limits': []}", "line 1: at \"/limits\": ", "must be an object"},
    {"{\n'rules': {}}", "line 2: at \"/rules\": ", "must be an array"},
    {"{\n'rules': null}", "line 2: at \"/rules\": ", "must be an array"},
    {"{'rules': [\n5]}", "line 2: at \"/rules/0\": ", "must be an object"},
    {"{'rules': [\n{}]}", "line 2: at \"/rules/0/name\": ", "missing"},
    {"{'rules': [\n{'name': 'a', 'what': ['read']}]}", "line 2: at \"/rules/0/who\": ", "missing"},
    {"{'rules': [\n{'name': 'a', 'who': [{'uid': 1}]}]}",
     "line 2: at \"/rules/0/what\": ", "missing"},
    {RULE(",\n'nix': 5"), "line 3: at \"/rules/0/nix\": ", "unknown"},
    {RULE(",\n'devices': []"), "line 3: at \"/rules/0/devices\": ", "0 items"},
    {RULE(",\n'under': []"), "line 3: at \"/rules/0/under\": ", "0 items"},
    {RULE(",\n'show_keys': 1"), "line 3: at \"/rules/0/show_keys\": ", "true or false"},
    {RULE(",\n'devices': [\n{}]"), "line 4: at \"/rules/0/devices/0\": ", "exactly one"},
    {RULE(",\n'devices': [\n{'name': 'a', 'uuid': 'b'}]"),
     "line 4: at \"/rules/0/devices/0\": ", "exactly one of these must be given: name, uuid"},
    {RULE(",\n'devices': [{'name': 'a'},\n{'name': ''}]"),
     "line 4: at \"/rules/0/devices/1/name\": ", "must not be empty"},
    {RULE(",\n'devices': ['a']"), "line 3: at \"/rules/0/devices/0\": ", "must be an object"},
    {RULE(",\n'under': ['']"), "line 3: at \"/rules/0/under/0\": ", "must not be empty"},
    {"{'rules': [{'name': '', 'who': [{'uid': 1}], 'what': ['read']}]}",
     "line 1: at \"/rules/0/name\": ", "must not be empty"},
    {"{'rules': [{'name': 'a', 'who': [], 'what': ['read']}]}",
     "line 1: at \"/rules/0/who\": ", "0 items"},
    {"{'rules': [{'name': 'a', 'who': [{'uid': 1}], 'what': []}]}",
     "line 1: at \"/rules/0/what\": ", "0 items"},
    {WHO("{}"), "line 4: at \"/rules/0/who/1\": ", "exactly one"},
    {WHO("{'uid': 1, 'gid': 1}"), "line 4: at \"/rules/0/who/1\": ", "exactly one"},
    {WHO("{'uid': -1}"), "line 4: at \"/rules/0/who/1/uid\": ", "out of range: 0 to 4294967294"},
    {WHO("{'uid': 4294967295}"), "line 4: at \"/rules/0/who/1/uid\": ", "out of range"},
    {WHO("{'gid': 99999999999999999}"), "line 4: at \"/rules/0/who/1/gid\": ", "out of range"},
    {WHO("{'uid': 'root'}"), "line 4: at \"/rules/0/who/1/uid\": ", "must be an integer"},
    {WHO("{'user': 0}"), "line 4: at \"/rules/0/who/1/user\": ", "must be a string"},
    {WHO("'root'"), "line 4: at \"/rules/0/who/1\": ", "must be an object"},
    /* the meaning */
    {WHO("{'any': false}"), "line 4: at \"/rules/0/who/1/any\": ", "can only be true"},
    {WHO("{'user':\n'no-such-user'}"),
     "line 5: at \"/rules/0/who/1/user\": ", "there is no user 'no-such-user'"},
    {WHO("{'group': 'no-such-group'}"),
     "line 4: at \"/rules/0/who/1/group\": ", "there is no group 'no-such-group'"},
    {WHO("{'user': 'a\\nb'}"), "line 4: at \"/rules/0/who/1/user\": ", "there is no user 'a?b'"},
    {"{\n'group': 'no-such-group'}",
     "line 2: at \"/group\": ", "there is no group 'no-such-group'"},
    {WHAT("'reed'"), "line 4: at \"/rules/0/what/1\": ", "no method has this name"},
    {WHAT("'Read'"), "line 4: at \"/rules/0/what/1\": ", "the effects are read, write and admin"},
    {WHAT("'table_*'"), "line 4: at \"/rules/0/what/1\": ", "no method"},
    {WHAT("''"), "line 4: at \"/rules/0/what/1\": ", "must not be empty"},
    {WHAT("5"), "line 4: at \"/rules/0/what/1\": ", "must be a string"},
    {RULE(",\n'under': ['/x',\n'pool-*']"), "line 4: at \"/rules/0/under/1\": ", "matches nothing"},
    {RULE("},\n{'who': [{'any': true}], 'what': ['read'],\n'name': 'a'"),
     "line 4: at \"/rules/1/name\": ", "another rule has this name"},
};

static void test_bad_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
        const struct bad *bad = &bad_files[i];
        struct config_file file;
        char start[256];
        int rc = read_text(bad->text, &file);
        (void)snprintf(start, sizeof(start), "%s: %s", path, bad->place);
        if (rc != -EINVAL || strncmp(file.fault, start, strlen(start)) != 0 ||
            !strstr(file.fault, bad->reason)) {
            fail_msg("%s: %d, %s", bad->text, rc, file.fault);
        }
        assert_null(strchr(file.fault, '\n'));
        assert_non_null(strstr(file.fault, "Mend the file."));
        assert_null(file.rules);
        config_done(&file);
    }
}

/* Long names are cut, and what to do still stands at the end. */
static void test_long_names(void **state)
{
    static char text[4096];
    struct config_file file;
    char name[2000];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    (void)snprintf(text, sizeof(text), "{'%s': 1}", name);
    assert_int_equal(read_text(text, &file), -EINVAL);
    assert_non_null(strstr(file.fault, "Mend the file."));
    config_done(&file);
    (void)snprintf(text, sizeof(text), RULE(", 'devices': [{'name': '%s'}]"), name);
    assert_int_equal(read_text(text, &file), -EINVAL);
    assert_non_null(strstr(file.fault, "too long: 1999 bytes, at most 511"));
    config_done(&file);
    (void)snprintf(text, sizeof(text), WHO("{'user': '%.255s'}"), name);
    assert_int_equal(read_text(text, &file), -EINVAL);
    assert_non_null(strstr(file.fault, "there is no user 'xxxx"));
    assert_non_null(strstr(file.fault, "Mend the file."));
    config_done(&file);
}

/* --- the file itself --- */

static void assert_refused(const char *which, int rc, const char *reason)
{
    struct config_file file;

    assert_int_equal(config_read(which, &file), rc);
    if (!strstr(file.fault, which) || !strstr(file.fault, reason)) {
        fail_msg("'%s' is not in: %s", reason, file.fault);
    }
    config_done(&file);
}

static void test_modes(void **state)
{
    static const mode_t good[] = {0600, 0644, 0400, 0700, 0755, 0440};
    static const mode_t bad[] = {0660, 0602, 0620, 0666, 0646, 0777};
    struct config_file file;

    (void)state;
    write_file("{}");
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(chmod(path, good[i]), 0);
        assert_int_equal(config_read(path, &file), 0);
        config_done(&file);
        assert_int_equal(chmod(path, bad[i]), 0);
        assert_refused(path, -EPERM, "(chmod go-w)");
    }
    assert_int_equal(chmod(path, 0600), 0);
}

static void test_owner(void **state)
{
    struct config_file file;

    (void)state;
    if (geteuid() != 0) {
        skip(); /* only root can give files away */
    }
    write_file("{}");
    assert_int_equal(chown(path, 12345, 0), 0);
    assert_refused(path, -EPERM, "it belongs to user 12345");
    assert_int_equal(seteuid(12345), 0);
    int rc = config_read(path, &file);
    config_done(&file);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(rc, 0); /* our own */
    assert_int_equal(chown(path, 0, 12345), 0);
    assert_int_equal(config_read(path, &file), 0);
    config_done(&file);
}

static void test_kinds(void **state)
{
    char other[80];

    (void)state;
    assert_refused("/nonexistent/file", -ENOENT, "No such file");
    assert_refused("/tmp", -EINVAL, "no plain file");
    assert_refused("/dev/null", -EINVAL, "no plain file");
    (void)snprintf(other, sizeof(other), "%s.fifo", path);
    assert_int_equal(mkfifo(other, 0600), 0);
    assert_refused(other, -EINVAL, "no plain file"); /* and it does not wait for a writer */
    assert_int_equal(unlink(other), 0);
    assert_int_equal(symlink(path, other), 0); /* who may make links where it is asked for may */
    write_file("{'nix': 1}");
    assert_refused(other, -EINVAL, "/nix");
    assert_int_equal(unlink(other), 0);
}

static void test_size(void **state)
{
    char *text = malloc(CONFIG_FILE_BYTES + 2);
    struct config_file file;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', CONFIG_FILE_BYTES + 2);
    memcpy(text, "{}", 2);
    write_bytes(text, CONFIG_FILE_BYTES);
    assert_int_equal(config_read(path, &file), 0);
    config_done(&file);
    write_bytes(text, CONFIG_FILE_BYTES + 1);
    assert_refused(path, -EFBIG, "more than 1048576 bytes");
    free(text);
}

/* --- remarks --- */

struct remarks {
    char text[2048];
};

static void add_remark(void *data, const char *remark)
{
    struct remarks *remarks = data;

    (void)strcat(strcat(remarks->text, remark), "\n");
}

struct remark_row {
    const char *text;
    const char *remark; /* of which this is part; "": there is none */
};

#define READER "{'name': 'a', 'who': [{'uid': 0}], 'what': ['read', 'write']}"

#define LISTING(method)                                                                            \
    "{'rules': [" READER ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['version', '" method       \
    "'], 'devices': [{'name': 'x'}]}]}"

static const struct remark_row remark_rows[] = {
    {"{}", ""},
    {"{'rules': [" READER "]}", ""},
    {"{'limits': {'depth': 9}}", ""},
    {"{'rules': []}", "There are no rules: everybody is denied everything"},
    {"{'rules': [{'name': 'a', 'who': [{'uid': 0}], 'what': ['read', 'admin']}]}",
     "No rule allows anybody to change devices."},
    {"{'rules': [{'name': 'a', 'who': [{'uid': 0}], 'what': ['device_resume']}]}", ""},
    {"{'rules': [{'name': 'a', 'who': [{'uid': 7}], 'what': ['write']}]}",
     "No rule is for root, who is denied everything."},
    {"{'rules': [{'name': 'a', 'who': [{'gid': 0}], 'what': ['write']}]}", ""},
    {"{'rules': [{'name': 'a', 'who': [{'any': true}], 'what': ['write']}]}", ""},
    {"{'rules': [" READER ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['version', 'call_cancel'],"
     " 'devices': [{'name': 'x'}]}]}",
     "Rule 'b' has devices, which make no difference to its methods."},
    {"{'rules': [" READER ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['version', 'remove_all'],"
     " 'devices': [{'name': 'x'}]}]}",
     "Rule 'b' has devices, so it does not allow remove_all, which concerns all."},
    {"{'rules': [" READER ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['write', 'admin'],"
     " 'devices': [{'name': 'x'}]}]}",
     "Rule 'b' has devices, so it does not allow remove_all, which concerns all."},
    {"{'rules': [" READER ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['remove_all']}]}", ""},
    {LISTING("calls_list"), ""},
    {LISTING("events_subscribe"), ""},
    {LISTING("lease_list"), ""},
    {LISTING("list_devices"), ""},
    {"{'rules': [" READER ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['version', 'table_load'],"
     " 'devices': [{'name': 'x'}]}]}",
     ""},
    {"{'rules': [" READER
     ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['read'], 'under': ['8:0']}]}",
     "Rule 'b' says what tables may lie on"},
    {"{'rules': [" READER
     ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['table_swap'], 'under': ['8:0']}]}",
     ""},
    {"{'rules': [" READER
     ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['write'], 'show_keys': true}]}",
     "Rule 'b' shows keys, but"},
    {"{'rules': [" READER
     ", {'name': 'b', 'who': [{'uid': 0}], 'what': ['table_status'], 'show_keys': true}]}",
     ""},
    {"{'socket': '/x', 'limits': {'workers': 3, 'depth': 9}}",
     "A SIGHUP does not change these, only a start: socket, workers."},
};

static void test_remarks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(remark_rows) / sizeof(remark_rows[0]); i++) {
        struct remarks remarks = {""};
        struct config_file file;
        assert_int_equal(read_text(remark_rows[i].text, &file), 0);
        file.owner = 0;
        config_remark(&file, add_remark, &remarks);
        bool is_so = remark_rows[i].remark[0] ? strstr(remarks.text, remark_rows[i].remark) != NULL
                                              : !remarks.text[0];
        if (!is_so) {
            fail_msg("%s: %s", remark_rows[i].text, remarks.text);
        }
        remarks.text[0] = '\0';
        file.owner = 77;
        config_remark(&file, add_remark, &remarks);
        assert_non_null(strstr(remarks.text, "It belongs to user 77"));
        config_done(&file);
    }
}

/* --- limits --- */

static void test_limits(void **state)
{
    struct limits limits;
    size_t fixed = 0;

    (void)state;
    config_default_limits(&limits);
    for (size_t i = 0; i < type_limits.count; i++) {
        const struct field *field = &type_limits.fields[i];
        assert_int_equal(config_limit(&limits, field), field->preset);
        config_set_limit(&limits, field, field->max);
        assert_int_equal(config_limit(&limits, field), field->max);
        fixed += config_is_fixed(field);
    }
    assert_int_equal(fixed, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),     cmocka_unit_test(test_settings),
        cmocka_unit_test(test_rules),     cmocka_unit_test(test_names_of_calls),
        cmocka_unit_test(test_bad_files), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_modes),     cmocka_unit_test(test_owner),
        cmocka_unit_test(test_kinds),     cmocka_unit_test(test_size),
        cmocka_unit_test(test_remarks),   cmocka_unit_test(test_limits),
    };

    json_memory_init();
    return cmocka_run_group_tests(tests, setup, teardown);
}
