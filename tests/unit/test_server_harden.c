/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of harden.c: what is given up is gone, what is needed works, what is refused is told.
 * Nothing comes back, so each runs in a child; it returns the line that failed, or 0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harden.h"
#include "protect.h"

#define CHECK(truth)                                                                               \
    do {                                                                                           \
        if (!(truth)) {                                                                            \
            return __LINE__;                                                                       \
        }                                                                                          \
    } while (0)

/* A call of which the kernel is said to know nothing; and one that it judged by itself. */
#define REFUSED(call)     CHECK((errno = 0, (long)(call)) == -1 && errno == ENOSYS)
#define JUDGED(call, why) CHECK((errno = 0, (long)(call)) == -1 && errno == (why))

enum { DM_IOCTL = 0xfd00 }; /* its type, and no size */

/* The line that failed, or minus the signal that killed it. */
static int in_child(int (*test)(void))
{
    int *line =
        mmap(NULL, sizeof(*line), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;

    assert_ptr_not_equal(line, MAP_FAILED);
    *line = __LINE__;
    pid_t pid = fork();
    if (pid == 0) {
        *line = test();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    int failed = WIFSIGNALED(status) ? -WTERMSIG(status) : *line;
    (void)munmap(line, sizeof(*line));
    return failed;
}

static void run(void **state)
{
    int (*const *test)(void) = *state;

    assert_int_equal(in_child(*test), 0);
}

/* It refuses what it does not know: seccomp(2), for one. */
static bool is_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");

    return preload && strstr(preload, "vgpreload");
}

static void run_calls(void **state)
{
    if (is_valgrind()) {
        skip();
    }
    run(state);
}

static bool misses(const struct harden *harden, enum harden_part part)
{
    return lacks_has(&harden->lacks, &harden_parts[part]);
}

/* The kernel's own word on a set; CAPNG_PERMITTED and the like. */
static uint64_t set_of(capng_type_t set)
{
    uint64_t bits = 0;

    if (capng_get_caps_process() < 0) {
        return UINT64_MAX;
    }
    for (unsigned int i = 0; i < 64 && capng_capability_to_name(i); i++) {
        bits |= capng_have_capability(set, i) == 1 ? HARDEN_BIT(i) : 0;
    }
    return bits;
}

/* --- rights --- */

static int keeping(uint64_t keep)
{
    uint64_t had = set_of(CAPNG_PERMITTED);
    struct harden harden = {0};

    harden_begin(&harden, keep);
    CHECK(!misses(&harden, HARDEN_NO_NEW_PRIVS) && !misses(&harden, HARDEN_LIMITS));
    CHECK(!misses(&harden, HARDEN_CAPABILITIES) && !misses(&harden, HARDEN_NOT_DUMPABLE));
    CHECK(harden.lacks.count == 0 && harden.kept == (keep & had));
    CHECK(set_of(CAPNG_EFFECTIVE) == harden.kept && set_of(CAPNG_PERMITTED) == harden.kept);
    CHECK(set_of(CAPNG_INHERITABLE) == 0 && set_of(CAPNG_AMBIENT) == 0);
    CHECK(had == 0 || set_of(CAPNG_BOUNDING_SET) == 0);
    return 0;
}

static int test_nothing_is_kept(void)
{
    return keeping(0);
}

static int test_what_is_needed_is_kept(void)
{
    return keeping(HARDEN_BIT(CAP_SYS_ADMIN) | HARDEN_BIT(CAP_IPC_LOCK));
}

static int test_what_it_never_had_is_not_kept(void)
{
    capng_get_caps_process();
    capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_ADMIN);
    capng_apply(CAPNG_SELECT_CAPS);
    return keeping(HARDEN_BIT(CAP_SYS_ADMIN));
}

static int test_the_process(void)
{
    struct rlimit files;
    struct rlimit limit;
    struct harden harden = {0};

    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    harden_begin(&harden, 0);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
    CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(limit.rlim_cur == files.rlim_cur && limit.rlim_max == files.rlim_cur);
    return 0;
}

static int test_locked_memory_with_a_limit_takes_a_right(void)
{
    struct rlimit limit = {65536, 65536};
    const uint64_t admin = HARDEN_BIT(CAP_SYS_ADMIN);

    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    CHECK(harden_needed(false) == admin);
    CHECK(harden_needed(true) == (admin | HARDEN_BIT(CAP_IPC_LOCK)));
    limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0) { /* root may */
        CHECK(harden_needed(true) == admin);
    }
    return 0;
}

static int test_names(void)
{
    const struct harden harden = {.kept = HARDEN_BIT(CAP_SYS_ADMIN) | HARDEN_BIT(63)};
    char name[HARDEN_CAPABILITY_NAME];

    CHECK(harden_kept(&harden, CAP_SYS_ADMIN, name) && strcmp(name, "CAP_SYS_ADMIN") == 0);
    CHECK(!harden_kept(&harden, CAP_CHOWN, name));
    CHECK(!harden_kept(&harden, 63, name) && !harden_kept(&harden, 64, name));
    return 0;
}

/* --- what is refused --- */

/* Its bounding set is of weight only to who has a right. */
static int test_without_the_right_to_drop(void)
{
    struct harden harden = {0};

    if (set_of(CAPNG_PERMITTED) == 0) {
        return 0; /* the other case below */
    }
    capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SETPCAP);
    capng_apply(CAPNG_SELECT_CAPS);
    harden_begin(&harden, HARDEN_BIT(CAP_SYS_ADMIN));
    CHECK(harden.lacks.count == 1 && misses(&harden, HARDEN_CAPABILITIES));
    CHECK(set_of(CAPNG_PERMITTED) == HARDEN_BIT(CAP_SYS_ADMIN));
    return 0;
}

static int test_without_any_right(void)
{
    struct harden harden = {0};

    capng_clear(CAPNG_SELECT_CAPS);
    capng_apply(CAPNG_SELECT_CAPS);
    harden_begin(&harden, HARDEN_BIT(CAP_SYS_ADMIN));
    CHECK(harden.lacks.count == 0 && harden.kept == 0);
    return 0;
}

/* As in a container that forbids all of it. */
static int forbid(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);

    CHECK(filter);
    CHECK(seccomp_rule_add(filter, no, SCMP_SYS(seccomp), 0) == 0);
    CHECK(seccomp_rule_add(filter, no, SCMP_SYS(capset), 0) == 0);
    CHECK(seccomp_rule_add(filter, no, SCMP_SYS(setrlimit), 0) == 0);
    CHECK(seccomp_rule_add(filter, no, SCMP_SYS(prlimit64), 1, SCMP_CMP(2, SCMP_CMP_NE, 0, 0)) ==
          0);
    CHECK(seccomp_rule_add(filter, no, SCMP_SYS(prctl), 1,
                           SCMP_CMP(0, SCMP_CMP_EQ, PR_SET_NO_NEW_PRIVS, 0)) == 0);
    CHECK(seccomp_rule_add(filter, no, SCMP_SYS(prctl), 1,
                           SCMP_CMP(0, SCMP_CMP_EQ, PR_SET_DUMPABLE, 0)) == 0);
    CHECK(seccomp_rule_add(filter, no, SCMP_SYS(prctl), 1,
                           SCMP_CMP(0, SCMP_CMP_EQ, PR_SET_SECCOMP, 0)) == 0);
    CHECK(seccomp_load(filter) == 0);
    seccomp_release(filter);
    return 0;
}

static int test_all_is_refused(void)
{
    struct harden harden = {0};
    char text[1024];
    bool privileged = set_of(CAPNG_PERMITTED) != 0;

    int line = forbid();
    CHECK(line == 0);
    harden_begin(&harden, 0);
    harden_calls(&harden, HARDEN_CALLS_DAEMON);
    CHECK(harden.lacks.count == (privileged ? HARDEN_PARTS : HARDEN_PARTS - 1));
    for (int part = 0; part < HARDEN_PARTS; part++) {
        CHECK(misses(&harden, (enum harden_part)part) || !privileged);
        CHECK(harden_parts[part].name[0]);
    }
    lacks_tell(&harden.lacks, text, sizeof(text));
    CHECK(strstr(text, "PR_SET_NO_NEW_PRIVS") && strstr(text, "CONFIG_SECCOMP_FILTER"));
    CHECK(strlen(text) < 512); /* whole in the daemon's line */
    return 0;
}

/* --- system calls --- */

static int harden_all(enum harden_calls calls)
{
    struct harden harden = {0};

    harden_begin(&harden, HARDEN_BIT(CAP_SYS_ADMIN));
    harden_calls(&harden, calls);
    CHECK(harden.lacks.count == 0);
    return 0;
}

/* For nobody, with rights or without. */
static int refused_to_all(void)
{
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL};

    REFUSED(execve("/bin/true", arguments, arguments));
    REFUSED(mount("none", "/mnt", "tmpfs", 0, NULL));
    REFUSED(unshare(CLONE_NEWNS));
    REFUSED(setuid(0));
    REFUSED(setns(0, 0));
    REFUSED(syscall(SYS_bpf, 0, NULL, 0));
    REFUSED(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    REFUSED(syscall(SYS_clone3, NULL, 0));
    REFUSED(syscall(SYS_capset, NULL, NULL));
    REFUSED(syscall(SYS_init_module, NULL, 0, NULL));
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
    REFUSED(ioctl(0, TIOCSTI, "x"));
    REFUSED(syscall(SYS_fork));
#ifndef PROTECT_SANITIZED
    REFUSED(kill(getppid(), SIGTERM));
    REFUSED(syscall(SYS_tgkill, getppid(), getppid(), 0));
    REFUSED(syscall(SYS_clone, CLONE_NEWUSER | CLONE_THREAD, NULL, NULL, NULL, 0));
    REFUSED(syscall(SYS_ptrace, 0, 0, NULL, NULL));
    REFUSED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    REFUSED(open("/tmp/dmrpc-test-harden", O_WRONLY | O_CREAT, 0600));
    REFUSED(open("/tmp", O_WRONLY | O_TMPFILE, 0600));
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    REFUSED(mprotect(page, 4096, PROT_READ | PROT_EXEC));
    REFUSED(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
    REFUSED(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REFUSED(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(munmap(page, 4096) == 0);
#endif
    JUDGED(ioctl(open("/dev/null", O_RDONLY), DM_IOCTL, NULL), ENOTTY);
    return raise(0) == 0 ? 0 : __LINE__;
}

/* Calls of the tables of other architectures are not the way round. */
#ifdef __x86_64__
static sigjmp_buf no_such_table;

static void on_fault(int signal)
{
    (void)signal;
    siglongjmp(no_such_table, 1);
}

static int refused_by_other_tables(void)
{
    enum { EXECVE_OF_386 = 11 };

    REFUSED(syscall(0x40000000 | SYS_execve, NULL, NULL, NULL));
    (void)signal(SIGSEGV, on_fault); /* of a kernel without that table */
    if (sigsetjmp(no_such_table, 1) == 0) {
        long rc = EXECVE_OF_386;
        __asm__ volatile("int $0x80" : "+a"(rc) : "b"(0), "c"(0), "d"(0) : "memory");
        CHECK(rc == -ENOSYS);
    }
    return 0;
}
#else
static int refused_by_other_tables(void)
{
    return 0;
}
#endif

static void *fill(void *argument)
{
    *(bool *)argument = true;
    return NULL;
}

/* What the daemon, its libraries and what others may ask of it need. */
static int allowed_to_the_daemon(void)
{
    pthread_t thread;
    bool ran = false;
    char bytes[64];

    CHECK(pthread_create(&thread, NULL, fill, &ran) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && ran);
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, bytes, sizeof(bytes)) > 0 && lseek(fd, 0, SEEK_SET) == 0);
    CHECK(close(fd) == 0);
    int pair[2] = {socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_DGRAM, 0)};
    CHECK(pair[0] >= 0 && pair[1] >= 0);
    fd = memfd_create("dmrpc-test", MFD_ALLOW_SEALING);
    CHECK(fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
    CHECK(prctl(PR_GET_NAME, bytes, 0, 0, 0) == 0 && prctl(PR_SET_NAME, bytes, 0, 0, 0) == 0);
    CHECK(getpwnam("root") && getpwnam("root")->pw_uid == 0);
    CHECK(setpriority(PRIO_PROCESS, 0, 19) == 0);
    fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    void *library = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    CHECK(fd >= 0 && library != MAP_FAILED && munmap(library, 4096) == 0 && close(fd) == 0);
    void *block = malloc(16 << 20);
    CHECK(block);
    free(block);
    return 0;
}

static int test_calls_of_the_daemon(void)
{
    int line = harden_all(HARDEN_CALLS_DAEMON);

    line = line ? line : refused_to_all();
    line = line ? line : refused_by_other_tables();
    return line ? line : allowed_to_the_daemon();
}

struct hand {
    sem_t begin;
    int line;
};

static int try_in_thread(void)
{
    char bytes[64];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0 && read(fd, bytes, sizeof(bytes)) > 0 && close(fd) == 0);
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
#ifndef PROTECT_SANITIZED
    REFUSED(open("/dev/null", O_WRONLY));
    REFUSED(syscall(SYS_clone, CLONE_THREAD, NULL, NULL, NULL, 0));
#endif
    return refused_to_all();
}

static void *hand_main(void *argument)
{
    struct hand *hand = argument;

    (void)sem_wait(&hand->begin);
    hand->line = try_in_thread();
    return NULL;
}

/* Its threads are there before; what is refused to one is refused to all. */
static int test_calls_of_the_guardian(void)
{
    struct hand hand = {.line = __LINE__};
    struct harden harden = {0};
    pthread_t thread;

    CHECK(sem_init(&hand.begin, 0, 0) == 0);
    harden_begin(&harden, 0);
    CHECK(pthread_create(&thread, NULL, hand_main, &hand) == 0);
    harden_calls(&harden, HARDEN_CALLS_GUARDIAN);
    CHECK(harden.lacks.count == 0);
    CHECK(sem_post(&hand.begin) == 0 && pthread_join(thread, NULL) == 0);
    return hand.line ? hand.line : try_in_thread();
}

#define RUN(test, by)                                                                              \
    {                                                                                              \
#test, by, NULL, NULL, &(int (*)(void))                                                    \
        {                                                                                          \
            test                                                                                   \
        }                                                                                          \
    }
#define TEST(test)  RUN(test, run)
#define CALLS(test) RUN(test, run_calls)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_kept),
        TEST(test_what_is_needed_is_kept),
        TEST(test_what_it_never_had_is_not_kept),
        TEST(test_the_process),
        TEST(test_locked_memory_with_a_limit_takes_a_right),
        TEST(test_names),
        TEST(test_without_the_right_to_drop),
        TEST(test_without_any_right),
        TEST(test_all_is_refused),
        CALLS(test_calls_of_the_daemon),
        CALLS(test_calls_of_the_guardian),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
