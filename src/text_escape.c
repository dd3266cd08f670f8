/*
 * text_escape.c - strings looked at and escaped, 32 or 16 bytes at a time.
 *
 * Knows byte classes, UTF-8 and the processor's vectors; must never know what
 * a cell or a key is, or records.
 *
 * The vector code handles plain bytes and ASCII escapes. What is not ASCII it
 * hands, a few vectors' length at a time, to look_at_bytes(), which is also all
 * of the portable twin.
 */
#include "text_escape.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* ------------------------------------------------------ one byte at a time */

/* Classes of ASCII bytes: how many characters an escape adds, and whether the
 * byte is special. The classes of eight bytes can be added up. */
enum {
    EXTRA_MASK = 63,
    SPECIAL = 64,
    SHORT = SPECIAL | 1, /* \n and the like */
    LONG = SPECIAL | 5,  /* \u001f */
};

#define EIGHT(class) class, class, class, class, class, class, class, class

static const unsigned char byte_class[128] = {EIGHT(LONG),
                                              LONG,
                                              SHORT,
                                              SHORT,
                                              LONG,
                                              LONG,
                                              SHORT,
                                              LONG,
                                              LONG,
                                              EIGHT(LONG),
                                              EIGHT(LONG),
                                              ['"'] = SHORT,
                                              [','] = SPECIAL,
                                              [':'] = SPECIAL,
                                              ['['] = SPECIAL,
                                              ['\\'] = SHORT,
                                              [']'] = SPECIAL,
                                              ['{'] = SPECIAL,
                                              ['}'] = SPECIAL};

/* The length of the UTF-8 sequence that starts here, or 0: no overlong forms,
 * no surrogates, nothing past U+10FFFF. */
static size_t sequence_size(const unsigned char *p, size_t left) {
    unsigned lead = p[0];
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (left < size || p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

static bool is_ascii(const unsigned char *eight) {
    uint64_t word = 0;
    memcpy(&word, eight, sizeof word);
    return (word & 0x8080808080808080u) == 0;
}

static unsigned classes_of(const unsigned char *eight) {
    unsigned sum = 0;
    for (size_t i = 0; i < 8; i++) {
        sum += byte_class[eight[i]];
    }
    return sum;
}

/* Takes whole characters from bytes[at] on until `end` is reached or passed.
 * Returns where it stopped: bytes.size at once if this is not UTF-8. */
static size_t look_at_bytes(toon_slice bytes, size_t at, size_t end,
                            toon_text_scan *scan) {
    const unsigned char *p = (const unsigned char *)bytes.data;
    size_t extra = 0;
    bool special = false;
    while (at < end) {
        unsigned class = 0;
        size_t size = 1;
        if (end - at >= 8 && is_ascii(p + at)) {
            class = classes_of(p + at);
            size = 8;
        } else if (p[at] < 0x80) {
            class = byte_class[p[at]];
        } else {
            size = sequence_size(p + at, bytes.size - at);
        }
        if (size == 0) {
            scan->utf8 = false;
            return bytes.size;
        }
        extra += class & EXTRA_MASK;
        special |= class >= SPECIAL;
        at += size;
    }
    scan->extra += extra;
    scan->special |= special;
    return at;
}

toon_text_scan toon_text_scan_bytes_portable(toon_slice bytes) {
    toon_text_scan scan = {.utf8 = true};
    look_at_bytes(bytes, 0, bytes.size, &scan);
    return scan;
}

static char *put_escape(char *out, unsigned char byte) {
    static const char digits[] = "0123456789abcdef";
    static const char letters[128] = {
        ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['"'] = '"', ['\\'] = '\\',
    };
    *out++ = '\\';
    if (letters[byte] != 0) {
        *out++ = letters[byte];
        return out;
    }
    memset(out, '0', 3);
    out[0] = 'u';
    out[3] = digits[byte >> 4];
    out[4] = digits[byte & 15];
    return out + 5;
}

char *toon_text_escape_portable(char *out, toon_slice bytes) {
    const unsigned char *p = (const unsigned char *)bytes.data;
    for (size_t i = 0; i < bytes.size; i++) {
        if (p[i] < 0x80 && (byte_class[p[i]] & EXTRA_MASK) != 0) {
            out = put_escape(out, p[i]);
        } else {
            *out++ = (char)p[i];
        }
    }
    return out;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Writes the character as UTF-8; 0 for a surrogate, else its size. */
static size_t put_utf8(char *out, unsigned code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(unsigned char)(0xc0 | code >> 6);
        out[1] = (char)(unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code >= 0xd800 && code <= 0xdfff) {
        return 0;
    }
    out[0] = (char)(unsigned char)(0xe0 | code >> 12);
    out[1] = (char)(unsigned char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (char)(unsigned char)(0x80 | (code & 0x3f));
    return 3;
}

/* \uXXXX */
static size_t read_code(char *out, toon_slice text, size_t *size) {
    unsigned code = 0;
    if (text.size < 6 || text.data[1] != 'u') {
        return 0;
    }
    for (size_t i = 2; i < 6; i++) {
        int digit = hex_value(text.data[i]);
        if (digit < 0) {
            return 0;
        }
        code = code << 4 | (unsigned)digit;
    }
    *size = put_utf8(out, code);
    return *size == 0 ? 0 : 6;
}

size_t toon_text_read_escape(char *out, toon_slice text, size_t *size) {
    static const char meanings[256] = {
        ['n'] = '\n', ['r'] = '\r', ['t'] = '\t', ['"'] = '"', ['\\'] = '\\',
    };
    if (text.size < 2 || text.data[0] != '\\') {
        return 0;
    }
    char meaning = meanings[(unsigned char)text.data[1]];
    if (meaning == 0) {
        return read_code(out, text, size);
    }
    *out = meaning;
    *size = 1;
    return 2;
}

bool toon_text_unescape_portable(char *out, toon_slice text, size_t *size) {
    size_t total = 0;
    for (size_t at = 0; at < text.size;) {
        char bytes[3] = {text.data[at]};
        size_t used = 1;
        size_t more = 1;
        if (bytes[0] == '\\' || bytes[0] == '"') {
            toon_slice rest = toon_bytes(text.data + at, text.size - at);
            used = toon_text_read_escape(bytes, rest, &more);
        }
        if (used == 0) {
            return false;
        }
        for (size_t i = 0; out != NULL && i < more; i++) {
            out[total + i] = bytes[i];
        }
        at += used;
        total += more;
    }
    *size = total;
    return true;
}

/* ----------------------------------------------------- many bytes at a time */

/*
 * The few words that the code below is written in, for each processor. A
 * comparison gives a vector of all ones or all zeros for each byte; vec_mask()
 * makes a number of it, MASK_BITS equal bits for each byte, first byte lowest.
 */
#if defined(__x86_64__)

#define HAVE_VECTORS 1
#define VECTOR_CODE  __attribute__((target("avx2")))
#define VEC_SIZE     ((size_t)32)
#define MASK_BITS    1

typedef __m256i vec;

static bool vectors_work(void) {
    return __builtin_cpu_supports("avx2");
}

VECTOR_CODE static inline vec vec_load(const void *from) {
    return _mm256_loadu_si256(from);
}

VECTOR_CODE static inline void vec_store(void *to, vec v) {
    _mm256_storeu_si256(to, v);
}

VECTOR_CODE static inline vec vec_or(vec a, vec b) {
    return _mm256_or_si256(a, b);
}

/* The smaller of each two bytes, as signed numbers. */
VECTOR_CODE static inline vec vec_min(vec a, vec b) {
    return _mm256_min_epi8(a, b);
}

/* Which bytes, as signed numbers, are below the limit? */
VECTOR_CODE static inline vec vec_below(vec v, char limit) {
    return _mm256_cmpgt_epi8(_mm256_set1_epi8(limit), v);
}

/* Which bytes are the one that stands in `set` at their low four bits? */
VECTOR_CODE static inline vec vec_in(vec v, const char *set) {
    vec sets = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)set));
    return _mm256_cmpeq_epi8(v, _mm256_shuffle_epi8(sets, v));
}

VECTOR_CODE static inline uint64_t vec_mask(vec v) {
    return (uint32_t)_mm256_movemask_epi8(v);
}

#elif defined(__aarch64__) && defined(__ARM_NEON)

#define HAVE_VECTORS 1
#define VECTOR_CODE
#define VEC_SIZE  ((size_t)16)
#define MASK_BITS 4

typedef uint8x16_t vec;

static bool vectors_work(void) {
    return true;
}

static inline vec vec_load(const void *from) {
    return vld1q_u8(from);
}

static inline void vec_store(void *to, vec v) {
    vst1q_u8(to, v);
}

static inline vec vec_or(vec a, vec b) {
    return vorrq_u8(a, b);
}

static inline vec vec_min(vec a, vec b) {
    return vreinterpretq_u8_s8(
        vminq_s8(vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)));
}

static inline vec vec_below(vec v, char limit) {
    return vcltq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8((signed char)limit));
}

static inline vec vec_in(vec v, const char *set) {
    vec low = vandq_u8(v, vdupq_n_u8(15));
    return vceqq_u8(v, vqtbl1q_u8(vld1q_u8((const unsigned char *)set), low));
}

static inline uint64_t vec_mask(vec v) {
    uint8x8_t halves = vshrn_n_u16(vreinterpretq_u16_u8(v), 4);
    return vget_lane_u64(vreinterpret_u64_u8(halves), 0);
}

#endif

#if defined(HAVE_VECTORS)

/* Bytes between two looks at the mask of what is not plain. */
#define STEP (4 * VEC_SIZE)

/* Sets for vec_in(). A place that holds no member holds a byte whose low four
 * bits are another place's. */
static const char quote_or_backslash[16] = {1, [2] = '"', [12] = '\\'};
static const char short_controls[16] = {1, [9] = '\t', '\n', [13] = '\r'};
static const char specials[16] = {1, [2] = '"', [10] = ':', '[', '\\', ']'};
static const char more_specials[16] = {1, [11] = '{', ',', '}'};

/* Bytes of a vector that need an escape though they are no control characters
 * or, if `all`, are special though they are none. */
VECTOR_CODE static inline vec vec_marks(vec v, bool all) {
    return all ? vec_or(vec_in(v, specials), vec_in(v, more_specials))
               : vec_in(v, quote_or_backslash);
}

/* How many plain bytes come first, in steps of four vectors? Plain is what is
 * ASCII, needs no escape and, if `all`, is not special. Always inline, so that
 * `all` is a constant in it. */
VECTOR_CODE __attribute__((always_inline)) static inline size_t
skip_plain(const char *p, size_t left, bool all) {
    size_t at = 0;
    for (; left - at >= STEP; at += STEP) {
        vec a = vec_load(p + at);
        vec b = vec_load(p + at + VEC_SIZE);
        vec c = vec_load(p + at + 2 * VEC_SIZE);
        vec d = vec_load(p + at + 3 * VEC_SIZE);
        vec least = vec_min(vec_min(a, b), vec_min(c, d));
        vec marks = vec_or(vec_or(vec_marks(a, all), vec_marks(b, all)),
                           vec_or(vec_marks(c, all), vec_marks(d, all)));
        if (vec_mask(vec_or(marks, vec_below(least, 0x20))) != 0) {
            break;
        }
    }
    return at;
}

static inline size_t count(uint64_t mask) {
    return (size_t)__builtin_popcountll(mask) / MASK_BITS;
}

/* Adds one vector to the scan; false, and nothing added, if it has bytes that
 * are not ASCII. */
VECTOR_CODE static inline bool look_at_vec(vec v, toon_text_scan *scan) {
    if (vec_mask(vec_below(v, 0)) != 0) {
        return false;
    }
    vec controls = vec_below(v, 0x20);
    if (vec_mask(vec_or(controls, vec_marks(v, false))) == 0) {
        scan->special |= vec_mask(vec_marks(v, true)) != 0;
        return true;
    }
    scan->extra += count(vec_mask(vec_in(v, quote_or_backslash)));
    scan->extra += (LONG & EXTRA_MASK) * count(vec_mask(controls));
    scan->extra -= ((LONG & EXTRA_MASK) - (SHORT & EXTRA_MASK)) *
                   count(vec_mask(vec_in(v, short_controls)));
    scan->special = true;
    return true;
}

/* The bytes at `from`; where less than a vector is left, plain ones follow. */
VECTOR_CODE static inline vec vec_load_some(const char *from, size_t left) {
    if (left >= VEC_SIZE) {
        return vec_load(from);
    }
    char padded[VEC_SIZE];
    memset(padded, 'x', sizeof padded);
    memcpy(padded, from, left);
    return vec_load(padded);
}

/* Adds a vector's length of bytes from bytes[at] on, or what is left of them.
 * Returns where it stopped, as look_at_bytes() does. */
VECTOR_CODE static inline size_t look_at_some(toon_slice bytes, size_t at,
                                              toon_text_scan *scan) {
    size_t left = bytes.size - at;
    if (look_at_vec(vec_load_some(bytes.data + at, left), scan)) {
        return at + (left < VEC_SIZE ? left : VEC_SIZE);
    }
    /* There will be more: go slowly for a while. */
    return look_at_bytes(bytes, at, at + (left < STEP ? left : STEP), scan);
}

VECTOR_CODE static toon_text_scan scan_by_vectors(toon_slice bytes) {
    toon_text_scan scan = {.utf8 = true};
    size_t at = 0;
    while (at < bytes.size) {
        const char *from = bytes.data + at;
        size_t left = bytes.size - at;
        bool special = scan.special;
        at += special ? skip_plain(from, left, false)
                      : skip_plain(from, left, true);
        /* More plain bytes can be skipped once something special is found. */
        for (unsigned k = 0;
             k < STEP / VEC_SIZE && at < bytes.size && scan.special == special;
             k++) {
            at = look_at_some(bytes, at, &scan);
        }
    }
    return scan;
}

/* A whole vector is stored ahead even if fewer of its bytes count: what the
 * bytes become is never shorter than they are, so there is room. */
VECTOR_CODE static char *escape_by_vectors(char *out, toon_slice bytes) {
    const char *p = bytes.data;
    size_t left = bytes.size;
    while (left >= VEC_SIZE) {
        vec v = vec_load(p);
        vec_store(out, v);
        uint64_t mask =
            vec_mask(vec_below(v, 0x20)) & ~vec_mask(vec_below(v, 0));
        mask |= vec_mask(vec_in(v, quote_or_backslash));
        if (mask == 0) {
            p += VEC_SIZE;
            out += VEC_SIZE;
            left -= VEC_SIZE;
            continue;
        }
        size_t plain = (size_t)__builtin_ctzll(mask) / MASK_BITS;
        out = put_escape(out + plain, (unsigned char)p[plain]);
        p += plain + 1;
        left -= plain + 1;
    }
    return toon_text_escape_portable(out, toon_bytes(p, left));
}

/* Copies what stands for itself, in steps of four vectors, and returns how much
 * that was. With `out` NULL nothing is copied. Always inline, so that it is
 * known which. */
VECTOR_CODE __attribute__((always_inline)) static inline size_t
copy_plain(char *out, const char *p, size_t left) {
    size_t at = 0;
    for (; left - at >= STEP; at += STEP) {
        vec a = vec_load(p + at);
        vec b = vec_load(p + at + VEC_SIZE);
        vec c = vec_load(p + at + 2 * VEC_SIZE);
        vec d = vec_load(p + at + 3 * VEC_SIZE);
        if (vec_mask(vec_or(
                vec_or(vec_marks(a, false), vec_marks(b, false)),
                vec_or(vec_marks(c, false), vec_marks(d, false)))) != 0) {
            break;
        }
        if (out != NULL) {
            vec_store(out + at, a);
            vec_store(out + at + VEC_SIZE, b);
            vec_store(out + at + 2 * VEC_SIZE, c);
            vec_store(out + at + 3 * VEC_SIZE, d);
        }
    }
    return at;
}

/* Copies up to the first quote or backslash, but no more than a vector. Vectors
 * are stored ahead here, too: six characters of text are one byte at least, so
 * there is room while six vectors of text are left. */
VECTOR_CODE static inline size_t copy_to_mark(char *out, const char *p,
                                              size_t left) {
    vec v = vec_load_some(p, left);
    uint64_t mask = vec_mask(vec_marks(v, false));
    size_t size = left < VEC_SIZE ? left : VEC_SIZE;
    if (mask != 0) {
        size = (size_t)__builtin_ctzll(mask) / MASK_BITS;
    }
    if (size == VEC_SIZE || left >= 6 * VEC_SIZE) {
        vec_store(out, v);
    } else {
        memcpy(out, p, size);
    }
    return size;
}

VECTOR_CODE static bool unescape_by_vectors(char *out, toon_slice text,
                                            size_t *size) {
    size_t total = 0;
    size_t at = 0;
    bool plain = false;
    while (at < text.size) {
        size_t more = copy_to_mark(out + total, text.data + at, text.size - at);
        at += more;
        total += more;
        /* Two plain vectors promise more of them. */
        bool was_plain = plain;
        plain = more == VEC_SIZE;
        if (plain && was_plain) {
            more = copy_plain(out + total, text.data + at, text.size - at);
            at += more;
            total += more;
        }
        if (at == text.size || plain) {
            continue;
        }
        toon_slice rest = toon_bytes(text.data + at, text.size - at);
        size_t used = toon_text_read_escape(out + total, rest, &more);
        if (used == 0) {
            return false;
        }
        at += used;
        total += more;
    }
    *size = total;
    return true;
}

/* Takes what the escapes that begin in the vector at `at` add off *size. *next
 * is the end of the last escape: what stands before it is no mark. False if
 * one is wrong. */
VECTOR_CODE static inline bool count_escapes(toon_slice text, size_t at,
                                             size_t *next, size_t *size) {
    const uint64_t one_byte = ((uint64_t)1 << MASK_BITS) - 1;
    vec v = vec_load_some(text.data + at, text.size - at);
    uint64_t mask = vec_mask(vec_marks(v, false));
    while (mask != 0) {
        size_t place = (size_t)__builtin_ctzll(mask) / MASK_BITS;
        mask &= ~(one_byte << (place * MASK_BITS));
        if (at + place < *next) {
            continue;
        }
        char bytes[3];
        size_t more = 0;
        toon_slice rest =
            toon_bytes(text.data + at + place, text.size - at - place);
        size_t used = toon_text_read_escape(bytes, rest, &more);
        if (used == 0) {
            return false;
        }
        *next = at + place + used;
        *size -= used - more;
    }
    return true;
}

/* What unescape_by_vectors() would give: no vector is looked at twice. */
VECTOR_CODE static bool count_by_vectors(toon_slice text, size_t *size) {
    size_t total = text.size;
    size_t next = 0;
    size_t at = 0;
    while (at < text.size) {
        size_t before = next;
        if (!count_escapes(text, at, &next, &total)) {
            return false;
        }
        at += VEC_SIZE;
        /* Where there was none, there may be none for long. */
        if (next == before && at < text.size) {
            at += copy_plain(NULL, text.data + at, text.size - at);
        }
    }
    *size = total;
    return true;
}

/* Shorter strings are done sooner without. */
enum { SHORT_STRING = 16 };

toon_text_scan toon_text_scan_bytes(toon_slice bytes) {
    return bytes.size >= SHORT_STRING && vectors_work()
               ? scan_by_vectors(bytes)
               : toon_text_scan_bytes_portable(bytes);
}

char *toon_text_escape(char *out, toon_slice bytes) {
    return vectors_work() ? escape_by_vectors(out, bytes)
                          : toon_text_escape_portable(out, bytes);
}

bool toon_text_unescape(char *out, toon_slice text, size_t *size) {
    return !vectors_work() ? toon_text_unescape_portable(out, text, size)
           : out == NULL   ? count_by_vectors(text, size)
                           : unescape_by_vectors(out, text, size);
}

#else

toon_text_scan toon_text_scan_bytes(toon_slice bytes) {
    return toon_text_scan_bytes_portable(bytes);
}

char *toon_text_escape(char *out, toon_slice bytes) {
    return toon_text_escape_portable(out, bytes);
}

bool toon_text_unescape(char *out, toon_slice text, size_t *size) {
    return toon_text_unescape_portable(out, text, size);
}

#endif
