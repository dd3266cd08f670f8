/*
 * crc32c.c - CRC-32C by instruction where there is one, else by tables.
 *
 * Knows the processor and bytes; must never know files or records.
 *
 * The CRC is linear: the CRC of bytes a, b, c is that of a moved past b and c,
 * that of b moved past c, and that of c, combined by exclusive or. The tables
 * use it to take eight bytes at once, the x86 code to keep three streams of
 * CRC instructions busy (each takes three cycles, but one can start in each).
 */
#include "crc32c.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <stdatomic.h>
#include <sys/auxv.h>
#endif

static uint64_t load_u64(const char *in) {
    uint64_t word = 0;
    memcpy(&word, in, sizeof word);
    return le64toh(word);
}

/* A table's entry is the sum of what its index's bits stand for. */
#define BIT(i, n, crc) ((i) >> (n)&1 ? (crc) : 0)
#define ENTRY(i, c0, c1, c2, c3, c4, c5, c6, c7)                               \
    BIT(i, 0, c0) ^ BIT(i, 1, c1) ^ BIT(i, 2, c2) ^ BIT(i, 3, c3) ^            \
        BIT(i, 4, c4) ^ BIT(i, 5, c5) ^ BIT(i, 6, c6) ^ BIT(i, 7, c7)
#define ENTRIES_4(i, ...)                                                      \
    ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__),                        \
        ENTRY((i) + 2, __VA_ARGS__), ENTRY((i) + 3, __VA_ARGS__)
#define ENTRIES_16(i, ...)                                                     \
    ENTRIES_4(i, __VA_ARGS__), ENTRIES_4((i) + 4, __VA_ARGS__),                \
        ENTRIES_4((i) + 8, __VA_ARGS__), ENTRIES_4((i) + 12, __VA_ARGS__)
#define ENTRIES_64(i, ...)                                                     \
    ENTRIES_16(i, __VA_ARGS__), ENTRIES_16((i) + 16, __VA_ARGS__),             \
        ENTRIES_16((i) + 32, __VA_ARGS__), ENTRIES_16((i) + 48, __VA_ARGS__)
#define TABLE(...)                                                             \
    {                                                                          \
        ENTRIES_64(0, __VA_ARGS__), ENTRIES_64(64, __VA_ARGS__),               \
            ENTRIES_64(128, __VA_ARGS__), ENTRIES_64(192, __VA_ARGS__)         \
    }

/* after[k][b]: the CRC of the byte b with k zero bytes behind it. */
static const uint32_t after[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f,
          0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181,
          0x7f8be302, 0xff17c604, 0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a,
          0xe144fb14, 0xc76580d9, 0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d,
          0xd725148b, 0xaba65fe7, 0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3,
          0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e,
          0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6,
          0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4,
          0x0d006599, 0x1a00cb32, 0x34019664),
};

uint32_t toon_crc32c_portable(uint32_t crc, const void *data, size_t size) {
    const char *in = data;
    crc = ~crc;
    for (; size >= 8; size -= 8, in += 8) {
        uint64_t word = load_u64(in) ^ crc;
        crc = 0;
        for (unsigned k = 0; k < 8; k++) {
            crc ^= after[7 - k][word >> (8 * k) & 0xff];
        }
    }
    for (; size > 0; size--, in++) {
        crc = after[0][(crc ^ (unsigned char)*in) & 0xff] ^ crc >> 8;
    }
    return ~crc;
}

/* ---------------------------------------------------------------- backwards */

/* No two entries of after[0] have the same top byte: it tells which one was
 * taken, and so the state before. */
static void fill_back(unsigned char back[256]) {
    for (unsigned i = 0; i < 256; i++) {
        back[after[0][i] >> 24] = (unsigned char)i;
    }
}

static uint32_t step_back(uint32_t state, char byte,
                          const unsigned char back[256]) {
    uint32_t i = back[state >> 24];
    return (state ^ after[0][i]) << 8 | (i ^ (unsigned char)byte);
}

uint32_t toon_crc32c_back(uint32_t crc, const void *data, size_t size) {
    const char *in = data;
    unsigned char back[256];
    uint32_t state = ~crc;
    fill_back(back);
    while (size > 0) {
        state = step_back(state, in[--size], back);
    }
    return ~state;
}

size_t toon_crc32c_find_start(uint32_t start, uint32_t crc, const void *data,
                              size_t size) {
    const char *in = data;
    unsigned char back[256];
    uint32_t state = ~crc;
    fill_back(back);
    for (size_t at = size; at > 0; at--) {
        state = step_back(state, in[at - 1], back);
        if (state == ~start) {
            return at - 1;
        }
    }
    return SIZE_MAX;
}

/* The difference of two states knows nothing of the bytes that are the same
 * in both: it moves on as if they were zero. */
size_t toon_crc32c_find_byte(uint32_t difference, size_t size,
                             unsigned char *change) {
    unsigned char back[256];
    uint32_t state = difference;
    fill_back(back);
    for (size_t at = size; at > 0 && state != 0; at--) {
        state = step_back(state, 0, back);
        if (state < 256) {
            *change = (unsigned char)state;
            return at - 1;
        }
    }
    return SIZE_MAX;
}

/* ------------------------------------------------------------ by instruction */

#if defined(__x86_64__)

/* Bytes of each of the three streams, and what moves a CRC past one and past
 * two of them: x^(8n - 33) modulo the polynomial, for n bytes. */
#define STREAM   ((size_t)168)
#define PAST_ONE 0x1b3d8f29
#define PAST_TWO 0xa60ce07b

__attribute__((target("sse4.2,pclmul"))) static uint64_t
add_three_streams(uint64_t crc, const char *in) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < STREAM; i += 8) {
        crc = _mm_crc32_u64(crc, load_u64(in + i));
        second = _mm_crc32_u64(second, load_u64(in + STREAM + i));
        third = _mm_crc32_u64(third, load_u64(in + 2 * STREAM + i));
    }
    const __m128i past = _mm_set_epi64x(PAST_ONE, PAST_TWO);
    __m128i a = _mm_cvtsi64_si128((long long)crc);
    __m128i b = _mm_cvtsi64_si128((long long)second);
    __m128i moved = _mm_xor_si128(_mm_clmulepi64_si128(a, past, 0x00),
                                  _mm_clmulepi64_si128(b, past, 0x10));
    return third ^ _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(moved));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
crc_by_instruction(uint32_t start, const char *in, size_t size) {
    uint64_t crc = ~start;
    for (; size >= 3 * STREAM; size -= 3 * STREAM, in += 3 * STREAM) {
        crc = add_three_streams(crc, in);
    }
    for (; size >= 8; size -= 8, in += 8) {
        crc = _mm_crc32_u64(crc, load_u64(in));
    }
    uint32_t rest = (uint32_t)crc;
    for (; size > 0; size--, in++) {
        rest = _mm_crc32_u8(rest, (unsigned char)*in);
    }
    return ~rest;
}

/* Asks what start-up code found out before any thread was there. */
static bool has_instruction(void) {
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

#elif defined(__aarch64__)

/* As assembler text, since a compiler that builds for every ARMv8 has no other
 * name for the instructions. */
static uint32_t crc_by_instruction(uint32_t crc, const char *in, size_t size) {
    crc = ~crc;
    for (; size >= 8; size -= 8, in += 8) {
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1"
                : "+r"(crc)
                : "r"(load_u64(in)));
    }
    for (; size > 0; size--, in++) {
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1"
                : "+r"(crc)
                : "r"((uint32_t)(unsigned char)*in));
    }
    return ~crc;
}

/* Threads that ask at the same time for the first time learn the same. */
static bool has_instruction(void) {
    static atomic_int known; /* 0: not asked yet; else 1 or -1 */
    int has = atomic_load_explicit(&known, memory_order_relaxed);
    if (has == 0) {
        has = (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0 ? 1 : -1;
        atomic_store_explicit(&known, has, memory_order_relaxed);
    }
    return has > 0;
}

#else

#define crc_by_instruction toon_crc32c_portable

static bool has_instruction(void) {
    return false;
}

#endif

uint32_t toon_crc32c(uint32_t crc, const void *data, size_t size) {
    return has_instruction() ? crc_by_instruction(crc, data, size)
                             : toon_crc32c_portable(crc, data, size);
}
