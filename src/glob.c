/*
 * glob.c - the patterns of KEYS and SCAN, by Redis's rules: * ? [a-c] [^a] \x.
 *
 * Knows bytes only.
 */
#include "toonstore.h"

/* One element of a pattern matched against one byte; *at moves past it. */
struct glob {
    const unsigned char *pattern;
    size_t size;
};

/* `at` stands behind the '['. Returns whether the byte is in the class; *at
 * ends behind the ']', or at the end of the pattern if there is none. */
static bool match_class(const struct glob *glob, size_t *at,
                        unsigned char byte) {
    const unsigned char *p = glob->pattern;
    size_t i = *at;
    bool negated = i < glob->size && p[i] == '^';
    bool found = false;
    if (negated)
        i++;
    while (i < glob->size && p[i] != ']') {
        if (p[i] == '\\' && i + 1 < glob->size) {
            i++;
            found = found || p[i] == byte;
            i++;
        } else if (i + 2 < glob->size && p[i + 1] == '-') {
            unsigned char low = p[i] < p[i + 2] ? p[i] : p[i + 2];
            unsigned char high = p[i] < p[i + 2] ? p[i + 2] : p[i];
            found = found || (byte >= low && byte <= high);
            i += 3;
        } else {
            found = found || p[i] == byte;
            i++;
        }
    }
    *at = i < glob->size ? i + 1 : i;
    return found != negated;
}

static bool match_one(const struct glob *glob, size_t *at, unsigned char byte) {
    unsigned char c = glob->pattern[(*at)++];
    if (c == '?')
        return true;
    if (c == '[')
        return match_class(glob, at, byte);
    if (c == '\\' && *at < glob->size)
        c = glob->pattern[(*at)++];
    return c == byte;
}

/*
 * A star takes as little as it can; when what follows fails, the latest star
 * takes one byte more. Earlier stars need never be tried again, so this is
 * quadratic at worst, where recursion would be exponential.
 */
bool toon_glob_match(toon_slice pattern, toon_slice key) {
    struct glob glob = {(const unsigned char *)pattern.data, pattern.size};
    size_t at = 0;
    size_t star_at = SIZE_MAX; /* behind the latest star */
    size_t star_key = 0;
    size_t i = 0;
    while (i < key.size || at < glob.size) {
        if (at < glob.size && glob.pattern[at] == '*') {
            star_at = ++at;
            star_key = i;
            continue;
        }
        size_t next = at;
        if (i < key.size && at < glob.size &&
            match_one(&glob, &next, (unsigned char)key.data[i])) {
            at = next;
            i++;
            continue;
        }
        if (star_at == SIZE_MAX || star_key >= key.size)
            return false;
        at = star_at;
        i = ++star_key;
    }
    return true;
}
