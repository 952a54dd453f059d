/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes from this process what it does not need. The lists of system calls are here; why
 * they are needed is known where they are made. Of devices it knows one number, that of
 * their ioctls.
 */
#include "harden.h"

#include <cap-ng.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protect.h"

const struct lack harden_parts[HARDEN_PARTS] = {
    [HARDEN_CAPABILITIES] =
        {
            .name = "capabilities",
            .what = "it keeps capabilities that it does not need (CAP_SETPCAP lets it drop them)",
        },
    [HARDEN_NO_NEW_PRIVS] =
        {
            .name = "no_new_privs",
            .what = "what it would execute could have more rights (the system refuses "
                    "PR_SET_NO_NEW_PRIVS)",
        },
    [HARDEN_LIMITS] =
        {
            .name = "limits",
            .what = "its limits of core files and descriptors stay (the system refuses setrlimit)",
        },
    [HARDEN_NOT_DUMPABLE] =
        {
            .name = "not_dumpable",
            .what = "its memory, keys in it too, may be dumped to a file (the system refuses "
                    "PR_SET_DUMPABLE)",
        },
    [HARDEN_SECCOMP] =
        {
            .name = "seccomp",
            .what = "it may make any system call (the kernel has no CONFIG_SECCOMP_FILTER, or the "
                    "container forbids seccomp)",
        },
};

static void miss(struct harden *harden, enum harden_part part)
{
    lacks_add(&harden->lacks, &harden_parts[part]);
}

/* --- capabilities --- */

static const capng_type_t own_sets[] = {CAPNG_EFFECTIVE, CAPNG_PERMITTED, CAPNG_INHERITABLE,
                                        CAPNG_AMBIENT};

static bool has(capng_type_t set, unsigned int capability)
{
    return capng_have_capability(set, capability) == 1;
}

/* Of what capng_get_caps_process has found. */
static uint64_t bits_of(capng_type_t set)
{
    uint64_t bits = 0;

    for (unsigned int i = 0; i < 64 && capng_capability_to_name(i); i++) {
        bits |= has(set, i) ? HARDEN_BIT(i) : 0;
    }
    return bits;
}

uint64_t harden_needed(bool locked)
{
    struct rlimit limit = {0};
    bool unlimited = getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;

    return HARDEN_BIT(CAP_SYS_ADMIN) | (locked && !unlimited ? HARDEN_BIT(CAP_IPC_LOCK) : 0);
}

/*
 * The bounding set bounds what could be gained by executing. Without CAP_SETPCAP it stays,
 * which is of no weight to who has nothing: with no_new_privs none can be gained.
 */
static bool drop_capabilities(uint64_t keep, uint64_t *ret_kept)
{
    uint64_t beyond = 0;

    if (capng_get_caps_process() < 0) {
        return false;
    }
    uint64_t had = bits_of(CAPNG_PERMITTED);
    (void)capng_lock(); /* uid 0 alone gives no right to what is executed */
    capng_clear(CAPNG_SELECT_ALL);
    for (unsigned int i = 0; i < 64; i++) {
        if (keep & had & HARDEN_BIT(i)) {
            (void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, i);
        }
    }
    (void)capng_apply(CAPNG_SELECT_ALL); /* what of it was done is looked at: */
    if (capng_get_caps_process() < 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(own_sets) / sizeof(own_sets[0]); i++) {
        beyond |= bits_of(own_sets[i]) & ~keep;
    }
    *ret_kept = bits_of(CAPNG_EFFECTIVE);
    return beyond == 0 && (had == 0 || bits_of(CAPNG_BOUNDING_SET) == 0);
}

/* --- limits --- */

/* Who has raised its own limit of descriptors to what it needs needs no more. */
static bool lower_limits(void)
{
    const struct rlimit none = {0, 0};
    struct rlimit files;

    bool done = setrlimit(RLIMIT_CORE, &none) == 0 && getrlimit(RLIMIT_NOFILE, &files) == 0;
    if (done) {
        files.rlim_max = files.rlim_cur;
        done = setrlimit(RLIMIT_NOFILE, &files) == 0;
    }
    return done;
}

void harden_begin(struct harden *harden, uint64_t keep)
{
    if (!drop_capabilities(keep, &harden->kept)) {
        miss(harden, HARDEN_CAPABILITIES);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        miss(harden, HARDEN_NO_NEW_PRIVS);
    }
    if (!lower_limits()) {
        miss(harden, HARDEN_LIMITS);
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        miss(harden, HARDEN_NOT_DUMPABLE);
    }
}

/* --- system calls --- */

/*
 * What is not allowed does not exist: the C library then does with an older call, which may
 * be allowed (clone3 and clone), where EPERM would be the end of it.
 */
#define REFUSED SCMP_ACT_ERRNO(ENOSYS)

/* Of the kernel's interface; lib/ alone has the header. */
enum { DM_IOCTL_TYPE = 0xfd << 8, IOCTL_TYPE = 0xff << 8 };

#define LOW_HALF ((scmp_datum_t)UINT32_MAX) /* of an argument that is an int */
#define NEW_NAMESPACES                                                                             \
    ((scmp_datum_t)(CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID |   \
                    CLONE_NEWUSER | CLONE_NEWUTS))

/* Without any condition. */
static const int plain_calls[] = {
    /* memory */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    /* descriptors; sysfs is read on the way to a resume */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(timerfd_settime),
    /* time */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(nanosleep),
    /* threads, which may just begin, and signals */
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(futex), SCMP_SYS(getpid), SCMP_SYS(gettid),
    SCMP_SYS(restart_syscall), SCMP_SYS(rseq), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(sched_yield), SCMP_SYS(set_robust_list),
    SCMP_SYS(sigaltstack)};

static const int daemon_calls[] = {
    /* files: /proc, /sys, /dev, the configuration, users and groups; the socket at the end */
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(fadvise64),
    SCMP_SYS(fcntl), SCMP_SYS(flock), SCMP_SYS(fstat), SCMP_SYS(fstatfs), SCMP_SYS(ftruncate),
    SCMP_SYS(getdents64), SCMP_SYS(lseek), SCMP_SYS(newfstatat), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(readv), SCMP_SYS(statfs),
    SCMP_SYS(statx), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(writev),
    /* sockets that it has; those that it makes are local ones, see below */
    SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(getpeername), SCMP_SYS(getsockname),
    SCMP_SYS(getsockopt), SCMP_SYS(recvfrom), SCMP_SYS(recvmmsg), SCMP_SYS(recvmsg),
    SCMP_SYS(sendmmsg), SCMP_SYS(sendmsg), SCMP_SYS(sendto), SCMP_SYS(setsockopt),
    SCMP_SYS(shutdown),
    /* the journal's long messages */
    SCMP_SYS(memfd_create),
    /* the loop */
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
    SCMP_SYS(epoll_wait), SCMP_SYS(eventfd2), SCMP_SYS(pselect6), SCMP_SYS(select),
    SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_gettime),
    SCMP_SYS(clock_getres),
    /* new threads, and what they are for the scheduler */
    SCMP_SYS(getpriority), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(sched_setscheduler),
    SCMP_SYS(setpriority), SCMP_SYS(wait4),
    /* what it is and where */
    SCMP_SYS(getegid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getgroups), SCMP_SYS(getppid),
    SCMP_SYS(getrandom), SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(getuid),
    SCMP_SYS(sysinfo), SCMP_SYS(times), SCMP_SYS(uname)};

#ifdef PROTECT_SANITIZED
/*
 * AddressSanitizer looks for leaks at the end from a process of its own, as a debugger, for
 * which it makes this one dumpable again; sanitizers use older calls, and pipes as probes.
 */
static const int sanitizer_calls[] = {
    SCMP_SYS(arch_prctl), SCMP_SYS(clone), SCMP_SYS(dup),    SCMP_SYS(dup2),
    SCMP_SYS(getdents),   SCMP_SYS(kill),  SCMP_SYS(lstat),  SCMP_SYS(membarrier),
    SCMP_SYS(mincore),    SCMP_SYS(mlock), SCMP_SYS(mmap),   SCMP_SYS(mprotect),
    SCMP_SYS(munlock),    SCMP_SYS(open),  SCMP_SYS(openat), SCMP_SYS(personality),
    SCMP_SYS(pipe),       SCMP_SYS(pipe2), SCMP_SYS(prctl),  SCMP_SYS(process_vm_readv),
    SCMP_SYS(ptrace),     SCMP_SYS(stat),  SCMP_SYS(tgkill)};
#endif

/* Where arguments are as they should be. */
struct rule {
    int call;
    struct scmp_arg_cmp conditions[2]; /* one, or both */
};

#define HAS(index, mask, value)                                                                    \
    {                                                                                              \
        (index), SCMP_CMP_MASKED_EQ, (mask), (value)                                               \
    }
#define NEW_FILE (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))

static const struct rule daemon_rules[] = {
    {SCMP_SYS(ioctl), {HAS(1, IOCTL_TYPE, DM_IOCTL_TYPE)}},
    {SCMP_SYS(ioctl), {HAS(1, LOW_HALF, FIONREAD)}},
    {SCMP_SYS(socket), {HAS(0, LOW_HALF, AF_UNIX)}},
    {SCMP_SYS(openat), {HAS(2, NEW_FILE, 0)}},
    {SCMP_SYS(prctl), {HAS(0, LOW_HALF, PR_SET_NAME)}},
    {SCMP_SYS(prctl), {HAS(0, LOW_HALF, PR_GET_NAME)}}, /* or libsystemd aborts */
    {SCMP_SYS(prlimit64), {{2, SCMP_CMP_EQ, 0, 0}}},    /* reads */
    /* Threads only. clone3, whose arguments are out of sight, is refused: then this is used. */
    {SCMP_SYS(clone), {HAS(0, CLONE_THREAD | NEW_NAMESPACES, CLONE_THREAD)}},
    /* Libraries that know users and groups are loaded: only what a file holds becomes code. */
    {SCMP_SYS(mmap), {HAS(2, PROT_EXEC, 0)}},
    {SCMP_SYS(mmap), {HAS(2, PROT_EXEC | PROT_WRITE, PROT_EXEC), HAS(3, MAP_ANONYMOUS, 0)}},
    {SCMP_SYS(mprotect), {HAS(2, PROT_EXEC, 0)}},
};

static const struct rule guardian_rules[] = {
    {SCMP_SYS(ioctl), {HAS(1, IOCTL_TYPE, DM_IOCTL_TYPE)}},
    {SCMP_SYS(openat), {HAS(2, O_ACCMODE | NEW_FILE, O_RDONLY)}},
    {SCMP_SYS(mmap), {HAS(2, PROT_EXEC, 0)}},
    {SCMP_SYS(mprotect), {HAS(2, PROT_EXEC, 0)}},
};

static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    }
    return rc;
}

static int allow_if(scmp_filter_ctx filter, const struct rule *rules, size_t count)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        unsigned int conditions = rules[i].conditions[1].op == 0 ? 1 : 2;
        rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, conditions,
                                    rules[i].conditions);
    }
    return rc;
}

#define ALLOW(filter, calls)    allow((filter), (calls), sizeof(calls) / sizeof((calls)[0]))
#define ALLOW_IF(filter, rules) allow_if((filter), (rules), sizeof(rules) / sizeof((rules)[0]))

static int add_calls(scmp_filter_ctx filter, enum harden_calls calls)
{
    const struct rule own_signals = {SCMP_SYS(tgkill), {HAS(0, LOW_HALF, (scmp_datum_t)getpid())}};
    int rc = ALLOW(filter, plain_calls);

    if (rc == 0) {
        rc = allow_if(filter, &own_signals, 1);
    }
    if (rc == 0) {
        rc = calls == HARDEN_CALLS_GUARDIAN ? ALLOW_IF(filter, guardian_rules)
                                            : ALLOW_IF(filter, daemon_rules);
    }
    if (rc == 0 && calls == HARDEN_CALLS_DAEMON) {
        rc = ALLOW(filter, daemon_calls);
    }
#ifdef PROTECT_SANITIZED
    if (rc == 0) {
        rc = ALLOW(filter, sanitizer_calls);
    }
#endif
    return rc;
}

/* Calls of another architecture's table are refused, where the library would kill. */
static int set_up(scmp_filter_ctx filter)
{
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, REFUSED);

    if (rc == 0) {
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0); /* it is set, or refused */
    }
    if (rc == 0) {
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (rc == 0) {
        rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    return rc;
}

void harden_calls(struct harden *harden, enum harden_calls calls)
{
    scmp_filter_ctx filter = seccomp_init(REFUSED);
    int rc = filter ? set_up(filter) : -ENOMEM;

    if (rc == 0) {
        rc = add_calls(filter, calls);
    }
    if (rc == 0) {
        rc = seccomp_load(filter);
    }
    if (rc < 0) {
        miss(harden, HARDEN_SECCOMP);
    }
    if (filter) {
        seccomp_release(filter);
    }
}

/* --- to be told --- */

bool harden_kept(const struct harden *harden, unsigned int capability,
                 char ret_name[HARDEN_CAPABILITY_NAME])
{
    const char *name = capability < 64 ? capng_capability_to_name(capability) : NULL;

    if (!name || !(harden->kept & HARDEN_BIT(capability))) {
        return false;
    }
    (void)snprintf(ret_name, HARDEN_CAPABILITY_NAME, "CAP_%s", name);
    for (char *at = ret_name; *at; at++) {
        *at = (char)toupper((unsigned char)*at);
    }
    return true;
}
