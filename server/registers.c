/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zeroes vector registers, as many and as wide as the CPU has: the C library copies with the
 * widest. On x86-64 by hand, since gcc 12 leaves out the upper half of those of AVX-512; elsewhere
 * it is the compiler's work, where it knows how.
 */
#include "registers.h"

#ifdef __x86_64__

#define ZERO(n)                "pxor %%xmm" #n ", %%xmm" #n "\n\t"
#define ZERO_WIDE(n)           "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define FOUR(zero, a, b, c, d) zero(a) zero(b) zero(c) zero(d)
/* clang-format off */
#define LOWER(zero) \
    FOUR(zero, 0, 1, 2, 3) FOUR(zero, 4, 5, 6, 7) \
    FOUR(zero, 8, 9, 10, 11) FOUR(zero, 12, 13, 14, 15)
#define UPPER(zero) \
    FOUR(zero, 16, 17, 18, 19) FOUR(zero, 20, 21, 22, 23) \
    FOUR(zero, 24, 25, 26, 27) FOUR(zero, 28, 29, 30, 31)
/* clang-format on */
#define CHANGED                                                                                    \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* The upper ones are used by nobody whom this program was compiled for. */
void registers_clear(void)
{
    if (__builtin_cpu_supports("avx512f")) {
        __asm__ volatile(UPPER(ZERO_WIDE)::);
    }
    if (__builtin_cpu_supports("avx")) {
        __asm__ volatile("vzeroall" ::: CHANGED);
    } else {
        __asm__ volatile(LOWER(ZERO)::: CHANGED);
    }
}

#elif defined(__has_attribute)
#if __has_attribute(zero_call_used_regs)
__attribute__((zero_call_used_regs("all")))
#endif
void registers_clear(void)
{
}
#else
void registers_clear(void)
{
}
#endif
